"""RecSession's world: a Gymnasium simulator of recommendation sessions.

Importing this package registers `RecSession-v0` and its variants; `gymnasium.make("recenv:RecSession-v0")` does both at
once.
"""

import gymnasium

from recenv.catalog import Catalog, CatalogConfig
from recenv.errors import InvalidInput
from recenv.name_clash import warn_of_clash
from recenv.session_config import SessionConfig
from recenv.session_env import RecSessionEnv
from recenv.session_vector_env import RecSessionVectorEnv

# A variant is the world of one user model, with that model's own choice model and pieces.
_VARIANTS = {
    "RecSession-v0": {},
    "RecSession-Boredom-v0": {"user_model": "boredom_cascade"},
    "RecSession-Exploration-v0": {"user_model": "interest_exploration"},
    "RecSession-LongTerm-v0": {"user_model": "long_term_satisfaction"},
    "RecSession-MultiBehavior-v0": {"user_model": "multi_behavior"},
}

for _name, _options in _VARIANTS.items():
    gymnasium.register(
        id=_name,
        entry_point="recenv.session_env:RecSessionEnv",
        vector_entry_point="recenv.session_vector_env:RecSessionVectorEnv",
        kwargs=_options,
    )

warn_of_clash()

__all__ = ["Catalog", "CatalogConfig", "InvalidInput", "RecSessionEnv", "RecSessionVectorEnv", "SessionConfig"]
