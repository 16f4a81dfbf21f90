"""What a session looks like to a person: frames recorded beside a batch, shown as text or as a picture.

A user model may have any feedback channels and any hidden state: channels are shown by their names, a state of one
number is a gauge, or, where it counts or names something, a whole number, and any other a strip of bars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recenv.engine.session_batch import SessionBatch, StepOutcome
from recenv.errors import require, unknown_name
from recenv.world import World

RENDER_MODES: Final = ("ansi", "rgb_array")
RENDER_FPS: Final = 2

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_GAUGE_WIDTH: Final = 32
_STRIP_WIDTH: Final = 48
_MAX_ROWS: Final = 50
_BOLD, _FAINT, _CLICKED, _ENDED = "1", "2", "1;32", "1;33"


@dataclass(frozen=True)
class Frame:
    """What one view of a session shows: the user now, and the slate that was answered last."""

    world: World
    """The world."""
    slate: np.ndarray
    """[K] int32 item ids as submitted; -1 everywhere before the first step."""
    shown: np.ndarray
    """[K] bool, positions that showed an item."""
    feedback: np.ndarray
    """[K, F] float32 in [0, 1], the answer."""
    shares: np.ndarray
    """[F] bool, the channels that are written as numbers: that of the share watched, and each that was neither 0 nor 1
    at some position since the session's start. Of the others a 1 is a mark."""
    affinity: np.ndarray
    """[K] float32, u.v of each item and the interest u at the time when the slate was shown."""
    rewards: np.ndarray
    """[t] float64, the reward of each step so far."""
    clicks: np.ndarray
    """[t] int64, the clicks of each step so far."""
    user_state: dict[str, np.ndarray]
    """The hidden state by name, each an array of any shape."""
    scalars: dict[str, np.ndarray]
    """[t + 1] by name, each state of one number since the session's start: float64, or int64 where the state is an
    integer or a flag, which counts or names something."""
    topics: np.ndarray
    """[M] int32, the topics that the catalogue has."""
    topic_interest: np.ndarray
    """[M] float64, mean u.v over each topic's items, u as it is now."""
    terminated: bool
    """The user left."""
    truncated: bool
    """The session was cut off at `max_steps`."""

    @property
    def step(self) -> int:
        """Steps taken so far, t."""
        return len(self.rewards)

    @property
    def outcome(self) -> str:
        """How the session ended, or an empty text while it goes on."""
        return ending(self.terminated, self.truncated)

    def absence(self, k: int) -> str:
        """Return why position k shows nothing: its item stands further up, or is not on offer; "" before any step."""
        item = self.slate[k]
        return "" if item < 0 else "repeated" if item in self.slate[:k] else "not offered"

    def gauges(self) -> dict[str, tuple[float, float]]:
        """Return the ends of the gauge of each state of one number that is no whole number, by name."""
        names = [name for name, history in self.scalars.items() if history.dtype.kind == "f"]
        # Of a day alone the largest so far says nothing: it is always the present one.
        last = {"day": self.world.pieces.last_day} if "day" in names else {}
        return {name: gauge_range(np.append(self.scalars[name], last.get(name, 0.0))) for name in names}

    def strips(self) -> dict[str, np.ndarray]:
        """Return what is drawn as bars, [n] float64 by name: interest by topic, and each state of several numbers."""
        vectors = {name: finite(values.reshape(-1)) for name, values in self.user_state.items() if values.size > 1}
        return {"interest by topic": self.topic_interest, **vectors}

    def strip_range(self, name: str) -> tuple[float, float]:
        """Return the ends of a strip's scale: from zero where no number can be negative, else as far below as above."""
        limit = strip_limit(self.strips()[name])
        unsigned = name in self.user_state and self.user_state[name].dtype.kind in "ub"
        return (0.0 if unsigned else -limit), limit


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
    return ansi(frame) if mode == "ansi" else rgb_array(frame)


def ending(terminated: bool, truncated: bool) -> str:
    """Return how a session ended, in words; an empty text while it goes on."""
    return "the user left" if terminated else "time is up" if truncated else ""


def rgb_array(frame: Frame) -> np.ndarray:
    """Return the frame as a picture, [H, W, 3] uint8; H and W are fixed by the world, and multiples of 16.

    Args:
        frame: what to show; the same frame gives the same bytes.
    """
    from recenv.render.session_picture import draw

    return draw(frame)


def ansi(frame: Frame, *, color: bool = False) -> str:
    """Return the frame as text of several lines, without a line feed at the end.

    Args:
        frame: what to show.
        color: write ANSI escape sequences; without them the text is plain.
    """

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if color and code else text

    reward = f"   reward {number(frame.rewards[-1])}" if frame.step else ""
    head = f"{reward}   return {number(frame.rewards.sum())}   clicks {frame.clicks.sum()}"
    lines = [
        paint(f"step {frame.step} of {frame.world.config.max_steps}", _BOLD)
        + head
        + (paint(f"   {frame.outcome}", _ENDED) if frame.outcome else ""),
        "",
    ]
    lines += _slate_lines(frame, paint) if frame.step else [paint("no slate was shown yet", _FAINT)]
    lines.append("")
    strips, gauges = frame.strips(), frame.gauges()
    margin = max(map(len, [*frame.scalars, *strips, "return"])) + 2
    for name, history in frame.scalars.items():
        if name not in gauges:
            lines.append(f"{name:<{margin}}{history[-1]}")
            continue
        low, high = gauges[name]
        bar = _gauge(float(finite(history)[-1]), low, high)
        lines.append(f"{name:<{margin}}{bar}  {number(history[-1])}  ({number(low)} to {number(high)})")
    for name, values in strips.items():
        best = int(values.argmax())
        label = f"topic {frame.topics[best]}" if name == "interest by topic" else f"at {best}"
        low, high = frame.strip_range(name)
        lines.append(
            f"{name:<{margin}}{_blocks(pooled(values, _STRIP_WIDTH), low, high)}"
            f"  most {label}: {number(values[best])}  ({number(low)} to {number(high)})"
        )
    returns = np.concatenate([[0.0], frame.rewards.cumsum()])
    lines.append(f"{'return':<{margin}}{_blocks(sampled(returns, _STRIP_WIDTH), *gauge_range(returns))}")
    return "\n".join(lines)


