"""What is in a logged dataset, in numbers: JSON-able, exact, and read in blocks of whole sessions.

Memory does not grow with rows or sessions, but for two numbers a user and two an item.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np

from offline_data.describe.streamed_statistics import (
    Distribution,
    EffectiveSampleSize,
    clustered_interval,
    entropy,
    gini,
)
from offline_data.dial.quality import Reference
from offline_data.families import BEHAVIORS
from offline_data.ope.trust import TRUSTED_SAMPLE_SIZE
from offline_data.ranking.ranking import gaussian_log_prob
from offline_data.store.columns import COLUMNS, LATENT_LABELS
from offline_data.store.context import ContextColumn
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import SessionBlock, session_blocks
from recenv.families import USER_MODELS

NUM_TOP_ITEMS: Final = 10

_CURVE_POINTS: Final = 101
_REFERENCES: Final = {"expert", "noise", "expert_return", "noise_return"}


def summarize(dataset: LoggedDataset, quality: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what `recsession inspect` says about a dataset; checksums are left to `LoggedDataset.verify`.

    The latent labels are opened, where there are any, for the noise report alone.

    Args:
        dataset: the log.
        quality: what a normalised score is measured against: `expert_return` and `noise_return`, means with intervals,
            and `expert` and `noise`, the specs; None for what the manifest says.

    Returns:
        By section, None where the log has no such thing: `size`, `source`, `times` (`first` and `last`),
        `session_return` and `session_length` (a `Distribution` with an `interval` of the mean that allows for users
        with several sessions), `ends`, `rewards`, `feedback`, `normalized_score`, `propensity`, `overlap`, `coverage`,
        `injected`, `latent`, `checks` and `columns`.

    Raises:
        InvalidInput: if the log contradicts itself.
    """
    dataset.require_sound()
    quality = dataset.manifest.get("quality") if quality is None else quality
    session_return = _session_distribution(dataset, lambda block: _returns(dataset, block))
    return {
        "size": _size(dataset),
        "source": _source(dataset),
        "times": time_range(dataset),
        "session_return": session_return,
        "session_length": _session_distribution(dataset, lambda block: block.lengths, whole=True),
        "ends": _ends(dataset),
        "rewards": _rewards(dataset),
        "feedback": _feedback(dataset),
        "normalized_score": _normalized_score(session_return["mean"], quality)
        if quality and quality.keys() >= _REFERENCES
        else None,
        "propensity": _propensity(dataset),
        "overlap": _overlap(dataset),
        "coverage": _coverage(dataset),
        "injected": dataset.manifest["injected"],
        "latent": _latent(dataset),
        "checks": dataset.contradictions,
        "columns": _columns(dataset),
    }


def policy_name(spec: Mapping[str, Any] | str) -> str:
    """Return a behavior policy's name, with the options that its spec gives.

    Args:
        spec: as `make_behavior` takes it.
    """
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = str(options.pop("name"))
    told = ", ".join(f"{key}={json.dumps(value)}" for key, value in options.items())
    return f"{name}({told})" if told else name


def _returns(dataset: LoggedDataset, block: SessionBlock) -> np.ndarray:
    return np.add.reduceat(dataset.reward(block.rows), block.first)


def _size(dataset: LoggedDataset) -> dict[str, Any]:
    folders: dict[str, int] = {}
    for name, entry in dataset.manifest["schema"].items():
        folder = name.split("/")[0]
        folders[folder] = folders.get(folder, 0) + entry["bytes"]
    seen = np.zeros(_num_users(dataset), np.bool_)
    for block in session_blocks(dataset):
        seen[dataset.sessions["user_id"][block.sessions]] = True
    return {
        "sessions": dataset.num_sessions,
        "steps": dataset.num_rows,
        "users": int(seen.sum()),
        "items": dataset.num_items,
        "slate_size": dataset.slate_size,
        "candidates": dataset.rows["candidates"].shape[1] if "candidates" in dataset.rows else None,
        "events": len(dataset.events["item"]),
        "bytes": folders,
        "files": len(dataset.manifest["schema"]),
    }


def _num_users(dataset: LoggedDataset) -> int:
    return 1 + max(int(dataset.sessions["user_id"][block.sessions].max()) for block in session_blocks(dataset))


