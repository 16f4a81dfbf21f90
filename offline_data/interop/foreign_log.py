"""From what was read of a foreign log to a `LoggedDataset`.

What a log does not say is said in the manifest, under `source.lacking`, and left out; nothing is made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.interop.arrangement import Arrangement
from offline_data.interop.interactions import Interactions
from offline_data.interop.propensities import PropensityEstimate, estimate_propensities
from offline_data.store.atomic_files import require_free
from offline_data.store.dataset import LoggedDataset, file_digest
from offline_data.store.dataset_writer import consumed_events, write_dataset
from recenv.errors import InvalidInput, require, require_range

# By so much a sum of single-precision numbers may differ.
_ROUNDING: Final = 1e-5
_LATEST_TIME: Final = 2e10
"""Seconds since 1970: beyond it, the year 2603, a time is in milliseconds."""


@dataclass(frozen=True)
class ImportOptions:
    """What every reader of a foreign log takes.

    Examples:
        >>> from offline_data import ImportOptions
        >>> ImportOptions(reward_weights={"click": 1.0, "like": 2.0}).session_gap
        30.0
    """

    session_gap: float = 30.0
    """Minutes without an event after which a user's next one begins a session, where the log has no sessions of its
    own."""
    history_length: int = 20
    """H, consumed items that an observation holds."""
    max_steps: int | None = None
    """Steps that an observation's `clock` is a share of, at least those of the longest session, which is the default:
    a policy serves logs of its own number alone, so give what your service knows it by."""
    reward_weights: Mapping[str, float] = field(default_factory=dict)
    """Weight of each feedback channel in the reward, by name; empty for the reader's own."""
    estimate_propensities: bool = False
    """Estimate the probabilities of the logged items where the log lacks them."""
    seed: int = 0
    """Of the split into sessions that the estimate is fitted, calibrated and judged on."""

    def __post_init__(self) -> None:
        require_range("session_gap", self.session_gap, 0.0, 1e9)
        require_range("history_length", self.history_length, 1, 4096, integer=True)
        if self.max_steps is not None:
            require_range("max_steps", self.max_steps, 1, 2**31 - 1, integer=True)
        require_range("seed", self.seed, 0, 2**63 - 1, integer=True)
        for name, weight in self.reward_weights.items():
            require_range(f"reward weight of {name}", weight, -1e6, 1e6)


