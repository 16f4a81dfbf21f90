"""What an invalid value is told: the name, the value, what is allowed and the remedy, in one line."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest

from recenv.errors import LONGEST_MESSAGE, LONGEST_WORD, InvalidInput, require, require_range, shown, unknown_name


def test_invalid_input_is_a_value_error():
    assert issubclass(InvalidInput, ValueError)


def test_require_says_its_message_and_only_when_false():
    require(True, "unused")
    with pytest.raises(InvalidInput, match=r"^slate_size=12 exceeds num_items=10; lower slate_size$"):
        require(False, "slate_size=12 exceeds num_items=10; lower slate_size")


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (0.0, {}),
        (1.0, {}),
        (0, {}),
        (1, {"integer": True}),
        (0.5, {"low_open": True, "high_open": True}),
        (1.0, {"low_open": True}),
        (0.0, {"high_open": True}),
    ],
)
def test_range_accepts_its_inside_and_its_closed_ends(value: float, limits: dict[str, bool]):
    require_range("share", value, 0.0, 1.0, **limits)


def test_range_has_no_upper_end_unless_given_one():
    require_range("count", 10**400, 0, integer=True)
    require_range("count", 1e308, 0.0)


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (1.5, {}, "share=1.5 is outside [0.0, 1.0]; set share to a number in [0.0, 1.0]"),
        (-0.1, {}, "share=-0.1 is outside [0.0, 1.0]; set share to a number in [0.0, 1.0]"),
        (0.0, {"low_open": True}, "share=0.0 is outside (0.0, 1.0]; set share to a number in (0.0, 1.0]"),
        (1.0, {"high_open": True}, "share=1.0 is outside [0.0, 1.0); set share to a number in [0.0, 1.0)"),
        (10**300, {}, f"share={10**300} is outside [0.0, 1.0]; set share to a number in [0.0, 1.0]"),
        (
            10**5000,
            {},
            "share=(an integer of 16,610 bits) is outside [0.0, 1.0]; set share to a number in [0.0, 1.0]",
        ),
        (math.nan, {}, "share=nan is not a finite number; set share to a number in [0.0, 1.0]"),
        (math.inf, {}, "share=inf is not a finite number; set share to a number in [0.0, 1.0]"),
        ("1", {}, "share='1' is not a finite number; set share to a number in [0.0, 1.0]"),
        (None, {}, "share=None is not a finite number; set share to a number in [0.0, 1.0]"),
        (True, {}, "share=True is not a finite number; set share to a number in [0.0, 1.0]"),
        (0.5, {"integer": True}, "share=0.5 is not an integer; set share to an integer in [0.0, 1.0]"),
        (1.0, {"integer": True}, "share=1.0 is not an integer; set share to an integer in [0.0, 1.0]"),
    ],
    ids=lambda value: "huge" if isinstance(value, int) and value > 1 else None,
)
def test_range_refuses_by_name_value_interval_and_remedy(value: Any, limits: dict[str, bool], message: str):
    with pytest.raises(InvalidInput) as caught:
        require_range("share", value, 0.0, 1.0, **limits)
    assert str(caught.value) == message


def test_range_without_upper_end_refuses_infinity():
    with pytest.raises(InvalidInput) as caught:
        require_range("minutes", math.inf, 0)
    assert str(caught.value) == "minutes=inf is not a finite number; set minutes to a number in [0, inf)"


def test_unknown_name_suggests_the_nearest():
    error = unknown_name("objective", "drp", ["bc", "awr", "drpo"])
    assert isinstance(error, InvalidInput)
    assert str(error) == "unknown objective 'drp'; did you mean 'drpo'? choose one of: awr, bc, drpo"


def test_unknown_name_far_from_all_suggests_none():
    assert str(unknown_name("objective", "zzz", ["bc", "awr"])) == "unknown objective 'zzz'; choose one of: awr, bc"
    assert str(unknown_name("objective", None, ["bc"])) == "unknown objective None; choose one of: bc"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runs/été-日本", "runs/été-日本"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x07\x9b31m", r"\x1b[2J\x07\x9b31m"),
        ("\u202etxt.exe\u2066", r"\u202etxt.exe\u2066"),
        ("a\u200bb\ufeff\u00ad", r"a\u200bb\ufeff\xad"),
        ("a\u2028b\u2029\x85", r"a\u2028b\u2029\x85"),
        ("\udce9\0", r"\udce9\x00"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_does_not_print_is_escaped_in_every_message(text: str, said: str):
    assert shown(text) == said
    assert shown(said) == said
    assert str(InvalidInput(f"{text} is wrong")) == f"{said} is wrong"


def test_messages_of_long_values_keep_their_ends():
    message = str(InvalidInput(f"path={'x' * 100_000} is long; choose another"))
    assert len(message) < LONGEST_WORD + 40
    assert message.startswith("path=xxx")
    assert "...[99," in message
    assert message.endswith("xxx is long; choose another")
    many = str(InvalidInput(f"names={'word ' * 100_000} are many; choose others"))
    assert len(many) <= LONGEST_MESSAGE
    assert many.startswith("names=word")
    assert many.endswith("are many; choose others")
    for each in (message, many):
        again = InvalidInput(each)
        assert str(again) == str(pickle.loads(pickle.dumps(again))) == each
