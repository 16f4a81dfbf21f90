"""Writes a dataset's folder: columns streamed piece by piece, checksummed on the way, renamed into place at the end."""

from __future__ import annotations

import hashlib
import io
import os
import platform
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.store.dataset import LoggedDataset
from offline_data.store.manifest import FORMAT, FORMAT_VERSION
from offline_data.store.sealed_files import json_checksum
from offline_data.store.stored_arrays import KeptEntries, ShiftedOffsets, StoredArray, as_bytes
from recenv.files.atomic_files import make_folder, new_folder, unwritable, write_json

_BYTES_AT_ONCE: Final = 1 << 22

Piece = np.ndarray | StoredArray | ShiftedOffsets | KeptEntries
Pieces = Piece | Sequence[Piece]


def write_dataset(
    path: str | Path, columns: Mapping[str, Pieces], facts: Mapping[str, Any], *, workers: int = 1, sound: bool = False
) -> LoggedDataset:
    """Write a dataset to a folder that is not there yet, and return it.

    Args:
        path: the dataset's folder.
        columns: by name, such as "rows/slate": an array, or pieces of one that follow one another, in memory, memory-
            mapped or stored.
        facts: what the manifest says besides schema, counts of rows and sessions, format and versions.
        workers: columns written at the same time.
        sound: the values agree by the way that they were made, and need not be read for it.

    Raises:
        InvalidInput: if something is at `path`, it cannot be written, or the columns and facts contradict one another.
    """
    with new_folder(Path(path)) as folder:
        fill_folder(folder, columns, facts, workers=workers)
        log = LoggedDataset.open(folder)
        if not sound:
            log.require_sound()
    return LoggedDataset.open(path)


def fill_folder(
    folder: Path, columns: Mapping[str, Pieces], facts: Mapping[str, Any], *, workers: int = 1
) -> dict[str, Any]:
    """Write columns, `manifest.json` and `run.json` to a folder, emptied first, and return the manifest.

    See `write_dataset`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    names = sorted(columns)
    for parent in {(folder / name).parent for name in names}:
        make_folder(parent)
    with ThreadPoolExecutor(workers) as pool:
        entries = pool.map(lambda name: _write_column(folder / f"{name}.npy", columns[name]), names)
        schema = {f"{name}.npy": entry for name, entry in zip(names, entries, strict=True)}
    manifest = {
        **facts,
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "num_rows": schema["rows/step.npy"]["shape"][0],
        "num_sessions": schema["sessions/offsets.npy"]["shape"][0] - 1,
        "versions": versions(),
        "schema": schema,
    }
    manifest["checksum"] = json_checksum(manifest)
    write_json(folder / "manifest.json", manifest)
    run = {"finished": time.time(), "host": platform.node(), "python": platform.python_version()}
    write_json(folder / "run.json", run)
    return manifest


def versions() -> dict[str, str]:
    """Return the versions of what makes the bytes of a log."""
    return {name: version(name) for name in ("recsession", "numpy", "numba")}


def consumed_events(slate: np.ndarray, feedback: np.ndarray, offsets: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns that histories are rebuilt from: the consumed items, in order, and where each row stands.

    Args:
        slate: [N, K] int32.
        feedback: [N, K, F] float32, the click first; an item is consumed where it is above zero.
        offsets: [S + 1] of the rows.

    Returns:
        "rows/consumed" [N] int32, "sessions/event_offsets" [S + 1] int64, "events/item" [E] int32 and "events/feedback"
        [E, F - 1] float32.
    """
    row, position = np.nonzero(feedback[:, :, 0] > 0)
    before = np.zeros(len(slate) + 1, np.int64)
    np.cumsum(np.bincount(row, minlength=len(slate)), out=before[1:])
    event_offsets = before[offsets]
    return {
        "rows/consumed": (before[:-1] - np.repeat(event_offsets[:-1], np.diff(offsets))).astype(np.int32),
        "sessions/event_offsets": event_offsets,
        "events/item": slate[row, position].astype(np.int32),
        "events/feedback": feedback[row, position, 1:].astype(np.float32),
    }


def _write_column(path: Path, pieces: Pieces) -> dict[str, Any]:
    parts = [pieces] if isinstance(pieces, Piece) else list(pieces)
    kinds = {(part.dtype.str, tuple(part.shape[1:])) for part in parts}
    if len(kinds) != 1:
        raise ValueError(f"pieces of {path.name} have the dtypes and shapes {sorted(kinds)}; write pieces of one kind")
    shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
    header = io.BytesIO()
    layout = {"descr": np.lib.format.dtype_to_descr(parts[0].dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, layout)
    digest = hashlib.sha256()
    try:
        with path.open("wb") as file:
            for chunk in chain([header.getbuffer()], *map(_chunks, parts)):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise unwritable(path, error) from error
    return {
        "dtype": str(parts[0].dtype),
        "shape": list(shape),
        "bytes": path.stat().st_size,
        "sha256": digest.hexdigest(),
    }


def _chunks(part: Piece) -> Iterable[memoryview]:
    if not isinstance(part, np.ndarray):
        return part.chunks()
    flat = as_bytes(part)
    return (flat[start : start + _BYTES_AT_ONCE] for start in range(0, len(flat), _BYTES_AT_ONCE))
