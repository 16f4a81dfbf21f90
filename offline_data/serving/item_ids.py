"""What a source calls its items, and which item an id is of: '00123' is not 123."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np

from recenv.errors import InvalidInput, unknown_name
from recenv.items.item_columns import texts

Unknown = Literal["refuse", "skip"]
"""What is done with ids that no item has, for example of items that are new or no longer sold."""
_NAMED: Final = 3
"""Ids that a message names at most."""


class ItemIds:
    """The ids of N items, to look others up among them.

    Args:
        values: [N] int64 or text, different ones; None: an item is called by its index.
        num_items: N.

    Raises:
        InvalidInput: for another number of ids, ids of another kind, or one that two items have.
    """

    def __init__(self, values: np.ndarray | None, num_items: int) -> None:
        self.values = np.arange(num_items) if values is None else texts("source_id", values, num_items)
        # The larger part of a lookup's memory, which ids in order do without, as those of an imported log.
        increases = values is None or (self.values[1:] > self.values[:-1]).all()
        self._order = None if increases else np.argsort(self.values)
        self._ordered = self.values if self._order is None else self.values[self._order]

    def places(self, ids: Sequence[Any], unknown: Unknown, what: str) -> np.ndarray:
        """Return the indices of ids, [n] int64; of unknown ones, unless they are refused, -1.

        Args:
            ids: texts, or whole numbers where the items' are such.
            unknown: see `Unknown`.
            what: is called so, for messages.

        Raises:
            InvalidInput: for an id of another type than the items', or an unknown one.
        """
        if unknown not in ("refuse", "skip"):
            raise unknown_name("way with unknown ids", unknown, ("refuse", "skip"))
        if self.values.dtype.kind == "i":
            limits = np.iinfo(np.int64)
            asked = [limits.min <= _whole(each, what) <= limits.max for each in ids]
        else:
            width = self.values.dtype.itemsize // 4
            # NumPy's texts are no longer than the longest, and end before a NUL.
            asked = [len(_text(each, what)) <= width and "\0" not in each for each in ids]
        values = np.array([each for each, fits in zip(ids, asked, strict=True) if fits], self.values.dtype)
        place = np.searchsorted(self._ordered, values)
        place[place == len(self._ordered)] = 0
        known = self._ordered[place] == values
        found = np.full(len(ids), -1)
        found[np.array(asked, np.bool_)] = np.where(known, place if self._order is None else self._order[place], -1)
        lacking = np.flatnonzero(found < 0)
        if unknown == "refuse" and len(lacking):
            named = ", ".join(repr(ids[index]) for index in lacking[:_NAMED])
            raise InvalidInput(
                f"{what} {named}{', ...' if len(lacking) > _NAMED else ''}: the policy knows no item of "
                f"{'this id' if len(lacking) == 1 else 'these ids'} among its {len(self.values):,}; mend it, or pass "
                "unknown='skip' to leave such out"
            )
        return found


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise InvalidInput(
            f"{what} {value!r} is of type {type(value).__name__}, and the items' ids are texts; pass one, as the log "
            "has it"
        )
    return value


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise InvalidInput(
            f"{what} {value!r} is of type {type(value).__name__}, and the items' ids are whole numbers; pass one"
        )
    return int(value)
