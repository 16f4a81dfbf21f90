"""The figures' style: the same bytes for the same numbers, nothing that a page would load, no text lost."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.describe.figures import (
    COLORS,
    Chart,
    decades,
    label_ends,
    looks,
    make_axes,
    mark_value,
    spread,
    within,
)
from tests.page_parser import PageParser

MINUS = "\N{MINUS SIGN}"
PROGRAM = """import sys
from offline_data.describe.figures import Chart, make_axes, mark_value
axes = make_axes("$a<b$", xlabel="x & y", xlim=(0, 2))
mark_value(axes, 1.23456789, "at 1.23456789")
svg = Chart(axes, "alt").svg
assert 'matplotlib.pyplot' not in sys.modules
print(svg)"""


def test_svg_is_text_and_the_same_bytes_in_every_process():
    before = dict(mpl.rcParams)
    here: dict[str, Any] = {}
    exec(PROGRAM.replace("assert", "#").replace("print", "#"), here)
    svg = here["svg"]
    assert dict(mpl.rcParams) == before
    assert subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True).stdout == f"{svg}\n"
    parser = PageParser(str(svg))
    assert parser.tags[0][0] == "svg"
    assert parser.addresses == []
    assert "http" not in svg
    for text in ("$a<b$", "x & y", "at 1.23456789"):
        assert text in parser.text
    ids = [attrs["id"] for _, attrs in parser.tags if "id" in attrs]
    assert ids
    assert len(set(ids)) == len(ids)
    assert all(f"#{name}" in svg for name in ids)


@pytest.mark.parametrize(
    ("log", "ends", "labels"),
    [
        (False, (-1.0, 1.0), [f"{MINUS}1", f"{MINUS}0.5", "0", "0.5", "1"]),
        (False, (0.0, 4000.0), ["0", "1,000", "2,000", "3,000", "4,000"]),
        (True, (0.1, 1000.0), ["0.1", "1", "10", "100", "1000"]),
        (True, (1e-4, 1.0), ["10⁻⁴", "10⁻³", "0.01", "0.1", "1"]),
    ],
)
def test_ticks(log, ends, labels):
    axes = make_axes("", xlim=(0.0, 40.0), ylim=ends, log=log)
    across = (axes.xaxis, (0.0, 40.0), ["0", "10", "20", "30", "40"])
    for axis, (low, high), expected in ((axes.yaxis, ends, labels), across):
        ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
        assert [label.get_text() for at, label in ticks if low <= at <= high] == expected


def test_a_wide_logarithmic_axis_has_few_ticks():
    axes = make_axes("", ylim=decades([10.0, 9e299]), log=True)
    assert 2 <= sum(10.0 <= tick <= 1e200 for tick in axes.get_yticks()) <= 8


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=9))
def test_names_are_spread_in_their_order_and_within_the_axis(places):
    moved = spread(places, 0.1)
    assert all(-1e-9 <= place <= 1 + 1e-9 for place in moved)
    order = sorted(range(len(places)), key=lambda index: places[index])
    assert all(moved[b] - moved[a] >= 0.1 - 1e-9 for a, b in pairwise(order))


def test_spread_by_hand():
    assert spread([0.2, 0.1, 0.0], 0.15) == pytest.approx([0.3, 0.15, 0.0])
    assert spread([0.98, 0.2, 0.99, 1.0], 0.15) == pytest.approx([0.7, 0.2, 0.85, 1.0])


def test_names_stand_at_the_ends_of_their_lines():
    axes: Any = make_axes("", xlim=(0.0, 1.0), ylim=(1.0, 100.0), log=True)
    label_ends(axes, [(10.0, "middle", COLORS[0]), (1e9, "above", COLORS[1])])
    assert {text.get_text(): pytest.approx(text.xy[1]) for text in axes.texts} == {"middle": 0.5, "above": 1.0}


def test_what_is_absurd_is_kept_within_one_length():
    axes = make_axes("", ylim=(0.0, 2.0))
    assert within(axes, [-1e300, 1.0, 3.0, 1e300]).tolist() == [-2.0, 1.0, 3.0, 4.0]


def test_looks_differ_and_depend_on_no_name():
    found = looks(f"method {index}" for index in range(12))
    assert len({tuple(look.values()) for look in found.values()}) == 12
    assert list(looks(["robust_filter", "bc"]).values()) == list(looks(["a", "b"]).values())


def test_decades():
    assert decades([0.0, 0.02, 30.0]) == (0.01, 100.0)
    assert decades([10.0]) == (10.0, 100.0)
    assert decades([5e-324, 1e299]) == pytest.approx((1e-200, 1e200))


@pytest.mark.filterwarnings("error")
def test_no_name_breaks_a_figure():
    """Nor does a letter that the font lacks cost a warning."""
    name = "$x^{ <script>&\x1b[2J\u202e\n日本\\"
    axes = make_axes(name, xlabel=name, ylim=(0.0, 1.0))
    axes.plot([0, 1], [0, 1], label=name)
    axes.legend()
    label_ends(axes, [(1.0, name, "red")])
    mark_value(axes, 0.5, name)
    svg = str(Chart(axes, name).svg)
    assert "<script" not in svg
    assert "$x^{ &lt;script&gt;&amp;" in svg
    assert all(line.replace("\u00a0", "").isprintable() for line in svg.split("\n"))
