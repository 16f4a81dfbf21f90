"""Charts as plain geometry: scales, ticks and marks in pixels, drawn as inline SVG by `charts.html.jinja`."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, TypeGuard

_SUPERSCRIPT = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")

LegendEntry = tuple[str, int | str, str]


def finite(value: object) -> TypeGuard[float]:
    """Return whether `value` is a finite number, small enough (below 1e300) that sums and powers of ten stay finite."""
    return isinstance(value, Real) and abs(float(value)) < 1e300


def readable(value: float | None, infinite: str = "diverged") -> str:
    """Return a number with two or three digits that matter: `0.94`, `31.2`, `412`, `1.2e+09`; `-` for None.

    Args:
        value: the number; None when it was not measured.
        infinite: what to write for infinity and NaN.
    """
    if value is None:
        return "-"
    if not finite(value):
        return infinite
    size = abs(value)
    if size >= 9999.5 or 0 < size < 0.001:
        return f"{value:.1e}"
    digits = 3 if 0 < size < 0.00995 else 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def percent(share: float) -> str:
    """Return a share as a percentage with at most three digits."""
    return f"{100 * share:.3g} %"


def typeset(text: str) -> str:
    """Return `text` with powers of ten as superscripts and true minus signs before numbers."""
    power = "\u00a0\N{MULTIPLICATION SIGN}\u00a010"
    text = re.sub(r"(\d)e([+-]\d+)", lambda m: f"{m[1]}{power}{str(int(m[2])).translate(_SUPERSCRIPT)}", text)
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    return re.sub(r"(?<![\w.])-(?=[\d.])", "\N{MINUS SIGN}", text)


@dataclass(frozen=True)
class Scale:
    """A map from a quantity to pixels, linear or logarithmic; values outside are kept within one length of the axis."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False
    label: str = ""

    def __call__(self, value: float) -> float:
        """Return the pixel of `value`; on a log scale what is not positive lies on the axis's low end."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        share = min(max((value - low) / (high - low), -1.0), 2.0)
        return round(self.start + (self.end - self.start) * share, 1)

    def clamp(self, value: float) -> float:
        """Return `value` moved onto the axis when it lies outside."""
        return min(max(value, self.low), self.high)

    def ticks(self) -> list[tuple[float, str]]:
        """Return pixel and label of at most seven round values on the axis."""
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            stride = 1 + (last - first) // 7
            return [(self(10.0**power), _power_label(power)) for power in range(first, last + 1, stride)]
        rough = (self.high - self.low) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough * 0.999)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [(self(index * step), typeset(_tick_label(index * step))) for index in range(first, last + 1)]


@dataclass
class Panel:
    """One pair of axes with its marks; every mark is a dict that the template knows by its `kind`."""

    title: str
    alt: str
    x: Scale
    y: Scale
    width: int
    height: int
    marks: list[dict[str, Any]] = field(default_factory=list)
    labels: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, **mark: Any) -> None:
        """Add a mark; `points` are values, every other position is in pixels."""
        if "points" in mark:
            mark["points"] = " ".join(f"{self.x(x):g},{self.y(y):g}" for x, y in mark["points"])
        self.marks.append({"kind": kind, **mark})

    def at(self, x: float, y: float) -> dict[str, float]:
        """Return the pixels of a point, moved onto the frame when it lies outside."""
        return {"x": self.x(self.x.clamp(x)), "y": self.y(self.y.clamp(y))}

    def spread_labels(self, gap: float = 15.0) -> None:
        """Move the labels at the right edge apart, keeping their order and the axis's range."""
        self.labels.sort(key=lambda label: label["y"])
        floor = self.y.end - gap
        for label in self.labels:
            floor = label["y"] = max(label["y"], floor + gap)
        roof = self.y.start + gap
        for label in reversed(self.labels):
            roof = label["y"] = min(label["y"], roof - gap)


@dataclass
class Figure:
    """A titled row of panels with a caption that says what to look for."""

    title: str
    """The heading."""
    caption: str
    """What is drawn and what to look for."""
    panels: list[Panel]
    """The axes, drawn side by side as `layout` ("one", "two" or "many") allows."""
    legend: list[LegendEntry] = field(default_factory=list)
    """Entries (kind, color, label); kind is "dot", "hollow", "swatch" or "dash"."""
    layout: str = "one"
    narrow_legend: bool = False
    """Whether the legend shows on narrow screens only, because the lines carry their names."""


def make_panel(
    title: str,
    y_range: tuple[float, float],
    x: tuple[str, float, float],
    size: tuple[int, int],
    *,
    y_label: str,
    left: int = 58,
    right: int = 18,
    log: bool = False,
) -> Panel:
    """Return a pair of axes without marks.

    Args:
        title: what stands above it.
        y_range: ends of the upright axis.
        x: name and ends of the other.
        size: width and height in pixels.
        y_label: name of the upright axis.
        left: pixels of the margin for tick labels.
        right: pixels of the margin for labels at the lines' ends.
        log: whether the upright axis is logarithmic.
    """
    width, height = size
    return Panel(
        title=title,
        alt="",
        x=Scale(x[1], x[2], left, width - right, label=x[0]),
        y=Scale(*y_range, height - 46, 34 if title else 26, log=log, label=y_label),
        width=width,
        height=height,
    )


def decades(values: Iterable[float]) -> tuple[float, float]:
    """Return the powers of ten around the positive values."""
    powers = [math.log10(value) for value in values if value > 1e-300]
    low, high = math.floor(min(powers)), math.ceil(max(powers))
    return 10.0**low, 10.0 ** (high if high > low else low + 1)


def _power_label(power: int) -> str:
    return f"{10.0**power:g}" if -2 <= power <= 3 else f"10{str(power).translate(_SUPERSCRIPT)}"


def _tick_label(value: float) -> str:
    value = 0.0 if abs(value) < 1e-12 else value
    return f"{value:.0e}" if abs(value) >= 1e6 else f"{round(value, 9):,g}"
