"""When the entries of a foreign log were: units and forms of times, and whether they can be what they are taken for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import numpy as np

from recenv.errors import InvalidInput, require, unknown_name

TimeUnit = Literal["seconds", "milliseconds", "microseconds", "nanoseconds"]

PER_SECOND: Final[Mapping[TimeUnit, float]] = {
    "seconds": 1.0,
    "milliseconds": 1e3,
    "microseconds": 1e6,
    "nanoseconds": 1e9,
}
_EARLIEST: Final = datetime(1990, 1, 1, tzinfo=UTC).timestamp()
"""No log of a recommender is older."""
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
_FIRST_COUNT: Final = 1e6
"""Times that begin below it, in their own unit, are counted from the log's beginning: they are no dates."""
_LONGEST_COUNT: Final = 10 * 365.25 * 86_400.0
_UNSAID: Final = {
    "days since 1970, or those of a spreadsheet": (7_305.0, 73_050.0),
    "hours since 1970": (175_320.0, 1.14e6),
}
"""Units that nobody can say, and the numbers that they give from 1990 to 2100: what lies there is no count."""
_DIGITS: Final = {
    4: ("%Y",),
    6: ("%Y%m", "%y%m%d"),
    8: ("%Y%m%d",),
    10: ("%Y%m%d%H", "%y%m%d%H%M"),
    12: ("%Y%m%d%H%M", "%y%m%d%H%M%S"),
    14: ("%Y%m%d%H%M%S",),
}
"""Dates as numbers spell them, by how many digits they have."""
_FAR: Final = datetime(2033, 1, 1, tzinfo=UTC).timestamp()
"""From it on, a number that spells a date is one."""
_ZONE_WORD: Final = re.compile(r"\s*(UTC|GMT|Z)$|\[[\w/+-]+\]$|\s+(?=[+-]\d\d:?(\d\d)?$)", re.IGNORECASE)
"""How databases say what ISO 8601 writes +00:00, and how Java names a zone beside its offset."""
_DAYS: Final = (
    *("%Y/%m/%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y"),
    *("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%b %d %Y", "%d %B %Y", "%B %d, %Y", "%a, %d %b %Y"),
    *("%Y-%m-%d", "%a %d %b %Y"),
)
_HOURS: Final = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %I:%M %p")
_WHOLE: Final = ("%a %b %d %H:%M:%S %Y", "%d/%b/%Y:%H:%M:%S %z", "%Y-%m-%d-%H.%M.%S.%f", "%Y-%m-%d %H-%M-%S")
_KNOWN: Final = (*(day + hour + zone for zone in ("", " %z", " %Z") for day in _DAYS for hour in _HOURS), *_WHOLE)
"""Forms of dates that are not ISO 8601, in which a text is tried for the remedy."""
_TRIED: Final = 1000
_FORMS: Final = "times are numbers since 1970, ISO 8601 as in 2020-01-31T12:00:00Z, or what --time-format says"


def require_time_format(form: str) -> None:
    """Refuse what is no format of dates.

    Args:
        form: as `datetime.strptime` takes it.

    Raises:
        InvalidInput: naming it.
    """
    now = datetime(2024, 10, 21, 13, 45, 59, tzinfo=UTC)
    try:
        told = datetime.strptime(now.strftime(form), form)
    except ValueError as error:
        raise InvalidInput(f"--time-format {form!r} is no format of dates ({error}); write one as %Y%m%d") from error
    require(told.year == now.year, f"--time-format {form!r} has no year; write one as %Y%m%d or %d/%m/%Y %H:%M")


def require_time_unit(unit: str) -> None:
    """Refuse an unknown unit; the nearest is suggested."""
    if unit not in PER_SECOND:
        raise unknown_name("time unit", unit, PER_SECOND)


