"""Window shoppers: users who came to look, and go when nothing catches their eye."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from recenv import Response, State, UserModel, normals, require_range


@dataclass(frozen=True)
class WindowShopperConfig:
    """Parameters of window shoppers."""

    name: ClassVar[str] = "window_shopper"
    affinity_weight: float = 2.0
    """Utility of one unit of affinity u.v."""
    patience: float = 0.7
    """Share of the mood that a step leaves, in [0, 1)."""
    delight: float = 0.4
    """What a click adds to the mood."""

    def __post_init__(self) -> None:
        require_range("affinity_weight", self.affinity_weight, -1e3, 1e3)
        require_range("patience", self.patience, 0.0, 1.0, high_open=True)
        require_range("delight", self.delight, 0.0, 1.0)


class WindowShopper(UserModel):
    """A user with a fixed interest u and a mood m in [0, 1] that begins at 1 and ends the session below 1 / 10.

    m <- min(1, patience m + delight for each click). An item's utility is affinity_weight u.v + quality.
    """

    Config = WindowShopperConfig
    feedback_names = ("click",)
    reward_names = ("click",)
    config: WindowShopperConfig

    @property
    def reward_weights(self) -> np.ndarray:
        """A click counts one."""
        return np.ones(1)

    @cached_property
    def item_utility(self) -> np.ndarray:
        """The quality."""
        return self.catalog.quality.astype(np.float32)

    @property
    def item_worth(self) -> np.ndarray:
        """The quality again: what an item gives back."""
        return self.catalog.quality.astype(np.float64)

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return `interest` [d] and `mood`."""
        return {**super().state_layout(), "mood": ((), np.float32)}

    def num_initial_draws(self) -> int:
        """Return one a dimension, in pairs."""
        return self.catalog.embedding_dim + self.catalog.embedding_dim % 2

    def start(self, draws: np.ndarray) -> State:
        """Return users of random interests, of length one, in the best of moods."""
        interest = normals(draws)[:, : self.catalog.embedding_dim]
        interest /= np.sqrt((interest**2).sum(axis=1, keepdims=True))
        return {"interest": interest.astype(np.float32), "mood": np.ones(len(draws), np.float32)}

    def worth(self, state: State) -> np.ndarray:
        """Return zeros: what an item gives back does not depend on the user."""
        return np.zeros_like(state["interest"])

    def respond(self, state: State, response: Response) -> None:
        """Count the clicks, and move the mood of those who are there."""
        row, n = np.nonzero((response.clicked >= 0) & response.active[:, None])
        position = response.clicked[row, n]
        item = response.shown_items[row, position]
        response.feedback[row, position, 0] = 1.0
        np.add.at(response.rewards[:, 0], row, 1.0)
        response.wanted[row, n] = self.catalog.length[item]
        response.benefit[row, n] = self.catalog.quality[item]
        num_clicks = np.bincount(row, minlength=len(response.active))
        mood = np.minimum(1.0, self.config.patience * state["mood"] + self.config.delight * num_clicks)
        state["mood"][response.active] = mood[response.active]
        response.left[:] = response.active & (state["mood"] < 0.1)
