"""What JSON of a file or a command line is read as, and what is refused, in one line each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv import SessionConfig
from recenv.errors import InvalidInput
from recenv.files.json_text import MAX_BYTES, MAX_DEPTH, MAX_DIGITS, parse_json, read_json

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**300), 10**300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")),
    lambda parts: st.lists(parts) | st.dictionaries(st.text(st.characters(codec="ascii", min_codepoint=32)), parts),
    max_leaves=20,
)


@given(PLAIN)
def test_what_json_writes_is_read_back(values):
    assert parse_json(json.dumps(values), "it") == values
    assert parse_json(json.dumps(values, ensure_ascii=False).encode(), "it") == values


def test_numbers_keep_their_kind():
    assert [type(value) for value in parse_json("[1, 1.0, 1e3]", "it")] == [int, float, float]
    assert parse_json("9" * MAX_DIGITS, "it") == 10**MAX_DIGITS - 1
    assert float(parse_json("9" * MAX_DIGITS, "it")) < float("inf")
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH, "it")
    assert parse_json(b"\xef\xbb\xbf[1]", "it") == [1]
    assert parse_json('"\\ud83d\\ude00"', "it") == "\N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON (Expecting value"),
        ("{", "it is not JSON (Expecting property name"),
        ("[1] [2]", "it is not JSON (Extra data"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "it says 'c' twice"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), f"more than {MAX_DEPTH} brackets are open at once"),
        ('{"a":' * 65 + "1" + "}" * 65, "brackets are open at once"),
        ("[" * 200_000, "brackets are open at once"),
        ("9" * (MAX_DIGITS + 1), "a number of it has 309 characters"),
        ("-" + "9" * 5000, "a number of it has 5,001 characters"),
        ("0." + "1" * 5000, "a number of it has 5,002 characters"),
        ("1e309", "1e309 is beyond the floats"),
        ("[NaN]", "NaN is no number"),
        ("-Infinity", "-Infinity is no number"),
        ('"a\\u0000b"', "the text 'a\\x00b' has a NUL or half a surrogate pair in it"),
        ('{"\\ud800": 1}', "the text '\\ud800' has a NUL"),
        ('"\0"', "it is not JSON (Invalid control character"),
        (b'"\xff"', "it is not UTF-8 (byte 1)"),
        (b"\xff\xfe[\x001\x00]\x00", "it is not UTF-8 (byte 0)"),
        (" " * (MAX_BYTES + 1), "it is longer than 16,777,216 bytes"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_refused(text, reason):
    with pytest.raises(InvalidInput) as caught:
        parse_json(text, "it", "mend it")
    message = str(caught.value)
    assert reason in message
    assert message.startswith("it is not ")
    assert message.endswith("; mend it")
    assert message.isprintable()


def test_a_word_that_is_no_json_is_told_from_json_that_is_refused():
    for text, is_syntax in (("five", True), ("9" * 5000, False), ("[" * 5000, False), ('{"a":1,"a":1}', False)):
        with pytest.raises(InvalidInput) as caught:
            parse_json(text, "it")
        assert isinstance(caught.value.__cause__, json.JSONDecodeError) is is_syntax


def test_files_of_ours_may_hold_what_is_not_finite():
    nan, infinite = parse_json("[NaN, 1e400]", "it", non_finite=True)
    assert nan != nan
    assert infinite == float("inf")


def test_no_more_of_a_file_is_read_than_it_may_hold(tmp_path: Path):
    file = tmp_path / "endless.json"
    with file.open("wb") as stream:
        stream.truncate(1 << 40)  # a hole: it takes no room
    with pytest.raises(InvalidInput, match=r"endless\.json is not JSON that is read here"):
        read_json(file)
    (tmp_path / "small.json").write_bytes(b"[1]")
    assert read_json(tmp_path / "small.json") == [1]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"slate_size":3,"slate_size":4}', '{"max_steps":' + "9" * 5000 + "}"], ids=len
)
def test_a_session_config_is_read_by_the_same_door(text):
    with pytest.raises(InvalidInput, match=r"^config is not JSON that is read here"):
        SessionConfig.from_json(text)
