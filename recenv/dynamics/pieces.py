"""Pieces of a session that every user model can switch on: satiation, satisfaction, time, leaving, coming back, news.

Each is a section of `SessionConfig`, None when it is off. For a user with satiation z, exposure m, satisfaction
S = sigmoid(tau m), budget B, on day t; clicked items with embedding v, wanted minutes l and benefit y (both from the
user model), and eps ~ N(0, 1):

    satiation      utility - satiation_weight z.v;  z <- satiation_retention z + (1 - satiation_retention) sum v
    time budget    watch w = max(0, min(B, l));  B <- B - w + quality_return w y (each click), B - no_click_cost (none);
                   the user leaves at B <= 0
    satisfaction   m <- satisfaction_memory m + satisfaction_gain sum y + satisfaction_noise eps;
                   utility + satisfaction_weight (2 S - 1)
    leave hazard   the user leaves a step with probability sigmoid(logit(hazard) - hazard_relief (2 S - 1))
    retention      who leaves comes back after D days, P(D = i) = p (1 - p)^(i - 1), p = sigmoid(logit(return_rate) +
                   return_lift (2 S - 1)), if D <= max_absence and max_sessions are not over: B and z start anew
    freshness      an item is age - (horizon - t) days old, not there while that is negative, and its utility is raised
                   by freshness_weight exp(-days old / freshness_days)

Without the satisfaction piece S is 1/2 and its terms vanish.

Sources: RecSim (arXiv:1909.04847) for the time budget and, in its long-term satisfaction environment, for m and S;
KuaiSim (arXiv:2309.12645) for the geometric day of return. The rest is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numba import njit

from recenv.dynamics.user_models.base import Response
from recenv.errors import require_range


@dataclass(frozen=True)
class Satiation:
    """Tiring of what was lately consumed."""

    satiation_weight: float = 2.0
    """Utility lost to one unit of satiation z.v."""
    satiation_retention: float = 0.8
    """Share of the satiation that is left after a step, in [0, 1)."""

    def __post_init__(self) -> None:
        require_range("satiation_weight", self.satiation_weight, -1e3, 1e3)
        require_range("satiation_retention", self.satiation_retention, 0.0, 1.0, high_open=True)


@dataclass(frozen=True)
class TimeBudget:
    """Minutes that the user has; watching spends them and good items partly pay them back."""

    budget: float = 30.0
    """Initial minutes (RecSim: 200)."""
    quality_return: float = 0.9 / 3.4
    """Minutes paid back per minute watched and unit of benefit, RecSim's 0.9 / 3.4."""
    no_click_cost: float = 0.5
    """Minutes lost when nothing is clicked, RecSim's 0.5."""

    def __post_init__(self) -> None:
        require_range("budget", self.budget, 0.0, 1e6, low_open=True)
        require_range("quality_return", self.quality_return, 0.0, 10.0)
        require_range("no_click_cost", self.no_click_cost, 0.0, 1e6)


@dataclass(frozen=True)
class Satisfaction:
    """A slow state that benefit raises and that colours everything."""

    satisfaction_sensitivity: float = 1.0
    """tau, log-odds of satisfaction per unit of exposure."""
    satisfaction_memory: float = 0.9
    """Share of the exposure that is left after a step, in [0, 1]."""
    satisfaction_gain: float = 0.2
    """Exposure from one unit of benefit."""
    satisfaction_noise: float = 0.0
    """Standard deviation of the exposure's innovation."""
    satisfaction_weight: float = 0.0
    """Utility that full satisfaction adds to every item, and none takes away."""

    def __post_init__(self) -> None:
        require_range("satisfaction_sensitivity", self.satisfaction_sensitivity, 0.0, 1e3)
        require_range("satisfaction_memory", self.satisfaction_memory, 0.0, 1.0)
        require_range("satisfaction_gain", self.satisfaction_gain, -1e3, 1e3)
        require_range("satisfaction_noise", self.satisfaction_noise, 0.0, 1e3)
        require_range("satisfaction_weight", self.satisfaction_weight, -1e3, 1e3)


