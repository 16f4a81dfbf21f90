"""A frame as a picture: slate and answer on the left with the return below, the user on the right."""

from __future__ import annotations

import math
from itertools import count
from typing import Final, NamedTuple

import numpy as np

from recenv.families import USER_MODELS
from recenv.render.canvas import INK, Box, Canvas, text_width
from recenv.render.frame import Frame
from recenv.render.scales import finite, gauge_range, number, pooled, sampled

_WIDTH: Final = 1152
_LEFT: Final = (24, 744)
_RIGHT: Final = (784, 1128)
_TOP: Final = 88
_BOTTOM: Final = 24
_CHART_HEIGHT: Final = 140
_USER_HEAD: Final = 42
_GAUGE_HEIGHT: Final = 52
_WHOLE_HEIGHT: Final = 28
_GAUGE_WIDTH: Final = 176
_STRIP_HEIGHT: Final = 100
_TALLEST_STRIP: Final = 150
_MAX_TICKS: Final = 24
_MAX_LABELLED: Final = 10
_MAX_CARDS: Final = 100
_FIXED_HORIZON: Final = 200

# The colours of channels are Okabe and Ito's, which stay apart for colour-blind eyes.
_PAPER, _CARD, _RULE, _FAINT = "#f4f5f7", "#ffffff", "#d5dae1", "#66717f"
_BLUE, _ORANGE, _PALE = "#0072b2", "#d55e00", "#e3f0f8"
_EMPTY: Final = "#e6e9ee"
_CHANNELS: Final = ("#0072b2", "#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#d55e00", "#7f6000", INK)


def rgb_array(frame: Frame) -> np.ndarray:
    """Return the frame as a picture, [H, W, 3] uint8; H and W are fixed by the world, and multiples of 16.

    Args:
        frame: what to show; the same frame gives the same bytes.
    """
    slate_size, num_feedback = frame.feedback.shape
    chart_top = _slate_bottom(slate_size, num_feedback) + 9
    num_gauges = len(frame.gauges())
    scalars_height = _GAUGE_HEIGHT * num_gauges + _WHOLE_HEIGHT * (len(frame.scalars) - num_gauges)
    user_height = _USER_HEAD + scalars_height + _STRIP_HEIGHT * len(frame.strips()) + 8
    bottom = max(chart_top + _CHART_HEIGHT, _TOP + user_height)
    height = math.ceil((bottom + _BOTTOM) / 16) * 16
    canvas = Canvas(_WIDTH, height, _PAPER)
    _draw_head(canvas, frame)
    _draw_slate(canvas, frame)
    _draw_returns(canvas, frame, (_LEFT[0], chart_top, _LEFT[1], height - _BOTTOM))
    _draw_user(canvas, frame, (_RIGHT[0], _TOP, _RIGHT[1], height - _BOTTOM))
    return canvas.pixels()


# --- the slate


class _Grid(NamedTuple):
    """How a slate is laid out: labelled cards, small cards, or a cell an item."""

    columns: int
    gap: int
    height: float
    """Of a card with the gap below it."""

    @staticmethod
    def of(slate_size: int, num_feedback: int) -> _Grid:
        if slate_size <= _MAX_LABELLED:
            return _Grid(5, 9, 105 + 15 * num_feedback)
        return _Grid(10, 9, 59 + 6 * num_feedback) if slate_size <= _MAX_CARDS else _Grid(40, 3, 18)

    def box(self, k: int) -> Box:
        """Return where position k is drawn."""
        width = (_LEFT[1] - _LEFT[0] + self.gap) / self.columns
        left, top = _LEFT[0] + k % self.columns * width, _TOP + k // self.columns * self.height
        return left, top, left + width - self.gap, top + self.height - self.gap


def _slate_bottom(slate_size: int, num_feedback: int) -> float:
    """Return where the last row ends, and the legend below it where cards have no labels."""
    return _Grid.of(slate_size, num_feedback).box(slate_size - 1)[3] + (36 if slate_size > _MAX_LABELLED else 12)


