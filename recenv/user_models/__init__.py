"""User models: how a hidden user state answers a slate and moves; one file each, found by name in `USER_MODELS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import numpy as np

from recenv.catalog import Catalog
from recenv.registry import Registry

State: TypeAlias = dict[str, np.ndarray]


class UserModel(ABC):
    """A user model over one catalogue; it holds parameters only, the sessions' state is passed in.

    Args:
        config: an instance of the class's `Config`.
        catalog: the world's items.
        max_clicks: the most clicks that the choice model gives a slate.

    Attributes:
        Config: frozen dataclass of the model's parameters, with `name`.
        feedback_names: what is observed of each shown item, in order; the first is the click, 0 or 1; all lie in [0,
            1].
        reward_names: the components of a step's reward vector, in order.
    """

    Config: ClassVar[type]
    feedback_names: ClassVar[tuple[str, ...]]
    reward_names: ClassVar[tuple[str, ...]]

    def __init__(self, config: Any, catalog: Catalog, max_clicks: int) -> None:
        self.config = config
        self.catalog = catalog
        self.max_clicks = max_clicks

    @property
    @abstractmethod
    def reward_weights(self) -> np.ndarray:
        """The weight of each reward component in the scalar reward, [M] float64."""

    @abstractmethod
    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return shape (of one session) and dtype of each array of the hidden state."""

    @abstractmethod
    def num_initial_draws(self) -> int:
        """Return how many uniforms `start` takes."""

    @abstractmethod
    def num_response_draws(self) -> int:
        """Return how many uniforms `respond` takes."""

    @abstractmethod
    def start(self, draws: np.ndarray) -> State:
        """Return the hidden state of new users.

        Args:
            draws: [B, num_initial_draws] uniforms.
        """

    @abstractmethod
    def interest(self, state: State) -> np.ndarray:
        """Return what the user's profile is a noisy view of, [B, d] float32 in [-1, 1]."""

    @abstractmethod
    def taste(self, state: State) -> np.ndarray:
        """Return the gradient of an item's utility in its embedding, [B, d] float32, for oracles."""

    @abstractmethod
    def benefit(self, state: State) -> np.ndarray:
        """Return the gradient in its embedding of what an item gives back besides quality, [B, d] float32."""

    @abstractmethod
    def utilities(self, state: State, slates: np.ndarray, out: np.ndarray) -> None:
        """Write the utility of each shown item.

        Args:
            state: arrays of B sessions.
            slates: [B, K] int32 ids, -1 for an empty position.
            out: [B, K] float32, written; 0 at empty positions.
        """

    @abstractmethod
    def respond(
        self,
        state: State,
        slates: np.ndarray,
        clicks: np.ndarray,
        draws: np.ndarray,
        active: np.ndarray,
        feedback: np.ndarray,
        rewards: np.ndarray,
        left: np.ndarray,
    ) -> None:
        """Write the answer to a slate and move the state, in place.

        Args:
            state: arrays of B sessions, updated.
            slates: [B, K] int32 ids, -1 for an empty position.
            clicks: [B, K] uint8.
            draws: [B, at least num_response_draws] uniforms.
            active: [B] bool; a session that is not active stays as it is and gets zeros.
            feedback: [B, K, F] float32, written.
            rewards: [B, M] float32, written.
            left: [B] bool, written: the user left after this step.
        """


USER_MODELS: Registry[type[UserModel]] = Registry("user model", "recenv.user_models")
