"""A frame as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from recenv.errors import shown
from recenv.render.frame import Frame
from recenv.render.scales import finite, gauge_range, number, pooled, sampled

_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_GAUGE_WIDTH: Final = 32
_STRIP_WIDTH: Final = 48
_MAX_ROWS: Final = 50
_MAX_NAME: Final = 60
_BOLD, _FAINT, _CLICKED, _ENDED = "1", "2", "1;32", "1;33"


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
            lines.append(shown(f"{name:<{margin}}{history[-1]}"))
            continue
        low, high = gauges[name]
        bar = _gauge(float(finite(history)[-1]), low, high)
        lines.append(f"{shown(name):<{margin}}{bar}  {number(history[-1])}  ({number(low)} to {number(high)})")
    for name, values in strips.items():
        best = int(values.argmax())
        label = f"at {best}"
        if name == "interest by topic":
            label = f"topic {frame.world.catalog.topic_name(int(frame.topics[best]))}"
        low, high = frame.strip_range(name)
        lines.append(
            f"{shown(name):<{margin}}{_blocks(pooled(values, _STRIP_WIDTH), low, high)}"
            f"  most {label}: {number(values[best])}  ({number(low)} to {number(high)})"
        )
    returns = np.concatenate([[0.0], frame.rewards.cumsum()])
    lines.append(f"{'return':<{margin}}{_blocks(sampled(returns, _STRIP_WIDTH), *gauge_range(returns))}")
    return "\n".join(lines)


def _slate_lines(frame: Frame, paint: Callable[[str, str], str]) -> list[str]:
    """Return the table of the slate and its answer."""
    names = [shown(name) for name in frame.world.user_model.feedback_names]
    called = frame.names_items
    titles = ("position", "item", "topic", "quality", "appeal", "affinity", *names, *(["  what it is"] * called))
    widths = [8, 9, 6, 8, 7, 9, *(len(name) + 2 for name in names), *([0] * called)]
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
    called = [f"  {_cut(frame.name_of(item))}"] if frame.names_items else []
    return [str(k + 1), str(item), str(catalog.topics[item]), *map(number, qualities), *answer, *called]


def _cut(text: str) -> str:
    return text if len(text) <= _MAX_NAME else f"{text[: _MAX_NAME - 1]}…"


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
