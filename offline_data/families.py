"""The families of parts of the logs; a family's folder holds its parts and, in `base`, their base class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from recenv.registry import Registry

if TYPE_CHECKING:
    from offline_data.behavior.base import BehaviorPolicy
    from offline_data.interop.readers.base import LogReader
    from offline_data.ope.base import Estimator

BEHAVIORS: Final[Registry[type[BehaviorPolicy]]] = Registry(
    "behavior policy", "offline_data.behavior", "BehaviorPolicy", "behaviors"
)
ESTIMATORS: Final[Registry[type[Estimator]]] = Registry("estimator", "offline_data.ope", "Estimator", "estimators")
READERS: Final[Registry[type[LogReader]]] = Registry("reader", "offline_data.interop.readers", "LogReader", "readers")