@dataclass(frozen=True)
class LeaveHazard:
    """A chance to leave at every step."""

    hazard: float = 0.05
    """Probability of leaving at satisfaction 1/2, in (0, 1)."""
    hazard_relief: float = 2.0
    """Log-odds of staying that full satisfaction adds."""

    def __post_init__(self) -> None:
        require_range("hazard", self.hazard, 0.0, 1.0, low_open=True, high_open=True)
        require_range("hazard_relief", self.hazard_relief, -1e3, 1e3)


@dataclass(frozen=True)
class Retention:
    """Coming back after days; adds the reward components `returned` (0 or 1) and `days_away` to the step of leaving."""

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
        require_range("return_rate", self.return_rate, 0.0, 1.0, low_open=True, high_open=True)
        require_range("return_lift", self.return_lift, -1e3, 1e3)
        require_range("max_absence", self.max_absence, 1, 10_000, integer=True)
        require_range("max_sessions", self.max_sessions, 1, 10_000, integer=True)
        require_range("return_reward", self.return_reward, -1e6, 1e6)
        require_range("absence_reward", self.absence_reward, -1e6, 1e6)


@dataclass(frozen=True)
class Freshness:
    """Items that appear and age: cold start.

    The catalogue's ages are as of the last day. A session begins on a day drawn uniformly in [0, horizon).
    """

    horizon: float = 30.0
    """Days over which sessions begin and items appear."""
    freshness_weight: float = 1.0
    """Utility of an item that appeared this moment."""
    freshness_days: float = 7.0
    """Days in which that falls to 1/e."""

    def __post_init__(self) -> None:
        require_range("horizon", self.horizon, 0.0, 1e6, low_open=True)
        require_range("freshness_weight", self.freshness_weight, -1e3, 1e3)
        require_range("freshness_days", self.freshness_days, 0.0, 1e6, low_open=True)


# satiation, budget, exposure, satisfaction, day, session number
PieceArrays: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]

PIECES: Final[dict[str, type]] = {
    "satiation": Satiation,
    "time_budget": TimeBudget,
    "satisfaction": Satisfaction,
    "leave_hazard": LeaveHazard,
    "retention": Retention,
    "freshness": Freshness,
}


