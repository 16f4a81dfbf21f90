"""The families of parts of the logs; a family's folder holds its parts and, in `base`, their base class."""

from __future__ import annotations

from typing import Any, Final

from recenv.registry import Registry

# Any: the bases import this module, and it imports none of them, not for their types either.
BEHAVIORS: Final[Registry[Any]] = Registry("behavior policy", "offline_data.behavior", "BehaviorPolicy", "behaviors")
ESTIMATORS: Final[Registry[Any]] = Registry("estimator", "offline_data.ope.estimators", "Estimator", "estimators")
INTERVALS: Final[Registry[Any]] = Registry("interval", "offline_data.ope.intervals", "ConfidenceInterval", "intervals")
READERS: Final[Registry[Any]] = Registry("reader", "offline_data.interop.readers", "LogReader", "readers")
