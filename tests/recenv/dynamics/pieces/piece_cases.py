"""Steps that pieces settle, for the pieces' tests: of any clicks, or of one item a slate."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from recenv import Catalog, SessionConfig
from recenv.dynamics.kernel_groups import Response
from recenv.dynamics.session_pieces import SessionPieces
from recenv.session_config import SECTION_PIECES

WATCH, MINUTES = 1, 1
# The places of the sections' uniforms: two of satisfaction's noise, then leaving, then coming back.
HAZARD_DRAW, RETURN_DRAW = 2, 3
# A satisfaction that a step neither forgets nor feeds, so that it is what the exposure says.
CONSTANT = {"satisfaction_memory": 1.0, "satisfaction_gain": 0.0}
TWO_ITEMS = Catalog.from_arrays(
    np.array([[1.0, 0.0], [0.6, 0.8]]), length=np.array([4.0, 8.0]), age=np.array([30.0, 30.0])
)

Clicks = list[list[tuple[int, float, float]]]


def pieces_of(
    catalog: Catalog = TWO_ITEMS, *, watch_channel: int = WATCH, minutes_reward: int = MINUTES, **pieces: Any
) -> SessionPieces:
    """Return the named pieces and no other, beside a user model of two feedback channels and two rewards."""
    model: Any = SimpleNamespace(
        watch_channel=watch_channel,
        minutes_reward=minutes_reward,
        reward_names=("clicks", "minutes"),
        num_response_draws=lambda: 0,
    )
    config = SessionConfig().override(**dict.fromkeys(SECTION_PIECES)).override(**pieces)
    return SessionPieces(config.piece_configs(), catalog, model)


class Settled:
    """What `settle` wrote for sessions that were shown the slate 0, 1, 2, ... of a catalogue.

    Args:
        pieces: the pieces.
        clicks: for each session (position, wanted, benefit) of each click, in order; or how many sessions click
            nothing.
        draws: [B, 4], or what all of them are.
        active: for each session, or for all.
        left: the user model's word, for each session or for all.
        num_items: as many as a slate has positions.
        **state: values in place of those of a start, by name.
    """

    def __init__(
        self,
        pieces: SessionPieces,
        clicks: Clicks | int,
        draws: Any = 0.5,
        *,
        active: Any = True,
        left: Any = False,
        num_items: int = 2,
        **state: Any,
    ):
        clicks = [[]] * clicks if isinstance(clicks, int) else clicks
        self.state = pieces.start(np.full((len(clicks), pieces.num_initial_draws), 0.5))
        for name, values in state.items():
            self.state[name][:] = values
        self.settle(pieces, clicks, draws, active, left, num_items)

    def settle(
        self,
        pieces: SessionPieces,
        clicks: Clicks,
        draws: Any = 0.5,
        active: Any = True,
        left: Any = False,
        size: int = 2,
    ) -> None:
        """Settle another step."""
        count, most = len(clicks), max(1, *(len(row) for row in clicks))
        clicked = np.full((count, most), -1, np.int16)
        wanted, benefit = np.full((count, most), np.nan), np.full((count, most), np.nan)
        for b, row in enumerate(clicks):
            for n, (position, minutes, gives) in enumerate(row):
                clicked[b, n], wanted[b, n], benefit[b, n] = position, minutes, gives
        self.feedback = np.zeros((count, size, 2), np.float32)
        self.rewards = np.zeros((count, 2 + len(pieces.reward_names)), np.float32)
        self.left = np.broadcast_to(np.asarray(left), count).copy()
        # As the engine has it: false until a piece says who returns.
        self.returned = np.full(count, "returned" in pieces.reward_names)
        slates = np.tile(np.arange(size, dtype=np.int32), (count, 1))
        uniforms = np.broadcast_to(np.asarray(draws, np.float64), (count, 4)).copy()
        present = np.broadcast_to(np.asarray(active), count).copy()
        written = (self.feedback, self.rewards, wanted, benefit, self.left, self.returned)
        pieces.settle(self.state, Response(slates, clicked, uniforms, present, *written))
        if self.returned.any():
            pieces.resume(self.state, self.returned)

    @property
    def days(self) -> np.ndarray:
        """Days away, of each session."""
        return self.rewards[:, -1]


def grid(size: int, column: int, other: float = 0.5) -> np.ndarray:
    """Return [size, 4] uniforms that run through the unit interval in one column."""
    draws = np.full((size, 4), other)
    draws[:, column] = (np.arange(size) + 0.5) / size
    return draws


def exposure_of(satisfaction: float) -> float:
    return math.log(satisfaction / (1.0 - satisfaction))


def sigmoid(log_odds: float) -> float:
    return 1.0 / (1.0 + math.exp(-log_odds))
