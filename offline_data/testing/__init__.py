"""Contracts of the parts of the logs; needs the extra `testing`."""

import lazy_loader

from recenv.extras import require_extra

require_extra("testing")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
