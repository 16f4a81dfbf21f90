"""RecSession's logs: behavior policies, datasets of controllable quality, formats of others, off-policy evaluation.

What it offers stands in `__init__.pyi` and is imported when it is first asked for.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