def parsed_times(texts: Sequence[str], form: str | None, place: Callable[[int], str]) -> tuple[np.ndarray, bool]:
    """Return what texts mean in seconds since 1970, and whether they say their time zone; without one it is UTC.

    Args:
        texts: [n].
        form: as `datetime.strptime` takes it; None for ISO 8601.
        place: where a text stands, for a message.

    Raises:
        InvalidInput: for a text of another form, or a mixture of forms; the message shows one of each.
    """
    if form is not None and "." not in form and all(text.endswith(".0") for text in texts):
        texts = [text[:-2] for text in texts]  # numbers beside missing ones, as pandas writes them
    times = np.empty(len(texts))
    seen: dict[str, int] = {}
    for index, text in enumerate(texts):
        kind, times[index] = _parsed(text, form)
        seen.setdefault(kind, index)

    if "unread" in seen:
        text = texts[seen["unread"]]
        raise InvalidInput(f"{place(seen['unread'])}: {text!r} is no time{_as_read(form)}; {_reading(text, texts)}")
    if len(seen) > 1:
        one, other = sorted(seen, key=seen.__getitem__)[:2]
        there, zones = place(seen[one]), {one, other} == {"with a zone", "without a zone"}
        remedy = "write them alike" + (", with a zone in each (Z is UTC) or in none" if zones else "")
        raise InvalidInput(
            f"{there}: times {one}, here {texts[seen[one]]!r}, are mixed with times {other}, "
            f"{texts[seen[other]]!r} in {_shorter(place(seen[other]), there)}; {remedy}"
        )
    return times, "with a zone" in seen


def _as_read(form: str | None) -> str:
    return f" as --time-format {form!r} reads it" if form else ""


def _reading(text: str, texts: Sequence[str]) -> str:
    """Return how a text that is no time in the form that was asked for is to be read."""
    if _parsed(text, None)[0] in ("with a zone", "without a zone"):
        return "it is ISO 8601, which is read without --time-format: write all of them alike"
    if text.startswith("0000"):
        return "leave empty what is unknown, and say --missing drop"
    fitting = [form for form in _KNOWN if _parsed(text, form)[0] != "unread"]
    fitting = [form for form in fitting if all(_parsed(each, form)[0] != "unread" for each in texts[:_TRIED])]
    if fitting:
        return f"say --time-format {' or '.join(map(repr, fitting[:2]))}"
    return f"mend it, or leave it empty and say --missing drop; {_FORMS}"


def _parsed(text: str, form: str | None) -> tuple[str, float]:
    try:
        when = datetime.strptime(text, form) if form else datetime.fromisoformat(_ZONE_WORD.sub(_offset, text.strip()))
    except ValueError:
        when = None
    if form is None and (when is None or text.isdecimal()):
        try:
            return "as numbers", float(text)
        except ValueError:
            return "unread", np.nan
    if when is None:
        return "unread", np.nan
    if when.tzinfo is None:
        return "without a zone", when.replace(tzinfo=UTC).timestamp()
    return "with a zone", when.timestamp()


def _offset(word: re.Match[str]) -> str:
    return "+00:00" if word[1] else ""


def require_plausible(
    seconds: np.ndarray,
    place: Callable[[int], str],
    unit: TimeUnit | None = "seconds",
    *,
    counted: bool = False,
    remedy: str | None = None,
) -> None:
    """Refuse times that can be no dates of a log: their unit or form is another than was said.

    Times that begin near zero are counted from the log's beginning, and are admitted.

    Args:
        seconds: [n] since 1970, n > 0.
        place: where an entry stands, for a message.
        unit: in which they were written; None where they were dates.
        counted: they are counted from another moment than 1970, so that any finite time will do.
        remedy: what to do, where the reader has no options of times; None for what the times suggest.

    Raises:
        InvalidInput: naming the first and the last, and what would make them plausible.
    """
    entries = int(np.argmin(seconds)), int(np.argmax(seconds))
    first, last = (float(seconds[entry]) for entry in entries)
    scale = PER_SECOND[unit] if unit else 1.0
    numbers = [_number_text(time * scale) for time in (first, last)]
    spelled = _spelled(numbers) if unit and not _EARLIEST <= first < _FAR else None
    if counted or (spelled is None and (is_dated(first, last) or _is_counted(first, last, unit))):
        return
    told = [
        moment_text(time) + (f" ({number})" if unit else "")
        for time, number in zip((first, last), numbers, strict=True)
    ]
    read = f"read as {unit} since 1970, " if unit else ""
    raise InvalidInput(
        f"{place(entries[0])}: {read}the timestamps go from {told[0]}, here, to {told[1]}, in "
        f"{_shorter(place(entries[1]), place(entries[0]))}, which no log does; "
        f"{remedy or _remedy(first, last, unit, numbers)}"
    )


