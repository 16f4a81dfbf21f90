"""The columns that a map names, read from a table: one value an entry, or lists of a slate's values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from offline_data.interop.interactions import Lists, joint_codes
from offline_data.interop.lists import delimiter_in, is_bracketed, is_list, lists_of_columns
from offline_data.interop.table_files import file_types, first_text, part_columns
from offline_data.interop.table_parts import Part, parts_of
from offline_data.interop.tables import Kind, Missing, Progress, Table, TimeFormat, read_columns
from offline_data.interop.text_format import TextFormat
from recenv.errors import InvalidInput, require

PROBABILITIES: Final = ("propensity", "log_propensity", "prefix_log_prob", "behavior_log_prob")
CONTEXTS: Final = ("context", "category")
CLICKED: Final = ("clicked_position", "clicked_item")
_LISTED: Final[Mapping[str, Kind]] = {
    "item_id": "ids",
    **dict.fromkeys(("feedback", "item_reward", "price", "propensity", "log_propensity", "prefix_log_prob"), "numbers"),
}
_ONE: Final[Mapping[Kind, Kind]] = {"ids": "id", "numbers": "number"}

Roles = Mapping[str, tuple[str, Kind]]


def read_mapped(
    path: Path, roles: Roles, text: TextFormat, times: TimeFormat, missing: Missing, progress: Progress | None
) -> Table:
    """Return the values of each role; a column of several kinds is read once a kind.

    Where rows hold whole slates, what is of their items comes as `Lists`.

    Args:
        path: of the table.
        roles: column and kind of each; a column that is none of the table's may be several, between commas.
        text: how it is written if it is CSV.
        times: how times are written.
        missing: what is done with rows that lack what they need.
        progress: called with the number of rows of each batch.

    Raises:
        InvalidInput: for a file, column or value that cannot be read, or what is missing.
    """
    first = parts_of(path)[0]
    there = part_columns(first, text)
    by_position = (*_LISTED, *CLICKED, "candidates")
    several = {
        role: _several(column, there) if role.partition(".")[0] in by_position else [column]
        for role, (column, _) in roles.items()
    }
    item, sample = roles["item_id"][0], ""
    listed = text.list_delimiter is not None or len(several["item_id"]) > 1
    listed = listed or any(role.partition(".")[0] in CLICKED for role in roles)
    if text.list_delimiter is None and item in there and item not in first.held:
        held = file_types(first.file, [item], text).get(item)
        sample = "" if is_list(held) else first_text(first, item, text)
        listed = listed or is_list(held) or is_bracketed(sample)
    wanted: dict[str, list[tuple[str, Kind]]] = {}
    for role, names in several.items():
        kind: Kind = _LISTED[of] if listed and (of := role.partition(".")[0]) in _LISTED else roles[role][1]
        each: Kind = _ONE[kind] if len(names) > 1 and kind in _ONE else kind
        wanted[role] = [(column, each) for column in names]
    try:
        table = _read(path, wanted, text, times, progress)
    except InvalidInput as error:
        _require_no_events(path, first, roles, there, text)
        if listed or not (mark := delimiter_in(sample)):
            raise
        raise InvalidInput(f"{error}; if {item}={sample} is a whole slate, say --list-delimiter {mark!r}") from error
    clicked = any(role.partition(".")[0] in CLICKED for role in roles)
    if (mark := delimiter_in(sample, "|;, " if clicked else "|;,")) and not is_bracketed(sample):
        told = f"{item} holds items such as {sample!r}; if that is a whole slate, say --list-delimiter {mark!r}"
        require(not clicked, f"{path}: {told}")
        table.remarks.append(told)
    if missing == "refuse":
        _require_rewards(table, roles)
    else:
        _doubt_slates(table, [role for role in roles if role in PROBABILITIES])
    table.leave_out(missing)
    return table


def _require_no_events(path: Path, first: Part, roles: Roles, there: Sequence[str], text: TextFormat) -> None:
    """Refuse a text as feedback, with the way to map it."""
    for role, (column, _) in roles.items():
        if role.startswith("feedback.") and column in there and column not in first.held:
            sample = first_text(first, column, text)
            require(
                not re.fullmatch(r"[^\W\d][\w /-]*", sample) or sample.lower() in ("true", "false", "nan", "inf"),
                f"{path}, column {column}: {sample!r} is no number in [0, 1]; if it names an event, leave {role} out "
                f"and map event={column}, and the events that are answers, as in event.click={sample}",
            )


def _require_rewards(table: Table, roles: Roles) -> None:
    """Refuse rows without a reward of their item, with the way to say that nothing was earned there."""
    for role, (column, _) in roles.items():
        if role.startswith("item_reward.") and column in table.gaps:
            gap = table.gaps[column]
            channels = [other.partition(".")[2] for other in roles if other.partition(".")[0] in ("feedback", *CLICKED)]
            channel = next(iter(channels), "CHANNEL")
            raise InvalidInput(
                f"{table.place(int(np.argmax(gap)))} has no {column}, which is missing in {int(gap.sum()):,} of "
                f"{len(gap):,} rows; if nothing was earned there, map {role}={column}@{channel}, the column where that "
                "channel answered; else mend the row, or leave such out with --missing drop"
            )


def _several(column: str, there: Sequence[str]) -> list[str]:
    """Return the columns that a map's word means: itself, or those between its commas."""
    names = [name.strip() for name in column.split(",")]
    return names if column not in there and len(names) > 1 and all(names) else [column]


