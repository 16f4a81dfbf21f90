"""Logs as Parquet files, for pandas, polars, DuckDB and the like.

```
interactions.parquet   one row a shown item
sessions.parquet       one row a session, by session_id
items.parquet          one row an item, by item_id
```
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from offline_data.store.dataset import LoggedDataset
from recenv.files.atomic_files import new_folder

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_AT_ONCE: Final = 1 << 17
BATCH_BYTES: Final = 1 << 26
_STEP_COLUMNS: Final = ("terminated", "truncated", "behavior_log_prob", "timestamp", "day", "session_number", "proto")
_OWN_NAMES: Final = frozenset(
    ("session_id", "step", "position", "item_id", "user_id", "reward", "prefix_log_prob", *_STEP_COLUMNS)
)


def export_parquet(dataset: LoggedDataset, out: str | Path, *, progress: Callable[[int], object] | None = None) -> Path:
    """Write a log as Parquet files to a new folder, and return the folder.

    Memory does not grow with the log. `interactions.parquet` has, for each shown item: `session_id`, `step`, `position`
    (from 0), `item_id`, `user_id`; the item's feedback by channel, as `feedback_NAME` where that is a name of ours; of
    its step, repeated on each of its items, `reward` (scalar), `reward_NAME` of each component, `terminated`,
    `truncated`, `behavior_log_prob` (of the whole slate, nats, empty where missing) and, where the log has them,
    `timestamp`, `day`, `session_number`, `proto`; and `prefix_log_prob`, of the slate up to the item. The manifest is
    in the file's metadata, under `recsession`.

    Args:
        dataset: the log.
        out: the folder, which is not there yet.
        progress: called with the number of steps of each batch.

    Raises:
        InvalidInput: if `out` exists or cannot be written, or the log contradicts itself.
    """
    from pyarrow import parquet

    out = Path(out)
    dataset.require_sound()
    manifest = {name: value for name, value in dataset.manifest.items() if name != "schema"}
    metadata = {b"recsession": json.dumps(manifest, sort_keys=True).encode()}
    with new_folder(out) as folder:
        schema = _table(_interactions(dataset, range(0))).schema.with_metadata(metadata)
        with parquet.ParquetWriter(folder / "interactions.parquet", schema, compression="zstd") as writer:
            for rows in _row_ranges(dataset):
                writer.write_table(_table(_interactions(dataset, rows)).cast(schema))
                if progress:
                    progress(len(rows))
        parquet.write_table(_table(_sessions(dataset)), folder / "sessions.parquet", compression="zstd")
        items = {"item_id": np.arange(dataset.num_items, dtype=np.int32)}
        items |= {f"catalog_{name}" if name == "item_id" else name: each for name, each in dataset.catalog.items()}
        parquet.write_table(_table(items), folder / "items.parquet", compression="zstd")
    return out


def _row_ranges(dataset: LoggedDataset) -> Iterator[range]:
    # A proto-action is written with every item of its slate.
    wide = dataset.rows["proto"].shape[1] if "proto" in dataset.rows else 0
    size = max(min(SHOWN_AT_ONCE, BATCH_BYTES // (4 * wide + 128)) // dataset.slate_size, 1)
    return (range(start, min(start + size, dataset.num_rows)) for start in range(0, dataset.num_rows, size))


def _interactions(dataset: LoggedDataset, rows: range) -> dict[str, np.ndarray]:
    span = slice(rows.start, rows.stop)
    row, position = np.nonzero(dataset.rows["shown"][span])
    session = np.asarray(dataset.rows["session_id"][span])[row]
    feedback = dataset.rows["feedback"][span][row, position]
    columns: dict[str, np.ndarray] = {
        "session_id": session,
        "step": dataset.rows["step"][span][row],
        "position": position.astype(np.int32) if dataset.slate_size > 1 else _stood_at(dataset, span, row),
        "item_id": dataset.rows["slate"][span][row, position],
        "user_id": dataset.sessions["user_id"][session],
    }
    for channel, name in enumerate(dataset.manifest["feedback_names"]):
        taken = name in _OWN_NAMES or name.startswith(("reward_", "feedback_"))
        columns[f"feedback_{name}" if taken else name] = feedback[:, channel]
    columns["reward"] = dataset.reward(span)[row]
    for index, name in enumerate(dataset.manifest["reward_names"]):
        columns[f"reward_{name}"] = dataset.rows["reward_vector"][span][row, index]
    columns |= {name: dataset.rows[name][span][row] for name in _STEP_COLUMNS if name in dataset.rows}
    if "prefix_log_prob" in dataset.rows:
        columns["prefix_log_prob"] = dataset.rows["prefix_log_prob"][span][row, position]
    return columns


def _stood_at(dataset: LoggedDataset, span: slice, row: np.ndarray) -> np.ndarray:
    """Return the position of one-item slates: that at which the item stood in the source, if it had several."""
    known = dataset.rows.get("position")
    return np.zeros(len(row), np.int32) if known is None else known[span][row]


def _sessions(dataset: LoggedDataset) -> dict[str, np.ndarray]:
    columns = {name: values for name, values in dataset.sessions.items() if not name.endswith("offsets")}
    sizes = {"num_steps": np.diff(dataset.offsets), "return": dataset.session_returns()}
    return {"session_id": np.arange(dataset.num_sessions), **columns, **sizes}


def _table(columns: dict[str, np.ndarray]) -> pa.Table:
    import pyarrow as pa

    arrays = []
    for name, values in columns.items():
        values = np.ascontiguousarray(values)
        flat = pa.array(values.reshape(-1), from_pandas=name.endswith("_log_prob"))
        arrays.append(flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
    return pa.table(arrays, names=list(columns))
