"""What each step of a foreign log could show: its candidates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from offline_data.interop.arrangement import Arrangement
from offline_data.interop.interactions import Ids, Interactions, Lists
from offline_data.interop.lists import delimiter_in
from offline_data.interop.table_ids import alike
from recenv.errors import InvalidInput
from recenv.memory import require_memory

_ROWS_AT_ONCE = 1 << 16


def joined(item: Ids, offered: Lists, own: Mapping[str, np.ndarray]) -> tuple[Ids, Lists, dict[str, np.ndarray]]:
    """Return the ids of shown items and, after them, of all candidates, over one source; and the lists of these places.

    Args:
        item: of each entry, n of them.
        offered: the candidates, `Ids`; a missing one is left out.
        own: columns of the shown items, by name.

    Returns:
        Ids [n + m], the lists, whose values are still to be taken from the last m, and the columns of all items, which
        lack what was never shown.
    """
    shown, given = alike(item, offered.values)
    known = given.codes >= 0
    source = np.union1d(shown.source, given.source[np.unique(given.codes[known])])
    codes = [
        np.searchsorted(source, each.source)[of] for each, of in ((shown, shown.codes), (given, given.codes[known]))
    ]
    offsets = np.append(0, np.cumsum(known))[offered.offsets]
    place = np.searchsorted(source, item.source.astype(source.dtype))
    columns = {}
    for name, values in own.items():
        columns[name] = np.full(len(source), None if values.dtype == object else np.nan, values.dtype)
        columns[name][place] = values
    return Ids(np.concatenate(codes), source), Lists(offered.index, offsets, None), columns


def step_candidates(log: Interactions, arrangement: Arrangement) -> np.ndarray:
    """Return the candidates of each row, [N, C] int32 in the order of their ids, -1 for none.

    Args:
        log: what was read, with candidates.
        arrangement: of it.

    Raises:
        InvalidInput: where an item was shown that is none of its step's candidates, they differ within a step, or
            there are more than memory holds.
    """
    offered = log.candidates
    assert offered is not None
    most = int(np.diff(offered.offsets).max(initial=0))
    size = 8 * most * (len(offered.offsets) + len(arrangement.first))
    require_memory(
        size, f"{most:,} candidates a step", "leave `candidates` out of the map if each step offers any item"
    )
    table = _table(offered, len(log.item.source))
    first = arrangement.steps(offered.index)
    told = np.empty(len(offered.index), np.int64)
    told[arrangement.order] = first[arrangement.row]
    for start in range(0, len(told), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        own, steps = table[offered.index[part]], table[told[part]]
        other = (own != steps).any(axis=1)
        if other.any():
            raise InvalidInput(
                f"{log.place(start + int(np.argmax(other)))}: its candidates are not those of its step's first item; "
                "they are of the step: give each of its rows the same ones"
            )
        outside = (own != log.item.codes[part, None]).all(axis=1)
        if outside.any():
            entry = start + int(np.argmax(outside))
            raise InvalidInput(
                f"{log.place(entry)}: item {log.item.source[log.item.codes[entry]]} was shown, and is none of its "
                f"step's {int((own[entry - start] >= 0).sum())} candidates; add it to them, or leave out the row"
                f"{_unsplit(log, own[entry - start])}"
            )
    return table[first]


def _unsplit(log: Interactions, own: np.ndarray) -> str:
    """Return how to split a step's only candidate if it may be several, in words; else nothing."""
    only = str(log.item.source[own[0]]) if (own >= 0).sum() == 1 else ""
    mark = delimiter_in(only)
    return f"; if {only} is a list of them, say --list-delimiter {mark!r}" if mark else ""


def _table(offered: Lists, num_items: int) -> np.ndarray:
    """Return the lists [L, C] int32 in increasing order, each item once, -1 behind them."""
    lengths = np.diff(offered.offsets)
    table = np.full((len(lengths), int(lengths.max(initial=0))), num_items, np.int32)
    row = np.repeat(np.arange(len(lengths)), lengths)
    table[row, np.arange(len(row)) - offered.offsets[:-1][row]] = offered.values
    table.sort(axis=1)
    again = np.diff(table, axis=1) == 0
    if again.any():
        table[:, 1:][again] = num_items
        table.sort(axis=1)
    table = table[:, : int((table < num_items).sum(axis=1).max(initial=0))]
    table[table == num_items] = -1
    return np.ascontiguousarray(table)
