"""Times that can be no dates of a log are refused with a remedy that works; those that count are let pass."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from offline_data.interop.times import (
    PER_SECOND,
    parsed_times,
    range_text,
    require_plausible,
    require_time_format,
    require_time_unit,
)
from recenv.errors import InvalidInput

FIRST, LAST = 1_700_000_000.0, 1_700_090_000.0  # 2023-11-14 22:13:20 and a day and an hour later


def place(entry: int) -> str:
    return f"log.csv: data row {entry + 1}"


def refusal(*numbers, unit: Any = "seconds"):
    """The sentence with which numbers in a unit are refused."""
    with pytest.raises(InvalidInput) as caught:
        require_plausible(np.array(numbers, np.float64) / PER_SECOND[unit or "seconds"], place, unit)
    return str(caught.value)


@pytest.mark.parametrize("said", PER_SECOND)
@pytest.mark.parametrize("true", PER_SECOND)
def test_a_wrong_unit_is_named_with_the_right_one(said, true):
    numbers = FIRST * PER_SECOND[true], LAST * PER_SECOND[true]
    if said == true:
        require_plausible(np.array(numbers) / PER_SECOND[said], place, said)
        return
    message = refusal(*numbers, unit=said)
    assert message.startswith(f"log.csv: data row 1: read as {said} since 1970, the timestamps go from ")
    assert f"({numbers[1]:.0f}), in data row 2, which no log does" in message
    assert message.endswith(f"say --time-unit {true}")


@pytest.mark.parametrize(
    ("numbers", "form"),
    [
        ((20240501, 20240610), "%Y%m%d"),
        ((240501, 240610), "%y%m%d"),
        ((202405, 202406), "%Y%m"),
        ((2019, 2024), "%Y"),
        ((2024050112, 2024061013), "%Y%m%d%H"),
        ((2405011200, 2406101300), "%y%m%d%H%M"),
        ((202405011200, 202406101300), "%Y%m%d%H%M"),
        ((20240501120000, 20240610130000), "%Y%m%d%H%M%S"),
    ],
)
def test_numbers_that_spell_dates_are_named_with_their_format(numbers, form):
    assert f"they look like dates: say --time-format {form}" in refusal(*numbers)
    times, zoned = parsed_times([str(number) for number in numbers], form, place)
    require_plausible(times, place, None)
    assert not zoned


@pytest.mark.parametrize(
    ("numbers", "unit", "message"),
    [
        ((1_700_000_000, 1_700_000_000_000), "seconds", "seconds and milliseconds are mixed: write them alike"),
        ((1.7e12, 1.7e15), "milliseconds", "milliseconds and microseconds are mixed"),
        ((0, 1_700_000_000), "seconds", "leave empty what is unknown, and say --missing drop"),
        ((-1, 1_700_000_000), "seconds", "leave empty what is unknown, and say --missing drop"),
        ((-5, -3), "seconds", "--counted-times if they count from no date"),
        ((19_844, 19_850), "seconds", "from 1970-01-01 05:30:44 (19844), here, to 1970-01-01 05:30:50"),
        ((19_844, 19_850), "milliseconds", "they look like days since 1970, or those of a spreadsheet: write them as"),
        ((45_413.5, 45_414.25), "seconds", "they look like days since 1970, or those of a spreadsheet"),
        ((472_222, 472_300), "seconds", "they look like hours since 1970: write them as dates, or say --counted-times"),
        ((28_333_333, 28_333_999), "seconds", "--counted-times if they count from no date"),
        ((1.7e9, 2.5e11), "seconds", "the timestamps go from 2023-11-14 22:13:20"),
        ((-2e9, 1.7e9), None, "go from 1906-08-16 20:26:40, here, to 2023-11-14 22:13:20, in data row 2"),
        ((5.0, 9.0), None, "go from 1970-01-01 00:00:05"),
    ],
)
def test_what_no_log_does(numbers, unit, message):
    assert message in refusal(*numbers, unit=unit)


def test_times_that_count_from_the_beginning_are_no_dates():
    for numbers in ((0.0, 1.0, 2.0), (1_000.0, 99_000.0), (60.0, 3e7), (91_010.0, 420_000.0)):
        require_plausible(np.array(numbers), place)
    with pytest.raises(InvalidInput):
        require_plausible(np.array([20_000.0, 20_100.0]), place)
    require_plausible(np.array([-20_000.0, 20_100.0]), place, counted=True)
    assert range_text(0.0, 12.5) == "0 s to 12.5 s, counted from no date"
    assert range_text(FIRST, LAST) == "2023-11-14 22:13:20 to 2023-11-15 23:13:20, UTC"


@pytest.mark.parametrize(
    ("texts", "form", "message"),
    [
        (
            ["2024-05-01 12:00:00", "2024-05-01T10:01:00Z"],
            None,
            "log.csv: data row 1: times without a zone, here '2024-05-01 12:00:00', are mixed with times with a zone, "
            "'2024-05-01T10:01:00Z' in data row 2; write them alike",
        ),
        (
            ["1700000000", "2024-05-01"],
            None,
            "times as numbers, here '1700000000', are mixed with times without a zone",
        ),
        (["31/01/2024"], None, "'31/01/2024' is no time; say --time-format '%d/%m/%Y'"),
        (["31/01/2024", "01/31/2024"], "%d/%m/%Y", "data row 2: '01/31/2024' is no time as --time-format '%d/%m/%Y'"),
        (["2024-02-30"], None, "'2024-02-30' is no time"),
    ],
)
def test_texts_that_are_no_times_or_of_two_forms(texts, form, message):
    with pytest.raises(InvalidInput, match=re.escape(message)):
        parsed_times(texts, form, place)


def test_texts_that_are_times():
    for texts, form, zoned in (
        (["2023-11-14T22:13:20Z", "2023-11-15 01:13:20+03:00"], None, True),
        (["14/11/2023 22:13:20"], "%d/%m/%Y %H:%M:%S", False),
        (["14.11.2023 23:13:20 +0100"], "%d.%m.%Y %H:%M:%S %z", True),
    ):
        times, has_zone = parsed_times(texts, form, place)
        np.testing.assert_array_equal(times, [FIRST] * len(texts))
        assert has_zone == zoned
    # As pandas writes whole numbers beside missing ones.
    times, _ = parsed_times(["20231114.0", "20231115.0"], "%Y%m%d", place)
    np.testing.assert_array_equal(times, [1_699_920_000.0, 1_700_006_400.0])


def test_bad_units_and_formats():
    for form, message in (("%Q", "is no format of dates"), ("%m-%d", "has no year"), ("date", "has no year")):
        with pytest.raises(InvalidInput, match=message):
            require_time_format(form)
    require_time_format("%d/%m/%y")
    with pytest.raises(InvalidInput, match="unknown time unit 'microsecond'; did you mean 'microseconds'"):
        require_time_unit("microsecond")


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01 12:00:00.250000 UTC",
        "2024-05-01 12:00:00.25 UTC",
        "2024-05-01T12:00:00.25Z",
        "2024-05-01 12:00:00.25 Z",
        "2024-05-01 12:00:00.25+00",
        "2024-05-01 14:00:00.25+0200",
        "2024-05-01 14:00:00.25 +0200",
        "2024-05-01 12:00:00.250000123 GMT",
        "2024-05-01T14:00:00.25+02:00[Europe/Berlin]",
        " 2024-05-01 12:00:00.25 utc ",
    ],
)
def test_times_with_a_zone_as_databases_write_them(text):
    times, zoned = parsed_times([text, "2024-05-01 12:00:01 UTC"], None, place)
    assert (times.tolist(), zoned) == ([1714564800.25, 1714564801.0], True)


@pytest.mark.parametrize(
    "texts",
    [
        ("31/05/2024 12:00", "1/6/2024 1:00"),
        ("05/31/2024 1:30 PM", "06/01/2024 1:00 AM"),
        ("31.05.2024", "01.06.2024"),
        ("2024/05/31 12:00:00", "2024/06/01 12:00:00"),
        ("31-May-2024", "01-Jun-2024"),
        ("May 31, 2024", "June 1, 2024"),
        ("Fri, 31 May 2024 12:00:00 GMT", "Sat, 01 Jun 2024 12:00:00 GMT"),
        ("Fri May 31 12:00:00 2024", "Sat Jun  1 12:00:00 2024"),
        ("31/May/2024:12:00:00 +0200", "01/Jun/2024:12:00:00 +0200"),
        ("2024/05/31 12:00:00.5 +0000", "2024/06/01 12:00:00.5 +0000"),
    ],
)
def test_forms_of_dates_are_named_and_the_named_form_reads_them(texts):
    with pytest.raises(InvalidInput, match="say --time-format ") as caught:
        parsed_times(texts, None, place)
    form = str(caught.value).rpartition("--time-format ")[2].split("'")[1]
    require_time_format(form)
    times, _ = parsed_times(texts, form, place)
    require_plausible(times, place, None)
    assert 0.4 * 86_400 < times[1] - times[0] <= 86_400


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("05/06/2024", None, "say --time-format '%d/%m/%Y' or '%m/%d/%Y'"),
        ("0000-00-00 00:00:00", None, "leave empty what is unknown, and say --missing drop"),
        ("yesterday", None, "mend it, or leave it empty and say --missing drop; times are numbers since 1970"),
        ("2024-05-01", "%d/%m/%Y", "it is ISO 8601, which is read without --time-format"),
        ("2024/05/01", "%d/%m/%Y", "is no time as --time-format '%d/%m/%Y' reads it; say --time-format '%Y/%m/%d'"),
    ],
)
def test_what_is_no_time(text, form, message):
    with pytest.raises(InvalidInput) as caught:
        parsed_times([text], form, place)
    assert message in str(caught.value)
