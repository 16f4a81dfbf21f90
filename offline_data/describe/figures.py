"""Figures by matplotlib in one style, as SVG that stands in a page: the same bytes for the same numbers.

Importing this module imports matplotlib, so who prints tables alone should import it inside a function. Figures are
made by its objects; pyplot and its global state are not used.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from offline_data.describe.number_words import typeset
from recenv.errors import shown

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
    # What a `matplotlibrc` says, in the folder that is worked in say, is no matter of ours.
    **{name: value for name, value in mpl.rcParamsDefault.items() if "backend" not in name},
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
    "grid.color": "#e8e8e6",
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "ytick.major.size": 0.0,
    "lines.linewidth": 1.7,
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
        with mpl.rc_context(STYLE), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # the reader's has it
            figure = self.axes.get_figure(root=True)
            assert figure is not None
            figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
        svg = "\n".join(map(shown, file.getvalue().split("\n")))
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
def make_axes(title: str, size: tuple[float, float] = MIDDLE, *, log: bool = False, **properties: Any) -> Axes:
    """Return a pair of axes without marks, of a figure of its own.

    Args:
        title: what stands above it.
        size: width and height in inches.
        log: whether the upright axis is logarithmic.
        **properties: what matplotlib sets, such as `xlabel`, with its unit, and `ylim`.
    """
    figure = Figure(size, layout="constrained")
    figure.suptitle(title, x=0.01, ha="left")
    axes = figure.add_subplot()
    axes.set_yscale("log" if log else "linear")
    for axis, is_log in ((axes.xaxis, False), (axes.yaxis, log)):
        axis.set_major_locator(LogLocator(numticks=7) if is_log else MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))
        axis.set_major_formatter(_power_label if is_log else _tick_label)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set(**properties)
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
    place: Any = {"xycoords": "axes fraction", "xytext": (6, 0), "textcoords": "offset points", "va": "center"}
    for y, (_, name, color) in zip(spread([y for y, _, _ in places], step), places, strict=True):
        axes.annotate(name, (1.0, y), color=color, weight="bold", annotation_clip=False, **place)


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
    place: Any = {"xytext": (-4 if right else 4, -7 - 12 * line), "textcoords": "offset points", "va": "center"}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.8}
    where, ha = axes.get_xaxis_transform(), "right" if right else "left"
    axes.annotate(typeset(text), (value, 1.0), xycoords=where, ha=ha, bbox=box, **place)


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
