"""A choice model of users who do not compare: they take the first item that is good enough.

Source: Simon 1956, "Rational choice and the structure of the environment" (satisficing); the logistic level is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recenv import ChoiceModel, require_range


@dataclass(frozen=True)
class GoodEnough(ChoiceModel):
    """The first item of the slate whose utility reaches a level a, drawn anew for each slate; none, if none does.

    P(k) = P(max_{j < k} s_j < a <= s_k), a logistic around `level`.
    """

    name: ClassVar[str] = "good_enough"
    level: float = 1.0
    """Median of what is good enough, in units of utility."""
    spread: float = 0.5
    """Scale of the logistic."""

    def __post_init__(self) -> None:
        require_range("level", self.level, -1e6, 1e6)
        require_range("spread", self.spread, 0.0, 1e6, low_open=True)

    def choose(self, utilities: np.ndarray, draws: np.ndarray, clicked: np.ndarray) -> None:
        """Write at most one click a row; see `ChoiceModel.choose`."""
        level = self.level + self.spread * np.log(draws[:, 0] / (1.0 - draws[:, 0]))
        enough = utilities >= level[:, None]
        clicked[:, 0] = np.where(enough.any(axis=1), enough.argmax(axis=1), -1)
