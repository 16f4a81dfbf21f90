"""The one error that a user can cause, and the sentence that it is made of."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable


class InvalidInput(ValueError):
    """A value, name, file or action that the caller can mend; the command line prints one line and exits with 2.

    Examples:
        >>> from recenv import SessionConfig
        >>> SessionConfig().override(slate_size=12, num_items=10)
        Traceback (most recent call last):
            ...
        recenv.errors.InvalidInput: slate_size=12 exceeds num_items=10; lower slate_size or raise num_items
    """


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
    require(above and below, f"{name}={value!r} is outside {interval}; {remedy}")


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
