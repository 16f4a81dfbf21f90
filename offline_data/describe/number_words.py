"""Numbers as people read them: a few digits that matter, units, true minus signs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from numbers import Real
from typing import Any, TypeGuard

_SUPERSCRIPT = str.maketrans("-0123456789", "\u207b\u2070\u00b9\u00b2\u00b3\u2074\u2075\u2076\u2077\u2078\u2079")


def finite(value: object) -> TypeGuard[float]:
    """Return whether `value` is a finite number, small enough (below 1e300) that sums and powers of ten stay finite."""
    return isinstance(value, Real) and abs(float(value)) < 1e300


def readable(value: float | None, infinite: str = "diverged") -> str:
    """Return a number with two or three digits that matter: `0.94`, `31.2`, `412`, `1.2e+09`; `-` for None.

    Args:
        value: the number; None when it was not measured.
        infinite: what to write for infinity and NaN.
    """
    if value is None:
        return "-"
    if not finite(value):
        return infinite
    size = abs(value)
    if size >= 9999.5 or 0 < size < 0.001:
        return f"{value:.1e}"
    digits = 3 if 0 < size < 0.00995 else 2 if size < 9.995 else 1 if size < 99.95 else 0
    return f"{value + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0


def interval_text(item: Mapping[str, Any]) -> str:
    """Return a mean (or `value`) with its interval, where it has one that is finite: `0.94 [0.90, 0.98]`."""
    middle = item["mean"] if "mean" in item else item["value"]
    low, high = item.get("low"), item.get("high")
    if not finite(middle) or not (finite(low) or finite(high)):
        return readable(middle)
    return f"{readable(middle)} [{readable(low)}, {readable(high)}]"


def percent(share: float) -> str:
    """Return a share as a percentage with at most three digits."""
    return f"{100 * share:.3g} %"


def share_text(share: float) -> str:
    """Return a share as a percentage, aligned with others of a column."""
    return f"{100.0 * share:.{2 if 0.0 < share < 0.01 else 1}f} %"


def count_text(count: float) -> str:
    """Return an effective number of samples: whole where it is large."""
    return f"{count:,.0f}" if count >= 100.0 else readable(count)


def bytes_text(count: int) -> str:
    """Return a number of bytes in the largest unit that leaves at least one of it."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024.0 and len(units) > 1:
        size, units = size / 1024.0, units[1:]
    return f"{count} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"


def typeset(text: str) -> str:
    """Return `text` with powers of ten as superscripts and true minus signs before numbers."""
    power = "\u00a0\N{MULTIPLICATION SIGN}\u00a010"
    text = re.sub(r"(\d)e([+-]\d+)", lambda m: f"{m[1]}{power}{str(int(m[2])).translate(_SUPERSCRIPT)}", text)
    text = re.sub(r"(?<=\d) %", "\u00a0%", text)
    return re.sub(r"(?<![\w.])-(?=[\d.])", "\N{MINUS SIGN}", text)
