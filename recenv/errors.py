"""The one error that a user can cause, and the sentence that it is made of."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Final
from unicodedata import category

LONGEST_WORD: Final = 400
"""Characters of a message's longest piece without a space, such as a path or a list's values."""
LONGEST_MESSAGE: Final = 2000
"""Characters of a message."""


def shown(text: object) -> str:
    r"""Return a text as it may stand on one line of a terminal: what does not print is escaped as `repr` does it.

    Newlines, control characters, marks that turn the direction of writing or have no width, and halves of surrogate
    pairs are then seen for what they are, and do nothing.

    Args:
        text: of anybody: a path, a name, a file's words; another object is taken by its `str`.

    Examples:
        >>> from recenv.errors import shown
        >>> print(shown("runs/\x1b[2Jlog"))
        runs/\x1b[2Jlog
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or category(c) == "Zs" else repr(c)[1:-1] for c in text)


def _shortened(text: str, longest: int) -> str:
    """Return a text without its middle, where it is too long."""
    half = (longest - 40) // 2
    return text if len(text) <= longest else f"{text[:half]}...[{len(text) - 2 * half:,} more]...{text[-half:]}"


class InvalidInput(ValueError):
    """A value, name, file or action that the caller can mend; the command line prints one line and exits with 2.

    The message is one line, whatever it was made of: see `shown`. Of what is very long, the middle is left out.

    Args:
        message: name, received value, allowed values and remedy.

    Examples:
        >>> from recenv import SessionConfig
        >>> SessionConfig().override(slate_size=12, num_items=10)
        Traceback (most recent call last):
            ...
        recenv.errors.InvalidInput: slate_size=12 exceeds num_items=10; lower slate_size or raise num_items
    """

    def __init__(self, message: str) -> None:
        words = re.sub(r"\S+", lambda word: _shortened(word[0], LONGEST_WORD), shown(message))
        super().__init__(_shortened(words, LONGEST_MESSAGE))


def require(condition: bool, message: str) -> None:
    """Raise `InvalidInput(message)` unless `condition` holds.

    Args:
        condition: what must be true of the input.
        message: one line with the name, the received value, the allowed values and the remedy.

    Raises:
        InvalidInput: when `condition` is false.
    """
    if not condition:
        raise InvalidInput(message)


def require_range(
    name: str,
    value: object,
    low: float,
    high: float = math.inf,
    *,
    low_open: bool = False,
    high_open: bool = False,
    integer: bool = False,
) -> None:
    """Raise `InvalidInput` unless `value` is a finite number in the interval.

    Args:
        name: the field's name, as the user wrote it.
        value: the received value; a bool is not a number here.
        low: lower end, included unless `low_open`.
        high: upper end, included unless `high_open`; infinity means no upper bound.
        low_open: exclude the lower end.
        high_open: exclude the upper end.
        integer: refuse a value that is not an int.

    Raises:
        InvalidInput: naming the field, the value and the interval.
    """
    kind = "an integer" if integer else "a number"
    interval = f"{'(' if low_open else '['}{low}, {high}{')' if high_open or high == math.inf else ']'}"
    remedy = f"set {name} to {kind} in {interval}"
    is_number = isinstance(value, int if integer else int | float) and not isinstance(value, bool)
    # An int is finite, and one beyond the floats must not reach isfinite.
    if not is_number or not (isinstance(value, int) or math.isfinite(value)):  # type: ignore[arg-type]
        raise InvalidInput(f"{name}={value!r} is not {kind if integer else 'a finite number'}; {remedy}")
    above = value > low if low_open else value >= low  # type: ignore[operator]
    below = value < high if high_open else value <= high  # type: ignore[operator]
    if not (above and below):
        # Python refuses to write an int of more than 4,300 digits.
        digits = isinstance(value, int) and value.bit_length() > 4096
        said = f"(an integer of {value.bit_length():,} bits)" if digits else repr(value)  # type: ignore[attr-defined]
        raise InvalidInput(f"{name}={said} is outside {interval}; {remedy}")


def unknown_name(kind: str, name: object, known: Iterable[str]) -> InvalidInput:
    """Return the error for a name that is not known, with the nearest known name as the remedy.

    Args:
        kind: what the name names, for example "user model".
        name: the received name.
        known: every allowed name.
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InvalidInput(f"unknown {kind} {name!r}; {hint}choose one of: {', '.join(names)}")
