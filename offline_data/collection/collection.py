"""From a world and a behavior policy to a `LoggedDataset`: atomic, resumable, the same bytes after any stop.

The work is a list of session ranges, each a pure function of the request: a range is played, written beside the dataset
and renamed into place; what is there already is not played again. When all ranges are there they are joined,
checksummed and renamed to the dataset's own path in one step.

Ranges are the seam for a distributed engine: let any number of machines run `RangeWriter(partial, request)` over the
`request.ranges()`, in any order and more than once, into one shared folder `<path>.partial`; `collect(path, request)`
then finds them there and joins them. Its own workers do no more.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.behavior.base import ACTION_KINDS, ActionKind, BehaviorPolicy, make_behavior, pinned_spec
from offline_data.collection.corruption import Corruption
from offline_data.collection.rollout import TooManyRows, check_propensities, halves, play_sessions
from offline_data.store.columns import LATENT_LABELS
from offline_data.store.dataset import LoggedDataset
from offline_data.store.dataset_writer import consumed_events, fill_folder, versions
from offline_data.store.folder_claim import FolderClaim, as_json, first_difference
from offline_data.store.stored_arrays import StoredArray, chained_offsets, require_alike, store_arrays
from offline_data.units import Progress, run_units
from recenv.errors import require, require_range, unknown_name
from recenv.files.atomic_files import (
    A_FOLDER,
    claimed_file,
    claimed_folder,
    explained,
    forget_killed,
    is_taken,
    kind_at,
    place_folder,
)
from recenv.items.catalog import Catalog
from recenv.plain_config import from_plain, to_plain
from recenv.random_streams import derive_seeds
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

SESSIONS_PER_RANGE: Final = 4096


@dataclass(frozen=True)
class LogRequest:
    """What is to be logged; two equal requests give the same bytes.

    Examples:
        >>> from offline_data import LogRequest, mixture_spec
        >>> request = LogRequest(behavior=mixture_spec(0.1, "clickbait"), action_kind="proto", num_sessions=5000)
        >>> LogRequest.from_dict(request.to_dict()) == request
        True
    """

    config: SessionConfig = field(default_factory=SessionConfig)
    """The world."""
    behavior: Mapping[str, Any] | str = "uniform"
    """JSON-able spec of the behavior policy."""
    action_kind: ActionKind = "slate"
    """"slate" or "proto"."""
    num_sessions: int = 1000
    """S."""
    dataset_seed: int = 0
    """Root of the seeds of sessions and behavior, in [0, 2**63)."""
    group_size: int = 1
    """G, sessions that share a user seed under different behavior seeds, for group-relative methods."""
    corruption: Corruption = field(default_factory=Corruption)
    """What is spoilt on the way to the disk."""
    quality: Mapping[str, Any] | None = None
    """What is known of the behavior's quality, JSON-able; the manifest holds it as it is."""

    def __post_init__(self) -> None:
        if self.action_kind not in ACTION_KINDS:
            raise unknown_name("action kind", self.action_kind, ACTION_KINDS)
        require_range("num_sessions", self.num_sessions, 1, 2**32, integer=True)
        require_range("dataset_seed", self.dataset_seed, 0, 2**63 - 1, integer=True)
        require_range("group_size", self.group_size, 1, 2**20, integer=True)
        require(
            self.num_sessions % self.group_size == 0,
            f"num_sessions={self.num_sessions} is not a multiple of group_size={self.group_size}; change one of them",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain values, without `quality`: that follows from them."""
        plain = {name: value for name, value in to_plain(self).items() if name != "quality"}
        return {**plain, "config": self.config.to_dict(paths=False)}

    @staticmethod
    def from_dict(values: Mapping[str, Any], *, items: Catalog | str | Path | None = None) -> LogRequest:
        """Return the request of nested plain values, as a manifest holds them.

        Args:
            values: what `to_dict` returns, or a part of it.
            items: the items of the world, where it has its own; see `SessionConfig.from_dict`.

        Raises:
            InvalidInput: for an unknown field, a value out of range, or own items that are not at hand.
        """
        request = from_plain(LogRequest, {name: value for name, value in values.items() if name != "config"})
        return replace(request, config=SessionConfig.from_dict(values.get("config", {}), items=items))

    def policy(self, world: World) -> BehaviorPolicy:
        """Return the behavior policy over `world`."""
        return make_behavior(world, self.behavior, self.action_kind)

    def ranges(self) -> list[range]:
        """Return the independent, idempotent ranges of sessions that make up the dataset, in order."""
        starts = range(0, self.num_sessions, SESSIONS_PER_RANGE)
        return [range(start, min(start + SESSIONS_PER_RANGE, self.num_sessions)) for start in starts]


def collect(
    path: str | Path, request: LogRequest, *, workers: int = 1, progress: Progress | None = None
) -> LoggedDataset:
    """Log sessions to a folder and return the dataset; if one of an equal request is there, return that.

    Args:
        path: the dataset's folder; unfinished work lies in `<path>.partial`.
        request: what to log.
        workers: processes that play ranges at the same time; the bytes are the same for any number.
        progress: called with the number of sessions of each range as it is done.

    Raises:
        InvalidInput: if `path` holds something else or what has changed, cannot be written, or is being written by
            another process.
    """
    require_range("workers", workers, 1, 1024, integer=True)
    path = Path(path)
    partial = path.parent / f"{path.name}.partial"
    if is_taken(path):
        return _finished(path, partial, request, progress)
    writer = RangeWriter(partial, request)  # what it refuses, it refuses before a folder is made
    with to_be_collected(path), FolderClaim(partial, writer.plain).held():
        if is_taken(path):  # another process has finished it since
            return _finished(path, partial, request, progress)
        units = [_RangeUnit(writer, sessions) for sessions in writer.request.ranges()]
        run_units(units, workers=workers, folder=partial, progress=progress)
        _join(partial / "whole", writer, workers)
        LoggedDataset.open(partial / "whole")  # a range that somebody has altered is found before it has a place
        place_folder(partial / "whole", path)
        shutil.rmtree(partial, ignore_errors=True)  # another process may be looking in
    return LoggedDataset.open(path)


@contextmanager
def to_be_collected(path: Path) -> Iterator[None]:
    """Be the one that collects a dataset, unless it is there.

    Args:
        path: the dataset's folder.

    Raises:
        InvalidInput: if another process collects it, or no folder can be made there.
    """
    require(path.suffix != ".partial", f"{path} is the name of unfinished work; choose another --out")
    require(path.exists() or not path.is_symlink(), f"{path} is a link to nowhere; remove it or choose another --out")
    if is_taken(path):
        _require_dataset(path)
        yield
        return
    partial = path.parent / f"{path.name}.partial"
    kind = kind_at(partial)
    require(kind in (None, A_FOLDER), f"cannot write {partial}: it is {kind}; choose another path")
    with claimed_folder(path):
        yield


class RangeWriter:
    """Plays ranges of sessions into a folder.

    Args:
        partial: the folder `<path>.partial` of the dataset.
        request: what to log.

    Attributes:
        request: what to log, its behavior pinned.
        plain: the request as the manifest holds it.

    Raises:
        InvalidInput: for a behavior that the world refuses.

    Examples:
        >>> from pathlib import Path
        >>> from offline_data import LogRequest, RangeWriter, collect
        >>> Path("log.partial").mkdir()
        >>> request = LogRequest(num_sessions=8)
        >>> counts = [RangeWriter(Path("log.partial"), request).write(sessions) for sessions in request.ranges()]
        >>> collect("log", request).num_sessions
        8
    """

    def __init__(self, partial: Path, request: LogRequest) -> None:
        self.partial = Path(partial)
        self.request = _pinned(request)
        self.world = make_world(request.config)
        self.policy = self.request.policy(self.world)
        self.plain = as_json(self.request.to_dict())
        made_by = json.dumps([self.plain, versions()], sort_keys=True)
        self._digest = hashlib.sha256(made_by.encode()).hexdigest()[:16]

    def __reduce__(self) -> tuple[type[RangeWriter], tuple[Path, LogRequest]]:
        # Its world is made anew where it is sent.
        return RangeWriter, (self.partial, self.request)

    def file(self, sessions: range) -> Path:
        """Return the file of a range: another for every request, and for every version that may play it otherwise.

        Args:
            sessions: one of the request's `ranges()`.
        """
        return self.partial / f"range-{sessions.start:012d}-{sessions.stop:012d}-{self._digest}"

    def write(self, sessions: range) -> int:
        """Play a range, unless it is there, and return its number of sessions; what memory does not hold, in halves.

        Args:
            sessions: one of the request's `ranges()`.

        Raises:
            InvalidInput: if the folder cannot be written, or a single session does not fit into memory.
        """
        if self.is_done(sessions):
            return len(sessions)
        try:
            columns = play_range(self.world, self.policy, self.request, sessions)
        except TooManyRows:
            if len(sessions) == 1:
                raise
        else:
            self._store(self.file(sessions), columns)
            return len(sessions)
        return sum(map(self.write, halves(sessions)))

    def is_done(self, sessions: range) -> bool:
        """Return whether a range is there, whole or in halves.

        Args:
            sessions: one of the request's `ranges()`.
        """
        return self.file(sessions).exists() or (len(sessions) > 1 and all(map(self.is_done, halves(sessions))))

    def parts(self, sessions: range) -> list[dict[str, StoredArray]]:
        """Return the columns of a range that is done, in its parts.

        Args:
            sessions: one of the request's `ranges()`.
        """
        file = self.file(sessions)
        if file.exists() or len(sessions) == 1:
            return [StoredArray.all_of(file)]
        return [part for half in halves(sessions) for part in self.parts(half)]

    def _store(self, file: Path, columns: dict[str, np.ndarray]) -> None:
        # Others may play the same range at the same time: each writes a file of its own.
        own = file.with_name(f"{file.name}-{platform.node()}-{os.getpid()}")
        with claimed_file(own) as temporary, explained(file):
            with temporary.open("wb") as stream:
                store_arrays(stream, columns)
            temporary.replace(file)


def manifest_request(request: LogRequest) -> dict[str, Any]:
    """Return a request as the manifest of its dataset holds it."""
    return as_json(_pinned(request).to_dict())


def _pinned(request: LogRequest) -> LogRequest:
    return replace(request, behavior=pinned_spec(request.config, request.behavior))


def _require_dataset(path: Path) -> None:
    require(path.is_dir(), f"{path} is {'a file' if path.is_file() else kind_at(path)}; choose another --out")
    require(
        (path / "manifest.json").is_file(),
        f"{path} holds something else (no manifest.json); choose another --out, or an empty folder",
    )


def _finished(path: Path, partial: Path, request: LogRequest, progress: Progress | None) -> LoggedDataset:
    _require_dataset(path)
    dataset = LoggedDataset.open(path)
    source, quality = dataset.manifest["source"], as_json(request.quality)
    there = {**source["request"], "quality": dataset.manifest.get("quality")} if "request" in source else None
    there = there if dataset.part is None else None
    plain = {**manifest_request(request), "quality": quality}
    require(
        there == plain,
        f"{path} holds a dataset of another request{first_difference(there, plain)}; choose another --out or remove it",
    )
    dataset.verify(again=False)
    dataset.require_sound()
    shutil.rmtree(partial, ignore_errors=True)  # what a stop between the last two steps has left
    forget_killed(path)
    if progress:
        progress(request.num_sessions)
    return dataset


def play_range(world: World, policy: BehaviorPolicy, request: LogRequest, sessions: range) -> dict[str, np.ndarray]:
    """Return the columns of a range of sessions, as they are logged, by their names in the dataset.

    Args:
        world: the request's world.
        policy: the request's behavior policy.
        request: what to log.
        sessions: any of its sessions.
    """
    session_id = np.arange(sessions.start, sessions.stop)
    group_id = session_id // request.group_size
    session_seed = derive_seeds(request.dataset_seed, "session", group_id)
    behavior_seed = derive_seeds(request.dataset_seed, "behavior", session_id)
    played = play_sessions(world, policy, session_seed, behavior_seed)
    lengths = np.diff(played.offsets)
    rows = dict(played.columns)
    check_propensities(request.behavior, rows)
    del rows["reward"]
    component = rows.pop("component")
    request.corruption.apply(world, rows, lengths, derive_seeds(request.dataset_seed, "corruption", session_id))
    rows["session_id"] = np.repeat(session_id, lengths)
    columns = {f"rows/{name}": values for name, values in rows.items()}
    columns |= consumed_events(rows["slate"], rows["feedback"], played.offsets)
    return {
        **columns,
        "sessions/offsets": played.offsets,
        "sessions/group_id": group_id,
        "sessions/user_id": group_id,
        "sessions/episode_id": np.zeros(len(session_id), np.int64),
        "sessions/profile": played.profile,
        "sessions/session_seed": session_seed,
        "sessions/behavior_seed": behavior_seed,
        LATENT_LABELS.removesuffix(".npy"): component,
    }


@dataclass(frozen=True)
class _RangeUnit:
    """One range, as a unit of work."""

    writer: RangeWriter
    sessions: range
    needs: tuple[()] = ()

    @property
    def title(self) -> str:
        return f"sessions {self.sessions.start} to {self.sessions.stop - 1}"

    @property
    def cost(self) -> int:
        return len(self.sessions)

    def is_done(self) -> bool:
        return self.writer.is_done(self.sessions)

    def run(self, progress: Progress) -> None:
        progress(self.writer.write(self.sessions))


def _join(whole: Path, writer: RangeWriter, workers: int) -> None:
    request, world, plain = writer.request, writer.world, writer.plain
    parts = [part for sessions in request.ranges() for part in writer.parts(sessions)]
    require_alike(parts, writer.partial)
    columns: dict[str, Any] = {name: [part[name] for part in parts] for name in parts[0]}
    for name in ("sessions/offsets", "sessions/event_offsets"):
        columns[name] = chained_offsets(columns[name])
    columns |= {f"catalog/{name}": values for name, values in world.catalog.arrays().items()}
    facts = {
        "source": {"kind": "simulator", "request": plain},
        "config": plain["config"],
        "world_hash": request.config.world_hash(),
        "action_kind": request.action_kind,
        "num_items": world.catalog.num_items,
        "history_length": request.config.history_length,
        "max_steps": request.config.max_steps,
        "feedback_names": list(world.user_model.feedback_names),
        "reward_names": list(world.reward_names),
        "reward_weights": dict(zip(world.reward_names, world.reward_weights.tolist(), strict=True)),
        "propensities": request.corruption.propensities,
        "injected": request.corruption.recorded(),
        "quality": request.quality,
    }
    fill_folder(whole, columns, facts, workers=workers)
