"""What a log says of likes and of leaving; the user's interest is read off the observed profile."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np

from offline_data.fitting.click_likelihood import ROWS_PER_CHUNK
from offline_data.fitting.maximum_likelihood import (
    ParameterEstimate,
    identified,
    logistic_regression,
    sandwich,
)
from offline_data.store.dataset import LoggedDataset
from recenv.families import USER_MODELS
from recenv.statistics import wilson

_LIKES: Final = ("like_bias", "like_quality", "match_quality")


def like_estimates(dataset: LoggedDataset, sessions: np.ndarray, notes: list[str]) -> dict[str, ParameterEstimate]:
    """Return the estimates of a model that has `_LIKES`; a like's log-odds are linear in 1, quality and affinity.

    Args:
        dataset: the log.
        sessions: [S] bool, the sessions that count.
        notes: takes a sentence for what cannot be estimated.
    """
    model, names = dataset.config.user_model, dataset.manifest["feedback_names"]
    if not all(hasattr(model, name) for name in _LIKES):
        return {}
    session, quality, affinity, liked = _clicked_items(dataset, sessions, names.index("like"))
    logged = {name: float(getattr(model, name)) for name in _LIKES}
    if not 0 < liked.sum() < len(liked):
        notes.append(f"likes are left as they are: {int(liked.sum())} of {len(liked)} clicks have one")
        return {}
    features = np.column_stack([np.ones(len(liked)), quality, affinity])
    everything = np.ones(3, np.bool_)
    optimum = logistic_regression(features, liked, session)
    apart = identified(-optimum.evaluation.hessian, everything)
    ratio = None
    if apart.all():
        (_, slope, match), covariance = optimum.parameters, sandwich(optimum.evaluation, everything)
        if abs(slope) > 3.0 * math.sqrt(covariance[1, 1]):
            gradient = np.array([0.0, -match / slope**2, 1.0 / slope])
            ratio = ParameterEstimate.wald(match / slope, math.sqrt(gradient @ covariance @ gradient))
    if ratio is None:
        notes.append("match_quality is held at the log's own value: likes depend too little on quality to tell it")
        ratio = ParameterEstimate(logged["match_quality"])
        features = np.column_stack([np.ones(len(liked)), quality + logged["match_quality"] * affinity])
        optimum = logistic_regression(features, liked, session)
    free = np.ones(len(optimum.parameters), np.bool_)
    errors = np.sqrt(np.diag(sandwich(optimum.evaluation, free)))
    found = {
        "like_bias": ParameterEstimate.wald(optimum.parameters[0], errors[0]),
        "like_quality": ParameterEstimate.wald(optimum.parameters[1], errors[1]),
        "match_quality": ratio,
    }
    return {name: replace(estimate, logged=logged[name]) for name, estimate in found.items()}


def _clicked_items(
    dataset: LoggedDataset, sessions: np.ndarray, channel: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return session, quality, affinity clip(u.v, -1, 1) and like of each click, u the profile."""
    embeddings, quality = dataset.catalog["embeddings"], dataset.catalog["quality"]
    found: list[tuple[np.ndarray, ...]] = []
    owner = np.repeat(np.arange(dataset.num_sessions), np.diff(dataset.offsets))
    for start in range(0, dataset.num_rows, ROWS_PER_CHUNK):
        span = slice(start, start + ROWS_PER_CHUNK)
        clicked = (dataset.rows["feedback"][span, :, 0] > 0.0) & sessions[owner[span]][:, None]
        row, position = np.nonzero(clicked)
        session, item = owner[span][row], np.asarray(dataset.rows["slate"][span])[row, position]
        affinity = np.einsum("nd,nd->n", dataset.sessions["profile"][session].astype(np.float64), embeddings[item])
        liked = dataset.rows["feedback"][span][row, position, channel].astype(np.float64)
        found.append((session, quality[item].astype(np.float64), np.clip(affinity, -1.0, 1.0), liked))
    session, qualities, affinities, liked = (np.concatenate(column) for column in zip(*found, strict=True))
    return session, qualities, affinities, liked


def leave_estimates(dataset: LoggedDataset, sessions: np.ndarray, notes: list[str]) -> dict[str, ParameterEstimate]:
    """Return the rate of leaving a step: every step is a trial, and a truncated session just has no more of them.

    Args:
        dataset: the log.
        sessions: [S] bool, the sessions that count.
        notes: takes a sentence where a hazard cannot be told from other leaving.
    """
    config = dataset.config
    steps = int(np.diff(dataset.offsets)[sessions].sum())
    last = np.asarray(dataset.offsets[1:])[sessions] - 1
    leaves = int(np.asarray(dataset.rows["terminated"])[last].sum())
    rate = ParameterEstimate(leaves / steps, *wilson(leaves, steps))
    if config.time_budget is not None or USER_MODELS.part_of(config.user_model).leaves:
        notes.append(
            "leave_rate counts leaving of every kind; the log does not tell a hazard from a budget or a temper spent, "
            "so that these stay as they are"
        )
        return {"leave_rate": rate}
    return {"hazard": replace(rate, logged=0.0 if config.leave_hazard is None else config.leave_hazard.hazard)}
