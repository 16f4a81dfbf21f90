"""Minari: logs of simulated worlds out, episodes of items or slates in.

An episode is a session. Arrays of an episode of T steps have T entries (`actions`, `rewards`, `terminations`,
`truncations`) or T + 1 (`observations` and, as Minari's own DataCollector has them, `infos`: entry t + 1 is what step t
gave). The file is written in Minari's HDF5 layout, without its buffers, which take one Python object a step.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import gymnasium
import numpy as np

from offline_data.interop.foreign_log import ImportOptions, import_interactions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.store.atomic_files import new_folder, require_free, write_json
from offline_data.store.dataset import LoggedDataset, file_digest
from offline_data.store.dataset_writer import consumed_events, write_dataset
from offline_data.store.histories import ObservationBuilder
from offline_data.store.session_blocks import SessionBlock, session_blocks
from recenv.envs.action_wrappers import ProtoAction
from recenv.errors import InvalidInput, require
from recenv.extras import require_extra
from recenv.registry import reading
from recenv.session_config import SessionConfig
from recenv.world import make_world

if TYPE_CHECKING:
    import h5py
    from minari import EpisodeData, MinariDataset

ROWS_AT_ONCE: Final = 8192
MANIFEST_KEY: Final = "recsession_manifest"

_FILE: Final = "main_data.hdf5"
# What infos have of each step, with the value of the entry that no step gave; and of each session.
_OF_STEPS: Final = {
    "behavior_log_prob": np.nan,
    "prefix_log_prob": np.nan,
    "shown": False,
    "feedback": 0.0,
    "reward_vector": 0.0,
    "day": 0.0,
    "session_number": 0,
}
_OF_SESSIONS: Final = ("user_id", "group_id", "episode_id", "session_seed", "behavior_seed")
# HDF5 keeps what is smaller beside the description of the array, in one write.
_COMPACT_BYTES: Final = 60_000
_FACTS: Final = (
    *("source", "config", "action_kind", "num_items", "history_length", "max_steps"),
    *("feedback_names", "reward_names", "reward_weights", "propensities", "injected"),
)


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
    have what is in `_OF_STEPS`, as far as the log has it, the `slate` of proto-actions, `session_id` and what is in
    `_OF_SESSIONS`. Memory does not grow with the log.

    Args:
        dataset: the log.
        dataset_id: (namespace/)name-v(version); a namespace has two letters or more.
        root: folder of Minari's datasets; None for Minari's own: MINARI_DATASETS_PATH, or else ~/.minari/datasets.
        progress: called with the number of sessions of each batch.

    Raises:
        InvalidInput: for a malformed id or one that is there already, a log without a world, or a folder that cannot be
            written.
    """
    require_extra("minari")
    import h5py
    from minari.storage.datasets_root_dir import get_dataset_path

    namespace = _namespace(dataset_id)
    environment = _environment(dataset)
    root = get_dataset_path() if root is None else Path(root)
    path = root / dataset_id
    require(not path.exists(), f"Minari dataset {dataset_id} exists at {path}; choose another version, or remove it")
    builder = ObservationBuilder(dataset)
    with new_folder(path) as folder:
        file = folder / "data" / _FILE
        file.parent.mkdir()
        with h5py.File(file, "w", libver="latest", track_order=True) as store:
            for block in session_blocks(dataset, ROWS_AT_ONCE):
                _write_sessions(store, dataset, builder, block, environment.action_space.dtype)
                if progress:
                    progress(len(block.lengths))
        metadata = _metadata(dataset, dataset_id, environment)
        metadata["dataset_size"] = round(file.stat().st_size / 1e6, 1)
        write_json(file.with_name("metadata.json"), metadata)
    for depth in range(len(namespace)):
        described = root.joinpath(*namespace[: depth + 1], "namespace_metadata.json")
        if not described.exists():
            write_json(described, {})
    return path


def _namespace(dataset_id: str) -> list[str]:
    """Return the parts of the id's namespace.

    Raises:
        InvalidInput: if Minari does not take the id.
    """
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        namespace, _, _ = parse_dataset_id(dataset_id)
    except (ValueError, TypeError) as error:
        raise InvalidInput(
            f"Minari dataset id {dataset_id!r} is not (namespace/)name-v(version); give one such as "
            "recsession/my-log-v0, each part of two letters or more"
        ) from error
    return namespace.split("/") if namespace else []