def _columns(dataset: LoggedDataset) -> list[dict[str, Any]]:
    columns = []
    for file, entry in dataset.manifest["schema"].items():
        name = file.removesuffix(".npy")
        facts = {key: entry[key] for key in ("dtype", "shape", "bytes")}
        columns.append({"name": name, **facts, "meaning": COLUMNS[name].meaning if name in COLUMNS else ""})
    return columns


def _source(dataset: LoggedDataset) -> dict[str, Any]:
    quality = dataset.manifest.get("quality") or {}
    return {
        "name": quality.get("dataset", dataset.path.name) if dataset.part is None else dataset.path.name,
        "kind": dataset.manifest["source"].get("kind"),
        "reader": dataset.manifest["source"].get("reader"),
        "part": dataset.part,
        "max_steps": dataset.max_steps,
        "lacking": dataset.manifest["source"].get("lacking", []),
        "context": [f"{column.name} ({_encoding(column)})" for column in dataset.context],
        "remarks": dataset.manifest["source"].get("remarks", []),
        "user_model": USER_MODELS.name_of(type(dataset.config.user_model)) if dataset.has_world else None,
        "world_hash": dataset.manifest.get("world_hash"),
        "own_items": ((dataset.manifest["config"] or {}).get("items") or {}).get("sha256"),
        "action_kind": dataset.action_kind,
        "behavior": dataset.manifest["source"].get("request", {}).get("behavior"),
    }


def _encoding(column: ContextColumn) -> str:
    if column.kind == "category":
        return f"{len(column.values):,} values and others"
    return f"mean {column.mean:.4g}, sd {column.sd:.4g}{', or missing' * column.has_missing}"


def time_range(dataset: LoggedDataset) -> dict[str, float] | None:
    """Return the first and the last time of a log, seconds since 1970, or None if it has none."""
    if "timestamp" not in dataset.rows:
        return None
    ends = [
        (float(times.min()), float(times.max()))
        for times in (dataset.rows["timestamp"][block.rows] for block in session_blocks(dataset))
    ]
    return {"first": min(low for low, _ in ends), "last": max(high for _, high in ends)}


def _session_distribution(
    dataset: LoggedDataset, values: Callable[[SessionBlock], np.ndarray], *, whole: bool = False
) -> dict[str, Any]:
    def by_user() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for block in session_blocks(dataset):
            yield values(block), np.asarray(dataset.sessions["user_id"][block.sessions])

    distribution = Distribution.of(lambda: (each for each, _ in by_user()), whole=whole)
    interval = clustered_interval(by_user, _num_users(dataset))
    return {**distribution.as_dict(), "interval": interval.as_dict()}


def _ends(dataset: LoggedDataset) -> dict[str, int]:
    counts = {"left": 0, "time_limit": 0, "log_ends": 0}
    for block in session_blocks(dataset):
        left = dataset.rows["terminated"][block.rows][block.last]
        stopped = dataset.rows["truncated"][block.rows][block.last] & ~left
        counts["left"] += int(left.sum())
        counts["time_limit"] += int(stopped.sum())
        counts["log_ends"] += int((~left & ~stopped).sum())
    return counts


def _rewards(dataset: LoggedDataset) -> list[dict[str, Any]]:
    """Return each component's weight, its mean a step, and what it adds to a session's return on average."""
    weights = dataset.reward_weights
    totals = np.zeros(len(weights))
    for block in session_blocks(dataset):
        totals += dataset.rows["reward_vector"][block.rows].sum(axis=0, dtype=np.float64)
    return [
        {
            "name": name,
            "weight": float(weight),
            "mean_per_step": float(total) / dataset.num_rows,
            "weighted_per_session": float(weight * total) / dataset.num_sessions,
        }
        for name, weight, total in zip(dataset.manifest["reward_names"], weights, totals, strict=True)
    ]


