"""Tables of one's own, through a map of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from offline_data.families import READERS
from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.readers.base import LogReader, Progress
from offline_data.interop.times import TimeUnit
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require
from recenv.files.json_text import read_json


@READERS.register("table")
@dataclass(frozen=True, kw_only=True)
class TableReader(LogReader):
    """Read any table, one row a shown item or a slate, through a map of its columns.

    `path` is a file of CSV, JSON lines or Parquet, plain or packed, a folder of parts as Spark writes them, whose
    folders `date=2024-05-01` are a column, or a pattern between quotes, as 'shop/*.csv'. So is `items`.
    """

    map: tuple[str, ...]
    """NAME=COLUMN each, or a JSON file of them, as in `--map user_id=uid item_id=vid timestamp=ts
    feedback.click=is_click`. Of an entry: user_id, item_id, session_id, step (entries of one step are a slate),
    position, timestamp, propensity or log_propensity, prefix_log_prob, behavior_log_prob, terminated, truncated.
    Answers: feedback.CHANNEL in [0, 1], the click first; or event, a column of names, and event.CHANNEL=NAME of each
    that is an answer, as in event=type event.click=cart; without any, each entry is a click. Rewards: reward or
    reward.COMPONENT of the step; item_reward or item_reward.COMPONENT of the item, as revenue is, whose sum over the
    slate is the step's, and COLUMN@CHANNEL is the column (of the log or the items) times that channel's answer, as in
    item_reward.revenue=price@click; `--reward-weights` weigh these and feedback. Read by policies: context.NAME, what
    is known of user and moment (a number, a truth, a text), and category.NAME, labels that are numbers; item.NAME,
    what is the same wherever an item stands, as in item.brand=brand; candidates, a list of what the step offers.
    Where item_id holds a whole slate, as a list or as item_id=item_1,item_2,item_3: clicked_position or clicked_item
    (.CHANNEL for another), and feedback or propensity as lists."""
    items: Path | None = None
    """Table of the items, by the same id: its columns of numbers are kept; embedding_0, embedding_1, ... (or a list
    column `embeddings`) is what policies tell items apart by, without them what is made of the other columns."""
    time_unit: TimeUnit = "seconds"
    """Of timestamps that are numbers, since 1970."""
    time_format: str | None = None
    """Of timestamps that spell a date otherwise than ISO 8601 does, as `%Y%m%d` or `%d/%m/%Y %H:%M`; without a time
    zone (%z) they are UTC."""
    delimiter: str = ","
    """Between the columns of CSV files, one character, as ';'."""
    encoding: str = "utf-8"
    """Of CSV files, as latin-1, cp1252 or utf-16."""
    missing: Literal["refuse", "drop"] = "refuse"
    """What is done with rows that lack a mapped value (empty, NULL, NaN, None, NA): refused, or left out and counted. A
    propensity may be missing."""
    first_position: int | None = None
    """What the first position of a slate is called; None for 0 where the log has a 0, and else 1."""
    columns: tuple[str, ...] = ()
    """Names of all columns, of CSV files without a header."""
    item_columns: tuple[str, ...] = ()
    """The same of the file of items."""
    item_delimiter: str | None = None
    """Of the file of items, where it is another than the log's."""
    item_encoding: str | None = None
    """Likewise."""
    decimal: str = "."
    """Before the fraction of a number in CSV files: '.' or ','."""
    list_delimiter: str | None = None
    """Between the values of a list that text writes without brackets, as '|': a whole slate in item_id, candidates,
    feedback or propensities by position."""

    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """See `import_table`."""
        columns = ColumnMap.of(_roles(self.map))
        names = {"columns": "header", "item_columns": "item_header"}
        own = {
            names.get(each.name, each.name): getattr(self, each.name)
            for each in fields(self)
            if each.name not in ("path", "map")
        }
        return import_table(self.path, out, columns, **own, progress=progress)


def _roles(words: Sequence[str]) -> dict[str, Any]:
    """Return the roles that the words after `--map` mean."""
    if len(words) == 1 and "=" not in words[0]:
        require(Path(words[0]).is_file(), f"--map {words[0]} is neither NAME=COLUMN nor a file; see --help")
        roles = read_json(Path(words[0]), f"--map {words[0]}", "write NAME=COLUMN, or mend the file")
        require(isinstance(roles, dict), f"--map {words[0]} holds no object; write one of NAME: COLUMN")
        return roles
    roles = {}
    for word in words:
        name, equals, column = word.partition("=")
        require(equals != "", f"--map {word!r} has no '='; write NAME=COLUMN, as in item_id=vid")
        require(name not in roles, f"--map gives {name} twice; leave one of them out")
        roles[name] = column
    return roles