def is_dated(first: float, last: float) -> bool:
    """Return whether times, seconds since 1970, are plausible as dates."""
    return first >= _EARLIEST and last < _LATEST


def moment_text(seconds: float) -> str:
    """Return a time as a date, UTC; or the year alone where no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"the year {1970 + seconds / (365.2425 * 86_400.0):,.0f}"


def range_text(first: float, last: float) -> str:
    """Return the range of a log's times, in words.

    Args:
        first: seconds since 1970, or since the log's beginning.
        last: likewise.
    """
    if is_dated(first, last):
        return f"{moment_text(first)} to {moment_text(last)}, UTC"
    return f"{first:,.6g} s to {last:,.6g} s, counted from no date"


def _shorter(place: str, other: str) -> str:
    """Return a place without its file if the other is in the same."""
    return place.removeprefix(other.rpartition(": ")[0] + ": ")


def _is_counted(first: float, last: float, unit: TimeUnit | None) -> bool:
    if unit is None or last >= _LONGEST_COUNT or _unsaid(first * PER_SECOND[unit], last * PER_SECOND[unit]):
        return False
    return 0.0 <= first * PER_SECOND[unit] < _FIRST_COUNT


def _unsaid(first: float, last: float) -> str | None:
    return next((name for name, (low, high) in _UNSAID.items() if low <= first and last <= high), None)


def _remedy(first: float, last: float, unit: TimeUnit | None, numbers: Sequence[str]) -> str:
    unknown = "leave empty what is unknown, and say --missing drop"
    if unit is None:
        return f"mend them; {unknown}"
    raw = first * PER_SECOND[unit], last * PER_SECOND[unit]
    form = _spelled(numbers)
    if form is not None:
        return f"they look like dates: say --time-format {form}, or --counted-times if they count from no date"
    for other, scale in PER_SECOND.items():
        if is_dated(raw[0] / scale, raw[1] / scale):
            return f"say --time-unit {other}"
    if unsaid := _unsaid(*raw):
        return f"they look like {unsaid}: write them as dates, or say --counted-times if they count from no date"
    units = [[other for other, scale in PER_SECOND.items() if is_dated(time / scale, time / scale)] for time in raw]
    if all(units):
        return f"{units[0][0]} and {units[1][0]} are mixed: write them alike"
    if units[1] and raw[0] <= 0.0:
        return unknown
    return (
        f"say their --time-unit ({', '.join(PER_SECOND)}) or --time-format, as in %Y%m%d, or --counted-times if they "
        "count from no date"
    )


def _spelled(numbers: Sequence[str]) -> str | None:
    """Return the format of dates that both numbers spell, or None."""
    forms = _DIGITS.get(len(numbers[0]), ()) if len(numbers[0]) == len(numbers[1]) else ()
    return next((form for form in forms if all(_is_date(number, form) for number in numbers)), None)


def _is_date(number: str, form: str) -> bool:
    try:
        when = datetime.strptime(number, form).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return False
    return is_dated(when, when)


def _number_text(number: float) -> str:
    return f"{number:.0f}" if abs(number - round(number)) < 1e-3 else f"{number:.6f}"
