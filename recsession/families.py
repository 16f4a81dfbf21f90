"""The families of parts of the application; see `recenv.registry`."""

from __future__ import annotations

from typing import Any, Final

from recenv.registry import Registry

# Any: the base imports this module.
STUDIES: Final[Registry[Any]] = Registry("study", "recsession.experiments.reproduce", "Study", "studies")
