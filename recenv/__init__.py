"""RecSession's world: a Gymnasium simulator of recommendation sessions.

Importing this package registers `RecSession-v0`; `gymnasium.make("recenv:RecSession-v0")` does both at once.
"""

import gymnasium

from recenv.catalog import Catalog, CatalogConfig
from recenv.errors import InvalidInput
from recenv.name_clash import warn_of_clash
from recenv.session_config import SessionConfig
from recenv.session_env import RecSessionEnv
from recenv.session_vector_env import RecSessionVectorEnv

gymnasium.register(
    id="RecSession-v0",
    entry_point="recenv.session_env:RecSessionEnv",
    vector_entry_point="recenv.session_vector_env:RecSessionVectorEnv",
)

warn_of_clash()

__all__ = ["Catalog", "CatalogConfig", "InvalidInput", "RecSessionEnv", "RecSessionVectorEnv", "SessionConfig"]
