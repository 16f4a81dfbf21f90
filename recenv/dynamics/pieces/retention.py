"""Retention: coming back after days.

Who leaves, with satisfaction S (1/2 without that piece), comes back after D days,

    P(D = i) = p (1 - p)^(i - 1),  p = sigmoid(logit(return_rate) + return_lift (2 S - 1)),

if D <= max_absence and max_sessions are not over: the other pieces and the user model then resume. It adds the reward
components `returned` (0 or 1) and `days_away` to the step of leaving. Source: KuaiSim (arXiv:2309.12645) for the
geometric day of return; the rest is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.pieces.base import Piece, Stage
from recenv.errors import require_range
from recenv.families import PIECES
from recenv.items.catalog import Catalog
from recenv.kernels import njit
from recenv.plain_numbers import settle_numbers

_NOWHERE: Final = np.empty(0, np.float32)


@dataclass(frozen=True)
class RetentionConfig:
    """Parameters of retention."""

    name: ClassVar[str] = "retention"
    return_rate: float = 0.3
    """Probability of coming back on any day at satisfaction 1/2, in (0, 1)."""
    return_lift: float = 2.0
    """Log-odds of coming back that full satisfaction adds."""
    max_absence: int = 10
    """Days after which the user is lost."""
    max_sessions: int = 1
    """Sessions that an episode may have."""
    return_reward: float = 0.0
    """Weight of a return in the scalar reward."""
    absence_reward: float = 0.0
    """Weight of a day away."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("return_rate", self.return_rate, 0.0, 1.0, low_open=True, high_open=True)
        require_range("return_lift", self.return_lift, -1e3, 1e3)
        require_range("max_absence", self.max_absence, 1, 10_000, integer=True)
        require_range("max_sessions", self.max_sessions, 1, 10_000, integer=True)
        require_range("return_reward", self.return_reward, -1e6, 1e6)
        require_range("absence_reward", self.absence_reward, -1e6, 1e6)


class _Numbers(NamedTuple):
    log_odds: float
    lift: float
    max_absence: int
    max_sessions: int


@PIECES.register("retention")
class Retention(Piece):
    """The piece of this module's docstring; see `Piece`."""

    Config = RetentionConfig
    stage = Stage.RETURN
    num_draws = 1
    reward_names = ("returned", "days_away")
    config: RetentionConfig

    def __init__(self, config: Any, catalog: Catalog) -> None:
        super().__init__(config, catalog)
        log_odds = math.log(config.return_rate / (1.0 - config.return_rate))
        self._numbers = _Numbers(log_odds, float(config.return_lift), config.max_absence, config.max_sessions)

    @property
    def reward_weights(self) -> tuple[float, ...]:
        """Weights of a return and of a day away."""
        return self.config.return_reward, self.config.absence_reward

    @property
    def num_days(self) -> float:
        """As long an absence as may be before each session but the first."""
        return self.config.max_absence * (self.config.max_sessions - 1)

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `day` and `session_number`."""
        return {"day": ((), np.float32), "session_number": ((), np.int32)}

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return that of the sessions before."""
        return {"session_number": (0, self.config.max_sessions - 1)}

    def settle(self, state: State, response: Response) -> None:
        """Draw the days until each who leaves comes back."""
        _come_back(
            state.get("satisfaction", _NOWHERE),
            state["day"],
            state["session_number"],
            self._numbers,
            response.draws,
            self.first_draw,
            response.active,
            response.rewards,
            self.first_reward,
            response.left,
            response.returned,
        )


@njit(cache=True, error_model="numpy", nogil=True)
def _come_back(
    satisfaction,
    day,
    session_number,
    numbers,
    draws,
    first_draw,
    active,
    rewards,
    first_reward,
    left,
    returned,
):
    feels = satisfaction.shape[0] > 0
    for b in range(len(active)):
        returned[b] = False
        if not (active[b] and left[b]):
            continue
        mood = 2.0 * np.float64(satisfaction[b]) - 1.0 if feels else 0.0
        # Bounded: beyond it Python's exp raises where the compiled one gives infinity.
        comes = 1.0 / (1.0 + math.exp(min(700.0, -(numbers.log_odds + numbers.lift * mood))))
        # Geometric by inversion; a rate of one in floating point is a return on the first day.
        away = 1.0
        if comes < 1.0:
            # By log1p, as 1 - comes is one for a rate that vanishes beside it.
            away += math.floor(min(1e9, math.log(draws[b, first_draw]) / math.log1p(-comes)))
        rewards[b, first_reward + 1] = min(away, np.float64(numbers.max_absence))
        if away <= numbers.max_absence:
            rewards[b, first_reward] = 1.0
            if session_number[b] + 1 < numbers.max_sessions:
                left[b] = False
                returned[b] = True
                session_number[b] += 1
                day[b] += np.float32(away)
