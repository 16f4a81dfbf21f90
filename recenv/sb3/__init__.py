"""RecSession's vector environment for Stable-Baselines3 and sb3-contrib; needs the extra `sb3`."""

import lazy_loader

from recenv.extras import require_extra

require_extra("sb3")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
