"""From what was read of a foreign log to a `LoggedDataset`.

What a log does not say is said in the manifest, under `source.lacking`, and left out; nothing is made up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from offline_data.interop.arrangement import Arrangement
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Interactions
from offline_data.interop.offers import step_candidates
from offline_data.interop.propensities import PropensityEstimate, estimate_propensities
from offline_data.interop.repeats import repeated_entries
from offline_data.interop.step_context import step_context
from offline_data.interop.table_parts import part_names
from offline_data.interop.times import require_plausible
from offline_data.store.context import ContextColumn
from offline_data.store.dataset import LoggedDataset, file_digest
from offline_data.store.dataset_writer import consumed_events, write_dataset
from recenv.errors import InvalidInput, require
from recenv.files.atomic_files import require_free
from recenv.plain_config import to_plain

# By so much a sum of single-precision numbers may differ.
_ROUNDING: Final = 1e-5
# Slates that are looked at before all are.
_LOOKED_AT: Final = 1000


def import_interactions(
    path: str | Path,
    log: Interactions,
    reader: str,
    *,
    options: ImportOptions,
    default_weights: Mapping[str, float] | None = None,
    lacking: Sequence[str] = (),
    remarks: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
) -> LoggedDataset:
    """Write a foreign log as a dataset and return it.

    Sessions are ordered by user and by the time at which they begin, or by their ids where there are no times. A slate
    of fewer than K items repeats its last one, which is not shown again; so does a position without an item.

    Args:
        path: the dataset's folder, which is not there yet.
        log: what was read.
        reader: its name.
        options: how sessions and rewards are made.
        default_weights: of the feedback in the reward, where `options` have none; None for the click alone.
        lacking: what the source does not say, in words, beyond what the columns show.
        remarks: how it was read where it might have been read otherwise, in words.
        facts: further options of the reader, for the manifest.

    Raises:
        InvalidInput: for a value out of its range, naming file and data row, a session of more than `max_steps`, or a
            path that exists.
    """
    require_free(Path(path))
    log = _with_item_features(log, options.item_features)
    _check(log, options)
    arrangement = Arrangement.of(log, options.session_gap * 60.0, options.slate_size)
    log, arrangement, repeats = _without_repeats(log, arrangement, options)
    arrangement.check(log)
    log, doubt = _with_propensities(log, arrangement, options.propensity_of)
    _check_steps(log, arrangement)
    if log.item_features:
        told = ", ".join(f"{each['column']} ({each['as']})" for each in log.item_features)
        remarks = [
            *remarks,
            f"items have {log.catalog['embeddings'].shape[1]} coordinates made of their columns {told}",
        ]
    remarks = [*remarks, *repeats.pop("remarks"), *doubt]
    columns = arrangement.columns(log)
    remarks += _disorder(log, arrangement, columns)
    weights = _reward_columns(columns, log, arrangement, options.reward_weights, default_weights)
    if log.candidates is not None:
        columns["rows/candidates"] = step_candidates(log, arrangement)
    context: tuple[ContextColumn, ...] = ()
    if log.context:
        columns["rows/context"], context, told = step_context(log, arrangement, options.context_of)
        remarks += told
    slate, offsets = columns["rows/slate"], columns["sessions/offsets"]
    columns |= consumed_events(slate, columns["rows/feedback"], offsets)
    columns |= {"catalog/source_id": log.item.source, **{f"catalog/{name}": v for name, v in log.catalog.items()}}
    files = [file for file, _ in log.files]
    manifest = {
        "source": {
            "kind": "import",
            "reader": reader,
            "files": dict(zip(part_names(files), map(file_digest, files), strict=True)),
            "options": {**options.told(), **(facts or {})},
            "lacking": [*_lacking(log), *lacking],
            "remarks": remarks,
            "item_rewards": list(log.item_reward or {}),
            **({"item_features": list(log.item_features)} if log.item_features else {}),
            **repeats,
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
        "context": [to_plain(column) for column in context],
        "injected": {},
    }
    if options.estimate_propensities and manifest["propensities"] != "exact":
        add_estimates(columns, manifest, _estimate(Path(path), columns, manifest, options.seed))
    return write_dataset(path, columns, manifest, sound=True)


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
    sizes = {"num_rows": len(columns["rows/step"]), "num_sessions": len(columns["sessions/offsets"]) - 1}
    return estimate_propensities(LoggedDataset(path, {**manifest, **sizes}, **parts), seed=seed)


def _with_item_features(log: Interactions, asked: tuple[str, ...]) -> Interactions:
    """Return the log without embeddings that are made of columns if none are asked, or refuse columns it has not."""
    if asked == ("none",):
        given = {name: values for name, values in log.catalog.items() if name != "embeddings"}
        return replace(log, catalog=given, item_features=()) if log.item_features else log
    known = [each["column"] for each in log.item_features]
    remedy = "the items have no columns; give a file of --items, where the reader takes one"
    if known:
        remedy = f"embeddings are made of {', '.join(known)}; choose of these"
    for name in (word.partition("=")[0] for word in asked):
        require(name in known, f"--item-features {name}: {remedy}, or leave it out")
    return log


def _without_repeats(
    log: Interactions, arrangement: Arrangement, options: ImportOptions
) -> tuple[Interactions, Arrangement, dict[str, Any]]:
    """Count the entries that repeat an earlier one, and leave them out if that is asked."""
    again, first = repeated_entries(log, arrangement)
    told: dict[str, Any] = {"duplicates": len(again), "remarks": []}
    if not len(again):
        return log, arrangement, told
    done = "they are left out" if options.duplicates == "drop" else "they are kept: --duplicates drop leaves them out"
    told["remarks"].append(
        f"{len(again):,} of {len(log.item.codes):,} rows repeat an earlier one in every column that is read ("
        f"the first: {_named(log, again[0])}, that of {_named(log, first[0])}); {done}"
    )
    if options.duplicates == "drop":
        keep = np.ones(len(log.item.codes), np.bool_)
        keep[again] = False
        log = log.only(keep)
        arrangement = Arrangement.of(log, options.session_gap * 60.0, options.slate_size)
    return log, arrangement, told


def _with_propensities(log: Interactions, arrangement: Arrangement, of: str | None) -> tuple[Interactions, list[str]]:
    """Return the log with its propensities of what they are, and a warning where that was guessed.

    Raises:
        InvalidInput: where the same number throughout each slate may be the slate's or the item's.
    """
    values = log.item_log_prob
    require(of is None or values is not None, f"--propensity-of {of}, and the log has no propensity of items; map one")
    size = np.diff(np.append(arrangement.first, len(arrangement.order)))
    if values is None or of == "item" or size.max() == 1:
        return log, []
    if of == "slate":
        same = arrangement.as_first(values)
        told = "that of its slate's first item, as --propensity-of slate has it; say --propensity-of item"
        log.require_all("propensity", np.exp(values), same, told)
        return replace(log, item_log_prob=None, step_log_prob=values), []
    several = np.flatnonzero(size > 1)
    if _constants(values, arrangement, several[:_LOOKED_AT]) is None:  # which is soon seen of most logs
        return log, []
    constants = _constants(values, arrangement, several)
    known = np.empty(0, np.int64) if constants is None else np.flatnonzero(~np.isnan(constants))
    if constants is None or len(known) == 0:
        return log, []
    each = np.unique(constants[known])
    if len(each) == 1:
        return log, [
            f"warning: every propensity of a slate's items is {np.exp(each[0]):.6g}, and is taken as the item's; say "
            "--propensity-of slate if it is the slate's"
        ]
    entry = int(arrangement.order[arrangement.first[several[known[0]]]])
    raise InvalidInput(
        f"{log.place(entry)}: propensity is the same throughout each slate, here {np.exp(values[entry]):.6g}, and "
        "differs between slates; say --propensity-of slate if it is the whole slate's, or --propensity-of item if it "
        "is the item's, given those before it"
    )


def _constants(values: np.ndarray, arrangement: Arrangement, rows: np.ndarray) -> np.ndarray | None:
    """Return the value [n] that is the same throughout each of these rows, NaN where one lacks; None if they differ."""
    ends = np.append(arrangement.first[1:], len(arrangement.order))[rows]
    spans = np.stack([arrangement.first[rows], ends], axis=1).ravel()
    spans = spans[:-1] if spans[-1] == len(values) else spans
    ordered = values[arrangement.order]
    least, most = (each.reduceat(ordered, spans)[::2] for each in (np.minimum, np.maximum))
    return least if ((least == most) | np.isnan(least)).all() else None


def _disorder(log: Interactions, arrangement: Arrangement, columns: Mapping[str, np.ndarray]) -> list[str]:
    """Return remarks if steps come back, or if their order is not that of their times."""
    if log.timestamp is None or not isinstance(log.step, np.ndarray):
        return []
    told, anew = [], arrangement.begun_anew
    if len(anew):
        told.append(
            f"{len(anew):,} of {len(arrangement.offsets) - 1:,} sessions begin where a step's number comes back after "
            f"another's (the first: {_named(log, anew.min())}); map session_id if they are no visits of their own"
        )
    times = columns["rows/timestamp"]
    back = np.diff(times) < 0.0
    back[arrangement.offsets[1:-1] - 1] = False
    if not back.any():
        return told
    row = int(np.argmax(back)) + 1
    return [
        *told,
        f"{int(back.sum()):,} steps of {len(times):,} are earlier than the one before them (the first: "
        f"{_named(log, arrangement.order[arrangement.first[row]])}): the steps' numbers order them, not their times",
    ]


def _named(log: Interactions, entry: Any) -> str:
    """Return where an entry was read, without the folder: equal files are to give equal manifests."""
    return Path(log.place(int(entry))).name


def _check(log: Interactions, options: ImportOptions) -> None:
    require(len(log.item.codes) > 0, f"{log.files[0][0]} has a header and no rows; copy it again")
    for name, values in log.feedback.items():
        log.require_all(
            name,
            values,
            (values >= 0.0) & (values <= 1.0),
            "in [0, 1]; scale or mend it",
        )
    for name, values in {**(log.reward or {}), **(log.item_reward or {})}.items():
        fine = np.abs(values) <= np.finfo(np.float32).max
        log.require_all(name, values, fine, "a finite number of single precision; mend or leave out the row")
    if log.position is not None:
        log.require_all("position", log.position, log.position >= 0, "at least 0; mend or leave out the row")
    if log.timestamp is not None:
        if not np.isfinite([log.timestamp.min(), log.timestamp.max()]).all():
            log.require_all("timestamp", log.timestamp, np.isfinite(log.timestamp), "a time; mend or leave out the row")
        remedy = "mend them, or say --counted-times if they count from no date"
        require_plausible(log.timestamp, log.place, counted=options.counted_times, remedy=remedy)
    for name in ("item_log_prob", "prefix_log_prob", "step_log_prob"):
        values = getattr(log, name)
        if values is not None:
            fine = np.isnan(values) | ((values <= 0.0) & (values > -np.inf))
            log.require_all("propensity", np.exp(values), fine, "a probability above 0; leave it empty if unknown")


def _check_steps(log: Interactions, arrangement: Arrangement) -> None:
    """Refuse log-probabilities of slates that differ within a slate, or of prefixes that grow along it."""
    whole, prefix = log.step_log_prob, log.prefix_log_prob
    if whole is not None:
        same = arrangement.as_first(whole)
        log.require_all(
            "behavior_log_prob",
            whole,
            same,
            "that of its step's first item, as it is of the whole slate; if it is of the item, map log_propensity",
        )
    if prefix is not None:
        grows = (np.diff(prefix[arrangement.order]) > _ROUNDING) & (np.diff(arrangement.row) == 0)
        falls = np.ones(len(prefix), np.bool_)
        falls[arrangement.order[1:]] = ~grows
        told = "at most that of the slate up to the item before; if it is of the item alone, map log_propensity"
        log.require_all("prefix_log_prob", prefix, falls, told)


def _reward_columns(
    columns: dict[str, np.ndarray],
    log: Interactions,
    arrangement: Arrangement,
    weights: Mapping[str, float],
    default: Mapping[str, float] | None,
) -> dict[str, float]:
    """Add "rows/reward_vector" and return the weight of each of its components."""
    require(
        not (weights and log.reward),
        f"reward_weights={dict(weights)!r} weigh feedback, and this log has rewards of steps; leave them out",
    )
    components: dict[str, np.ndarray] = {}
    for name, values in (log.reward or {}).items():
        same = arrangement.as_first(values)
        log.require_all(
            name,
            values,
            same,
            f"the reward of its step's first item; if it is of the item, map item_reward.{name}",
        )
        components[name] = arrangement.steps(values)
    of_items = log.item_reward or {}
    twice = sorted(of_items.keys() & {*log.feedback, *components})
    require(not twice, f"item_reward.{', '.join(twice)} is named as a feedback or a reward is; give it another name")
    told = dict.fromkeys([*components, *of_items], 1.0) or default or {next(iter(log.feedback)): 1.0}
    chosen = dict(weights or told)
    known = [*log.feedback, *of_items]
    unknown = sorted(chosen.keys() - {*known, *components})
    require(not unknown, f"reward weights of {', '.join(unknown)}: no such feedback; choose of {', '.join(known)}")
    if not components and chosen.keys() <= log.feedback.keys():
        channels = [list(log.feedback).index(name) for name in chosen]
        columns["rows/reward_vector"] = columns["rows/feedback"][:, :, channels].sum(axis=1)
        return {name: float(weight) for name, weight in chosen.items()}
    for names, column in ((list(log.feedback), "rows/feedback"), (list(of_items), "rows/item_reward")):
        mine = [name for name in chosen if name in names]
        if mine:
            summed = columns[column][:, :, [names.index(name) for name in mine]].sum(axis=1)
            components |= dict(zip(mine, summed.T, strict=True))
    columns["rows/reward_vector"] = np.stack([components[name] for name in chosen], axis=1).astype(np.float32)
    return {name: float(weight) for name, weight in chosen.items()}


def _propensities(log_prob: np.ndarray) -> str:
    missing = np.isnan(log_prob)
    return "missing" if missing.all() else "partial" if missing.any() else "exact"


def _lacking(log: Interactions) -> list[str]:
    known = (log.item_log_prob, log.prefix_log_prob, log.step_log_prob)
    lacks = {
        "propensities of the logged items": all(values is None for values in known),
        "profiles of the users": not log.context,
        "embeddings of the items": "embeddings" not in log.catalog,
        "times": log.timestamp is None,
        "slates: each item is a step of its own": log.step is None,
    }
    return [what for what, lacked in lacks.items() if lacked]
