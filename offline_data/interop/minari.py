"""Minari: logs out; `minari_import` has the way back.

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
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import gymnasium
import numpy as np
from gymnasium import spaces

from offline_data.interop.log_spaces import action_space, flat_features, observation_space
from offline_data.store.dataset import LoggedDataset
from offline_data.store.histories import ObservationBuilder
from offline_data.store.session_blocks import SessionBlock, session_blocks
from recenv.envs.action_wrappers import ProtoAction
from recenv.envs.flat_features import FlatFeatures
from recenv.envs.observation_wrappers import FlatObservation
from recenv.envs.single_item import SingleItemAction
from recenv.errors import InvalidInput, require
from recenv.extras import require_extra
from recenv.files.atomic_files import forget_killed, is_taken, new_folder, unwritable, write_json

if TYPE_CHECKING:
    import h5py

ROWS_AT_ONCE: Final = 8192
BLOCK_BYTES: Final = 1 << 26
MANIFEST_KEY: Final = "recsession_manifest"

COLUMNS_KEY: Final = "recsession_columns"
"""In the metadata, the log's columns that the infos hold."""
FLAT_KEY: Final = "recsession_flat"
"""In the metadata of a flat dataset: the parts of an observation, in order, each as name, first and end."""
DATA_FILE: Final = "main_data.hdf5"
# Beside it, of a world that has items of its own: these; and of a log that was read in: the catalogue's columns.
ITEMS_FILE: Final = "items.npz"
CATALOG_FILE: Final = "catalog.npz"
# Columns that the rest of an episode says, or that are told under another name.
_TOLD: Final = ("session_id", "step", "consumed", "terminated", "truncated")
_TOLD_OF_SESSIONS: Final = ("offsets", "event_offsets", "profile")
# What the entry of the infos that no step gave has; 0 or False of others.
_OF_NO_STEP: Final = {"behavior_log_prob": np.nan, "prefix_log_prob": np.nan, "timestamp": np.nan} | dict.fromkeys(
    ("slate", "candidates"), -1
)
# HDF5 keeps what is smaller beside the description of the array, in one write.
_COMPACT_BYTES: Final = 60_000


def export_minari(
    dataset: LoggedDataset,
    dataset_id: str,
    root: str | Path | None = None,
    *,
    flat: Literal["pooled", "embedded"] | None = None,
    progress: Callable[[int], object] | None = None,
) -> Path:
    """Write a log as a Minari dataset, and return its folder.

    `minari.load_dataset(dataset_id)` opens it. Of a simulated world its spaces are the environment's, and
    `recover_environment()` gives that: `RecSession-v0`, for proto-actions under `ProtoAction`; an episode's `seed` is
    that of its user, and items of one's own lie beside the data, in `items.npz`. A log that was read in has no
    environment, and its items in `catalog.npz`. Infos have the log's other columns, those of sessions too, and
    `session_id`; texts are UTF-8. Memory does not grow with the log.

    With `flat` the observations are those of `recenv.FlatObservation`, which `recover_environment()` has, too; the
    metadata say where each part lies, under `recsession_flat`. Slates of one item are then `Discrete` actions.

    Args:
        dataset: the log.
        dataset_id: (namespace/)name-v(version); a namespace has two letters or more.
        root: folder of Minari's datasets; None for Minari's own: MINARI_DATASETS_PATH, or else ~/.minari/datasets.
        flat: "pooled" or "embedded" histories for flat observations, see `recenv.FlatObservation`; None for a Dict.
        progress: called with the number of sessions of each batch.

    Raises:
        InvalidInput: for a malformed id or one that is there already, slates of several items that are to be flat, or
            a folder that cannot be written.
    """
    path = minari_folder(dataset_id, root)
    import h5py

    dataset.require_sound()
    form = _Form.of(dataset, flat)
    with new_folder(path) as folder:
        file = folder / "data" / DATA_FILE
        file.parent.mkdir()
        with _as_os_errors(), h5py.File(file, "w", libver="latest", track_order=True) as store:
            for block in session_blocks(dataset, _rows_at_once(dataset)):
                _write_sessions(store, dataset, form, block)
                if progress:
                    progress(len(block.lengths))
        items = _write_items(dataset, file.parent, path.absolute() / "data")
        metadata = _metadata(dataset, dataset_id, form, items)
        metadata["dataset_size"] = round(file.stat().st_size / 1e6, 1)
        write_json(file.with_name("metadata.json"), metadata)
        for namespace in list(path.parents)[: dataset_id.count("/")]:
            described = namespace / "namespace_metadata.json"
            if not described.exists():
                write_json(described, {})
    return path