def _read(
    file: Path,
    roles: Mapping[str, Sequence[tuple[str, Kind]]],
    text: TextFormat,
    times: TimeFormat,
    progress: Progress | None,
) -> Table:
    readings: list[dict[str, Kind]] = [{}]
    for column, kind in dict.fromkeys(pair for pairs in roles.values() for pair in pairs):
        free = [reading for reading in readings if column not in reading]
        if not free:
            free = [{}]
            readings += free
        free[0][column] = kind
    may_lack = (*PROBABILITIES, *CONTEXTS, *CLICKED, "price", "item")
    needing = [role for role in roles if role.partition(".")[0] not in may_lack]
    needed = {column for role in needing for column, _ in roles[role]}
    both, held, gaps = Table([]), {}, {}
    for reading in readings:
        read = read_columns([file], reading, text=text, times=times, progress=None if both.counts else progress)
        both.counts = read.counts
        held |= {(column, kind): read.values[column] for column, kind in reading.items()}
        gaps |= {column: gap for column, gap in read.gaps.items() if column in needed}
        both.dated |= read.dated
        both.remarks += [remark for remark in read.remarks if remark not in both.remarks]
    for role, pairs in roles.items():
        columns = [held[pair] for pair in pairs]
        both.values[role] = columns[0] if len(columns) == 1 else lists_of_columns(columns)
        if len(columns) > 1:  # a row lacks a slate that has no item at all
            empty = [gaps.pop(column, None) for column, _ in pairs]
            if role == "item_id" and all(gap is not None for gap in empty) and np.all(empty, axis=0).any():
                gaps[", ".join(column for column, _ in pairs)] = np.all(empty, axis=0)
    both.gaps = gaps
    return both


def _doubt_slates(table: Table, roles: Sequence[str]) -> None:
    """Empty the propensities of slates that are to lose a row: what is left was not shown with them."""
    gaps, step = list(table.gaps.values()), table.values.get("step")
    if not gaps or not roles or step is None or isinstance(table.values["item_id"], Lists):
        return
    lost = np.any(gaps, axis=0)
    keys = [table.values["user_id"], table.values.get("session_id"), step]
    slate = joint_codes(*(key for key in keys if key is not None))
    doubtful = np.isin(slate, slate[lost])
    for role in roles:
        table.values[role] = np.where(doubtful, np.nan, table.values[role])
    count = int((doubtful & ~lost).sum())
    if count:
        table.remarks.append(f"{count:,} rows stand in slates of which rows are left out: their propensities are too")