def _slate_lines(frame: Frame, paint: Callable[[str, str], str]) -> list[str]:
    """Return the table of the slate and its answer."""
    names = frame.world.user_model.feedback_names
    titles = ("position", "item", "topic", "quality", "appeal", "affinity", *names)
    widths = [8, 9, 6, 8, 7, 9, *(len(name) + 2 for name in names)]
    rows = [_slate_row(frame, k) for k in range(len(frame.slate))]
    answered = np.flatnonzero(frame.feedback.any(axis=1))
    listed = range(len(rows)) if len(rows) <= _MAX_ROWS else sorted({*range(_MAX_ROWS), *answered.tolist()})
    lines = [paint("".join(title.rjust(width) for title, width in zip(titles, widths, strict=True)), _FAINT)]
    for k in listed:
        text = "".join(cell.rjust(width) for cell, width in zip(rows[k], widths, strict=False))
        lines.append(paint(text, _CLICKED if frame.feedback[k, 0] else "" if frame.shown[k] else _FAINT))
    if len(listed) < len(rows):
        lines.append(paint(f"  and {len(rows) - len(listed)} more positions without an answer", _FAINT))
    return lines


def _slate_row(frame: Frame, k: int) -> list[str]:
    """Return the cells of a position; a position that shows nothing has fewer."""
    item, catalog = int(frame.slate[k]), frame.world.catalog
    if not frame.shown[k]:
        return [str(k + 1), str(item), f"  {frame.absence(k)}"]
    answers = zip(frame.feedback[k].tolist(), frame.shares.tolist(), strict=True)
    answer = ["·" if value == 0.0 else number(value) if share else "●" for value, share in answers]
    qualities = (catalog.quality[item], catalog.appeal[item], frame.affinity[k])
    return [str(k + 1), str(item), str(catalog.topics[item]), *map(number, qualities), *answer]


def _gauge(value: float, low: float, high: float) -> str:
    """Return a bar from zero: the left end, or a mark where the scale goes visibly below it."""
    cell = (high - low) / (_GAUGE_WIDTH - 1)
    left = round(-low / cell)
    right = _GAUGE_WIDTH - 1 - left if left else _GAUGE_WIDTH
    below = min(left, round(max(0.0, -value) / cell))
    above = min(right, round(max(0.0, value) / (high - low) * _GAUGE_WIDTH))
    mark = "│" if left else ""
    return "░" * (left - below) + "█" * below + mark + "█" * above + "░" * (right - above)


def _blocks(values: np.ndarray, low: float, high: float) -> str:
    levels = np.rint((values - low) / (high - low) * (len(_BLOCKS) - 1)).astype(np.int64)
    return "".join(_BLOCKS[level] for level in levels)


def number(value: float) -> str:
    """Return a number for the eye: two decimals, and no more than 9 characters however large it is."""
    # The sum with zero turns a -0.0 into 0.0.
    return f"{round(float(value), 2) + 0.0:.2f}" if abs(value) < 1e5 else f"{value:.2e}"


def finite(values: np.ndarray) -> np.ndarray:
    """Return float64 values that can be drawn: a NaN becomes 0, an infinity a number too large to matter."""
    return np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=1e300, neginf=-1e300)


def gauge_range(history: np.ndarray) -> tuple[float, float]:
    """Return the ends of a gauge: those of the history, and [0, 1] within them.

    Args:
        history: [t + 1] values since the session's start.
    """
    values = finite(history)
    return min(0.0, float(values.min())), max(1.0, float(values.max()))


def strip_limit(values: np.ndarray) -> float:
    """Return the largest magnitude of a strip's scale, at least 1."""
    return max(1.0, float(np.abs(values).max()))


def pooled(values: np.ndarray, width: int) -> np.ndarray:
    """Return at most `width` values; where there are more, the one of largest magnitude stands for its neighbours.

    Args:
        values: [n], n at least 1.
        width: at least 1.
    """
    groups = np.array_split(values, min(width, len(values)))
    return np.array([group[np.abs(group).argmax()] for group in groups])


def sampled(history: np.ndarray, width: int) -> np.ndarray:
    """Return at most `width` float64 values of a history, evenly spaced, its first and last among them.

    Args:
        history: [n], n at least 1.
        width: at least 2.
    """
    places = np.rint(np.linspace(0, len(history) - 1, min(width, len(history)))).astype(np.int64)
    return finite(history)[places]
