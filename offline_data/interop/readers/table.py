"""Tables of one's own, through a map of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from offline_data.families import READERS
from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.readers.base import LogReader, Progress
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require
from recenv.json_text import read_json


@READERS.register("table")
@dataclass(frozen=True, kw_only=True)
class TableReader(LogReader):
    """Read a CSV or Parquet log, one entry a shown item, through a map of its columns."""

    map: tuple[str, ...]
    """NAME=COLUMN each, or a JSON file of them. Names: user_id, item_id, session_id, step (entries of one step are a
    slate), position, timestamp, propensity, prefix_log_prob, behavior_log_prob, terminated, truncated, feedback.CHANNEL
    in [0, 1], the click first, and reward or reward.COMPONENT. As in `--map user_id=uid item_id=vid timestamp=ts
    feedback.click=clicked`."""
    items: Path | None = None
    """CSV or Parquet file of the items, by the same id: its columns of numbers are kept; embedding_0, embedding_1, ...
    (or a list column `embeddings`) is what policies tell items apart by."""
    time_unit: Literal["seconds", "milliseconds"] = "seconds"
    """Of timestamps that are numbers."""

    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """See `import_table`; `path` is a file, plain or compressed."""
        columns = ColumnMap.of(_roles(self.map))
        options: dict[str, Any] = {"items": self.items, "time_unit": self.time_unit, "options": self.options}
        return import_table(self.path, out, columns, **options, progress=progress)


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