def _environment(dataset: LoggedDataset) -> gymnasium.Env[Any, Any]:
    environment = gymnasium.make("recenv:RecSession-v0", config=dataset.config.to_json())
    return ProtoAction(environment) if dataset.action_kind == "proto" else environment


def _metadata(dataset: LoggedDataset, dataset_id: str, environment: gymnasium.Env[Any, Any]) -> dict[str, Any]:
    from minari.serialization import serialize_space

    spec = environment.spec
    if spec is None:
        raise ValueError("the environment has no spec")
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
        for name, first in _OF_STEPS.items()
        if name in dataset.rows
    }
    if dataset.action_kind == "proto":
        infos["slate"] = around(np.asarray(dataset.rows["slate"][span]), -1)
    ids = {name: dataset.sessions[name][block.sessions] for name in _OF_SESSIONS if name in dataset.sessions}
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


def import_minari(
    path: str | Path,
    out: str | Path,
    *,
    options: ImportOptions | None = None,
    progress: Callable[[int], object] | None = None,
) -> LoggedDataset:
    """Read a Minari dataset whose actions are items or slates and return it as a dataset.

    What `export_minari` wrote comes back whole, its world with it. Of any other the actions, rewards, ends and, if the
    infos have it, `behavior_log_prob` are kept; its observations are not, since histories follow from the clicks. A
    click is there a positive reward where the action is one item, and unknown where it is a slate.

    Args:
        path: the dataset's folder, or its id in Minari's own folder.
        out: the dataset's folder, which is not there yet.
        options: how the log is made; sessions are the episodes.
        progress: called with 1 for each episode.

    Raises:
        InvalidInput: for a missing dataset, other actions, or rewards that cannot be read.
    """
    require_extra("minari")
    import minari
    from minari.storage.datasets_root_dir import get_dataset_path

    folder = Path(path)
    folder = folder if folder.exists() else get_dataset_path(str(path))
    data = folder / "data" if (folder / "data").is_dir() else folder
    require(
        (data / "metadata.json").is_file(), f"{path} is no Minari dataset; give its folder, or the id of a local one"
    )
    require_free(Path(out))
    try:
        source = minari.MinariDataset(data)
        manifest = source.storage.metadata.get(MANIFEST_KEY)
        episodes = []
        # The storage's own iterator opens the file once, not once an episode.
        for values in source.storage.get_episodes(range(source.total_episodes)):
            episode = minari.EpisodeData(**values)
            profile = None if manifest is None else episode.observations["profile"][0].copy()
            episodes.append(replace(episode, observations=profile))
            if progress:
                progress(1)
    except (OSError, ValueError, KeyError, AssertionError) as error:
        raise InvalidInput(f"{data} is damaged or of another version of Minari ({error}); copy it again") from error
    require(len(episodes) > 0, f"{data} has no episode; give one that has")
    for index, episode in enumerate(episodes):
        parts = (episode.actions, episode.rewards, episode.terminations, episode.truncations)
        require(
            len({len(part) for part in parts}) == 1,
            f"{data}: episode {index} has not as many actions as rewards and ends; copy it again",
        )
    if manifest is None:
        return _import_foreign(source, episodes, data, Path(out), options or ImportOptions())
    try:
        columns, facts = _own(episodes, manifest, data)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InvalidInput(f"{data} is damaged or of another version of RecSession ({error}); copy it again") from error
    lengths = np.array([len(episode) for episode in episodes])
    _require_items(columns["rows/slate"], lengths, facts["num_items"], 0, data)
    return write_dataset(out, columns, facts)


