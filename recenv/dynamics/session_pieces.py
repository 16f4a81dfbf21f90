"""The pieces of a world together: their state, what they add to utilities and rewards, and how they settle a step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.pieces.base import Piece, Stage
from recenv.dynamics.user_models.base import UserModel
from recenv.families import PIECES
from recenv.items.catalog import Catalog
from recenv.kernels import njit

if TYPE_CHECKING:
    from recenv.dynamics.pieces.freshness import Freshness

_NO_NUMBER: Final = np.empty(0, np.int32)


class SessionPieces:
    """The pieces that are on.

    A section of the config has its place among the uniforms whether it is on or off: switching one on changes no
    other's draws.

    Args:
        configs: by name, None where a piece is off; see `SessionConfig.piece_configs`.
        catalog: the world's items.
        user_model: whose uniforms and rewards come first; None where no step is settled.

    Attributes:
        on: the pieces by name, in the order of `configs`.
        reward_names: reward components that the pieces add to the user model's, in order.
        num_draws: uniforms of a step.
        num_initial_draws: uniforms of a start.
        last_day: the latest day that a session of the world can be on.
    """

    def __init__(self, configs: Mapping[str, Any], catalog: Catalog, user_model: UserModel | None = None) -> None:
        self.on: dict[str, Piece] = {
            name: PIECES.part_of(config)(config, catalog) for name, config in configs.items() if config is not None
        }
        self._length = catalog.length
        self._watch_channel = -1 if user_model is None else user_model.watch_channel
        self._minutes_reward = -1 if user_model is None else user_model.minutes_reward
        before = 0 if user_model is None else user_model.num_response_draws()
        reward = 0 if user_model is None else len(user_model.reward_names)
        self.num_draws = self.num_initial_draws = draw = initial = 0
        self._initial: list[tuple[Piece, slice]] = []
        for name in configs:
            piece = self.on.get(name)
            if piece is None:
                draw, initial = draw + PIECES.get(name).num_draws, initial + PIECES.get(name).num_initial_draws
                continue
            piece.first_draw, piece.first_reward = before + draw, reward
            self._initial.append((piece, slice(initial, initial + piece.num_initial_draws)))
            draw, initial = draw + piece.num_draws, initial + piece.num_initial_draws
            reward += len(piece.reward_names)
            # As many as the last that draws needs.
            self.num_draws = draw if piece.num_draws else self.num_draws
            self.num_initial_draws = initial if piece.num_initial_draws else self.num_initial_draws
        self.reward_names = tuple(name for piece in self.on.values() for name in piece.reward_names)
        self._layout = self.state_layout()
        self.last_day = float(sum(piece.num_days for piece in self.on.values()))
        retention = self.on.get("retention")
        self._most_sessions = 1 if retention is None else retention.config.max_sessions
        order = sorted(self.on.items(), key=lambda entry: (entry[1].stage, entry[0]))
        pieces = [piece for _, piece in order]
        self._tasted = [piece for piece in pieces if type(piece).add_taste is not Piece.add_taste]
        self._valued = [piece for piece in pieces if type(piece).add_utility is not Piece.add_utility]
        self._resumed = [piece for piece in pieces if type(piece).resume is not Piece.resume]
        settled = [piece for piece in pieces if type(piece).settle is not Piece.settle]
        self._consuming = [piece for piece in settled if piece.stage == Stage.CONSUME]
        self._following = [piece for piece in settled if piece.stage != Stage.CONSUME]

    @property
    def reward_weights(self) -> tuple[float, ...]:
        """The weight of each of the pieces' reward components."""
        return tuple(weight for piece in self.on.values() for weight in piece.reward_weights)

    @property
    def freshness(self) -> Freshness | None:
        """The piece by which items appear, None without it."""
        return self.on.get("freshness")  # type: ignore[return-value] (the registry's own)

    @property
    def has_calendar(self) -> bool:
        """Whether days pass: the observation then tells the day and the session's number."""
        return "day" in self._layout

    @property
    def adds_utility(self) -> bool:
        """Whether a piece adds to utilities what is not linear in the embedding."""
        return bool(self._valued)

    def state_layout(self) -> dict[str, tuple[tuple[int, ...], type]]:
        """Return shape (of one session) and dtype of each array of the pieces' state."""
        return {key: value for piece in self.on.values() for key, value in piece.state_layout().items()}

    def state_ranges(self) -> dict[str, tuple[float, float]]:
        """Return least and most of the numbers of the pieces' state; see `UserModel.state_ranges`."""
        ranges = {key: value for piece in self.on.values() for key, value in piece.state_ranges().items()}
        return ranges | ({"day": (0.0, self.last_day)} if "day" in self._layout else {})

    def start(self, draws: np.ndarray) -> State:
        """Return the pieces' state of new users.

        Args:
            draws: [B, num_initial_draws] uniforms.
        """
        count = len(draws)
        state = {name: np.zeros((count, *shape), dtype) for name, (shape, dtype) in self._layout.items()}
        for piece, own in self._initial:
            piece.start(state, draws[:, own])
        return state

    def calendar(self, day: np.ndarray, session_number: np.ndarray | None) -> np.ndarray:
        """Return what is observed of days, [B, 2] float32 in [0, 1]; see `session_env.observation_space`.

        Args:
            day: [B] float32.
            session_number: [B] int32, or None without retention.
        """
        calendar = np.empty((len(day), 2), np.float32)
        number = _NO_NUMBER if session_number is None else session_number
        _tell_days(day, number, max(self.last_day, 1.0), self._most_sessions, calendar)
        return calendar

    def add_taste(self, state: State, taste: np.ndarray) -> None:
        """Add, in place, the pieces' parts to the gradient of an item's utility in its embedding, [B, d] float32."""
        for piece in self._tasted:
            piece.add_taste(state, taste)

    def add_utility(self, state: State, shown_items: np.ndarray, utilities: np.ndarray) -> None:
        """Add, in place, what pieces add to the utilities of a slate besides; see `Piece.add_utility`."""
        for piece in self._valued:
            piece.add_utility(state, shown_items, utilities)

    def settle(self, state: State, response: Response) -> None:
        """Move the pieces' state on by a step, and write minutes, who leaves and who returns, in place.

        Args:
            state: arrays of B sessions.
            response: the user model's answer.
        """
        for piece in self._consuming:
            piece.settle(state, response)
        if self._watch_channel >= 0 or self._minutes_reward >= 0:
            _watch(
                response.shown_items,
                response.clicked,
                response.active,
                response.wanted,
                self._length,
                response.feedback,
                self._watch_channel,
                response.rewards,
                self._minutes_reward,
            )
        for piece in self._following:
            piece.settle(state, response)

    def resume(self, state: State, returned: np.ndarray) -> None:
        """Reset, in place, what the pieces do not carry from one session of an episode to the next."""
        for piece in self._resumed:
            piece.resume(state, returned)


@njit(cache=True, error_model="numpy", nogil=True)
def _tell_days(day, session_number, last_day, most_sessions, calendar):
    # In single precision, as numpy divides these.
    days, sessions = np.float32(last_day), np.float32(most_sessions)
    for b in range(len(day)):
        calendar[b, 0] = day[b] / days
        calendar[b, 1] = np.float32(0.0)
    for b in range(len(session_number)):
        calendar[b, 1] = np.float32(session_number[b] / np.float64(sessions))


@njit(cache=True, error_model="numpy", nogil=True)
def _watch(shown_items, clicked, active, watched, length, feedback, watch_channel, rewards, minutes_reward):
    batch_size, max_clicks = clicked.shape
    for b in range(batch_size):
        if not active[b]:
            continue
        for n in range(max_clicks):
            k = clicked[b, n]
            if k < 0:
                break
            if watch_channel >= 0:
                feedback[b, k, watch_channel] = watched[b, n] / np.float64(length[shown_items[b, k]])
            if minutes_reward >= 0:
                rewards[b, minutes_reward] += watched[b, n]