def _feedback(dataset: LoggedDataset) -> dict[str, Any]:
    """Return the mean answer of each channel to a shown item, and the click rate of each position."""
    channels = len(dataset.manifest["feedback_names"])
    totals, clicks = np.zeros(channels), np.zeros(dataset.slate_size, np.int64)
    shown = np.zeros(dataset.slate_size, np.int64)
    for block in session_blocks(dataset):
        visible, answers = np.asarray(dataset.rows["shown"][block.rows]), dataset.rows["feedback"][block.rows]
        shown += visible.sum(axis=0)
        totals += answers[visible].sum(axis=0, dtype=np.float64)
        clicks += ((answers[:, :, 0] > 0) & visible).sum(axis=0)
    count = max(int(shown.sum()), 1)
    return {
        "shown_per_step": int(shown.sum()) / dataset.num_rows,
        "clicks_per_step": int(clicks.sum()) / dataset.num_rows,
        "mean_per_shown_item": {
            name: float(total) / count for name, total in zip(dataset.manifest["feedback_names"], totals, strict=True)
        },
        "click_rate_by_position": (clicks / np.maximum(shown, 1)).tolist(),
    }


def _normalized_score(mean_return: float, quality: Mapping[str, Any]) -> dict[str, Any]:
    """Return the log's own normalised score: its sessions' return is known, the interval of the references' draws."""
    return {**Reference.of(quality).normalized_score_interval(mean_return).as_dict(), "quality": dict(quality)}


def _propensity(dataset: LoggedDataset) -> dict[str, Any]:
    """Return what the log knows of how likely its actions were."""
    log_prob = dataset.rows["behavior_log_prob"]
    steps = sessions = 0
    for block in session_blocks(dataset):
        known = np.isfinite(log_prob[block.rows])
        steps += int(known.sum())
        sessions += int(np.logical_and.reduceat(known, block.first).sum())

    def finite() -> Iterator[np.ndarray]:
        for block in session_blocks(dataset):
            values = np.asarray(log_prob[block.rows])
            yield values[np.isfinite(values)]

    return {
        "kind": dataset.propensities,
        "known_steps": steps,
        "known_sessions": sessions,
        "log_prob": Distribution.of(finite).as_dict() if steps else None,
    }


def _overlap(dataset: LoggedDataset) -> dict[str, Any] | None:
    """Return whether other policies can be evaluated off-policy on this log.

    Of importance weights w = target / logging policy, the effective sample size is (sum w)^2 / sum w^2. `uniform` is
    that of the policy that shows every slate (of as many items as were shown) alike: by single steps, and by whole
    sessions, whose weight is the product over their steps; None where the log does not say what a step offered. Its
    `mean_weight` of steps is 1 on average where the log may show all that the policy shows, and else the share of it.
    `reach` is how far any target may be from the logging policy, in nats a step of the Rényi divergence of order 2,
    log E[w^2], for whole sessions of mean length to keep an effective sample size of 100.
    """
    log_prob = dataset.rows["behavior_log_prob"]
    steps, sessions = EffectiveSampleSize(), EffectiveSampleSize()
    known_sessions, comparable = 0, True
    for block in session_blocks(dataset):
        behavior = np.asarray(log_prob[block.rows])
        known = np.isfinite(behavior)
        whole = np.logical_and.reduceat(known, block.first)
        known_sessions += int(whole.sum())
        target = _uniform_log_prob(dataset, block.rows)
        comparable = target is not None
        if target is not None:
            ratio = np.where(known, target - np.where(known, behavior, 0.0), -np.inf)
            steps.add(ratio[known])
            sessions.add(np.add.reduceat(ratio, block.first)[whole])
    if not known_sessions:
        return None
    reach = max(0.0, math.log(known_sessions / TRUSTED_SAMPLE_SIZE)) * dataset.num_sessions / dataset.num_rows
    uniform = {"steps": steps.value, "sessions": sessions.value, "mean_weight": steps.mean_weight}
    return {"uniform": uniform if comparable else None, "reach": reach}


def _uniform_log_prob(dataset: LoggedDataset, rows: slice) -> np.ndarray | None:
    """Return the logged actions' log-probability under the behavior policy `uniform`, [n]; None where unknown."""
    if dataset.action_kind == "proto":
        proto = np.asarray(dataset.rows["proto"][rows])
        return gaussian_log_prob(proto, np.zeros(proto.shape), 1.0 / math.sqrt(proto.shape[1]))
    offered: Any = dataset.num_items
    if dataset.has_world:
        config = dataset.config
        if config.freshness is not None:  # what there is changes with the days
            return None
        offered = config.num_candidates or offered
    elif "candidates" in dataset.rows:
        offered = (dataset.rows["candidates"][rows] >= 0).sum(axis=1, keepdims=True)
    by_length = -np.log(np.maximum(offered - np.arange(dataset.slate_size)[None], 1)).cumsum(axis=1)
    shown = np.asarray(dataset.rows["shown"][rows]).sum(axis=1)
    by_length = np.pad(np.broadcast_to(by_length, (len(shown), dataset.slate_size)), ((0, 0), (1, 0)))
    return np.take_along_axis(by_length, shown[:, None], axis=1)[:, 0]


