"""What a session looks like to a person: frames recorded beside a batch, shown as text or as a picture.

A user model may have any feedback channels and any hidden state: channels are shown by their names, a state of one
number is a gauge, or, where it counts or names something, a whole number, and any other a strip of bars.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recenv.engine.session_batch import SessionBatch, StepOutcome
from recenv.errors import require, unknown_name
from recenv.render.frame import Frame
from recenv.render.session_text import ansi

RENDER_MODES: Final = ("ansi", "rgb_array")
RENDER_FPS: Final = 2


@dataclass
class _Track:
    """What a recorder keeps of one session."""

    slate: np.ndarray
    shown: np.ndarray
    feedback: np.ndarray
    shares: np.ndarray
    affinity: np.ndarray
    interest: np.ndarray
    scalars: dict[str, list[float]]
    rewards: list[float] = field(default_factory=list)
    clicks: list[int] = field(default_factory=list)
    terminated: bool = False
    truncated: bool = False


class SessionRecorder:
    """Follows the sessions of a batch, so that any of them can be shown; call it after each `start` and `step`.

    Args:
        batch: the sessions; looked at, never changed.
    """

    def __init__(self, batch: SessionBatch) -> None:
        self.batch = batch
        self._tracks: dict[int, _Track] = {}
        catalog = batch.world.catalog
        self._topics, places = np.unique(catalog.topics, return_inverse=True)
        sums = np.stack([np.bincount(places, weights=column) for column in catalog.embeddings.T], axis=1)
        self._topic_means = sums / np.bincount(places)[:, None]

    def start(self, indices: np.ndarray) -> None:
        """Take note that new sessions began.

        Args:
            indices: [n] int indices into the batch, as `SessionBatch.start` takes them.
        """
        config, num_feedback = self.batch.world.config, self.batch.world.num_feedback
        for index in indices.tolist():
            self._tracks[index] = _Track(
                slate=np.full(config.slate_size, -1, np.int32),
                shown=np.zeros(config.slate_size, np.bool_),
                feedback=np.zeros((config.slate_size, num_feedback), np.float32),
                shares=np.arange(num_feedback) == self.batch.world.user_model.watch_channel,
                affinity=np.zeros(config.slate_size, np.float32),
                interest=self.batch.state["interest"][index].copy(),
                scalars={name: [values[index].item()] for name, values in self._scalar_state().items()},
            )

    def step(self, slates: np.ndarray, outcome: StepOutcome) -> None:
        """Take note of a step; a session that took no part in it keeps its last frame.

        Args:
            slates: [B, K] item ids as submitted.
            outcome: what `SessionBatch.step` returned.
        """
        embeddings = self.batch.world.catalog.embeddings
        for index, track in self._tracks.items():
            if self.batch.steps[index] != len(track.rewards) + 1:
                continue
            track.slate = np.array(slates[index], np.int32)
            track.shown = outcome.shown[index].copy()
            track.feedback = outcome.feedback[index].copy()
            track.shares = track.shares | ((track.feedback != 0.0) & (track.feedback != 1.0)).any(axis=0)
            track.affinity = embeddings[track.slate] @ track.interest
            track.interest = self.batch.state["interest"][index].copy()
            track.rewards.append(float(outcome.reward[index]))
            track.clicks.append(int(np.count_nonzero(track.feedback[:, 0])))
            for name, values in self._scalar_state().items():
                track.scalars[name].append(values[index].item())
            track.terminated = bool(outcome.terminated[index])
            track.truncated = bool(outcome.truncated[index])

    def frame(self, index: int) -> Frame:
        """Return the frame of one session; it does not change when the session goes on.

        Raises:
            InvalidInput: if that session has not begun.
        """
        require(index in self._tracks, "render() was called on a session that has not begun; call reset() first")
        track = self._tracks[index]
        return Frame(
            world=self.batch.world,
            slate=track.slate,
            shown=track.shown,
            feedback=track.feedback,
            shares=track.shares,
            affinity=track.affinity,
            rewards=np.array(track.rewards),
            clicks=np.array(track.clicks, np.int64),
            user_state={name: np.array(values[index]) for name, values in self.batch.state.items()},
            scalars={
                name: np.array(track.scalars[name], np.float64 if values.dtype.kind == "f" else np.int64)
                for name, values in self._scalar_state().items()
            },
            topics=self._topics,
            topic_interest=self._topic_means @ track.interest,
            terminated=track.terminated,
            truncated=track.truncated,
        )

    def render(self, mode: str) -> tuple[str | np.ndarray, ...]:
        """Return every session of the batch in its order, each as `render` gives it.

        Args:
            mode: one of `RENDER_MODES`.

        Raises:
            InvalidInput: if a session has not begun.
        """
        return tuple(render(self.frame(index), mode) for index in range(self.batch.num_sessions))

    def _scalar_state(self) -> dict[str, np.ndarray]:
        return {name: values for name, values in self.batch.state.items() if values[0].size == 1}


def check_render_mode(mode: object) -> None:
    """Refuse a render mode that is neither None nor one of `RENDER_MODES`.

    Raises:
        InvalidInput: naming the allowed ones.
    """
    if mode is not None and mode not in RENDER_MODES:
        raise unknown_name("render_mode", mode, RENDER_MODES)


def render(frame: Frame, mode: str) -> str | np.ndarray:
    """Return a frame as text (mode "ansi") or as a picture (mode "rgb_array")."""
    if mode == "ansi":
        return ansi(frame)
    # Here: Pillow is loaded where a picture is wanted.
    from recenv.render.session_picture import rgb_array

    return rgb_array(frame)
