"""A piece from outside: a user who finds nothing to click, several times in a row, leaves; each such step costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recenv import Piece, Response, Stage, State, require_range


@dataclass(frozen=True)
class PatienceConfig:
    """Parameters of patience."""

    patience: int = 3
    """Steps in a row without a click after which the user may leave, at least 1."""
    leave_rate: float = 0.5
    """Probability of leaving then."""
    boredom: float = 0.25
    """Utility that every item loses for each such step."""
    idle_reward: float = -0.5
    """Weight of such a step in the scalar reward."""

    def __post_init__(self) -> None:
        require_range("patience", self.patience, 1, 1000, integer=True)
        require_range("leave_rate", self.leave_rate, 0.0, 1.0)
        require_range("boredom", self.boredom, 0.0, 1e3)
        require_range("idle_reward", self.idle_reward, -1e6, 1e6)


class Patience(Piece):
    """A user who finds nothing to click, several times in a row, leaves; see the module and `PatienceConfig`."""

    Config = PatienceConfig
    stage = Stage.LEAVE
    num_draws = 1
    reward_names = ("idle",)
    config: PatienceConfig

    @property
    def reward_weights(self) -> tuple[float, ...]:
        """The weight of an idle step."""
        return (self.config.idle_reward,)

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `idle`, steps in a row without a click."""
        return {"idle": ((), np.int32)}

    def add_utility(self, state: State, shown_items: np.ndarray, utilities: np.ndarray) -> None:
        """Take off what boredom costs."""
        utilities -= np.float32(self.config.boredom) * state["idle"][:, None].astype(np.float32)

    def settle(self, state: State, response: Response) -> None:
        """Count, reward and leave."""
        idle = response.active & (response.clicked[:, 0] < 0)
        state["idle"][:] = np.where(response.active, np.where(idle, state["idle"] + 1, 0), state["idle"])
        response.rewards[:, self.first_reward] = idle
        lost = response.draws[:, self.first_draw] < self.config.leave_rate
        response.left[:] |= idle & lost & (state["idle"] >= self.config.patience)

    def resume(self, state: State, returned: np.ndarray) -> None:
        """Forget."""
        state["idle"][returned] = 0
