"""Propensities estimated from the log itself: a conditional model of the logged items, calibrated and judged.

The model is Plackett-Luce over all items, with logit of item n in context x

    s_n(x) = b_n + x' W v_n

b_n pulled towards the logarithm of the item's popularity, v_n the item's embedding, x what the log tells of the user
before the choice: the profile, and the mean embedding of the items consumed last. After the fit a temperature and a
share of uniform smoothing are chosen on sessions that were not fitted, so that no logged item has probability zero,
and the whole is judged on sessions that were neither. An estimate is of the policy *given x*: what the policy knew
beyond x is averaged over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from scipy.optimize import minimize, minimize_scalar

from offline_data.interop.slate_likelihood import choice_odds, negative_log_likelihood
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require
from recenv.statistics import reliability

MIN_SPLIT: Final = 10
_FITTED_LOGITS: Final = 4_000_000
_JUDGED_LOGITS: Final = 4_000_000
_LOGITS_AT_ONCE: Final = 1_000_000
_MIN_FITTED_ROWS: Final = 400
_RIDGE: Final = 0.1
_POPULARITY_STEPS: Final = 30
_SMOOTHING: Final = (1e-4, 1e-3, 1e-2, 0.05, 0.2)
_LOG_TEMPERATURES: Final = np.linspace(-3.0, 3.0, 25)
# Nats a choice; of two minima of the calibrated loss that are nearer to each other either will do.
_SAME_LOSS: Final = 1e-4


@dataclass(frozen=True, eq=False)
class PropensityEstimate:
    """Estimated propensities of every row of a log."""

    prefix_log_prob: np.ndarray
    """[N, K] nats, of the slate's first 1, 2, ... items; finite."""
    report: dict[str, Any]
    """The model, its temperature and smoothing, and on the judged sessions its log-loss beside those of popularity
    alone and of the uniform policy, nats a choice, and its calibration error: the probability that is misplaced between
    bins of like predictions, in [0, 2], beside what chance alone would give."""


def estimate_propensities(dataset: LoggedDataset, *, seed: int = 0) -> PropensityEstimate:
    """Estimate the log-probability of each logged slate; see the module for the model.

    A catalogue of more items than the context model can be fitted on (10,000) gets popularity alone.

    Args:
        dataset: a log of slates; its own propensities are not read.
        seed: of the split of users, or of sessions where there are fewer than 10 users.

    Raises:
        InvalidInput: for a log of proto-actions, one with fewer than 10 sessions, or one that contradicts itself.
    """
    require(
        dataset.action_kind == "slate",
        f"action_kind={dataset.action_kind!r} of {dataset.path}: only propensities of slates are estimated; leave out "
        "--estimate-propensities",
    )
    dataset.require_sound()
    choices = _Choices.of(dataset)
    fitted, calibrated, judged = _split(dataset, np.random.default_rng(seed))
    popularity = _popularity(choices, fitted)
    fit_rows = _FITTED_LOGITS // choices.width
    with_context = choices.embeddings is not None and fit_rows >= _MIN_FITTED_ROWS
    models = [_Model(popularity, None)]
    if with_context:
        models.append(_fit(choices, fitted[:fit_rows], popularity))
    few = _JUDGED_LOGITS // choices.width if with_context else None
    loss, model = min((_calibrated(each, choices, calibrated[:few]) for each in models), key=lambda pair: pair[0])
    report = {
        "model": "popularity" if model.context_weights is None else "popularity and context",
        "fitted_rows": len(fitted[:fit_rows]) if model.context_weights is not None else len(fitted),
        "calibrated_log_loss": loss,
        "temperature": model.temperature,
        "smoothing": model.smoothing,
        "seed": seed,
        **_judged(model, _Model(popularity, None), choices, judged[:few]),
    }
    everything = np.arange(len(choices.slate))
    return PropensityEstimate(np.cumsum(model.log_probs(choices, everything), axis=1), report)


