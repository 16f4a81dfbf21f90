"""From a world and a behavior policy to a `LoggedDataset`: atomic, resumable, the same bytes after any stop.

The work is a list of session ranges, each a pure function of the request: a range is played, written beside the dataset
and renamed into place; what is there already is not played again. When all ranges are there they are joined,
checksummed and renamed to the dataset's own path in one step.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.atomic_files import make_folder, replacing, sole_writer, unwritable, write_json
from offline_data.behavior import ActionKind, BehaviorPolicy, make_behavior
from offline_data.dataset import FORMAT, FORMAT_VERSION, LATENT_LABELS, LoggedDataset, file_digest
from offline_data.rollout import play_sessions
from recenv.errors import require, require_range
from recenv.random_streams import derive_seeds
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

SESSIONS_PER_RANGE: Final = 2048


@dataclass(frozen=True)
class LogRequest:
    """What is to be logged; two equal requests give the same bytes.

    Attributes:
        config: the world.
        behavior: JSON-able spec of the behavior policy.
        action_kind: "slate" or "proto".
        num_sessions: S.
        dataset_seed: root of the seeds of sessions and behavior, in [0, 2**63).
        group_size: G, sessions that share a user seed under different behavior seeds, for group-relative methods.
    """

    config: SessionConfig = field(default_factory=SessionConfig)
    behavior: Mapping[str, Any] | str = "uniform"
    action_kind: ActionKind = "slate"
    num_sessions: int = 1000
    dataset_seed: int = 0
    group_size: int = 1

    def __post_init__(self) -> None:
        require_range("num_sessions", self.num_sessions, 1, 2**40, integer=True)
        require_range("dataset_seed", self.dataset_seed, 0, 2**63 - 1, integer=True)
        require_range("group_size", self.group_size, 1, 2**20, integer=True)
        require(
            self.num_sessions % self.group_size == 0,
            f"num_sessions={self.num_sessions} is not a multiple of group_size={self.group_size}; change one of them",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values."""
        return {**{k: v for k, v in vars(self).items() if k != "config"}, "config": self.config.to_dict()}

    def policy(self, world: World) -> BehaviorPolicy:
        """Return the behavior policy over `world`."""
        return make_behavior(world, self.behavior, self.action_kind)

    def ranges(self) -> list[range]:
        """Return the independent, idempotent ranges of sessions that make up the dataset, in order."""
        starts = range(0, self.num_sessions, SESSIONS_PER_RANGE)
        return [range(start, min(start + SESSIONS_PER_RANGE, self.num_sessions)) for start in starts]


def mixture_spec(
    good_fraction: float, noise: str, mixing: str = "step", *, proto_scale: float | None = None
) -> dict[str, Any]:
    """Return the behavior spec of the quality dial: `good_fraction` expert, the rest `noise`.

    Args:
        good_fraction: g in [0, 1].
        noise: name of the noise's behavior policy.
        mixing: "step" or "session".
        proto_scale: spread of both components' proto-actions; None for their default.

    Raises:
        InvalidInput: for a fraction outside [0, 1].
    """
    require_range("good_fraction", good_fraction, 0.0, 1.0)
    spread = {} if proto_scale is None else {"proto_scale": proto_scale}
    return {
        "name": "mixture",
        "components": [{"name": "expert", **spread}, {"name": noise, **spread}],
        "weights": [good_fraction, 1.0 - good_fraction],
        "mixing": mixing,
    }


def collect(path: str | Path, request: LogRequest, *, progress: Callable[[int], object] | None = None) -> LoggedDataset:
    """Log sessions to a folder and return the dataset; if one of an equal request is there, return that.

    Args:
        path: the dataset's folder; unfinished work lies in `<path>.partial`.
        request: what to log.
        progress: called with the number of sessions of each range as it is done.

    Raises:
        InvalidInput: if `path` holds something else, cannot be written, or is being written by another process.
    """
    path = Path(path)
    plain = json.loads(json.dumps(request.to_dict()))
    if path.exists():
        return _finished(path, request, plain, progress)
    world = make_world(request.config)
    policy = request.policy(world)
    partial = make_folder(path.with_name(path.name + ".partial"))
    with sole_writer(partial):
        if path.exists():  # another process has finished it since
            shutil.rmtree(partial, ignore_errors=True)
            return _finished(path, request, plain, progress)
        _claim(partial, plain)
        for sessions in request.ranges():
            file = partial / f"range-{sessions.start:012d}.npz"
            if not file.exists():
                with replacing(file) as temporary, temporary.open("wb") as stream:
                    np.savez(stream, **_play_range(world, policy, request, sessions))  # type: ignore[arg-type]
            if progress:
                progress(len(sessions))
        _join(path, partial, request, plain, world)
    return LoggedDataset.open(path)