@dataclass(frozen=True)
class _Form:
    """What observations and actions of a dataset are."""

    builder: ObservationBuilder
    """Of the log's observations."""
    features: FlatFeatures | None
    """What makes them flat; None leaves them as they are."""
    observations: spaces.Space[Any]
    """Their space."""
    actions: spaces.Space[Any]
    """The actions' space."""

    @staticmethod
    def of(dataset: LoggedDataset, flat: str | None) -> _Form:
        builder, actions = ObservationBuilder(dataset), action_space(dataset)
        if flat is None:
            return _Form(builder, None, observation_space(dataset), actions)
        remedy = "collect a log with --action-kind proto or --set slate_size=1"
        if not dataset.has_world:
            remedy = (
                "import the log again without step and position (where its rows are slates, the interactions.parquet "
                "of `export --to parquet`), so that each item is a step of its own"
            )
        require(
            dataset.action_kind == "proto" or dataset.slate_size == 1,
            f"{dataset.path} has slates of {dataset.slate_size} items, and learners from flat data take one item or a "
            f"point of embedding space: leave out --flat, or {remedy}",
        )
        features = flat_features(dataset, flat)
        one = spaces.Discrete(dataset.num_items) if dataset.action_kind == "slate" else actions
        return _Form(builder, features, features.space, one)

    def observe(self, rows: np.ndarray, *, after: bool = False) -> dict[str, np.ndarray]:
        """Return the observations of rows, by the names of their arrays in an episode."""
        observation = self.builder.observe(rows, after=after)
        if self.features is not None:
            return {"observations": self.features.observe(observation)}
        return {f"observations/{name}": values for name, values in observation.items()}

    def act(self, dataset: LoggedDataset, rows: slice) -> np.ndarray:
        """Return the actions of rows."""
        if dataset.action_kind == "proto":
            return np.asarray(dataset.rows["proto"][rows], self.actions.dtype)
        slates = np.asarray(dataset.rows["slate"][rows], self.actions.dtype)
        return slates[:, 0] if isinstance(self.actions, spaces.Discrete) else slates

    def environment(self, dataset: LoggedDataset) -> gymnasium.Env[Any, Any]:
        """Return the environment of a simulated log, which observes and acts so."""
        own: dict[str, Any] = {} if dataset.config.items is None else {"items": dataset.items}
        environment = gymnasium.make("recenv:RecSession-v0", config=dataset.config.to_json(paths=False), **own)
        if dataset.action_kind == "proto":
            environment = ProtoAction(environment)
        elif self.features is not None:
            environment = SingleItemAction(environment)
        return environment if self.features is None else FlatObservation(environment, self.features.history)