@dataclass(frozen=True, eq=False)
class _Choices:
    """What was chosen, of what, and before it what was known."""

    slate: np.ndarray
    """[N, K] item ids, any of the slate's in an empty position."""
    chosen: np.ndarray
    """[N, K] bool; a repeated item is no choice, nor is an empty position."""
    num_items: int
    """Of the catalogue."""
    embeddings: np.ndarray | None
    """[items, d], or None."""
    profile: np.ndarray | None
    """[N, p], or None."""
    history: np.ndarray | None
    """[N, d] mean embedding of the items consumed last, or None."""
    given: np.ndarray | None
    """[N, C] the step's own context, or None."""
    offered: np.ndarray | None
    """[N, P] the step's candidates, -1 for none; None where it may show every item."""

    @staticmethod
    def of(dataset: LoggedDataset) -> _Choices:
        slate = dataset.slates(np.arange(len(dataset.rows["slate"])))
        chosen = slate >= 0
        # An empty position takes one of the slate's items once more.
        slate = np.where(chosen, slate, slate.max(axis=1, keepdims=True))
        for k in range(1, slate.shape[1]):
            chosen[:, k] &= ((slate[:, :k] != slate[:, k : k + 1]) | ~chosen[:, :k]).all(axis=1)
        session = np.repeat(np.arange(len(dataset.offsets) - 1), np.diff(dataset.offsets))
        profile = dataset.sessions.get("profile")
        embeddings = dataset.catalog.get("embeddings")
        history = None
        if embeddings is not None:
            embeddings = np.asarray(embeddings, np.float64)
            start = np.asarray(dataset.sessions["event_offsets"])[session]
            end = start + dataset.rows["consumed"]
            start = np.maximum(start, end - dataset.history_length)
            # Sums over windows as differences of running sums, in float64; a window without an event is 0 / 1.
            consumed = np.zeros((len(dataset.events["item"]) + 1, embeddings.shape[1]))
            np.cumsum(embeddings[dataset.events["item"]], axis=0, out=consumed[1:])
            history = (consumed[end] - consumed[start]) / np.maximum(end - start, 1)[:, None]
        return _Choices(
            slate,
            chosen,
            dataset.num_items,
            embeddings,
            None if profile is None else np.asarray(profile)[session],
            history,
            dataset.rows.get("context"),
            dataset.rows.get("candidates"),
        )

    @property
    def width(self) -> int:
        """Items that a choice is of, at most."""
        return self.num_items if self.offered is None else self.offered.shape[1]

    def places(self, rows: np.ndarray) -> np.ndarray:
        """Return where the slates' items stand among what is offered, [B, K]."""
        if self.offered is None:
            return self.slate[rows]
        return (self.offered[rows][:, None] == self.slate[rows][:, :, None]).argmax(axis=2)

    def by_item(self, rows: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Return the sums over rows of what is offered, [items], of values [B, width]."""
        if self.offered is None:
            return values.sum(axis=0)
        offered = self.offered[rows]
        return np.bincount(offered[offered >= 0], values[offered >= 0], self.num_items)

    def context(self, rows: np.ndarray) -> np.ndarray:
        """Return x of rows, [B, p + d + C] float64."""
        parts = [part[rows] for part in (self.profile, self.history, self.given) if part is not None]
        return np.concatenate(parts, axis=1, dtype=np.float64)

    def left(self, rows: np.ndarray) -> np.ndarray:
        """Return how many items each choice was of, [B, K]."""
        count = self.num_items if self.offered is None else (self.offered[rows] >= 0).sum(axis=1, keepdims=True)
        return count - np.cumsum(self.chosen[rows], axis=1) + 1


@dataclass(frozen=True, eq=False)
class _Model:
    """Item weights b [items], W [p + d, d] or None, and what calibration chose."""

    weights: np.ndarray
    context_weights: np.ndarray | None
    temperature: float = 1.0
    smoothing: float = _SMOOTHING[0]

    def logits(self, choices: _Choices, rows: np.ndarray) -> np.ndarray:
        """Return the logits of all items, [B, items], or [1, items] without a context; of candidates theirs, [B, P]."""
        if choices.offered is not None:
            items = choices.offered[rows]
            logits = self.weights[items]
            if self.context_weights is not None and choices.embeddings is not None:
                taste = choices.context(rows) @ self.context_weights
                logits = logits + np.einsum("bd,bpd->bp", taste, choices.embeddings[items])
            return np.where(items >= 0, logits / self.temperature, -np.inf)
        if self.context_weights is None or choices.embeddings is None:
            return self.weights[None] / self.temperature
        personal = choices.context(rows) @ self.context_weights @ choices.embeddings.T
        return (self.weights + personal) / self.temperature

    def odds(self, choices: _Choices, rows: np.ndarray) -> np.ndarray:
        """Return the probability of each item of the slates given those before it, before the smoothing, [B, K]."""
        out = np.empty((len(rows), choices.slate.shape[1]))
        every = self.context_weights is not None or choices.offered is not None
        for chunk in _chunks(rows, choices.width if every else out.shape[1]):
            here = rows[chunk]
            out[chunk], _ = choice_odds(self.logits(choices, here), choices.places(here), choices.chosen[here])
        return out

    def log_probs(self, choices: _Choices, rows: np.ndarray) -> np.ndarray:
        """Return the log-probability of each item of the slates given those before it, [B, K]."""
        return _smoothed(self.odds(choices, rows), self.smoothing, choices, rows)


def _smoothed(odds: np.ndarray, smoothing: float, choices: _Choices, rows: np.ndarray) -> np.ndarray:
    mixed = (1.0 - smoothing) * odds + smoothing / choices.left(rows)
    return np.where(choices.chosen[rows], np.log(mixed), 0.0)


def _popularity(choices: _Choices, rows: np.ndarray) -> np.ndarray:
    """Return the logarithm of each item's Plackett-Luce weight, [items], of one more choice of each than rows have.

    For slates of one item they are the counts. What is added is of all items where steps offer some, and else spread
    over the rows' own choices.

    Source: Hunter, "MM algorithms for generalized Bradley-Terry models" (Annals of Statistics 32(1), 2004), section 5.
    """
    slate, chosen = choices.slate[rows], choices.chosen[rows]
    items = slate[chosen]
    counts = np.bincount(items, minlength=choices.num_items) + 1.0
    logits = np.log(counts / counts.sum())
    some = choices.offered is not None
    for _ in range(_POPULARITY_STEPS if slate.shape[1] > 1 or some else 0):
        # The one more choice of each item is of all: that of a step that offers every item, where steps offer some.
        more = choices.num_items / np.exp(logits).sum() if some else 0.0
        stood = np.full(choices.num_items, more)
        for chunk in _chunks(rows, choices.width) if some else [slice(None)]:
            here, taken = rows[chunk], chosen[chunk]
            offered = _Model(logits, None).logits(choices, here)
            _, sums = choice_odds(offered, choices.places(here), taken)
            # The sums are in units of the largest weight on offer: where offers differ, no two are alike.
            unit = np.exp(-offered.max(axis=1, keepdims=True)) if some else 1.0
            inverse = np.where(taken, unit / sums, 0.0)
            # What an item stood in the sums of: all but those of the choices after its own.
            later = np.cumsum(inverse[:, ::-1], axis=1)[:, ::-1] - inverse
            every = np.broadcast_to(inverse.sum(axis=1, keepdims=True), (len(here), choices.width))
            stood += choices.by_item(here, every) if some else inverse.sum()
            stood -= np.bincount(slate[chunk][taken], later[taken], choices.num_items)
        logits = np.log(counts / stood)
    return logits - np.log(np.sum(np.exp(logits)))


def _fit(choices: _Choices, rows: np.ndarray, popularity: np.ndarray) -> _Model:
    """Return the model of largest penalised likelihood on rows; the problem is convex."""
    embeddings = choices.embeddings
    if embeddings is None:
        raise ValueError("embeddings=None: a context model needs those of the items; fit popularity alone")
    num_items, dim = embeddings.shape
    shape = (choices.context(rows[:1]).shape[1], dim)
    total = int(choices.chosen[rows].sum())

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        shift, context_weights = parameters[:num_items], parameters[num_items:].reshape(shape)
        model = _Model(popularity + shift, context_weights)
        value = 0.5 * _RIDGE * float(parameters @ parameters)
        gradient = _RIDGE * parameters
        for chunk in _chunks(rows, choices.width):
            here = rows[chunk]
            context, logits = choices.context(here), model.logits(choices, here)
            value_here, by_item = negative_log_likelihood(logits, choices.places(here), choices.chosen[here])
            value += value_here
            gradient[:num_items] += choices.by_item(here, by_item)
            if choices.offered is None:
                taste = by_item @ embeddings
            else:
                taste = np.einsum("bp,bpd->bd", by_item, embeddings[choices.offered[here]])
            gradient[num_items:] += (context.T @ taste).ravel()
        return value / total, gradient / total

    start = np.zeros(num_items + shape[0] * shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100, "ftol": 1e-9})
    return _Model(popularity + found.x[:num_items], found.x[num_items:].reshape(shape))


def _calibrated(model: _Model, choices: _Choices, rows: np.ndarray) -> tuple[float, _Model]:
    """Return the least log-loss on rows, and the model with the temperature and the smoothing that reach it."""
    total = int(choices.chosen[rows].sum())

    def best(log_temperature: float) -> tuple[float, _Model]:
        tried = replace(model, temperature=float(np.exp(log_temperature)))
        odds = tried.odds(choices, rows)
        losses = [-float(_smoothed(odds, share, choices, rows).sum()) / total for share in _SMOOTHING]
        return min(losses), replace(tried, smoothing=_SMOOTHING[int(np.argmin(losses))])

    def lowest(low: float, high: float) -> tuple[float, _Model]:
        found: Any = minimize_scalar(
            lambda x: best(x)[0], bounds=(low, high), method="bounded", options={"xatol": 0.02}
        )
        return best(float(found.x))

    # With the best of several smoothings the loss may have a valley for each of them, and a search of the whole
    # interval ends in any: the grid shows the others.
    grid, step = _LOG_TEMPERATURES, _LOG_TEMPERATURES[1] - _LOG_TEMPERATURES[0]
    losses = np.pad([best(x)[0] for x in grid], 1, constant_values=np.inf)
    bottoms = grid[(losses[1:-1] <= losses[:-2]) & (losses[1:-1] <= losses[2:])]
    found = lowest(grid[0], grid[-1])
    for bottom in bottoms[np.abs(bottoms - np.log(found[1].temperature)) > step / 2]:
        there = lowest(max(bottom - step, grid[0]), min(bottom + step, grid[-1]))
        if there[0] < found[0] - _SAME_LOSS:
            found = there
    return found


def _log_loss(model: _Model, choices: _Choices, rows: np.ndarray) -> float:
    return -float(model.log_probs(choices, rows).sum()) / int(choices.chosen[rows].sum())


def _judged(model: _Model, popularity: _Model, choices: _Choices, rows: np.ndarray) -> dict[str, Any]:
    """Return the log-losses and the calibration error on rows."""
    few = rows[: max(_JUDGED_LOGITS // choices.width, 1)]
    logits = np.broadcast_to(model.logits(choices, few), (len(few), choices.width))
    weights, offered = np.exp(logits - logits.max(axis=1, keepdims=True)), np.isfinite(logits)
    first = (1.0 - model.smoothing) * weights / weights.sum(axis=1, keepdims=True)
    first += model.smoothing / offered.sum(axis=1, keepdims=True)
    begins = np.take_along_axis(choices.places(few), choices.chosen[few].argmax(axis=1)[:, None], axis=1)
    curve = reliability(first[offered], (np.arange(choices.width) == begins)[offered])
    options = float(offered.sum(axis=1).mean())
    return {
        "judged_rows": len(rows),
        "log_loss": _log_loss(model, choices, rows),
        "log_loss_of_popularity": _log_loss(popularity, choices, rows),
        "log_loss_of_uniform": float(np.log(choices.left(rows))[choices.chosen[rows]].mean()),
        "calibration_error": curve.calibration_error * options,
        "calibration_error_of_chance": curve.chance_error * options,
    }


def _split(dataset: LoggedDataset, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows to fit on, to calibrate on and to judge on, of 3/5, 1/5 and 1/5 of the users, shuffled."""
    lengths = np.diff(dataset.offsets)
    unit = np.unique(dataset.sessions["user_id"], return_inverse=True)[1].reshape(-1)
    if int(unit.max()) + 1 < MIN_SPLIT:
        unit = np.arange(len(lengths))
    count = int(unit.max()) + 1
    require(
        count >= MIN_SPLIT,
        f"{dataset.path} has {count} sessions; an estimate of propensities takes {MIN_SPLIT} or more, leave it out",
    )
    part = np.searchsorted([0.6, 0.8], (rng.permutation(count) + 0.5) / count)[np.repeat(unit, lengths)]
    rows = rng.permutation(len(part))
    fitted, calibrated, judged = (rows[part[rows] == index] for index in range(3))
    return fitted, calibrated, judged


def _chunks(rows: np.ndarray, width: int) -> Iterator[slice]:
    size = max(_LOGITS_AT_ONCE // width, 1)
    return (slice(start, start + size) for start in range(0, len(rows), size))
