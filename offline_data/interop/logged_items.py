"""Columns of a log that tell of its items, each the same wherever the item stands: a category, a brand, a price."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from offline_data.interop.interactions import Ids
from offline_data.interop.tables import Table
from recenv.errors import InvalidInput


def item_columns(table: Table, columns: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Return what a log tells of its items, [items] by name: numbers, NaN where missing, or texts, None where missing.

    Args:
        table: with the roles `item_id` and `item.NAME`.
        columns: the column of each name.

    Raises:
        InvalidInput: for a value that differs between two rows of one item.
    """
    item: Ids = table.values["item_id"]
    out = {}
    for name, column in columns.items():
        held: Any = table.values[f"item.{name}"]
        texts = isinstance(held, Ids)
        values = held.codes if texts else held
        given = np.flatnonzero(values >= 0 if texts else ~np.isnan(values))[::-1]
        first = np.full(len(item.source), -1)
        first[item.codes[given]] = given  # of several, the last to be written is the first of all
        told = values[first[item.codes[given]]]
        other = given[values[given] != told]
        if len(other):
            at, before = int(other.min()), int(first[item.codes[other.min()]])
            shown = held.source[values[[at, before]]] if texts else values[[at, before]]
            raise InvalidInput(
                f"{table.place(at)}: {column}={shown[0]} of item {item.source[item.codes[at]]}, which has {shown[1]} "
                f"at {table.place(before).rpartition(': ')[2]}; item.{name} is the same wherever an item stands: if it "
                f"is of the moment and the same in all of a step, map context.{name}={column}, else leave it out"
            )
        if texts:
            names: Any = np.array([*map(str, held.source), None], object)
            out[name] = names[np.where(first >= 0, values[first], -1)]
        else:
            out[name] = np.where(first >= 0, values[first], np.nan)
    return out
