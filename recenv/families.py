"""The families of parts of the world; a family's folder holds its parts and, in `base`, their base class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from recenv.registry import Registry

if TYPE_CHECKING:
    from recenv.dynamics.user_models.base import UserModel

USER_MODELS: Final[Registry[type[UserModel]]] = Registry(
    "user model", "recenv.dynamics.user_models", "UserModel", "user_models"
)