def _own(
    episodes: list[EpisodeData], manifest: dict[str, Any], data: Path
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the columns and the manifest of what `export_minari` wrote."""
    lengths = np.array([len(episode) for episode in episodes])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    with reading(data):
        world = make_world(SessionConfig.from_dict(manifest["config"]))
    action = np.concatenate([episode.actions for episode in episodes])

    def of_steps(name: str) -> np.ndarray:
        return np.concatenate([episode.infos[name][1:] for episode in episodes])

    infos = episodes[0].infos
    proto = manifest["action_kind"] == "proto"
    columns = {f"rows/{name}": of_steps(name) for name in _OF_STEPS if name in infos}
    columns |= {
        "rows/session_id": np.repeat(np.arange(len(episodes)), lengths),
        "rows/step": np.concatenate([np.arange(length, dtype=np.int32) for length in lengths]),
        "rows/slate": of_steps("slate") if proto else action.astype(np.int32),
        "rows/terminated": np.concatenate([episode.terminations for episode in episodes]),
        "rows/truncated": np.concatenate([episode.truncations for episode in episodes]),
        "sessions/offsets": offsets,
        "sessions/profile": np.stack([episode.observations for episode in episodes]),
    }
    if proto:
        columns["rows/proto"] = action.astype(np.float32)
    columns |= {
        f"sessions/{name}": np.array([episode.infos[name][0] for episode in episodes])
        for name in _OF_SESSIONS
        if name in infos
    }
    columns |= consumed_events(columns["rows/slate"], columns["rows/feedback"], offsets)
    columns |= {f"catalog/{name}": values for name, values in world.catalog.arrays().items()}
    facts = {name: manifest[name] for name in _FACTS}
    facts |= {name: value for name, value in manifest.items() if name not in ("num_rows", "num_sessions", "versions")}
    facts["source"] = {**_source(data), "lacking": ["latent labels"], "exported": manifest["source"]}
    return columns, facts


def _require_items(slates: np.ndarray, lengths: np.ndarray, count: int, low: int, data: Path) -> None:
    """Refuse slates [N, K] of items beyond the catalogue's [0, count), whose ids begin at `low`."""
    outside = ((slates < 0) | (slates >= count)).any(axis=1)
    if outside.any():
        episode = int(np.searchsorted(np.cumsum(lengths), np.argmax(outside), side="right"))
        raise InvalidInput(
            f"{data}: episode {episode} has the action {(slates[np.argmax(outside)] + low).tolist()}, whose items are "
            f"not in [{low}, {low + count}); copy it again"
        )


def _import_foreign(
    source: MinariDataset, episodes: list[EpisodeData], data: Path, out: Path, options: ImportOptions
) -> LoggedDataset:
    low, count, size = _catalogue(source.spec.action_space)
    lengths = np.array([len(episode) for episode in episodes])
    total = int(lengths.sum())
    session = np.repeat(np.arange(len(episodes)), lengths * size)
    reward = np.concatenate([episode.rewards for episode in episodes]).astype(np.float64)
    slates = np.concatenate([np.reshape(episode.actions, (-1, size)) for episode in episodes]).astype(np.int64) - low
    _require_items(slates, lengths, count, low, data)
    clicked = reward > 0.0 if size == 1 else np.zeros(total * size, np.bool_)
    lacking = ["users: each episode is of a user of its own", "observations: they are not kept"]
    lacking.append("feedback: a click is reward > 0" if size == 1 else "feedback: which item of a slate was clicked")
    logged = [_log_probs(episode) for episode in episodes]
    known = [each for each in logged if each is not None]
    log = Interactions(
        files=[(data / _FILE, len(session))],
        user=Ids(session, np.arange(len(episodes))),
        item=Ids(slates.ravel(), np.arange(low, low + count)),
        feedback={"click": clicked.astype(np.float64)},
        step=np.repeat(np.arange(total), size),
        position=np.tile(np.arange(size), total),
        reward={"reward": np.repeat(reward, size)},
        step_log_prob=np.repeat(np.concatenate(known), size) if len(known) == len(logged) else None,
        truncated=np.repeat(np.concatenate([episode.truncations for episode in episodes]), size),
    )
    return import_interactions(out, log, "minari", options=options, lacking=lacking)


def _catalogue(space: gymnasium.Space[Any]) -> tuple[int, int, int]:
    """Return the first item's id, the number of items and the slate size of an action space.

    Raises:
        InvalidInput: for a space of something else.
    """
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(space.start), int(space.n), 1
    if isinstance(space, gymnasium.spaces.MultiDiscrete) and space.nvec.ndim == 1:
        kinds = {(int(start), int(n)) for start, n in zip(space.start, space.nvec, strict=True)}
        if len(kinds) == 1:
            return *kinds.pop(), len(space.nvec)
    raise InvalidInput(
        f"the dataset's actions are {space}, which are no items: take one of Discrete actions, or of MultiDiscrete "
        "with the same items at each position"
    )


def _log_probs(episode: EpisodeData) -> np.ndarray | None:
    values = (episode.infos or {}).get("behavior_log_prob")
    return None if values is None else np.asarray(values, np.float64)[-len(episode) :]


def _source(data: Path) -> dict[str, Any]:
    files = {file.name: file_digest(file) for file in sorted(data.iterdir()) if file.is_file()}
    return {"kind": "import", "reader": "minari", "files": files, "options": {}}