class SessionPieces:
    """The pieces of a world: their state, their part in a utility, and how they settle a step.

    Args:
        config: has an attribute for each name of `PIECES`, None where the piece is off.
        dim: d, dimension of the embeddings.

    Attributes:
        reward_names: reward components that the pieces add to the user model's, in order.
        num_draws: uniforms of a step.
        num_initial_draws: uniforms of a start.
    """

    def __init__(self, config: Any, dim: int) -> None:
        self.satiation: Satiation | None = config.satiation
        self.time_budget: TimeBudget | None = config.time_budget
        self.satisfaction: Satisfaction | None = config.satisfaction
        self.leave_hazard: LeaveHazard | None = config.leave_hazard
        self.retention: Retention | None = config.retention
        self.freshness: Freshness | None = config.freshness
        self.dim = dim
        self.reward_names = () if self.retention is None else ("returned", "days_away")
        drawing = (self.satisfaction, self.leave_hazard, self.retention)
        self.num_draws = 4 if any(piece is not None for piece in drawing) else 0
        self.num_initial_draws = 0 if self.freshness is None else 1
        self._layout = self.state_layout()
        satisfaction, retention = self.satisfaction or Satisfaction(), self.retention or Retention()
        budget, hazard = self.time_budget or TimeBudget(), self.leave_hazard
        # In the order of `_settle`; of a piece that is off the numbers are never read.
        self._parameters = (
            float((self.satiation or Satiation()).satiation_retention),
            float(budget.budget),
            float(budget.quality_return),
            float(budget.no_click_cost),
            float(satisfaction.satisfaction_sensitivity),
            float(satisfaction.satisfaction_memory),
            float(satisfaction.satisfaction_gain),
            float(satisfaction.satisfaction_noise),
            -math.inf if hazard is None else _logit(hazard.hazard),
            0.0 if hazard is None else float(hazard.hazard_relief),
            _logit(retention.return_rate),
            float(retention.return_lift),
            retention.max_absence,
            retention.max_sessions,
        )

    @property
    def satiation_weight(self) -> float:
        """Of z in a utility."""
        return 0.0 if self.satiation is None else self.satiation.satiation_weight

    @property
    def satisfaction_weight(self) -> float:
        """Of 2 S - 1 in a utility."""
        return 0.0 if self.satisfaction is None else self.satisfaction.satisfaction_weight

    @property
    def reward_weights(self) -> tuple[float, ...]:
        """The weight of each of the pieces' reward components."""
        return () if self.retention is None else (self.retention.return_reward, self.retention.absence_reward)

    @property
    def has_calendar(self) -> bool:
        """Whether days pass: the observation then tells the day and the session's number."""
        return self.retention is not None or self.freshness is not None

    @property
    def last_day(self) -> float:
        """The latest day that a session of the world can be on."""
        start = 0.0 if self.freshness is None else self.freshness.horizon
        retention = self.retention
        return start + (0.0 if retention is None else retention.max_absence * (retention.max_sessions - 1))

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return shape (of one session) and dtype of each array of the pieces' state."""
        layout: dict[str, tuple[tuple[int, ...], type]] = {}
        if self.satiation is not None:
            layout["satiation"] = ((self.dim,), np.float32)
        if self.time_budget is not None:
            layout["budget"] = ((), np.float32)
        if self.satisfaction is not None:
            layout["exposure"] = ((), np.float32)
            layout["satisfaction"] = ((), np.float32)
        if self.has_calendar:
            layout["day"] = ((), np.float32)
        if self.retention is not None:
            layout["session_number"] = ((), np.int32)
        return layout

    def start(self, draws: np.ndarray) -> dict[str, np.ndarray]:
        """Return the pieces' state of new users.

        Args:
            draws: [B, num_initial_draws] uniforms.
        """
        count = len(draws)
        state = {name: np.zeros((count, *shape), dtype) for name, (shape, dtype) in self._layout.items()}
        if self.time_budget is not None:
            state["budget"][:] = self.time_budget.budget
        if self.satisfaction is not None:
            state["satisfaction"][:] = 0.5
        if self.freshness is not None:
            state["day"][:] = self.freshness.horizon * draws[:, 0]
        return state

    def calendar(self, day: np.ndarray, session_number: np.ndarray | None) -> np.ndarray:
        """Return what is observed of days, [B, 2] float32 in [0, 1]; see `session_env.observation_space`.

        Args:
            day: [B] float32.
            session_number: [B] int32, or None without retention.
        """
        calendar = np.zeros((len(day), 2), np.float32)
        calendar[:, 0] = day / np.float32(max(self.last_day, 1.0))
        if self.retention is not None and session_number is not None:
            calendar[:, 1] = session_number / np.float32(self.retention.max_sessions)
        return calendar

    def arrays(self, state: dict[str, np.ndarray]) -> PieceArrays:
        """Return the six state arrays that `settle` takes, empty where the piece is off.

        Args:
            state: arrays of B sessions.
        """
        return (
            state.get("satiation", np.empty((0, 0), np.float32)),
            state.get("budget", np.empty(0, np.float32)),
            state.get("exposure", np.empty(0, np.float32)),
            state.get("satisfaction", np.empty(0, np.float32)),
            state.get("day", np.empty(0, np.float32)),
            state.get("session_number", np.empty(0, np.int32)),
        )

    def settle(
        self,
        arrays: PieceArrays,
        embeddings: np.ndarray,
        length: np.ndarray,
        watch_channel: int,
        minutes_reward: int,
        response: Response,
        first_draw: int,
        returned: np.ndarray,
    ) -> None:
        """Move the pieces' state after the user model's answer, in place.

        Args:
            arrays: what the method `arrays` gave.
            embeddings: [N, d] float32.
            length: [N] float32 minutes.
            watch_channel: feedback channel that takes w / length, or -1.
            minutes_reward: reward component that takes w, or -1.
            response: as the user model left it. Written are the watch channel of `feedback`, minutes and the pieces'
                own components (the last ones) in `rewards`, and `left`: set where the user leaves, unset where the
                user comes back within the episode.
            first_draw: where the pieces' num_draws uniforms begin in the response's `draws`.
            returned: [B] bool, written: another session of the episode begins.
        """
        _settle(
            *arrays,
            *self._parameters,
            embeddings,
            length,
            watch_channel,
            minutes_reward,
            *response,
            first_draw,
            returned,
        )


