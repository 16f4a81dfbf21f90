"""Figures by matplotlib in one style, as SVG that stands in a page: the same bytes for the same numbers.

Importing this module imports matplotlib, so who prints tables alone should import it inside a function. Figures are
made by its objects; pyplot and its global state are not used.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from cycler import cycler
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from offline_data.describe.number_words import readable, typeset

INK: Final = "#1c2024"
SOFT: Final = "#6b737b"
COLORS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195")
"""Okabe and Ito's, which the color-blind tell apart, in the order of contrast on white; the last is our own."""
MARKERS: Final = ("o", "s", "^", "D", "v", "P", "X", "p")

# Sizes in inches and points of the page; three `SMALL` or two `MIDDLE` stand side by side.
SMALL: Final = (3.35, 2.7)
MIDDLE: Final = (5.1, 3.2)
WIDE: Final = (10.4, 4.4)

STYLE: Final[Any] = {
    "svg.fonttype": "none",  # text stays text: selectable, searchable, small
    "svg.hashsalt": "recsession",  # ids of the SVG are hashes, random ones by default
    "text.parse_math": False,  # a name may hold a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "text.color": INK,
    "axes.edgecolor": "#b4b8bc",
    "axes.labelcolor": SOFT,
    "figure.titlesize": 9.5,
    "figure.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.prop_cycle": cycler(color=COLORS),
    "grid.color": "#e8e8e6",
    "xtick.color": "#b4b8bc",
    "ytick.color": "#b4b8bc",
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.0,
    "path.simplify_threshold": 0.5,  # of a pixel: dense curves are thinned to what can be seen
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
styled: Final = mpl.rc_context(STYLE)
"""Decorates what draws, because artists take their defaults from matplotlib's settings when they are made."""


@dataclass(frozen=True)
class Chart:
    """A drawn pair of axes, and what it shows in words."""

    axes: Axes
    """The drawing."""
    alt: str
    """What it shows, for who does not see it."""

    @property
    def svg(self) -> Markup:
        """The drawing as an `svg` element."""
        file = io.StringIO()
        with mpl.rc_context(STYLE):
            figure = self.axes.get_figure(root=True)
            assert figure is not None
            figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        svg = file.getvalue()
        svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg[svg.index("<svg") :])  # HTML knows them; addresses of nothing
        svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
        used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', svg))
        svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
        # Hundredths of a point are enough; within tags only, so that no text loses a digit.
        return Markup(re.sub(r"(?<=\.\d\d)\d+(?=[^<>]*>)", "", svg))


