"""What `recenv` offers."""

from .catalog import Catalog as Catalog
from .catalog import CatalogConfig as CatalogConfig
from .dynamics.user_models.base import USER_MODELS as USER_MODELS
from .dynamics.user_models.base import Response as Response
from .dynamics.user_models.base import State as State
from .dynamics.user_models.base import UserModel as UserModel
from .engine.session_batch import SessionBatch as SessionBatch
from .engine.session_batch import StepOutcome as StepOutcome
from .envs.session_env import RecSessionEnv as RecSessionEnv
from .envs.session_vector_env import RecSessionVectorEnv as RecSessionVectorEnv
from .envs.wrappers import FlatObservation as FlatObservation
from .envs.wrappers import HistoryTokens as HistoryTokens
from .envs.wrappers import ProtoAction as ProtoAction
from .envs.wrappers import SemanticIdAction as SemanticIdAction
from .envs.wrappers import VectorFlatObservation as VectorFlatObservation
from .envs.wrappers import VectorHistoryTokens as VectorHistoryTokens
from .envs.wrappers import VectorProtoAction as VectorProtoAction
from .envs.wrappers import VectorSemanticIdAction as VectorSemanticIdAction
from .errors import InvalidInput as InvalidInput
from .item_codes.prefix_tree import PrefixTree as PrefixTree
from .item_codes.semantic_ids import SemanticIdConfig as SemanticIdConfig
from .item_codes.semantic_ids import SemanticIds as SemanticIds
from .registry import Registry as Registry
from .session_config import SessionConfig as SessionConfig
from .world import World as World
from .world import make_world as make_world
