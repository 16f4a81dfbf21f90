"""Minari: logs of simulated worlds out; `minari_import` has the way back.

An episode is a session. Arrays of an episode of T steps have T entries (`actions`, `rewards`, `terminations`,
`truncations`) or T + 1 (`observations` and, as Minari's own DataCollector has them, `infos`: entry t + 1 is what step t
gave). The file is written in Minari's HDF5 layout, without its buffers, which take one Python object a step.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np

from offline_data.store.dataset import LoggedDataset
from offline_data.store.histories import ObservationBuilder
from offline_data.store.session_blocks import SessionBlock, session_blocks
from recenv.envs.action_wrappers import ProtoAction
from recenv.errors import InvalidInput
from recenv.extras import require_extra
from recenv.files.atomic_files import forget_killed, is_taken, new_folder, unwritable, write_json

if TYPE_CHECKING:
    import h5py

ROWS_AT_ONCE: Final = 8192
BLOCK_BYTES: Final = 1 << 26
MANIFEST_KEY: Final = "recsession_manifest"

DATA_FILE: Final = "main_data.hdf5"
ITEMS_FILE: Final = "items.npz"
"""Beside it, where the world has items of its own."""
# What infos have of each step, with the value of the entry that no step gave; and of each session.
OF_STEPS: Final = {
    "behavior_log_prob": np.nan,
    "prefix_log_prob": np.nan,
    "shown": False,
    "feedback": 0.0,
    "reward_vector": 0.0,
    "day": 0.0,
    "session_number": 0,
}
OF_SESSIONS: Final = ("user_id", "group_id", "episode_id", "session_seed", "behavior_seed")
# HDF5 keeps what is smaller beside the description of the array, in one write.
_COMPACT_BYTES: Final = 60_000


def export_minari(
    dataset: LoggedDataset,
    dataset_id: str,
    root: str | Path | None = None,
    *,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Write a log of a simulated world as a Minari dataset, and return its folder.

    `minari.load_dataset(dataset_id)` opens it; its spaces are the environment's, and `recover_environment()` gives the
    environment: `RecSession-v0`, for proto-actions under `ProtoAction`. An episode's `seed` is that of its user. Infos
    have what is in `OF_STEPS`, as far as the log has it, the `slate` of proto-actions, `session_id` and what is in
    `OF_SESSIONS`. Items of one's own lie beside the data, in `items.npz`. Memory does not grow with the log.

    Args:
        dataset: the log.
        dataset_id: (namespace/)name-v(version); a namespace has two letters or more.
        root: folder of Minari's datasets; None for Minari's own: MINARI_DATASETS_PATH, or else ~/.minari/datasets.
        progress: called with the number of sessions of each batch.

    Raises:
        InvalidInput: for a malformed id or one that is there already, a log without a world, or a folder that cannot be
            written.
    """
    path = minari_folder(dataset_id, root)
    import h5py

    environment = _environment(dataset)
    dataset.require_sound()
    builder = ObservationBuilder(dataset)
    with new_folder(path) as folder:
        file = folder / "data" / DATA_FILE
        file.parent.mkdir()
        with _as_os_errors(), h5py.File(file, "w", libver="latest", track_order=True) as store:
            for block in session_blocks(dataset, _rows_at_once(dataset)):
                _write_sessions(store, dataset, builder, block, environment.action_space.dtype)
                if progress:
                    progress(len(block.lengths))
        own = dataset.config.items
        if own is not None:
            own.save(file.with_name(ITEMS_FILE))
        items = None if own is None else path.absolute() / "data" / ITEMS_FILE
        metadata = _metadata(dataset, dataset_id, environment, items)
        metadata["dataset_size"] = round(file.stat().st_size / 1e6, 1)
        write_json(file.with_name("metadata.json"), metadata)
        for namespace in list(path.parents)[: dataset_id.count("/")]:
            described = namespace / "namespace_metadata.json"
            if not described.exists():
                write_json(described, {})
    return path


def minari_folder(dataset_id: str, root: str | Path | None = None) -> Path:
    """Return the folder of a new dataset.

    Args:
        dataset_id: as `export_minari` takes it.
        root: as `export_minari` takes it.

    Raises:
        InvalidInput: if Minari does not take the id, or the dataset is there.
    """
    require_extra("minari")
    from minari.dataset.minari_dataset import parse_dataset_id
    from minari.storage.datasets_root_dir import get_dataset_path

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"Minari dataset id {dataset_id!r} is not (namespace/)name-v(version); give one such as "
            "recsession/my-log-v0, each part of two letters or more"
        ) from error
    try:
        path = (get_dataset_path() if root is None else Path(root)) / dataset_id  # Minari makes its own folder
    except OSError as error:
        raise unwritable(Path(error.filename or "~/.minari"), error) from error
    if is_taken(path):
        forget_killed(path)
        raise InvalidInput(f"Minari dataset {dataset_id} exists at {path}; choose another version, or remove it")
    return path


