"""The text to the letter, and states and slates of any size."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from recenv.render.session_text import ansi
from tests.recenv.render.frames import hand_made

pytestmark = pytest.mark.kernels


def test_text_to_the_letter():
    assert ansi(hand_made()).splitlines() == [
        "step 3 of 20   reward 2.50   return 3.50   clicks 2",
        "",
        "position     item topic quality appeal affinity  click  share_watched",
        "       1        4     7    2.00   0.00     0.75      ●           0.50",
        "       2        1     7   -1.00   0.00     0.00      ·              ·",
        "       3        4  repeated",
        "       4        5  not offered",
        "",
        "budget             ████████████████████████░░░░░░░░  7.50  (0.00 to 10.00)",
        "interest by topic  ▅█  most topic 7: 1.00  (-1.00 to 1.00)",
        "interest           ▁▅█▅  most at 2: 0.90  (-1.00 to 1.00)",
        "return             ▁▃▃█",
    ]


def test_names_stand_behind_the_answer_and_do_nothing():
    frame = hand_made()
    catalog: Any = frame.world.catalog
    catalog.names, catalog.topic_names = np.array(["film"] * 6), np.array(["drama"] * 6)
    catalog.item_name = lambda item: {4: "Heat\\x1b[2J"}.get(item, "x" * 99)
    catalog.topic_name = {0: "drama", 7: "crime"}.get
    lines = ansi(frame).splitlines()
    assert lines[2].endswith("share_watched  what it is")
    assert lines[3].endswith("0.50  Heat\\x1b[2J, crime")
    assert lines[4].endswith("·  " + "x" * 59 + "…")
    assert lines[5].endswith("repeated")
    assert "most topic crime: 1.00" in lines[9]


def test_text_before_the_first_step_and_at_the_end():
    nothing = {"rewards": np.zeros(0), "clicks": np.zeros(0, np.int64)}
    empty = {"slate": np.full(4, -1), "shown": np.zeros(4, np.bool_), "feedback": np.zeros((4, 2))}
    text = ansi(hand_made(**nothing, **empty)).splitlines()
    assert text[0] == "step 0 of 20   return 0.00   clicks 0"
    assert text[1:4] == ["", "no slate was shown yet", ""]
    assert text[4].startswith("budget  ")
    assert text[-1] == "return             ▁"
    assert ansi(hand_made(terminated=True)).splitlines()[0].endswith("clicks 2   the user left")
    assert ansi(hand_made(truncated=True)).splitlines()[0].endswith("clicks 2   time is up")


def test_colors_are_all_that_color_adds():
    plain, colored = (ansi(hand_made(terminated=True), color=color) for color in (False, True))
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == plain
    clicked = next(line for line in colored.splitlines() if "●" in line)
    assert clicked.startswith("\x1b[1;32m")
    assert clicked.endswith("\x1b[0m")


def test_of_a_long_slate_the_answered_positions_are_listed():
    feedback = np.zeros((70, 2), np.float32)
    feedback[[3, 64], 0] = 1.0
    frame = hand_made(
        slate=np.arange(70) % 6, shown=np.arange(70) < 6, feedback=feedback, affinity=np.zeros(70, np.float32)
    )
    lines = ansi(frame).splitlines()[3:]
    listed = lines[: lines.index("")]
    assert [int(line.split()[0]) for line in listed[:-1]] == [*range(1, 51), 65]
    assert listed[-1] == "  and 19 more positions without an answer"


def test_any_state_is_shown_by_its_name():
    state = {
        "kind": np.int32(3),
        "lone": np.array([True]),
        "lost": np.array([np.nan, np.inf, -np.inf, 1.0]),
        "grid": np.arange(6.0).reshape(2, 3),
        "many": np.linspace(-2.0, 2.0, 1000),
    }
    scalars = {"kind": np.full(4, 3), "lone": np.ones(4, int), "broken": np.array([1.0, np.nan, -np.inf, np.inf])}
    lines = {line.split("  ")[0]: line for line in ansi(hand_made(user_state=state, scalars=scalars)).splitlines()[8:]}
    assert set(lines) == {"kind", "lone", "broken", "interest by topic", "lost", "grid", "many", "return"}
    assert lines["kind"].split() == ["kind", "3"]
    assert lines["lone"].split() == ["lone", "1"]
    assert lines["broken"].endswith("█  inf  (-1.00e+300 to 1.00e+300)")
    assert re.search(r" {2}[▄▅]█▁[▄▅]  most at 1: 1\.00e\+300  \(-1\.00e\+300 to 1\.00e\+300\)$", lines["lost"])
    assert "▅▅▆▇▇█  most at 5: 5.00  (-5.00 to 5.00)" in lines["grid"]
    assert lines["many"].count("▁") < 10
    assert "█  most at 999: 2.00  (-2.00 to 2.00)" in lines["many"]


def gauge(history: list[float]) -> str:
    return ansi(hand_made(scalars={"exposure": np.array(history)})).splitlines()[8]


def test_a_gauge_that_was_negative_is_drawn_from_its_zero():
    assert gauge([0.0, 0.5]) == f"exposure           {'█' * 16}{'░' * 16}  0.50  (0.00 to 1.00)"
    assert gauge([0.0, -0.6]) == f"exposure           {'█' * 12}│{'░' * 19}  -0.60  (-0.60 to 1.00)"
    assert gauge([0.0, -0.6, -0.3]) == f"exposure           {'░' * 6}{'█' * 6}│{'░' * 19}  -0.30  (-0.60 to 1.00)"
    assert gauge([0.0, -0.6, 1.0]) == f"exposure           {'░' * 12}│{'█' * 19}  1.00  (-0.60 to 1.00)"
    assert gauge([0.0, -9.0]) == f"exposure           {'█' * 28}│{'░' * 3}  -9.00  (-9.00 to 1.00)"
    assert gauge([30.0, -0.4]) == f"exposure           {'░' * 32}  -0.40  (-0.40 to 30.00)"


def test_a_strip_has_one_scale_whatever_the_signs_of_a_frame():
    def scale(values: np.ndarray) -> str:
        lines = ansi(hand_made(user_state={"satiation": values})).splitlines()
        return next(line for line in lines if line.startswith("satiation"))[-16:]

    assert scale(np.zeros(4)) == scale(np.array([0.3, 0.0])) == scale(np.array([-0.3, 0.2])) == " (-1.00 to 1.00)"
    assert scale(np.array([3, 0], np.uint8)).endswith(" (0.00 to 3.00)")


def test_a_channel_of_shares_is_written_as_numbers_even_where_it_is_one():
    whole = np.array([[1, 1], [0, 0], [0, 0], [0, 0]], np.float32)
    assert ansi(hand_made(feedback=whole)).splitlines()[3].split()[-2:] == ["●", "1.00"]
    marks = np.array([False, False])
    assert ansi(hand_made(feedback=whole, shares=marks)).splitlines()[3].split()[-2:] == ["●", "●"]