def looks(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return color and marker of each name, by its place among them; nothing depends on what a name says.

    Args:
        names: what is drawn.
    """
    return {name: {"color": c, "marker": m} for name, c, m in zip(names, cycle(COLORS), cycle(MARKERS), strict=False)}


@styled
def make_axes(
    title: str,
    x_label: str,
    y_label: str,
    *,
    size: tuple[float, float] = MIDDLE,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    log: bool = False,
) -> Axes:
    """Return a pair of axes without marks, of a figure of its own.

    Args:
        title: what stands above it.
        x_label: name of the lower axis, with its unit.
        y_label: name of the upright axis, with its unit.
        size: width and height in inches.
        x_range: ends of the lower axis; None for those of what is drawn.
        y_range: ends of the upright axis; None for those of what is drawn.
        log: whether the upright axis is logarithmic.
    """
    figure = Figure(size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    axes = figure.add_subplot()
    axes.set(xlabel=typeset(x_label), ylabel=typeset(y_label))
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=7))
        axes.yaxis.set_minor_locator(NullLocator())
    for axis, logarithmic in ((axes.xaxis, False), (axes.yaxis, log)):
        axis.set_major_formatter(FuncFormatter(_power_label if logarithmic else _tick_label))
        if not logarithmic:
            axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
    if x_range is not None:
        axes.set_xlim(*x_range)
    if y_range is not None:
        axes.set_ylim(*y_range)
    return axes


def within(axes: Axes, values: Iterable[float]) -> np.ndarray:
    """Return values moved to at most one length beyond the upright axis, so that what is absurd can be drawn."""
    low, high = axes.get_ylim()
    reach = 0.0 if axes.get_yscale() == "log" else high - low
    return np.clip(np.fromiter(values, float), low - reach, high + reach)


@styled
def label_ends(axes: Axes, ends: Iterable[tuple[float, str, str]], gap: float = 11.0) -> None:
    """Write a name beside the end of each line, moved apart so that none covers another.

    Args:
        axes: whose upright axis has its range.
        ends: of each line its last value, its name and its color.
        gap: between the names, in points.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    step = gap / (figure.get_figheight() * 72.0 * 0.75)  # of the axes' height, about .75 of the figure's
    low, high = axes.get_ylim()
    to_share = axes.transData + axes.transAxes.inverted()
    places = [
        (float(to_share.transform((axes.get_xlim()[1], min(max(value, low), high)))[1]), name, color)
        for value, name, color in ends
    ]
    for place, (_, name, color) in zip(spread([y for y, _, _ in places], step), places, strict=True):
        axes.annotate(
            name,
            (1.0, place),
            xycoords="axes fraction",
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color=color,
            weight="bold",
            annotation_clip=False,
        )


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places in [0, 1] moved apart by `gap`, in their order, and into [0, 1] while there is room.

    Args:
        places: shares of a length.
        gap: a share of it.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    moved, floor, roof = list(places), -gap, 1.0 + gap
    for index in order:
        floor = moved[index] = max(moved[index], floor + gap)
    for index in reversed(order):
        roof = moved[index] = min(moved[index], roof - gap)
    return moved


@styled
def draw_histogram(
    title: str,
    x_label: str,
    y_label: str,
    edges: Sequence[float],
    counts: Sequence[float],
    posts: Sequence[tuple[float, str]] = (),
) -> Axes:
    """Return a histogram with values marked by name.

    Args:
        title: what stands above it.
        x_label: of the values.
        y_label: of the counts.
        edges: of the bins, one more than counts.
        counts: of the bins.
        posts: values to mark, with their names; the axis reaches to them.
    """
    ends = [edges[0], edges[-1], *(value for value, _ in posts)]
    low, high = min(ends), max(ends)
    margin = 0.02 * (high - low) or 0.5
    room = 1.08 + 0.09 * len(posts)
    axes = make_axes(
        title, x_label, y_label, x_range=(low - margin, high + margin), y_range=(0.0, room * max(*counts, 1))
    )
    axes.stairs(counts, edges, fill=True, color=COLORS[0], alpha=0.3)
    axes.stairs(counts, edges, color=COLORS[0], linewidth=1.2)
    for line, (value, name) in enumerate(posts):
        mark_value(axes, value, f"{name} {readable(value)}", line)
    return axes


@styled
def mark_value(axes: Axes, value: float, text: str, line: int = 0) -> None:
    """Mark a value of the lower axis by a dashed line and its name, which stands where there is room.

    Args:
        axes: whose lower axis has its range.
        value: where.
        text: its name.
        line: of how many names above each other this is, from the top.
    """
    low, high = axes.get_xlim()
    right = value > low + 0.6 * (high - low)
    axes.axvline(value, color=INK, linewidth=1.1, dashes=(4, 3))
    axes.annotate(
        typeset(text),
        (value, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-4 if right else 4, -7 - 12 * line),
        textcoords="offset points",
        ha="right" if right else "left",
        va="center",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.8},
    )


def decades(values: Iterable[float]) -> tuple[float, float]:
    """Return the powers of ten around the positive values, none beyond 200: matplotlib's ticks reach farther out."""
    powers = [min(max(math.log10(value), -200.0), 200.0) for value in values if value > 0.0]
    low, high = math.floor(min(powers)), math.ceil(max(powers))
    return 10.0**low, 10.0 ** (high if high > low else low + 1)


def _tick_label(value: float, _: object = None) -> str:
    return typeset(f"{value + 0.0:,.9g}")  # + 0.0 turns -0.0 into 0.0


def _power_label(value: float, _: object = None) -> str:
    told = f"{value:g}" if 1e-3 < value < 1e4 else f"{value:.0e}"
    return typeset(told).removeprefix("1\u00a0\N{MULTIPLICATION SIGN}\u00a0")