def _logit(probability: float) -> float:
    return math.log(probability / (1.0 - probability))


@njit(cache=True, error_model="numpy", nogil=True)
def _sigmoid(x):
    # Bounded: beyond it Python's exp raises where the compiled one gives infinity.
    return 1.0 / (1.0 + math.exp(min(700.0, -x)))


@njit(cache=True, error_model="numpy", nogil=True)
def _settle(
    satiation,
    budget,
    exposure,
    satisfaction,
    day,
    session_number,
    satiation_retention,
    initial_budget,
    quality_return,
    no_click_cost,
    sensitivity,
    memory,
    gain,
    noise,
    hazard_log_odds,
    hazard_relief,
    return_log_odds,
    return_lift,
    max_absence,
    max_sessions,
    embeddings,
    length,
    watch_channel,
    minutes_reward,
    shown_items,
    clicked,
    draws,
    active,
    feedback,
    rewards,
    wanted,
    benefit,
    left,
    first_draw,
    returned,
):
    batch_size, max_clicks = clicked.shape
    dim = embeddings.shape[1]
    tires, spends, feels = satiation.shape[0] > 0, budget.shape[0] > 0, exposure.shape[0] > 0
    comes_back = session_number.shape[0] > 0
    retention = np.float32(satiation_retention)
    intake = np.float32(1.0 - satiation_retention)
    for b in range(batch_size):
        returned[b] = False
        if not active[b]:
            continue
        if tires:
            for j in range(dim):
                satiation[b, j] *= retention
        total_benefit = 0.0
        for n in range(max_clicks):
            k = clicked[b, n]
            if k < 0:
                break
            item = shown_items[b, k]
            watch = wanted[b, n]
            if spends:
                # Of several clicks in one slate, an earlier one may have spent the budget.
                watch = max(0.0, min(np.float64(budget[b]), watch))
                budget[b] += np.float32(-watch + quality_return * watch * benefit[b, n])
            if watch_channel >= 0:
                feedback[b, k, watch_channel] = watch / np.float64(length[item])
            if minutes_reward >= 0:
                rewards[b, minutes_reward] += watch
            total_benefit += benefit[b, n]
            if tires:
                for j in range(dim):
                    satiation[b, j] += intake * embeddings[item, j]
        if spends:
            if clicked[b, 0] < 0:
                budget[b] -= np.float32(no_click_cost)
            left[b] = left[b] or budget[b] <= 0.0
        mood = 0.0
        if feels:
            innovation = 0.0
            if noise > 0.0:
                innovation = (
                    noise
                    * math.sqrt(-2.0 * math.log(draws[b, first_draw]))
                    * math.cos(2.0 * math.pi * draws[b, first_draw + 1])
                )
            exposure[b] = np.float32(memory * np.float64(exposure[b]) + gain * total_benefit + innovation)
            satisfaction[b] = np.float32(_sigmoid(sensitivity * np.float64(exposure[b])))
            mood = 2.0 * np.float64(satisfaction[b]) - 1.0
        if hazard_log_odds > -np.inf and draws[b, first_draw + 2] < _sigmoid(hazard_log_odds - hazard_relief * mood):
            left[b] = True
        if comes_back and left[b]:
            comes = _sigmoid(return_log_odds + return_lift * mood)
            # Geometric by inversion; a rate of one in floating point is a return on the first day.
            away = 1.0
            if comes < 1.0:
                away += math.floor(min(1e9, math.log(draws[b, first_draw + 3]) / math.log1p(-comes)))
            last = rewards.shape[1] - 1
            rewards[b, last] = min(away, np.float64(max_absence))
            if away <= max_absence:
                rewards[b, last - 1] = 1.0
                if session_number[b] + 1 < max_sessions:
                    left[b] = False
                    returned[b] = True
                    session_number[b] += 1
                    day[b] += np.float32(away)
                    if spends:
                        budget[b] = np.float32(initial_budget)
                    if tires:
                        for j in range(dim):
                            satiation[b, j] = 0.0