def _draw_slate(canvas: Canvas, frame: Frame) -> None:
    slate_size, num_feedback = frame.feedback.shape
    catalog = frame.world.catalog
    limits = [max(1.0, float(np.abs(trait).max())) for trait in (catalog.quality, catalog.appeal)]
    grid = _Grid.of(slate_size, num_feedback)
    for k in range(slate_size):
        box = grid.box(k)
        if slate_size > _MAX_CARDS:
            fill = _BLUE if frame.feedback[k, 0] else _EMPTY if frame.shown[k] else None
            canvas.rectangle(box, fill, outline=_RULE, radius=3)
        elif not frame.shown[k]:
            _draw_hollow_card(canvas, frame, k, box)
        elif slate_size > _MAX_LABELLED:
            _draw_small_card(canvas, frame, k, limits[0], box)
        else:
            _draw_labelled_card(canvas, frame, k, limits, box)
    if slate_size > _MAX_LABELLED:
        _draw_legend(canvas, frame, _slate_bottom(slate_size, num_feedback) - 21)


def _draw_hollow_card(canvas: Canvas, frame: Frame, k: int, box: Box) -> None:
    canvas.rectangle(box, None, outline=_RULE, radius=6)
    if frame.slate[k] >= 0:
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        canvas.text(x, y - 8, str(frame.slate[k]), 13, _FAINT, align="m", room=box[2] - box[0])
        canvas.text(x, y + 9, frame.absence(k), 11, _FAINT, align="m", room=box[2] - box[0])


def _draw_card(canvas: Canvas, clicked: bool, box: Box) -> None:
    fill, outline, width = (_PALE, _BLUE, 2.5) if clicked else (_CARD, _RULE, 1)
    canvas.rectangle(box, fill, outline=outline, radius=6, width=width)


def _draw_small_card(canvas: Canvas, frame: Frame, k: int, limit: float, box: Box) -> None:
    catalog, item = frame.world.catalog, int(frame.slate[k])
    _draw_card(canvas, bool(frame.feedback[k, 0]), box)
    left, top, right = box[0] + 7, box[1], box[2] - 7
    canvas.text(left, top + 15, str(item), 13 if item < 100_000 else 10, bold=True)
    below = frame.name_of(item) or f"topic {catalog.topics[item]}"
    canvas.text(left, top + 29, below, 9, _FAINT, room=right - left)
    _draw_signed(canvas, float(catalog.quality[item]) / limit, (left, top + 37, right, top + 42))
    for channel, share in enumerate(frame.feedback[k].tolist()):
        y = top + 48 + 6 * channel
        _draw_meter(canvas, share, channel, (left, y, right, y + 4))


def _draw_labelled_card(canvas: Canvas, frame: Frame, k: int, limits: list[float], box: Box) -> None:
    catalog, item = frame.world.catalog, int(frame.slate[k])
    _draw_card(canvas, bool(frame.feedback[k, 0]), box)
    left, top, right = box[0] + 10, box[1], box[2] - 10
    canvas.text(left, top + 17, str(item), 17 if item < 100_000 else 12, bold=True)
    beside = frame.name_of(item) or f"topic {catalog.topics[item]}"
    room = right - left - text_width(str(item), 17) - 8 if frame.names_items else 60
    canvas.text(right, top + 18, beside, 11, _FAINT, align="r", room=room)
    traits = {
        "quality": float(catalog.quality[item]) / limits[0],
        "appeal": float(catalog.appeal[item]) / limits[1],
        "affinity": float(frame.affinity[k]) / 2.0,
    }
    for row, (name, share) in enumerate(traits.items()):
        y = top + 40 + 15 * row
        canvas.text(left, y, name, 11, _FAINT)
        _draw_signed(canvas, share, (left + 52, y - 3, right, y + 4))
    canvas.line([(left, top + 86), (right, top + 86)], _RULE)
    for channel, name in enumerate(frame.world.user_model.feedback_names):
        share, y = float(frame.feedback[k, channel]), top + 99 + 15 * channel
        canvas.text(left, y, _words(name), 11, INK if share > 0.0 else _FAINT, room=78)
        _draw_meter(canvas, share, channel, (left + 82, y - 3, right, y + 4))


def _draw_meter(canvas: Canvas, share: float, channel: int, box: Box) -> None:
    left, top, right, bottom = box
    canvas.rectangle(box, _EMPTY, radius=2)
    end = left + (right - left) * min(1.0, max(0.0, share))
    canvas.rectangle((left, top, end, bottom), _CHANNELS[channel % len(_CHANNELS)], radius=2)