def import_interactions(
    path: str | Path,
    log: Interactions,
    reader: str,
    *,
    options: ImportOptions,
    default_weights: Mapping[str, float] | None = None,
    lacking: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> LoggedDataset:
    """Write a foreign log as a dataset and return it.

    Sessions are ordered by user and by the time at which they begin, or by their ids where there are no times. A slate
    of fewer than K items repeats its last one, which is not shown again.

    Args:
        path: the dataset's folder, which is not there yet.
        log: what was read.
        reader: its name.
        options: how sessions and rewards are made.
        default_weights: of the feedback in the reward, where `options` have none; None for the click alone.
        lacking: what the source does not say, in words, beyond what the columns show.
        facts: further options of the reader, for the manifest.

    Raises:
        InvalidInput: for a value out of its range, naming file and data row, a session of more than `max_steps`, or a
            path that exists.
    """
    require_free(Path(path))
    _check(log)
    arrangement = Arrangement.of(log, options.session_gap * 60.0)
    _check_steps(log, arrangement)
    columns = arrangement.columns(log)
    weights = _reward_columns(columns, log, arrangement, options.reward_weights, default_weights)
    slate, offsets = columns["rows/slate"], columns["sessions/offsets"]
    columns |= consumed_events(slate, columns["rows/feedback"], offsets)
    columns |= {"catalog/source_id": log.item.source, **{f"catalog/{name}": v for name, v in log.catalog.items()}}
    manifest = {
        "source": {
            "kind": "import",
            "reader": reader,
            "files": {file.name: file_digest(file) for file, _ in log.files},
            "options": {"session_gap": options.session_gap, **(facts or {})},
            "lacking": [*_lacking(log), *lacking],
        },
        "config": None,
        "world_hash": None,
        "action_kind": "slate",
        "num_items": len(log.item.source),
        "history_length": options.history_length,
        "max_steps": _max_steps(log, arrangement, options.max_steps),
        "feedback_names": list(log.feedback),
        "reward_names": list(weights),
        "reward_weights": weights,
        "propensities": _propensities(columns["rows/behavior_log_prob"]),
        "injected": {},
    }
    if options.estimate_propensities and manifest["propensities"] != "exact":
        add_estimates(columns, manifest, _estimate(Path(path), columns, manifest, options.seed))
    return write_dataset(path, columns, manifest)


def _max_steps(log: Interactions, arrangement: Arrangement, given: int | None) -> int:
    """Return the steps that the clock is a share of, or refuse those of which a session has more."""
    lengths = np.diff(arrangement.offsets)
    longest = int(np.argmax(lengths))
    if given is not None and lengths[longest] > given:
        entry = int(arrangement.order[arrangement.first[arrangement.offsets[longest]]])
        user = log.user.source[log.user.codes[entry]]
        raise InvalidInput(
            f"max_steps={given} is less than the {lengths[longest]:,} steps of the longest session, of user {user!s}, "
            f"which begins at {log.place(entry)}; give --max-steps {lengths[longest]} or more, or cut sessions at "
            "shorter gaps"
        )
    return int(lengths[longest]) if given is None else given


def add_estimates(columns: dict[str, Any], manifest: dict[str, Any], estimate: PropensityEstimate) -> None:
    """Put estimates where propensities are missing, and say so in the manifest."""
    whole = columns["rows/behavior_log_prob"]
    missing = np.isnan(whole)
    columns["rows/behavior_log_prob"] = np.where(missing, estimate.prefix_log_prob[:, -1], whole)
    known = columns.get("rows/prefix_log_prob", np.full(estimate.prefix_log_prob.shape, np.nan))
    columns["rows/prefix_log_prob"] = np.where(missing[:, None], estimate.prefix_log_prob, known)
    manifest["propensities"] = "estimated"
    manifest["source"] = {**manifest["source"], "propensity_estimate": estimate.report}


def _estimate(path: Path, columns: Mapping[str, Any], manifest: dict[str, Any], seed: int) -> PropensityEstimate:
    parts: dict[str, Any] = {name: {} for name in ("rows", "sessions", "events", "catalog")}
    for name, values in columns.items():
        folder, column = name.split("/")
        parts[folder][column] = values
    return estimate_propensities(LoggedDataset(path, manifest, **parts), seed=seed)


def _check(log: Interactions) -> None:
    require(len(log.item.codes) > 0, f"{log.files[0][0]} has a header and no rows; copy it again")
    for name, values in log.feedback.items():
        log.require_all(name, values, (values >= 0.0) & (values <= 1.0), "in [0, 1]; scale it, or give it as a reward")
    for name, values in (log.reward or {}).items():
        fine = np.abs(values) <= np.finfo(np.float32).max
        log.require_all(name, values, fine, "a finite number of single precision; mend or leave out the row")
    if log.timestamp is not None:
        fine = np.abs(log.timestamp) < _LATEST_TIME  # neither NaN is
        log.require_all(
            "timestamp", log.timestamp, fine, "a time in seconds since 1970; mend it, or say that it is in milliseconds"
        )
    for name in ("item_log_prob", "prefix_log_prob", "step_log_prob"):
        values = getattr(log, name)
        if values is not None:
            fine = np.isnan(values) | ((values <= 0.0) & (values > -np.inf))
            log.require_all("propensity", np.exp(values), fine, "a probability above 0; leave it empty if unknown")


def _check_steps(log: Interactions, arrangement: Arrangement) -> None:
    """Refuse log-probabilities of slates that differ within a slate, or of prefixes that grow along it."""
    whole, prefix = log.step_log_prob, log.prefix_log_prob
    if whole is not None:
        same = _as_first(whole, arrangement)
        log.require_all("behavior_log_prob", whole, same, "that of its step's first item; it is of the whole slate")
    if prefix is not None:
        grows = (np.diff(prefix[arrangement.order]) > _ROUNDING) & (np.diff(arrangement.row) == 0)
        falls = np.ones(len(prefix), np.bool_)
        falls[arrangement.order[1:]] = ~grows
        log.require_all("prefix_log_prob", prefix, falls, "at most that of the slate up to the item before")


def _as_first(values: np.ndarray, arrangement: Arrangement) -> np.ndarray:
    """Return whether each entry has the value of its step's first one, [n]; NaN equals NaN."""
    entries, first = values[arrangement.order], arrangement.steps(values)[arrangement.row]
    same = np.empty(len(values), np.bool_)
    same[arrangement.order] = (entries == first) | (np.isnan(entries) & np.isnan(first))
    return same


def _reward_columns(
    columns: dict[str, np.ndarray],
    log: Interactions,
    arrangement: Arrangement,
    weights: Mapping[str, float],
    default: Mapping[str, float] | None,
) -> dict[str, float]:
    """Add "rows/reward_vector" and return the weight of each of its components."""
    if log.reward is not None:
        require(
            not weights, f"reward_weights={dict(weights)!r} weigh feedback, and this log has rewards; leave them out"
        )
        components = []
        for name, values in log.reward.items():
            same = _as_first(values, arrangement)
            log.require_all(
                name, values, same, "the reward of its step's first item; map it as feedback and give it a weight"
            )
            components.append(arrangement.steps(values))
        columns["rows/reward_vector"] = np.stack(components, axis=1).astype(np.float32)
        return dict.fromkeys(log.reward, 1.0)
    chosen = dict(weights or default or {next(iter(log.feedback)): 1.0})
    unknown = sorted(chosen.keys() - log.feedback.keys())
    require(
        not unknown, f"reward weights of {', '.join(unknown)}: no such feedback; choose of {', '.join(log.feedback)}"
    )
    channels = [list(log.feedback).index(name) for name in chosen]
    columns["rows/reward_vector"] = columns["rows/feedback"][:, :, channels].sum(axis=1)
    return {name: float(weight) for name, weight in chosen.items()}


def _propensities(log_prob: np.ndarray) -> str:
    missing = np.isnan(log_prob)
    return "missing" if missing.all() else "partial" if missing.any() else "exact"


def _lacking(log: Interactions) -> list[str]:
    known = (log.item_log_prob, log.prefix_log_prob, log.step_log_prob)
    lacks = {
        "propensities of the logged items": all(values is None for values in known),
        "profiles of the users": True,
        "embeddings of the items": "embeddings" not in log.catalog,
        "times": log.timestamp is None,
        "slates: each item is a step of its own": log.step is None,
    }
    return [what for what, lacked in lacks.items() if lacked]
