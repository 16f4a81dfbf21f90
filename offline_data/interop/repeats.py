"""Entries of a foreign log that are there twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields

import numpy as np

from offline_data.interop.arrangement import Arrangement
from offline_data.interop.interactions import Ids, Interactions, Lists


def repeated_entries(log: Interactions, arrangement: Arrangement) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries [r] that equal an earlier one in every column that was read, and the first that each equals.

    Args:
        log: what was read.
        arrangement: of it; entries that are equal stand in one step, or are steps at one time.
    """
    none, order, begins = np.empty(0, np.int64), arrangement.order, np.zeros(len(arrangement.order), np.bool_)
    begins[arrangement.first if log.step is not None else arrangement.offsets[:-1]] = True
    if log.step is None and arrangement.time is not None:
        begins[1:] |= np.diff(arrangement.time) != 0
    if begins.all():
        return none, none
    together = np.flatnonzero(~begins | np.append(~begins[1:], False))
    order = order[together]
    key = np.cumsum(begins[together]) * len(log.item.source) + log.item.codes[order]
    if np.diff(np.sort(key)).all():
        return none, none
    by_key = np.argsort(key, kind="stable")
    same = np.diff(key[by_key]) == 0
    candidates = np.sort(order[by_key[np.append(same, False) | np.concatenate([[False], same])]])
    columns = [_bits(values[candidates]) for values in _columns(log)]
    ranked = np.lexsort([candidates, *columns])
    equal = np.all([np.diff(values[ranked]) == 0 for values in columns], axis=0)
    starts = np.concatenate([[True], ~equal])
    first = ranked[np.flatnonzero(starts)][np.cumsum(starts) - 1]
    found = np.argsort(candidates[ranked[~starts]])
    return candidates[ranked[~starts]][found], candidates[first[~starts]][found]


def _columns(log: Interactions) -> Iterator[np.ndarray]:
    for each in fields(log):
        values = getattr(log, each.name)
        of_entries = each.name not in ("catalog", "data_row")
        for column in (values.values() if isinstance(values, Mapping) else [values]) if of_entries else ():
            if isinstance(column, Ids):
                yield column.codes
            elif isinstance(column, Lists):
                yield column.index
            elif isinstance(column, np.ndarray):
                yield column


def _bits(values: np.ndarray) -> np.ndarray:
    """Return values as integers, so that what is missing equals what is missing."""
    return values.astype(np.float64).view(np.int64) if values.dtype.kind == "f" else values
