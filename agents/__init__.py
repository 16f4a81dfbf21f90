"""RecSession's learners: objectives, policies, critics, trainer and evaluation, over TorchRL.

What it offers stands in `__init__.pyi` and is imported, torch with it, when it is first asked for.
"""

import lazy_loader

from recenv.extras import require_extra

require_extra("agents")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