def _draw_signed(canvas: Canvas, share: float, box: Box) -> None:
    """Draw a bar from the middle: to the right in blue above zero, to the left in orange below."""
    left, top, right, bottom = box
    middle = (left + right) / 2
    end = middle + (right - left) / 2 * min(1.0, max(-1.0, share))
    canvas.rectangle(box, _EMPTY, radius=2)
    canvas.rectangle((min(middle, end), top, max(middle, end), bottom), _BLUE if share > 0 else _ORANGE)
    canvas.line([(middle, top - 2), (middle, bottom + 1)], _FAINT)


def _draw_legend(canvas: Canvas, frame: Frame, y: float) -> None:
    x: float = _LEFT[0]
    names = frame.world.user_model.feedback_names
    if len(frame.slate) > _MAX_CARDS:
        names = names[:1]
    else:
        _draw_signed(canvas, 0.7, (x, y - 2, x + 22, y + 3))
        canvas.text(x + 28, y, "quality", 11, _FAINT)
        x += 84
    room = (_LEFT[1] - x) / len(names)
    for channel, name in enumerate(names):
        canvas.rectangle((x, y - 4, x + 12, y + 4), _CHANNELS[channel % len(_CHANNELS)], radius=2)
        canvas.text(x + 17, y, _words(name), 11, _FAINT, room=room - 24)
        x += min(room, text_width(_words(name), 11) + 34)


def _words(name: str) -> str:
    return name.replace("_", " ")


# --- the session


def _draw_head(canvas: Canvas, frame: Frame) -> None:
    canvas.rectangle((0, 0, _WIDTH, 64), _CARD)
    canvas.line([(0, 64), (_WIDTH, 64)], _RULE)
    canvas.text(_LEFT[0], 33, f"Step {frame.step} of {frame.world.config.max_steps}", 23, bold=True, room=270)
    if frame.outcome:
        canvas.rectangle((306, 20, 428, 46), "#fbe9dd", radius=13)
        canvas.text(367, 33, frame.outcome, 13, _ORANGE, align="m", bold=True)
    totals = {
        "reward": number(frame.rewards[-1]) if frame.step else "-",
        "return": number(frame.rewards.sum()),
        "clicks": str(frame.clicks.sum()),
    }
    for column, (name, value) in enumerate(totals.items()):
        x = 512 + 156 * column
        canvas.text(x, 33, name, 13, _FAINT, align="r")
        canvas.text(x + 8, 32, value, 18, bold=True)
    canvas.text(_RIGHT[1], 33, _words(USER_MODELS.name_of(type(frame.world.user_model))), 13, _FAINT, align="r")


def _horizon(frame: Frame) -> int:
    """Return the step at the right end of a time axis: fixed where a session is short enough."""
    return min(frame.world.config.max_steps, max(frame.step, _FIXED_HORIZON))


def _tick_step(horizon: int) -> int:
    """Return 1, 2 or 5 times a power of ten, of which at most ten fit into the horizon."""
    return next(step for power in count() for step in (10**power, 2 * 10**power, 5 * 10**power) if horizon <= 10 * step)


def _draw_history(
    canvas: Canvas, frame: Frame, history: np.ndarray, ends: tuple[float, float], box: Box, color: str, width: float
) -> None:
    left, top, right, bottom = box
    low, high = ends
    end = left + (right - left) * (len(history) - 1) / _horizon(frame)
    values = sampled(history, max(2, int(end - left)))
    heights = (values - low) / (high - low) * (bottom - top)
    points = list(zip(np.linspace(left, end, len(values)).tolist(), (bottom - heights).tolist(), strict=True))
    if len(points) > 1:
        canvas.line(points, color, width)
    canvas.dot(*points[-1], width + 1, color)


def _draw_returns(canvas: Canvas, frame: Frame, box: Box) -> None:
    left, top, right, bottom = box
    canvas.text(left, top + 8, "return so far", 13, bold=True)
    canvas.text(right, top + 8, "step", 11, _FAINT, align="r")
    left, top, right, bottom = left + 64, top + 30, right - 6, bottom - 24
    returns = np.concatenate([[0.0], frame.rewards.cumsum()])
    low, high = gauge_range(returns)
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * (bottom - top)
        canvas.line([(left, y), (right, y)], _RULE)
        canvas.text(left - 8, y, number(low + share * (high - low)), 11, _FAINT, align="r")
    horizon = _horizon(frame)
    for step in range(0, horizon + 1, _tick_step(horizon)):
        canvas.text(left + step / horizon * (right - left), bottom + 14, str(step), 11, _FAINT, align="m")
    _draw_history(canvas, frame, returns, (low, high), (left, top, right, bottom), _BLUE, 2.5)