def exported_columns(dataset: LoggedDataset) -> list[str]:
    """Return the columns that the infos hold, as in "rows/feedback"."""
    acts = "proto" if dataset.action_kind == "proto" else "slate"
    rows = [name for name in dataset.rows if name not in (*_TOLD, acts)]
    sessions = [name for name in dataset.sessions if name not in _TOLD_OF_SESSIONS]
    return [*(f"rows/{name}" for name in rows), *(f"sessions/{name}" for name in sessions)]


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
    told = sum(values.nbytes for values in dataset.rows.values()) // dataset.num_rows
    told += sum(values.nbytes for values in dataset.sessions.values()) // dataset.num_sessions
    return max(1, min(ROWS_AT_ONCE, BLOCK_BYTES // (history + told)))


def _write_items(dataset: LoggedDataset, folder: Path, final: Path) -> Path | None:
    """Write items that no config draws beside the data, and return where a world's own will lie."""
    if not dataset.has_world:
        columns: dict[str, Any] = dict(dataset.catalog)
        np.savez(folder / CATALOG_FILE, **columns)
        return None
    if dataset.config.items is None:
        return None
    dataset.config.items.save(folder / ITEMS_FILE)
    return final / ITEMS_FILE


def _metadata(dataset: LoggedDataset, dataset_id: str, form: _Form, items: Path | None) -> dict[str, Any]:
    from minari.serialization import serialize_space

    kind = "a simulated recommendation world" if dataset.has_world else "recommendations"
    manifest = {name: value for name, value in dataset.manifest.items() if name != "schema"}
    metadata = {
        "dataset_id": dataset_id,
        "minari_version": version("minari"),
        "total_episodes": dataset.num_sessions,
        "total_steps": dataset.num_rows,
        "data_format": "hdf5",
        "jpeg_encoding": False,
        "observation_space": serialize_space(form.observations),
        "action_space": serialize_space(form.actions),
        "description": f"logged sessions of {kind}, with exact propensities in the infos"
        if dataset.propensities == "exact"
        else f"logged sessions of {kind}; propensities: {dataset.propensities}",
        MANIFEST_KEY: manifest,
        COLUMNS_KEY: exported_columns(dataset),
    }
    if form.features is not None:
        layout = [[name, first, end] for name, (first, end) in form.features.layout.items()]
        metadata[FLAT_KEY] = {"history": form.features.history, "layout": layout}
    if not dataset.has_world:
        return metadata
    spec = form.environment(dataset).spec
    if spec is None:
        raise ValueError("the environment has no spec; make it by gymnasium.make")
    if items is not None:
        spec.kwargs["items"] = str(items)
    behavior = dataset.manifest["source"].get("request", {}).get("behavior", "unknown")
    algorithm = behavior if isinstance(behavior, str) else json.dumps(behavior)
    return metadata | {"env_spec": spec.to_json(), "algorithm_name": algorithm}


def _write_sessions(store: h5py.File, dataset: LoggedDataset, form: _Form, block: SessionBlock) -> None:
    span, lengths = block.rows, block.lengths
    rows, count = np.arange(span.start, span.stop), len(block.lengths)
    # Where a row's entry before and after its step are, among the T + 1 of each session.
    before = rows - span.start + np.repeat(np.arange(count), lengths)
    ends = before[block.last] + 1
    short = {
        "actions": form.act(dataset, span),
        "rewards": dataset.reward(span),
        "terminations": np.asarray(dataset.rows["terminated"][span]),
        "truncations": np.asarray(dataset.rows["truncated"][span]),
    }
    long: dict[str, np.ndarray] = {}
    for column in exported_columns(dataset):
        folder, name = column.split("/")
        if folder == "rows":
            values = _as_utf8(np.asarray(dataset.rows[name][span]))
            out = np.zeros((len(rows) + count, *values.shape[1:]), values.dtype)
            out[ends - lengths] = _OF_NO_STEP.get(name, out[:1])
            out[before + 1] = values
        else:
            out = np.repeat(_as_utf8(np.asarray(dataset.sessions[name][block.sessions])), lengths + 1, axis=0)
        long[f"infos/{name}"] = out
    long["infos/session_id"] = np.repeat(np.arange(block.sessions.start, block.sessions.stop), lengths + 1)
    for name, values in form.observe(rows).items():
        whole = np.empty((len(rows) + count, *values.shape[1:]), values.dtype)
        whole[before] = values
        long[name] = whole
    for name, values in form.observe(rows[block.last], after=True).items():
        long[name][ends] = values
    seeds = dataset.sessions.get("session_seed")
    for index, (start, end) in enumerate(pairwise(block.offsets)):
        arrays = {name: values[start:end] for name, values in short.items()}
        arrays |= {name: values[start + index : end + index + 1] for name, values in long.items()}
        number: int = block.sessions.start + index
        _write_episode(store, number, arrays, None if seeds is None else seeds[number])


def _as_utf8(values: np.ndarray) -> np.ndarray:
    """Return texts as HDF5 and Minari take them; other values as they are."""
    return np.char.encode(values, "utf-8") if values.dtype.kind == "U" else values


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
    for folder in sorted({name.split("/")[0] for name in arrays if "/" in name}):
        h5g.create(group, folder.encode())
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
