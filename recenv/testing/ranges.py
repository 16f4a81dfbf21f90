"""The ranges of a config's numbers, as the config itself declares them: in the sentence that refuses what is none."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from hypothesis import strategies as st

from recenv.errors import InvalidInput

_NUMBERS: Final = ("int", "float", "int | None", "float | None", "float | Literal['auto']")
_DECLARED: Final = re.compile(r"to (?P<kind>an integer|a number) in (?P<left>[\[(])(?P<low>\S+), (?P<high>\S+)[])]$")


@dataclass(frozen=True)
class Range:
    """Allowed values of an option: ends, which of them are excluded, and whether only whole numbers are allowed.

    Examples:
        >>> from recenv.testing import Range
        >>> Range(0.0, 1.0, low_open=True).beyond()[0]
        0.0
    """

    low: float
    """Minus infinity for none."""
    high: float
    """Infinity for none."""
    low_open: bool = False
    """The lower end is excluded."""
    high_open: bool = False
    """The upper end is excluded."""
    integer: bool = False
    """Only whole numbers."""

    def inside(self) -> st.SearchStrategy[Any]:
        """Draw an allowed value; an option that takes any number may be given a whole one."""
        if self.integer:
            return st.integers(int(self.low), None if self.high == math.inf else int(self.high))
        low, high = (None if math.isinf(end) else end for end in (self.low, self.high))
        numbers = st.floats(low, high, exclude_min=self.low_open, exclude_max=self.high_open, allow_infinity=False)
        low, high = max(self.low, -1e9), min(self.high, 1e9)
        return numbers | (st.integers(int(low) + 1, int(high) - 1) if high - low >= 2 else st.nothing())

    def beyond(self) -> list[Any]:
        """Return numbers that are not allowed, next to each end that there is."""
        if self.integer:
            below, above = self.low - 1, self.high + 1
        else:
            below = self.low if self.low_open else float(np.nextafter(self.low, -np.inf))
            above = self.high if self.high_open else float(np.nextafter(self.high, np.inf))
        return [beyond for end, beyond in ((self.low, below), (self.high, above)) if math.isfinite(end)]

    def outside(self) -> list[Any]:
        """Return values that are not allowed, of each kind."""
        others = [float(self.low)] if self.integer else [float("nan"), float("inf")]
        return [*self.beyond(), *others, "1", None, True]


def number_fields(config: type, types: Collection[str] = _NUMBERS) -> tuple[str, ...]:
    """Return the names of a dataclass's numbers, those that may be None or a word among them.

    Args:
        config: the dataclass, whose module may postpone annotations or not.
        types: as they are written.
    """
    return tuple(field.name for field in fields(config) if _written(field.type) in types)  # type: ignore[arg-type]


def _written(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def declared_ranges(config: type, options: Mapping[str, Any] | None = None) -> dict[str, Range]:
    """Return the range of each number of a config that says it when it refuses what is none; see `require_range`.

    Args:
        config: a dataclass that checks its fields.
        options: what else it needs to be made.
    """
    found = {}
    for name in number_fields(config):
        try:
            config(**{**(options or {}), name: float("nan")})
        except InvalidInput as refusal:
            declared = _DECLARED.search(str(refusal))
            if declared and str(refusal).startswith(f"{name}="):
                integer = declared["kind"] == "an integer"
                low, high = (
                    int(end) if integer and not end.endswith("inf") else float(end)  # 2**63 - 1 is no float
                    for end in (declared["low"], declared["high"])
                )
                high_open = str(refusal).endswith(")") and high != math.inf
                found[name] = Range(low, high, declared["left"] == "(", high_open, integer)
    return found
