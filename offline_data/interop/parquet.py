"""Logs as Parquet files, for pandas, polars, DuckDB and the like.

```
interactions.parquet   one row a shown item
steps.parquet          one row a step, by session_id and step
sessions.parquet       one row a session, by session_id
items.parquet          one row an item, by item_id
```
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import SessionBlock, session_blocks
from recenv.files.atomic_files import new_folder

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_AT_ONCE: Final = 1 << 17
BATCH_BYTES: Final = 1 << 26
# Of rows, what the files have under other names, or by item, or not at all.
_OF_ITEMS: Final = ("slate", "shown", "feedback", "item_reward", "prefix_log_prob", "position")
_TOLD: Final = ("session_id", "step", "consumed", "reward_vector", *_OF_ITEMS)
# What feedback may not be called: a name is the same in every file, and a join tells them apart.
_OWN_NAMES: Final = (
    *("session_id", "step", "position", "item_id", "user_id", "reward", "prefix_log_prob", "terminated", "truncated"),
    *("behavior_log_prob", "timestamp", "day", "session_number", "proto", "context", "candidates", "is_rand"),
)


def export_parquet(dataset: LoggedDataset, out: str | Path, *, progress: Callable[[int], object] | None = None) -> Path:
    """Write a log as Parquet files to a new folder, and return the folder.

    Each number stands once, in the file of what it is of, so that a sum over a file is right:

    * `interactions.parquet`, of shown items: `session_id`, `step`, `position` (from 0), `item_id`, `user_id`; the
      item's feedback by channel, as `feedback_NAME` where that is a name of ours; `item_reward_NAME`, rewards of the
      item itself; `prefix_log_prob`, of the slate up to the item, nats; `timestamp`.
    * `steps.parquet`: `session_id`, `step`, `user_id`; `reward` (scalar), `reward_NAME` of each component,
      `terminated`, `truncated`, `behavior_log_prob` of the whole slate (nats, empty where missing) and what else the
      log has of its rows, such as `timestamp`, `day`, `proto`, `context`, `candidates` (-1 for none).
    * `sessions.parquet`: the log's columns of sessions, `num_steps` and `return`.
    * `items.parquet`: the catalogue, by `item_id`.

    Memory does not grow with the log. The manifest is in the metadata of interactions and steps, under `recsession`.

    Args:
        dataset: the log.
        out: the folder, which is not there yet.
        progress: called with the number of steps of each batch.

    Raises:
        InvalidInput: if `out` exists or cannot be written, or the log contradicts itself.
    """
    out = Path(out)
    dataset.require_sound()
    manifest = {name: value for name, value in dataset.manifest.items() if name != "schema"}
    metadata = {b"recsession": json.dumps(manifest, sort_keys=True).encode()}
    with new_folder(out) as folder:
        ranges = _row_ranges(dataset, progress)
        _write(folder / "interactions.parquet", (_interactions(dataset, rows) for rows in ranges), metadata)
        _write(folder / "steps.parquet", (_steps(dataset, rows) for rows in _row_ranges(dataset)), metadata)
        _write(folder / "sessions.parquet", (_sessions(dataset, block) for block in session_blocks(dataset)))
        items = {"item_id": np.arange(dataset.num_items, dtype=np.int32)}
        items |= {f"catalog_{name}" if name == "item_id" else name: each for name, each in dataset.catalog.items()}
        _write(folder / "items.parquet", iter([items]))
    return out


def _write(file: Path, parts: Iterator[dict[str, np.ndarray]], metadata: dict[bytes, bytes] | None = None) -> None:
    """Write parts of a table, one at least, that follow one another."""
    from pyarrow import parquet

    first = _table(next(parts))
    schema = first.schema.with_metadata(metadata)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        for table in chain([first], map(_table, parts)):
            writer.write_table(table.cast(schema))


def _row_ranges(dataset: LoggedDataset, progress: Callable[[int], object] | None = None) -> Iterator[slice]:
    wide = sum(values.nbytes for values in dataset.rows.values()) // dataset.num_rows
    size = max(min(SHOWN_AT_ONCE // dataset.slate_size, BATCH_BYTES // (wide + 128)), 1)
    for start in range(0, dataset.num_rows, size):
        stop = min(start + size, dataset.num_rows)
        yield slice(start, stop)
        if progress:
            progress(stop - start)


def _interactions(dataset: LoggedDataset, span: slice) -> dict[str, np.ndarray]:
    row, position = np.nonzero(dataset.rows["shown"][span])
    session = np.asarray(dataset.rows["session_id"][span])[row]
    columns: dict[str, np.ndarray] = {
        "session_id": session,
        "step": dataset.rows["step"][span][row],
        "position": position.astype(np.int32) if dataset.slate_size > 1 else _stood_at(dataset, span, row),
        "item_id": dataset.rows["slate"][span][row, position],
        "user_id": dataset.sessions["user_id"][session],
    }
    feedback = dataset.rows["feedback"][span][row, position]
    for channel, name in enumerate(dataset.manifest["feedback_names"]):
        taken = name in _OWN_NAMES or name.startswith(("reward_", "item_reward_", "feedback_"))
        columns[f"feedback_{name}" if taken else name] = feedback[:, channel]
    for index, name in enumerate(dataset.manifest["source"].get("item_rewards", ())):
        columns[f"item_reward_{name}"] = dataset.rows["item_reward"][span][row, position, index]
    if "prefix_log_prob" in dataset.rows:
        columns["prefix_log_prob"] = dataset.rows["prefix_log_prob"][span][row, position]
    if "timestamp" in dataset.rows:
        columns["timestamp"] = dataset.rows["timestamp"][span][row]
    return columns


def _steps(dataset: LoggedDataset, span: slice) -> dict[str, np.ndarray]:
    session = np.asarray(dataset.rows["session_id"][span])
    columns = {
        "session_id": session,
        "step": dataset.rows["step"][span],
        "user_id": dataset.sessions["user_id"][session],
        "reward": dataset.reward(span),
    }
    for index, name in enumerate(dataset.manifest["reward_names"]):
        columns[f"reward_{name}"] = dataset.rows["reward_vector"][span][:, index]
    rest = {name: values[span] for name, values in dataset.rows.items() if name not in _TOLD}
    return columns | {f"row_{name}" if name in columns else name: values for name, values in rest.items()}


def _stood_at(dataset: LoggedDataset, span: slice, row: np.ndarray) -> np.ndarray:
    """Return the position of one-item slates: that at which the item stood in the source, if it had several."""
    known = dataset.rows.get("position")
    return np.zeros(len(row), np.int32) if known is None else known[span][row]


def _sessions(dataset: LoggedDataset, block: SessionBlock) -> dict[str, np.ndarray]:
    span = block.sessions
    columns = {name: values[span] for name, values in dataset.sessions.items() if not name.endswith("offsets")}
    sizes = {"num_steps": block.lengths, "return": np.add.reduceat(dataset.reward(block.rows), block.first)}
    return {"session_id": np.arange(span.start, span.stop), **columns, **sizes}


def _table(columns: dict[str, np.ndarray]) -> pa.Table:
    import pyarrow as pa

    arrays = []
    for name, values in columns.items():
        values = np.ascontiguousarray(values)
        flat = pa.array(values.reshape(-1), from_pandas=name.endswith("_log_prob"))
        arrays.append(flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
    return pa.table(arrays, names=list(columns))