def _coverage(dataset: LoggedDataset) -> dict[str, Any]:
    """Return how the catalogue was exposed: shares of what was shown, by item."""
    shown, clicked = (np.zeros(dataset.num_items, np.int64) for _ in range(2))
    for block in session_blocks(dataset):
        slate = np.asarray(dataset.rows["slate"][block.rows])
        visible = dataset.rows["shown"][block.rows] & (slate >= 0) & (slate < dataset.num_items)
        shown += np.bincount(slate[visible], minlength=dataset.num_items)
        clicked += np.bincount(
            slate[visible & (dataset.rows["feedback"][block.rows][:, :, 0] > 0)], minlength=dataset.num_items
        )
    order = np.argsort(-shown, kind="stable")
    total, nats = max(int(shown.sum()), 1), entropy(shown)
    share = np.append(0.0, shown[order].cumsum() / total)
    points = np.linspace(0.0, dataset.num_items, min(_CURVE_POINTS, dataset.num_items + 1)).round().astype(np.int64)
    source_id = dataset.catalog.get("source_id")
    return {
        "items_shown": int((shown > 0).sum()),
        "items_clicked": int((clicked > 0).sum()),
        "gini": gini(shown),
        "entropy": nats,
        "effective_items": math.exp(nats),
        "curve": [[float(point / dataset.num_items), float(share[point])] for point in points],
        "top_items": [
            {
                "item": int(item),
                "source_id": None if source_id is None else str(source_id[item]),
                "share_of_exposure": int(shown[item]) / total,
                "click_rate": int(clicked[item]) / int(shown[item]),
            }
            for item in order[:NUM_TOP_ITEMS]
            if shown[item]
        ],
    }


def _latent(dataset: LoggedDataset) -> dict[str, Any] | None:
    """Return how the components were mixed, and how often each acted, by the latent labels.

    Where a component is drawn anew, the steps that it did alone bound, on average, the effective sample size of
    evaluating it off-policy from below, and so do the whole sessions, however it is drawn: its importance weights given
    the labels (1 / probability of the draw where it acted, else 0) spread at least as far as those given what was done.
    """
    if LATENT_LABELS not in dataset.manifest["schema"] or "request" not in dataset.manifest["source"]:
        return None
    labels, mixture = dataset.open_latent_labels(), _mixture(dataset)
    names = [policy_name(each) for each in mixture["components"]]
    actions, steps, sessions = (np.zeros(len(names), np.int64) for _ in range(3))
    for block in session_blocks(dataset):
        label = np.asarray(labels[block.rows]).reshape(block.rows.stop - block.rows.start, -1)  # also where [N, K]
        for index in range(len(names)):
            mine = label == index
            alone = mine.all(axis=1)
            actions[index] += mine.sum()
            steps[index] += alone.sum()
            sessions[index] += np.logical_and.reduceat(alone, block.first).sum()
    parts = [
        {
            "component": name,
            "weight": float(mixture["weights"][index]),
            "share": int(actions[index]) / labels.size,
            "steps_alone": int(steps[index]),
            "sessions_alone": int(sessions[index]),
        }
        for index, name in enumerate(names)
    ]
    return {"mixing": mixture["mixing"], "components": parts}


def _mixture(dataset: LoggedDataset) -> dict[str, Any]:
    """Return components, weights and mixing of the logging policy; one that is no mixture is its own component."""
    spec = dataset.manifest["source"]["request"]["behavior"]
    options = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = options.pop("name")
    config = BEHAVIORS.get(name).Config(**options) if name in BEHAVIORS.registered() else None
    if not hasattr(config, "components"):
        return {"components": [spec], "weights": [1.0], "mixing": None}
    return {key: getattr(config, key) for key in ("components", "weights", "mixing")}
