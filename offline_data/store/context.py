"""The context of a step: what is known of user and moment besides the history, as numbers that a policy reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np

from recenv.errors import InvalidInput, require, unknown_name
from recenv.plain_config import from_plain

MOST_DEVIATIONS: Final = 10.0
"""A number further from its mean is taken for one so far, in standard deviations."""
_WIDEST: Final = 65_536


@dataclass(frozen=True)
class ContextColumn:
    """How one source column of a context is encoded; a raw value is encoded by it again when a policy serves.

    A number is standardised, and cut at ten standard deviations; where the log lacks some, a second coordinate is 1
    for a missing one, whose first is 0. A category is one-hot, its last coordinate for others and missing ones.

    Examples:
        >>> from offline_data import ContextColumn
        >>> ContextColumn("age", "number", mean=30.0, sd=5.0).encode([40.0]).tolist()
        [[2.0]]
        >>> ContextColumn("city", "category", values=("Berlin", "Paris")).encode(["Paris", "Rome", None]).tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]
    """

    name: str
    """What it is called."""
    kind: Literal["number", "category"]
    """A truth is a number, 0 or 1."""
    mean: float = 0.0
    """Of a number, over the steps of the log that it was fitted on."""
    sd: float = 1.0
    """Its standard deviation; 1 of one that is always the same."""
    has_missing: bool = False
    """Of a number: whether the log lacks some."""
    values: tuple[str, ...] = ()
    """Of a category: those that have a coordinate of their own, as text."""

    def __post_init__(self) -> None:
        require(isinstance(self.name, str) and self.name != "", f"name={self.name!r} of a context is no text; give one")
        if self.kind not in ("number", "category"):
            raise unknown_name("kind of context", self.kind, ("number", "category"))
        numbers = all(type(value) in (int, float) and math.isfinite(value) for value in (self.mean, self.sd))
        require(numbers and self.sd > 0.0, f"mean={self.mean!r}, sd={self.sd!r}: give finite numbers, sd above 0")
        require(isinstance(self.has_missing, bool), f"has_missing={self.has_missing!r}; give True or False")
        texts = isinstance(self.values, tuple) and all(isinstance(value, str) for value in self.values)
        require(
            texts and len(set(self.values)) == len(self.values) and len(self.values) < _WIDEST,
            f"values of {self.name} are no tuple of different texts; give one",
        )

    @property
    def width(self) -> int:
        """Coordinates that it has."""
        return 1 + self.has_missing if self.kind == "number" else len(self.values) + 1

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Return raw values as coordinates, [n, width] float32, finite whatever they are.

        Args:
            values: [n] numbers, of which NaN and None are missing; or categories, as text or as whole numbers.

        Raises:
            InvalidInput: for a text where a number is expected.
        """
        if self.kind == "category":
            place: dict[str | None, int] = {value: index for index, value in enumerate(self.values)}
            out = np.zeros((len(values), self.width), np.float32)
            out[np.arange(len(values)), [place.get(category(value), -1) for value in values]] = 1.0
            return out
        try:
            numbers = np.asarray(values, np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"context {self.name} is a number, and one of {values!r:.100} is not; pass one"
            ) from error
        missing = np.isnan(numbers)
        # Halves, whose difference does not overflow.
        with np.errstate(over="ignore"):
            scaled = (0.5 * numbers - 0.5 * self.mean) / (0.5 * self.sd)
        scaled = np.where(missing, 0.0, np.clip(scaled, -MOST_DEVIATIONS, MOST_DEVIATIONS))
        return np.stack([scaled, missing][: self.width], axis=1).astype(np.float32)

    def unlike(self, encoded: np.ndarray) -> np.ndarray:
        """Return which rows [n, width] are no value of this column, [n] bool."""
        if self.kind == "category":
            return (encoded.sum(axis=1) != 1.0) | ((encoded != 0.0) & (encoded != 1.0)).any(axis=1)
        wrong = ~(np.abs(encoded[:, 0]) <= MOST_DEVIATIONS)
        if self.has_missing:
            wrong |= (encoded[:, 1] != 0.0) & ((encoded[:, 1] != 1.0) | (encoded[:, 0] != 0.0))
        return wrong


def category(value: Any) -> str | None:
    """Return a category as the text that it is kept as; a floating number that is whole as the whole number.

    Args:
        value: text or a number; None and NaN are missing.
    """
    if value is None or value != value:
        return None
    whole = isinstance(value, float | np.floating) and float(value).is_integer()
    return str(int(value)) if whole else str(value)


def context_width(columns: Iterable[ContextColumn]) -> int:
    """Return C, the coordinates of all columns together."""
    return sum(column.width for column in columns)


def encode_context(columns: Sequence[ContextColumn], values: Mapping[str, Any]) -> np.ndarray:
    """Return the raw context of one moment as an observation has it, [C] float32.

    Args:
        columns: of a log or a `SessionSpace`.
        values: by name; what lacks, or is None, is missing.

    Raises:
        InvalidInput: for a name that no column has, or a text where a number is expected.

    Examples:
        >>> from offline_data import ContextColumn, encode_context
        >>> encode_context([ContextColumn("age", "number", mean=30.0, sd=5.0)], {"age": 35})
        array([1.], dtype=float32)
    """
    names = [column.name for column in columns]
    for name in values:
        if name not in names:
            raise unknown_name("context", name, names)
    parts = [column.encode([values.get(column.name)])[0] for column in columns]
    return np.concatenate([np.empty(0, np.float32), *parts])


def context_columns(plain: Any) -> tuple[ContextColumn, ...]:
    """Return the columns that a manifest or a policy's file tells of.

    Args:
        plain: a list of what `to_plain` made of them.

    Raises:
        InvalidInput: for what is no such list.
    """
    require(isinstance(plain, list) and all(isinstance(each, dict) for each in plain), "context is no list of objects")
    try:
        columns = tuple(from_plain(ContextColumn, each) for each in plain)
    except (TypeError, OverflowError) as error:
        raise InvalidInput(f"context has a column that is none ({error})") from error
    names = {column.name for column in columns}
    require(len(names) == len(columns), "context has two columns of one name")
    require(context_width(columns) <= _WIDEST, f"context has more than {_WIDEST:,} coordinates")
    return columns