# --- the user


def _draw_user(canvas: Canvas, frame: Frame, box: Box) -> None:
    left, top, right, bottom = box
    canvas.rectangle((left - 20, top, right, bottom), _CARD, outline=_RULE, radius=6)
    right -= 20
    canvas.text(left, top + 20, "the user, hidden from agents", 13, bold=True)
    y = top + _USER_HEAD
    gauges = frame.gauges()
    for name, history in frame.scalars.items():
        if name in gauges:
            _draw_gauge(canvas, frame, name, gauges[name], (left, y, right, y + 32))
            y += _GAUGE_HEIGHT
        else:
            _draw_label(canvas, name, str(history[-1]), left, y + 8)
            y += _WHOLE_HEIGHT
    strips = frame.strips()
    height = min(_TALLEST_STRIP, (bottom - y - 8) / len(strips))
    for name, values in strips.items():
        _draw_strip(canvas, frame, name, values, (left, y, right, y + height - 14))
        y += height


def _draw_label(canvas: Canvas, name: str, value: str, left: float, y: float) -> None:
    canvas.text(left, y, _words(name), 12, room=_GAUGE_WIDTH - text_width(value, 13) - 8)
    canvas.text(left + _GAUGE_WIDTH, y, value, 13, align="r", bold=True)


def _draw_gauge(canvas: Canvas, frame: Frame, name: str, ends: tuple[float, float], box: Box) -> None:
    left, top, right, bottom = box
    middle = left + _GAUGE_WIDTH
    low, high = ends
    history = frame.scalars[name]
    _draw_label(canvas, name, number(history[-1]), left, top + 8)
    zero, end = (left + (x - low) / (high - low) * _GAUGE_WIDTH for x in (0.0, float(finite(history)[-1])))
    canvas.rectangle((left, top + 20, middle, bottom), _EMPTY, radius=3)
    canvas.rectangle((min(zero, end), top + 20, max(zero, end), bottom), _BLUE if end >= zero else _ORANGE, radius=3)
    if low < 0.0:
        canvas.line([(zero, top + 18), (zero, bottom + 1)], _FAINT)
    canvas.rectangle((middle + 16, top, right, bottom), _PAPER, radius=3)
    _draw_history(canvas, frame, history, ends, (middle + 21, top + 5, right - 5, bottom - 5), _FAINT, 1.5)


def _draw_strip(canvas: Canvas, frame: Frame, name: str, values: np.ndarray, box: Box) -> None:
    left, top, right, bottom = box
    of_topics = name == "interest by topic"
    low, limit = frame.strip_range(name)
    bars = pooled(values, int(right - left) // 2)
    scale = f"{number(low)} to {number(limit)}"
    canvas.text(left, top + 7, _words(name), 12, room=right - left - text_width(scale, 11) - 8)
    canvas.text(right, top + 7, scale, 11, _FAINT, align="r")
    ticks = (frame.topics if of_topics else np.arange(len(values))) if len(values) <= _MAX_TICKS else ()
    on_slate = set(frame.world.catalog.topics[frame.slate[frame.shown]].tolist()) if of_topics else set()
    top, bottom = top + 19, bottom - (14 if len(ticks) else 0)
    zero = (top + bottom) / 2 if low < 0.0 else bottom
    canvas.rectangle((left, top, right, bottom), _PAPER)
    width = (right - left) / len(bars)
    margin = min(2.0, 0.15 * width)
    for place, value in enumerate(bars.tolist()):
        x, end = left + place * width, zero - value / limit * (zero - top)
        bar = (x + margin, min(zero, end), x + width - margin, max(zero, end))
        canvas.rectangle(bar, _BLUE if value > 0 else _ORANGE)
    canvas.line([(left, zero), (right, zero)], _FAINT)
    for place, label in enumerate(ticks):
        x, seen = left + (place + 0.5) * width, int(label) in on_slate
        canvas.text(x, bottom + 9, str(label), 9, INK if seen else _FAINT, align="m", bold=seen, room=width)
