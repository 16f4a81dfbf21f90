"""What `recenv.testing` offers."""

from .choice_models import check_choice_model as check_choice_model
from .contract import Check as Check
from .contract import Contract as Contract
from .contract import Outcome as Outcome
from .pieces import check_piece as check_piece
from .ranges import Range as Range
from .ranges import declared_ranges as declared_ranges
from .user_models import check_user_model as check_user_model
from .worlds import EVERY_PIECE as EVERY_PIECE
from .worlds import SMALL_WORLD as SMALL_WORLD
from .worlds import catalogs as catalogs
from .worlds import played as played
from .worlds import small_world as small_world
