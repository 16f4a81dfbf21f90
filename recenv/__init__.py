"""RecSession's world: a Gymnasium simulator of recommendation sessions.

Importing this package registers `RecSession-v0` and its variants; `gymnasium.make("recenv:RecSession-v0")` does both at
once. What it offers stands in `__init__.pyi` and is imported when it is first asked for.
"""

import lazy_loader

from recenv.envs.registration import register_environments
from recenv.name_clash import warn_of_clash

register_environments()
warn_of_clash()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