@contextmanager
def _as_os_errors() -> Iterator[None]:
    """Raise as the file system's error what HDF5 tells of it in words."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        told = re.search(r"errno = (\d+)", str(error))
        if told is None:
            raise
        raise OSError(int(told[1]), os.strerror(int(told[1]))) from error


def _rows_at_once(dataset: LoggedDataset) -> int:
    """Return the rows of a block: their observations, in which histories are written out, fit into `BLOCK_BYTES`."""
    history = dataset.history_length * 4 * (1 + dataset.events["feedback"].shape[1])
    profile = dataset.sessions["profile"].nbytes // dataset.num_sessions
    return max(1, min(ROWS_AT_ONCE, BLOCK_BYTES // (history + profile)))


def _environment(dataset: LoggedDataset) -> gymnasium.Env[Any, Any]:
    own: dict[str, Any] = {} if dataset.config.items is None else {"items": dataset.items}
    environment = gymnasium.make("recenv:RecSession-v0", config=dataset.config.to_json(paths=False), **own)
    return ProtoAction(environment) if dataset.action_kind == "proto" else environment


def _metadata(
    dataset: LoggedDataset, dataset_id: str, environment: gymnasium.Env[Any, Any], items: Path | None
) -> dict[str, Any]:
    from minari.serialization import serialize_space

    spec = environment.spec
    if spec is None:
        raise ValueError(f"{environment} has no spec; make it by gymnasium.make")
    if items is not None:
        spec.kwargs["items"] = str(items)
    behavior = dataset.manifest["source"].get("request", {}).get("behavior", "unknown")
    manifest = {name: value for name, value in dataset.manifest.items() if name != "schema"}
    return {
        "dataset_id": dataset_id,
        "minari_version": version("minari"),
        "total_episodes": dataset.num_sessions,
        "total_steps": dataset.num_rows,
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": serialize_space(environment.observation_space),
        "action_space": serialize_space(environment.action_space),
        "env_spec": spec.to_json(),
        "algorithm_name": behavior if isinstance(behavior, str) else json.dumps(behavior),
        "description": "logged sessions of a simulated recommendation world, with exact propensities in the infos"
        if dataset.propensities == "exact"
        else f"logged sessions of a simulated recommendation world; propensities: {dataset.propensities}",
        MANIFEST_KEY: manifest,
    }


def _write_sessions(
    store: h5py.File, dataset: LoggedDataset, builder: ObservationBuilder, block: SessionBlock, action_dtype: Any
) -> None:
    span, lengths = block.rows, block.lengths
    rows, count = np.arange(span.start, span.stop), len(block.lengths)
    # Where a row's entry before and after its step are, among the T + 1 of each session.
    before = rows - span.start + np.repeat(np.arange(count), lengths)
    ends = before[block.last] + 1

    def around(values: np.ndarray, first: Any) -> np.ndarray:
        out = np.full((len(rows) + count, *values.shape[1:]), first, values.dtype)
        out[before + 1] = values
        return out

    short = {
        "actions": np.asarray(dataset.rows["proto" if dataset.action_kind == "proto" else "slate"][span], action_dtype),
        "rewards": dataset.reward(span),
        "terminations": np.asarray(dataset.rows["terminated"][span]),
        "truncations": np.asarray(dataset.rows["truncated"][span]),
    }
    infos = {
        name: around(np.asarray(dataset.rows[name][span]), first)
        for name, first in OF_STEPS.items()
        if name in dataset.rows
    }
    if dataset.action_kind == "proto":
        infos["slate"] = around(np.asarray(dataset.rows["slate"][span]), -1)
    ids = {name: dataset.sessions[name][block.sessions] for name in OF_SESSIONS if name in dataset.sessions}
    ids["session_id"] = np.arange(block.sessions.start, block.sessions.stop)
    for name, values in ids.items():
        infos[name] = np.repeat(values, lengths + 1)
    long = {f"infos/{name}": values for name, values in infos.items()}
    for name, values in builder.observe(rows).items():
        whole = np.empty((len(rows) + count, *values.shape[1:]), values.dtype)
        whole[before] = values
        long[f"observations/{name}"] = whole
    for name, values in builder.observe(rows[block.last], after=True).items():
        long[f"observations/{name}"][ends] = values
    seeds = dataset.sessions.get("session_seed")
    for index, (start, end) in enumerate(pairwise(block.offsets)):
        arrays = {name: values[start:end] for name, values in short.items()}
        arrays |= {name: values[start + index : end + index + 1] for name, values in long.items()}
        number: int = block.sessions.start + index
        _write_episode(store, number, arrays, None if seeds is None else seeds[number])


def _write_episode(store: h5py.File, number: int, arrays: Mapping[str, np.ndarray], seed: np.uint64 | None) -> None:
    import h5py
    from h5py import h5d, h5g, h5s  # type: ignore[attr-defined]

    # h5py's own functions take twice the time of HDF5's.
    group = h5g.create(store.id, f"episode_{number}".encode())
    attributes = h5py.Group(group).attrs
    attributes["id"] = number
    attributes["total_steps"] = len(arrays["rewards"])
    if seed is not None:
        attributes["seed"] = seed
    for folder in (b"observations", b"infos"):
        h5g.create(group, folder)
    for name, values in arrays.items():
        kind = _hdf5_type(values.dtype)
        layout = _layout(values.nbytes < _COMPACT_BYTES)
        column = h5d.create(group, name.encode(), kind, h5s.create_simple(values.shape), layout)
        column.write(h5s.ALL, h5s.ALL, values, kind)


@functools.cache
def _hdf5_type(dtype: np.dtype[Any]) -> Any:
    from h5py import h5t

    return h5t.py_create(dtype, logical=True)


@functools.cache
def _layout(compact: bool) -> Any:
    from h5py import h5d, h5p  # type: ignore[attr-defined]

    layout = h5p.create(h5p.DATASET_CREATE)
    layout.set_layout(h5d.COMPACT if compact else h5d.CONTIGUOUS)
    layout.set_fill_time(h5d.FILL_TIME_NEVER)
    return layout
