"""A log in two parts, each a dataset of its own: one to learn from, and one to judge by what was learned."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

import numpy as np

from offline_data.store.columns import LATENT_LABELS, open_column
from offline_data.store.dataset import LoggedDataset
from offline_data.store.dataset_writer import fill_folder
from offline_data.store.manifest import PARTS
from offline_data.store.session_blocks import session_blocks
from offline_data.store.stored_arrays import KeptEntries
from recenv.errors import InvalidInput, require, require_range, unknown_name
from recenv.files.atomic_files import forget_killed, is_taken, new_folder

SplitBy: TypeAlias = Literal["session", "user", "time"]

_OFFSETS: Final = ("sessions/offsets", "sessions/event_offsets")
_UNITS: Final = {"session": "group_id", "user": "user_id"}


@dataclass(frozen=True)
class LogSplit:
    """The two parts of a log.

    Examples:
        >>> from offline_data import LogRequest, collect, split_log
        >>> log = collect("log", LogRequest(behavior="greedy", num_sessions=8))
        >>> parts = split_log(log, share=0.75)
        >>> parts.train.num_sessions, parts.judge.num_sessions, str(parts.judge.path)
        (6, 2, 'log-split/judge')
    """

    train: LoggedDataset
    """What is learned from."""
    judge: LoggedDataset
    """By what it is judged."""


def split_log(
    log: LoggedDataset, out: str | Path | None = None, *, by: SplitBy = "session", share: float = 0.5, seed: int = 0
) -> LogSplit:
    """Write the two parts of a log, and return them; if the same split is there, return that.

    Items, their ids and `max_steps` are the log's in both, so that a policy of one part fits the other. Sessions of one
    group stay together. What is in memory grows by some bytes a session, and not with its steps.

    Args:
        log: the whole, which may be a part itself.
        out: folder of the folders `train` and `judge`, both there or neither; None for the log's own path with "-split"
            behind it.
        by: "session", at random; "user", at random, all sessions of a user in one part; or "time", in which the
            sessions that begin earlier are learned from, and those that begin at the same moment stay together.
        share: of the sessions or users that are learned from, in (0, 1).
        seed: of what is drawn; by time nothing is.

    Raises:
        InvalidInput: for a log without times that is to be split by them, a share that leaves a part empty, a log that
            contradicts itself, or an `out` that holds something else or cannot be written.
    """
    require_range("share", share, 0.0, 1.0, low_open=True, high_open=True)
    require_range("seed", seed, 0, 2**63 - 1, integer=True)
    if by not in get_args(SplitBy):
        raise unknown_name("way to split", by, get_args(SplitBy))
    folder = split_folder(log.path) if out is None else Path(out)
    how = {"by": by, "share": share, "seed": seed}
    if is_taken(folder):
        return _finished(folder, log, how)
    with new_folder(folder) as new:
        log.verify(again=False)
        log.require_sound()
        train = _training_sessions(log, by, share, seed)
        for name, keep in zip(PARTS, (train, ~train), strict=True):
            fill_folder(new / name, _columns(log, keep), _facts(log, keep, name, how))
            LoggedDataset.open(new / name)
    return _opened(folder)


def split_folder(log: Path) -> Path:
    """Return where the parts of a log are written if nothing else is said."""
    log = _named(log)
    return log.with_name(f"{log.name}-split")


def stays_together(log: LoggedDataset) -> bool:
    """Return whether the sessions of a log are one or of one group, which no split takes apart."""
    groups = np.asarray(log.sessions[_UNITS["session"]])
    return bool((groups == groups[0]).all())


def other_part(log: LoggedDataset) -> Path | None:
    """Return the folder of the other part of a split, if the log is one part and the other lies beside it."""
    mine = log.part
    if mine is None:
        return None
    name = next(name for name in PARTS if name != mine["name"])
    for folder in (_named(log.path), log.path.resolve()):  # beside a link to it, or beside itself
        with suppress(InvalidInput):
            theirs = LoggedDataset.open(folder.with_name(name)).part
            if theirs is not None and {**theirs, "name": mine["name"]} == mine:
                return folder.with_name(name)
    return None


def _named(folder: Path) -> Path:
    """Return a folder by a path that ends in its name."""
    return folder if folder.name not in ("", "..") else folder.resolve()


def _opened(folder: Path) -> LogSplit:
    return LogSplit(*(LoggedDataset.open(folder / name) for name in PARTS))


def _finished(folder: Path, log: LoggedDataset, how: dict[str, Any]) -> LogSplit:
    """Return the split that is there, or refuse a folder of anything else."""
    try:
        there = _opened(folder)
        same = all(
            part.part == _part(log, name, how) for name, part in zip(PARTS, (there.train, there.judge), strict=True)
        )
    except InvalidInput:
        same = False
    require(same, f"{folder} exists and is no such split of {log.path}; choose another --out or remove it")
    for part in (there.train, there.judge):
        part.verify(again=False)
    forget_killed(folder)
    return there


def _training_sessions(log: LoggedDataset, by: str, share: float, seed: int) -> np.ndarray:
    """Return which sessions are learned from, [S] bool, some and not all."""
    if by == "time":
        return _earlier_sessions(log, share)
    column = log.sessions[_UNITS[by]]
    there = np.zeros(1 + max(int(column[block.sessions].max()) for block in session_blocks(log)), np.bool_)
    for block in session_blocks(log):
        there[column[block.sessions]] = True
    units = np.flatnonzero(there)
    chosen = np.random.default_rng(seed).permutation(units)[: _count(log, share, len(units), by)]
    there[:] = False
    there[chosen] = True
    return there[column]


def _count(log: LoggedDataset, share: float, num_units: int, by: str) -> int:
    """Return how many of the units are learned from."""
    what = f"{num_units:,} {by}s"
    if num_units == 1:
        apart = by == "user" and not stays_together(log)
        what = "1 user" if by == "user" else "1 session" if log.num_sessions == 1 else "1 group of sessions"
        remedy = "--by session splits those of a user" if apart else "two parts need two; collect or import more"
        raise InvalidInput(f"{log.path} has {what} to split: {remedy}")
    count = round(share * num_units)
    require(
        0 < count < num_units,
        f"--share {share:g} of {what} leaves a part empty; give one in [{1 / num_units:.6g}, {1 - 1 / num_units:.12g}]",
    )
    return count


def _earlier_sessions(log: LoggedDataset, share: float) -> np.ndarray:
    require(
        "timestamp" in log.rows,
        f"{log.path} has no times; split it --by session or --by user"
        + ("" if log.has_world else ", or import it again with timestamp=COLUMN"),
    )
    begins = np.concatenate([log.rows["timestamp"][block.rows][block.first] for block in session_blocks(log)])
    count = _count(log, share, log.num_sessions, "session")
    moment = np.partition(begins, count)[count]
    before, until = begins < moment, begins <= moment
    train = until if abs(until.sum() - count) < abs(before.sum() - count) or not before.any() else before
    require(
        not train.all(),
        f"all {log.num_sessions:,} sessions of {log.path} begin at the same time; split it --by session or --by user",
    )
    return train


def _columns(log: LoggedDataset, keep: np.ndarray) -> dict[str, Any]:
    """Return the columns of some sessions, by name."""
    every = np.arange(log.num_sessions + 1)
    sources = {"rows": log.offsets, "latent": log.offsets, "events": log.sessions["event_offsets"], "sessions": every}
    columns: dict[str, Any] = {}
    for folder, offsets in sources.items():
        for name, values in _opened_columns(log, folder).items():
            columns[f"{folder}/{name}"] = KeptEntries(values, np.asarray(offsets), keep)
    columns["rows/session_id"] = KeptEntries(log.rows["session_id"], log.offsets, keep, keep.cumsum() - 1)
    for name in _OFFSETS:
        lengths = np.diff(log.sessions[name.split("/")[1]])[keep]
        columns[name] = np.concatenate([[0], lengths.cumsum()])
    columns.setdefault("sessions/whole_session", np.flatnonzero(keep))
    return columns | {f"catalog/{name}": values for name, values in log.catalog.items()}


def _opened_columns(log: LoggedDataset, folder: str) -> dict[str, np.ndarray]:
    if folder != "latent":
        return getattr(log, folder)
    entry = log.manifest["schema"].get(LATENT_LABELS)
    return {} if entry is None else {"component": open_column(log.path / LATENT_LABELS, entry)}


def _facts(log: LoggedDataset, keep: np.ndarray, name: str, how: dict[str, Any]) -> dict[str, Any]:
    """Return what a part's manifest says: what the whole's does, and what it is a part of."""
    propensities = log.propensities
    if propensities == "partial":
        lacking = np.zeros(2, np.int64)  # rows without one, and rows
        for block in session_blocks(log):
            missing = np.isnan(log.rows["behavior_log_prob"][block.rows])
            missing = missing[np.repeat(keep[block.sessions], block.lengths)]
            lacking += missing.sum(), len(missing)
        propensities = {0: "exact", lacking[1]: "missing"}.get(lacking[0], "partial")
    return {**log.manifest, "propensities": propensities, "part": _part(log, name, how)}


def _part(log: LoggedDataset, name: str, how: dict[str, Any]) -> dict[str, Any]:
    told = ("checksum", "num_sessions", "num_rows", "part")
    whole = {field: log.manifest[field] for field in told if field in log.manifest}
    return {"name": name, **how, "of": {"folder": _named(log.path).name, **whole}}