def _finished(
    path: Path, request: LogRequest, plain: dict[str, Any], progress: Callable[[int], object] | None
) -> LoggedDataset:
    require(path.is_dir(), f"{path} is a file; choose another --out")
    dataset = LoggedDataset.open(path)
    there = dataset.manifest.get("request")
    require(
        there == plain,
        f"{path} holds a dataset of another request{_difference(there, plain)}; choose another --out or remove it",
    )
    if progress:
        progress(request.num_sessions)
    return dataset


def _play_range(world: World, policy: BehaviorPolicy, request: LogRequest, sessions: range) -> dict[str, np.ndarray]:
    session_id = np.arange(sessions.start, sessions.stop)
    group_id = session_id // request.group_size
    session_seed = derive_seeds(request.dataset_seed, "session", group_id)
    behavior_seed = derive_seeds(request.dataset_seed, "behavior", session_id)
    played = play_sessions(world, policy, session_seed, behavior_seed)
    lengths = np.diff(played.offsets)
    rows = dict(played.columns)
    del rows["reward"]
    component = rows.pop("component")
    rows["session_id"] = np.repeat(session_id, lengths)
    rows["group_id"] = rows["user_id"] = np.repeat(group_id, lengths)
    rows["episode_id"] = np.zeros(len(component), np.int64)
    columns = {f"rows/{name}.npy": values for name, values in rows.items()}
    columns["sessions/length.npy"] = lengths
    columns["sessions/profile.npy"] = played.profile
    columns["sessions/session_seed.npy"] = session_seed
    columns["sessions/behavior_seed.npy"] = behavior_seed
    columns[LATENT_LABELS] = component
    return columns


def _join(path: Path, partial: Path, request: LogRequest, plain: dict[str, Any], world: World) -> None:
    whole = partial / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    files = sorted(partial.glob("range-*.npz"))
    with np.load(files[0]) as first:
        names = sorted(first.files)
    for name in names:
        pieces = []
        for file in files:
            with np.load(file) as piece:
                pieces.append(piece[name])
        values = np.concatenate(pieces)
        if name == "sessions/length.npy":
            name, values = "sessions/offsets.npy", np.concatenate([[0], np.cumsum(values)]).astype(np.int64)
        _save(whole / name, values)
    for name, values in world.catalog.arrays().items():
        _save(whole / "catalog" / f"{name}.npy", values)
    model = world.user_model
    schema = {str(file.relative_to(whole)): _describe(file) for file in sorted(whole.rglob("*.npy"))}
    manifest = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "request": plain,
        "config": plain["config"],
        "world_hash": request.config.world_hash(),
        "action_kind": request.action_kind,
        "behavior": plain["behavior"],
        "dataset_seed": request.dataset_seed,
        "num_sessions": request.num_sessions,
        "num_rows": schema["rows/step.npy"]["shape"][0],
        "feedback_names": list(model.feedback_names),
        "reward_names": list(world.reward_names),
        "reward_weights": dict(zip(world.reward_names, world.reward_weights.tolist(), strict=True)),
        "versions": {name: version(name) for name in ("recsession", "numpy", "numba")},
        "schema": schema,
    }
    write_json(whole / "manifest.json", manifest)
    write_json(
        whole / "run.json", {"finished": time.time(), "host": platform.node(), "python": platform.python_version()}
    )
    try:
        whole.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    shutil.rmtree(partial)


def _save(path: Path, values: np.ndarray) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.ascontiguousarray(values))
    except OSError as error:
        raise unwritable(path, error) from error


def _describe(path: Path) -> dict[str, Any]:
    column = np.load(path, mmap_mode="r")
    return {
        "dtype": str(column.dtype),
        "shape": list(column.shape),
        "bytes": path.stat().st_size,
        "sha256": file_digest(path),
    }


def _claim(partial: Path, plain: dict[str, Any]) -> None:
    file = partial / "request.json"
    if file.exists():
        there = json.loads(file.read_text())
        require(
            there == plain,
            f"{partial} holds unfinished work of another request{_difference(there, plain)}; remove it or choose "
            "another --out",
        )
    else:
        write_json(file, plain)


def _difference(there: Any, asked: Any, name: str = "") -> str:
    """Return where two requests first differ, for a message."""
    if isinstance(there, dict) and isinstance(asked, dict):
        for key in sorted(there.keys() | asked.keys()):
            if there.get(key) != asked.get(key):
                return _difference(there.get(key), asked.get(key), f"{name}.{key}" if name else key)
    return f" ({name} {json.dumps(there)} there, {json.dumps(asked)} here)" if name else ""
