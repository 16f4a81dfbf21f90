"""JSON that a file or a command line brings: one door, which refuses what would be read as something else.

Python's reader takes the last of two equal keys, NaN, a number of any length and a text that no file can hold, and
answers a thousand brackets by a RecursionError.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from recenv.errors import InvalidInput

MAX_DEPTH: Final = 64
"""Brackets that may be open at once."""
MAX_DIGITS: Final = 308
"""Characters of a number; an integer of so many is still no larger than a float can be."""
MAX_BYTES: Final = 1 << 24
"""Of a whole text."""


def parse_json(
    text: str | bytes,
    what: str,
    remedy: str = "mend it, or leave it out",
    *,
    non_finite: bool = False,
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Return the values of a JSON text.

    Args:
        text: the text; bytes are UTF-8, with or without a byte order mark.
        what: where it stands, for messages: an option or a file's path.
        remedy: what the caller can do, for messages.
        non_finite: take NaN and Infinity, as Python writes them; for files of ours that hold them.
        max_bytes: how long it may be.

    Raises:
        InvalidInput: if it is no JSON, says a key twice, is deeper than `MAX_DEPTH`, longer than `max_bytes`, or holds
            a number longer than `MAX_DIGITS` or beyond the floats, or a text with a NUL or half a surrogate pair. Its
            cause is a `json.JSONDecodeError` where the text is simply no JSON.
    """
    try:
        if len(text) > max_bytes:
            raise ValueError(f"it is longer than {max_bytes:,} bytes")
        text = text if isinstance(text, str) else text.decode("utf-8-sig")
        values = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_int=_short(int),
            parse_float=_short(float if non_finite else _finite),
            parse_constant=float if non_finite else _refused_constant,
        )
        _check(values, doubted="\\u" in text or not text.isascii())
    except RecursionError as error:
        raise InvalidInput(f"{what} is not JSON that is read here ({_TOO_DEEP}); {remedy}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{what} is not UTF-8 (byte {error.start}); {remedy}") from error
    except json.JSONDecodeError as error:
        raise InvalidInput(f"{what} is not JSON ({error}); {remedy}") from error
    except ValueError as error:
        raise InvalidInput(f"{what} is not JSON that is read here ({error}); {remedy}") from error
    return values


def read_json(
    file: Path, what: str | None = None, remedy: str = "mend it, or leave it out", *, non_finite: bool = False
) -> Any:
    """Return the values of a JSON file; see `parse_json`. No more of it is read than it may hold.

    Raises:
        InvalidInput: as `parse_json` does.
        OSError: if the file cannot be read.
    """
    with file.open("rb") as stream:
        text = stream.read(MAX_BYTES + 1)
    return parse_json(text, str(file) if what is None else what, remedy, non_finite=non_finite)


_TOO_DEEP: Final = f"more than {MAX_DEPTH} brackets are open at once"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"it says {next(key for key in keys if keys.count(key) > 1)!r} twice")
    return values


def _short(number: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        if len(text) > MAX_DIGITS:
            raise ValueError(f"a number of it has {len(text):,} characters")
        return number(text)

    return read


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise ValueError(f"{text} is beyond the floats")
    return value


def _refused_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _check(values: Any, doubted: bool) -> None:
    """Refuse what lies too deep and, if doubted, texts that cannot be written to a file or handed to the system."""
    level = [values]
    for _ in range(MAX_DEPTH + 1):
        for text in (each for each in level if doubted and isinstance(each, str)):
            if "\0" in text or not _is_encodable(text):
                raise ValueError(f"the text {text!r} has a NUL or half a surrogate pair in it")
        nested = [each for each in level if isinstance(each, dict | list)]
        if not nested:
            return
        level = []
        for each in nested:
            if isinstance(each, dict):
                level += each if doubted else ()
            level += each.values() if isinstance(each, dict) else each
    raise ValueError(_TOO_DEEP)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
