"""The families of parts of the world; a family's folder holds its parts and, in `base`, their base class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from recenv.registry import Registry

if TYPE_CHECKING:
    from recenv.dynamics.choice_models.base import ChoiceModel
    from recenv.dynamics.pieces.base import Piece
    from recenv.dynamics.user_models.base import UserModel

USER_MODELS: Final[Registry[type[UserModel]]] = Registry(
    "user model", "recenv.dynamics.user_models", "UserModel", "user_models"
)
CHOICE_MODELS: Final[Registry[type[ChoiceModel]]] = Registry(
    "choice model", "recenv.dynamics.choice_models", "ChoiceModel", "choice_models"
)
PIECES: Final[Registry[type[Piece]]] = Registry("piece", "recenv.dynamics.pieces", "Piece", "pieces")
