"""What any user model can switch on beside its own dynamics: a piece of the users' state, and what it does.

A piece may add to the state, to utilities, to the rewards and to a step's uniforms, and it settles each step after the
user model has answered. Each is a section of `SessionConfig`, None when it is off.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, ClassVar

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.items.catalog import Catalog


class Stage(IntEnum):
    """When in a step a piece settles, one stage after the other; within a stage pieces settle by name.

    Examples:
        >>> from recenv import PIECES, Stage
        >>> [name for name in PIECES.registered() if PIECES.get(name).stage == Stage.FEEL]
        ['satiation', 'satisfaction']
    """

    CONSUME = 0
    """It may cut `wanted` to the minutes that are watched."""
    FEEL = 1
    """It moves on with what was consumed."""
    LEAVE = 2
    """It says who leaves."""
    RETURN = 3
    """It says who comes back, and when; days pass."""


class Piece:
    """A piece over one catalogue; it holds parameters only, the sessions' state is passed in.

    Args:
        config: an instance of the class's `Config`.
        catalog: the world's items.

    Attributes:
        Config: frozen dataclass of the piece's parameters, whose fields have defaults; `name` is the registered one.
        stage: when in a step it settles.
        num_draws: uniforms of a step.
        num_initial_draws: uniforms of a start.
        reward_names: components that it adds to a step's reward vector, in order.
        first_draw: where in `Response.draws` its uniforms begin; set by the world.
        first_reward: where in `Response.rewards` its components begin; set by the world.

    Examples:
        A user who leaves at the hundredth item, shown or seen before:

        >>> from dataclasses import dataclass
        >>> from recenv import Piece, SessionConfig, Stage
        >>> @dataclass(frozen=True)
        ... class OverflowConfig:
        ...     most: int = 100
        >>> class Overflow(Piece):
        ...     Config, stage = OverflowConfig, Stage.LEAVE
        ...     def state_layout(self):
        ...         return {"seen": ((), np.int32)}
        ...     def settle(self, state, response):
        ...         state["seen"] += (response.shown_items >= 0).sum(axis=1)  # none is shown to who is not active
        ...         response.left[:] |= response.active & (state["seen"] >= self.config.most)
        >>> SessionConfig().override(pieces={Overflow: {"most": 30}}).pieces
        (OverflowConfig(most=30),)
    """

    Config: ClassVar[type]
    stage: ClassVar[Stage] = Stage.FEEL
    num_draws: int = 0
    num_initial_draws: int = 0
    reward_names: tuple[str, ...] = ()

    def __init__(self, config: Any, catalog: Catalog) -> None:
        self.config = config
        self.catalog = catalog
        self.first_draw = 0
        self.first_reward = 0

    @property
    def reward_weights(self) -> tuple[float, ...]:
        """The weight of each of its reward components in the scalar reward."""
        return ()

    @property
    def num_days(self) -> float:
        """Days by which it can put off the last day of an episode."""
        return 0.0

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return shape (of one session) and dtype of each array of its state; a `day` is a world's one calendar."""
        return {}

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return least and most of its state's numbers while a session lasts; see `UserModel.state_ranges`."""
        return {}

    def start(self, state: State, draws: np.ndarray) -> None:
        """Write, in place, what in the state of new users is not zero.

        Args:
            state: arrays of n new users, the piece's own ones.
            draws: [n, num_initial_draws] uniforms.
        """

    def add_taste(self, state: State, taste: np.ndarray) -> None:
        """Add, in place, to the gradient of an item's utility in its embedding.

        Args:
            state: arrays of B sessions.
            taste: [B, d] float32.
        """

    def add_utility(self, state: State, shown_items: np.ndarray, utilities: np.ndarray) -> None:
        """Add to the utilities of a slate, in place, what is not linear in the embedding.

        Args:
            state: arrays of B sessions.
            shown_items: [B, K] int32 ids, -1 for an empty position.
            utilities: [B, K] float32; minus infinity at empty positions, to be left so.
        """

    def settle(self, state: State, response: Response) -> None:
        """Move the state on by a step, in place, and write rewards or who leaves.

        A session that is not active stays as it is.

        Args:
            state: arrays of B sessions; the user model's are to be read only.
            response: the step.
        """

    def resume(self, state: State, returned: np.ndarray) -> None:
        """Reset, in place, what a user does not carry from one session of an episode to the next.

        Args:
            state: arrays of B sessions.
            returned: [B] bool, the sessions that begin anew.
        """
