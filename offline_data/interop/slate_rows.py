"""Rows that hold a whole slate each, made into entries of one shown item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from offline_data.interop.interactions import Ids, Lists, entries_of, joint_codes
from offline_data.interop.mapped_columns import CLICKED, PROBABILITIES
from offline_data.interop.table_ids import alike
from offline_data.interop.tables import Table
from recenv.errors import InvalidInput, require

_OF_ITEMS = ("propensity", "log_propensity")


def spread(
    table: Table, columns: Mapping[str, str], first_position: int | None
) -> tuple[Table, Literal["slate"] | None]:
    """Return a table of one shown item an entry, of one whose rows hold slates; and what a propensity is of, if told.

    A row is a step; the place in its list is the position, and a place without an item is empty. Positions that were
    clicked, and items that were, become feedback.

    Args:
        table: read by `read_mapped`, with the slates as `Lists`.
        columns: the column of each role, for messages.
        first_position: what the first clicked position is called; None for what the positions themselves say.

    Raises:
        InvalidInput: for lists that are not as long as their slate, or a click that is not in its slate.
    """
    slates: Lists = table.values["item_id"]
    lengths = slates.lengths()
    row = np.repeat(np.arange(len(lengths)), lengths)
    starts = np.cumsum(lengths) - lengths
    item: Ids = slates.flat()
    wide = len(lengths) > 0 and int(lengths.max()) > 1
    require(
        not wide or "event" not in table.values,
        f"{columns.get('event')} is mapped as event, and {columns['item_id']} holds whole slates; map "
        "clicked_position, clicked_item or feedback",
    )
    clicked = [role for role in table.values if role.partition(".")[0] in CLICKED]
    repeats = _repeated(table) if wide else ()
    values: dict[str, Any] = {}
    for role, held in table.values.items():
        if role in clicked or role == "item_id":
            continue
        if not isinstance(held, Lists) or role == "candidates":
            values[role] = entries_of(held, row)
        else:
            values[role] = _by_position(role, columns[role], held, lengths, row, table.place)
    remarks = list(table.remarks)
    if wide:
        require(
            "position" not in values,
            f"{columns.get('position')} is mapped as position, and {columns['item_id']} holds whole slates, whose "
            "order is their positions; leave `position` out of the map",
        )
        values["position"] = np.arange(len(row)) - starts[row]
        if "step" in values:
            _require_own_steps(table, columns["step"], repeats)
        else:
            values["step"] = _order(table, len(lengths), repeats)[row]
        least = "" if lengths.min() == lengths.max() else f"{lengths.min():,} to "
        remarks.append(f"each row is a slate, of {least}{lengths.max():,} items")
    for role in reversed(clicked):  # the click is the first of all channels
        kind, _, channel = role.partition(".")
        if kind == "clicked_position":
            clicks = table.values[role], columns[role]
            first = _first(clicks[0], lengths) if first_position is None else first_position
            if first_position is None:
                remarks.append(f"clicked positions count from {first}")
            place = _clicked_places(*clicks, first, lengths, starts, table.place)
            if first_position is None and first == 0 and len(np.unique(row[place])) == len(lengths):
                remarks[-1] += ", and every slate has a click; if 0 is no click, say --first-position 1"
        else:
            place = _places_of_items(table.values[role], item, row, columns[role], table.place)
        answer = np.zeros(len(row), np.float32)
        answer[place] = 1.0
        values = {f"feedback.{channel}": answer, **values}
        hole = place[item.codes[place] < 0]
        if len(hole):
            raise InvalidInput(
                f"{table.place(int(row[hole[0]]))}: {columns[role]} is where the slate has no item; mend it"
            )
    values["item_id"] = item
    shown = item.codes >= 0
    if not shown.all():
        values = {role: entries_of(held, np.flatnonzero(shown)) for role, held in values.items()}
        row = row[shown]
    used, codes = np.unique(values["item_id"].codes, return_inverse=True)
    values["item_id"] = Ids(codes.reshape(-1), item.source[used])
    rows = row if table.rows is None else table.rows[row]
    one = wide and any(table.values[role].lengths().max(initial=0) <= 1 for role in _OF_ITEMS if role in values)
    return replace(table, values=values, rows=rows, remarks=remarks), "slate" if one else None


def _repeated(table: Table) -> list[tuple[int, int]]:
    """Return the rows that equal an earlier one in all that was read, at the same time, each with the one it equals.

    They become entries of one step, where repeated entries are found.
    """
    if "timestamp" not in table.values:
        return []
    plain = [
        held.codes if isinstance(held, Ids) else held for held in table.values.values() if not isinstance(held, Lists)
    ]
    lists = [held for held in table.values.values() if isinstance(held, Lists)]
    key = joint_codes(*(each if each.dtype.kind == "i" else Ids.of(each).codes for each in plain))
    several = np.flatnonzero(np.bincount(key)[key] > 1)
    seen: dict[tuple[Any, ...], int] = {}
    pairs = []
    for row in several.tolist():
        content = (int(key[row]), *(_content(held.only(np.array([row]))) for held in lists))
        if (before := seen.setdefault(content, row)) != row:
            pairs.append((row, before))
            for held in lists:  # equal lists are one
                held.index[row] = held.index[before]
    return pairs


def _content(lists: Lists) -> bytes:
    values = lists.flat()
    return (values.codes if isinstance(values, Ids) else values).tobytes()


def _require_own_steps(table: Table, column: str, repeats: Sequence[tuple[int, int]]) -> None:
    """Refuse a step that two rows of a session have; where times cut a user's rows into visits, it may come again."""
    if "timestamp" in table.values and "session_id" not in table.values:
        return
    keys = [table.values[name] for name in ("user_id", "session_id", "step") if name in table.values]
    key = joint_codes(*keys)
    order = np.argsort(key, kind="stable")
    again = np.setdiff1d(order[1:][np.diff(key[order]) == 0], [row for row, _ in repeats])
    if len(again):
        at = int(again.min())
        first = int(np.argmax(key == key[at]))
        raise InvalidInput(
            f"{table.place(at)}: its {column} is that of {table.place(first).rpartition(': ')[2]}, and a row is a "
            "whole slate; map a column that tells them apart, or leave `step` out: rows are then in the order of time, "
            "or of the file"
        )


def _by_position(
    role: str, column: str, held: Lists, lengths: np.ndarray, row: np.ndarray, place: Callable[[int], str]
) -> np.ndarray:
    """Return what lists hold of each shown item; a propensity that is one a row is that of each of its items."""
    counts = held.lengths()
    may_lack = role in PROBABILITIES
    if counts.max(initial=0) <= 1 < lengths.max(initial=0):
        require(role in _OF_ITEMS, f"{column} holds one value for a slate of several items; {_remedy(role, column)}")
        each = np.full(len(counts), np.nan)
        each[counts == 1] = held.flat()
        return each[row]
    wrong = (counts != lengths) & ~((counts == 0) & may_lack)
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InvalidInput(
            f"{place(at)}: {column} holds {counts[at]:,} values and its slate {lengths[at]:,} items; give one each, in "
            "the slate's order"
        )
    out = np.full(len(row), np.nan)
    out[counts[row] > 0] = held.flat()
    return out


def _remedy(role: str, column: str) -> str:
    if role == "prefix_log_prob":
        return f"if it is of the whole slate, map behavior_log_prob={column}"
    name = role.partition(".")[2]
    return (
        f"map clicked_position.{name}, a list of values, or, if it is of the whole step, reward.{name}={column}"
        if role.startswith("feedback")
        else f"map a list of values, or, if it is of the whole step, reward.{name}={column}"
    )


def _order(table: Table, count: int, repeats: Sequence[tuple[int, int]]) -> np.ndarray:
    """Return each row's place in time, or in the file where there are no times; a repeated row's is the first's."""
    times = table.values.get("timestamp")
    order = np.arange(count) if times is None else np.argsort(times, kind="stable")
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    for row, first in repeats:
        rank[row] = rank[first]
    return rank


def _first(clicked: Lists, lengths: np.ndarray) -> int:
    """Return what the first position is called: 1 if the last of a slate is clicked by that, and then 0 is no click."""
    numbers, row = clicked.flat(), np.repeat(np.arange(len(lengths)), clicked.lengths())
    if (numbers == lengths[row]).any():
        return 1
    return 0 if (numbers == 0).any() else 1


def _clicked_places(
    clicked: Lists, column: str, first: int, lengths: np.ndarray, starts: np.ndarray, place: Callable[[int], str]
) -> np.ndarray:
    """Return the entries that were clicked by their positions; NaN, -1, and 0 where 1 is first, are none."""
    numbers, row = clicked.flat(), np.repeat(np.arange(len(lengths)), clicked.lengths())
    none = np.isnan(numbers) | ((numbers < min(first, 1)) & (numbers == np.floor(numbers)))
    numbers, row = numbers[~none], row[~none]
    fine = (numbers == np.floor(numbers)) & (numbers >= first) & (numbers < first + lengths[row])
    if not fine.all():
        at, other = int(np.argmin(fine)), 1 - min(first, 1)
        fits = other <= numbers[at] < other + lengths[row[at]] and numbers[at] == np.floor(numbers[at])
        raise InvalidInput(
            f"{place(row[at])}: {column}={numbers[at]:g} is no position of its slate, which are {first} to "
            f"{first + lengths[row[at]] - 1}; mend it{f', or say --first-position {other}' if fits else ''}; -1 and "
            "empty are no click"
        )
    return starts[row] + numbers.astype(np.int64) - first


def _places_of_items(
    clicked: Lists, item: Ids, row: np.ndarray, column: str, place: Callable[[int], str]
) -> np.ndarray:
    """Return the entries whose items were clicked, the first of a slate that shows one twice."""
    ids: Ids = clicked.flat()
    of_row = np.repeat(np.arange(len(clicked.index)), clicked.lengths())
    given = ids.codes >= 0
    shown, wanted = alike(item, ids.only(given))
    of_row = of_row[given]
    source = np.union1d(shown.source, wanted.source)
    keys = row * len(source) + np.searchsorted(source, shown.source)[shown.codes]
    keys[shown.codes < 0] = -1
    sought = of_row * len(source) + np.searchsorted(source, wanted.source)[wanted.codes]
    order = np.argsort(keys, kind="stable")
    found = np.minimum(np.searchsorted(keys[order], sought), len(keys) - 1)
    wrong = keys[order][found] != sought
    if wrong.any():
        at = int(np.argmax(wrong))
        raise InvalidInput(
            f"{place(of_row[at])}: {column}={wanted.source[wanted.codes[at]]} is no item of its slate; mend it"
        )
    return order[found]
