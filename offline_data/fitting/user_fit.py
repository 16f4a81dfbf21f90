"""A user model fitted to a log: the config that one can simulate with, the intervals, and how well it predicts.

Clicks are fitted by the likelihood of `offline_data.fitting.click_likelihood` under the log's own choice model, likes
by logistic regression on quality and affinity, leaving by a constant rate a step. Which of them is exact depends on the
world: the user's interest is hidden, and the observed profile stands for it. Where `profile_noise` is 0 and interests
do not move, it is the interest, the model is exact and the intervals cover the truth. Elsewhere the fit is that of the
best approximating model, the one of least Kullback-Leibler divergence, whose parameters are not those of the world:
affinity counts for less than it does, as the profile tells less, and satiation for less, as clicks that raise the
interest hide it. Following the mean path of the interest takes some of that away. `UserFit.approximations` says what is
approximated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from offline_data.fitting.click_kernel import FAMILIES, PARAMETERS
from offline_data.fitting.click_likelihood import ClickLikelihood
from offline_data.fitting.feedback_estimates import leave_estimates, like_estimates
from offline_data.fitting.held_out import HeldOut
from offline_data.fitting.maximum_likelihood import (
    Optimum,
    ParameterEstimate,
    identified,
    maximize,
    sandwich,
)
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require, require_range, unknown_name
from recenv.families import CHOICE_MODELS, USER_MODELS
from recenv.random_streams import derive_seeds
from recenv.session_config import SessionConfig
from recenv.statistics import Interval, reliability

InterestPath = Literal["profile", "mean_path"]
INTEREST_PATHS: Final = ("profile", "mean_path")
_LOW: Final = np.array([-np.inf, -np.inf, -np.inf, -np.inf, math.log(1e-6), 0.0])
_HIGH: Final = np.array([np.inf, np.inf, np.inf, np.inf, 0.0, 0.999])
_FEW_ROWS: Final = 20_000
_RETENTIONS: Final = (0.0, 0.3, 0.6, 0.8, 0.95)


@dataclass(frozen=True)
class UserFit:
    """A fitted user model.

    Examples:
        >>> from offline_data import LogRequest, collect, fit_user_model
        >>> fit = fit_user_model(collect("log", LogRequest(num_sessions=100)))
        >>> fit.exact, fit.estimates["affinity_weight"].low < fit.estimates["affinity_weight"].high
        (False, True)
    """

    config: SessionConfig
    """The log's config with the fitted parameters in place of its own."""
    estimates: dict[str, ParameterEstimate]
    """By the name of the config's field; `leave_rate` is no field."""
    held_out: HeldOut
    """How it predicts."""
    approximations: tuple[str, ...]
    """What of the world the fit leaves out; none where it is exact."""
    notes: tuple[str, ...]
    """What else a reader should know, such as a parameter that was held."""
    training: dict[str, Any]
    """The fit's own numbers."""

    @property
    def exact(self) -> bool:
        """Whether the likelihood is the world's own, so that the intervals cover the world's values."""
        return not self.approximations

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values; `SessionConfig.from_dict` and `gymnasium.make(..., config=...)` take `config`."""
        return {
            "format": "recsession-user-model",
            "config": self.config.to_dict(),
            "estimates": {name: estimate.as_dict() for name, estimate in self.estimates.items()},
            "held_out": self.held_out.as_dict(),
            "exact": self.exact,
            "approximations": list(self.approximations),
            "notes": list(self.notes),
            "training": self.training,
        }


def fit_user_model(
    dataset: LoggedDataset,
    *,
    holdout_fraction: float = 0.2,
    seed: int = 0,
    interest: InterestPath = "mean_path",
    progress: Callable[[int], object] | None = None,
) -> UserFit:
    """Return the user model that makes a log's clicks, likes and leaving most likely.

    Args:
        dataset: the log.
        holdout_fraction: share of users whose sessions judge the fit and do not enter it, in (0, 1).
        seed: of that split.
        interest: what stands for the hidden interest in clicks: the observed profile, or the mean path from there,
            which is the profile too in models that have none (`UserModel.follows_mean_path`). Likes read the profile.
        progress: called with the number of rows of each chunk that is read, all passes counted.

    Raises:
        InvalidInput: for a value out of range, a user model whose utility is not linear in affinity, a log too small,
            without clicks or that contradicts itself.
    """
    require_range("holdout_fraction", holdout_fraction, 0.0, 1.0, low_open=True, high_open=True)
    require_range("seed", seed, 0, 2**63 - 1, integer=True)
    dataset.require_sound()
    config = dataset.config
    if interest not in INTEREST_PATHS:
        raise unknown_name("interest", interest, INTEREST_PATHS)
    require(
        hasattr(config.user_model, "affinity_weight"),
        f"user_model {USER_MODELS.name_of(type(config.user_model))!r} has no affinity_weight; fit a log of "
        "one that has",
    )
    require(
        config.choice.click_constant is not None and CHOICE_MODELS.name_of(type(config.choice)) in FAMILIES,
        f"choice={config.choice!r} has no likelihood that fit knows; fit a log of one that names its click_constant",
    )
    follows = interest == "mean_path" and USER_MODELS.part_of(config.user_model).follows_mean_path
    step = config.user_model.interest_step if follows else 0.0
    held_out = holdout(dataset, holdout_fraction, seed)
    likelihood = ClickLikelihood(dataset, config.choice.name, ~held_out, step, progress)
    optimum, free, notes = _fit_clicks(likelihood, config)
    estimates = _click_estimates(optimum, free, config)
    estimates |= like_estimates(dataset, ~held_out, notes)
    estimates |= leave_estimates(dataset, ~held_out, notes)
    return UserFit(
        config=_fitted_config(config, estimates),
        estimates=estimates,
        held_out=_judge(dataset, held_out, step, optimum, likelihood.constant_alone(), config),
        approximations=tuple(_approximations(dataset, step)),
        notes=tuple(notes),
        training={
            "choice": config.choice.name,
            "interest": interest,
            "num_sessions": int(np.sum(~held_out)),
            "num_steps": likelihood.num_rows,
            "log_likelihood": optimum.evaluation.value / likelihood.num_rows,
            "newton_steps": optimum.iterations,
            "world_hash": dataset.manifest["world_hash"],
            "holdout_fraction": holdout_fraction,
            "seed": seed,
        },
    )


def holdout(dataset: LoggedDataset, fraction: float, seed: int) -> np.ndarray:
    """Return which sessions judge the fit, [S] bool: those of a random share of the users, a function of the seed.

    Args:
        dataset: the log.
        fraction: share of the users.
        seed: of the split.

    Raises:
        InvalidInput: if a side is left without a session.
    """
    user = np.asarray(dataset.sessions["user_id"])
    drawn = derive_seeds(seed, "fit holdout", user) < np.uint64(fraction * 2.0**63)
    require(
        bool(drawn.any() and not drawn.all()),
        f"holdout_fraction={fraction} leaves {int(drawn.sum())} of {len(drawn)} sessions to judge the fit; change it "
        "or pass more sessions",
    )
    return drawn


def parameters_of(config: SessionConfig) -> np.ndarray:
    """Return the likelihood's parameters that a config means, in the order of `PARAMETERS`."""
    choice, model, satiation = config.choice, config.user_model, config.satiation
    scale, constant = 1.0, 0.0
    if choice.name == "position_based":
        scale, constant = choice.relevance_slope, -choice.relevance_slope * choice.relevance_midpoint
    elif choice.name == "exponential_cascade":
        constant = math.log(choice.attention)
    else:
        constant = -choice.no_click_utility
    weights = (
        model.affinity_weight,
        getattr(model, "appeal_weight", 0.0),
        0.0 if satiation is None else satiation.satiation_weight,
    )
    retention = 0.0 if satiation is None else satiation.satiation_retention
    return np.array([*(scale * w for w in weights), constant, math.log(choice.position_decay), retention])


def _fit_clicks(likelihood: ClickLikelihood, config: SessionConfig) -> tuple[Optimum, np.ndarray, list[str]]:
    """Return the optimum, which parameters are estimated, and what is to be said of the others."""
    tires = config.satiation is not None
    possible = np.array([True, hasattr(config.user_model, "appeal_weight"), tires, True, True, False])
    start = parameters_of(config)
    start[possible] = 0.0
    start[PARAMETERS.index("constant")] = likelihood.constant_alone()
    start[PARAMETERS.index("log_decay")] = -0.05
    few = _first_sessions(likelihood)

    def climb(part: ClickLikelihood, begin: np.ndarray, free: np.ndarray) -> Optimum:
        # What some sessions allow others may not: a cascade's item that is sure to be clicked, and is not. A lower
        # constant makes it less than sure.
        begin, lower = begin.copy(), 0.02
        while not math.isfinite(part.evaluate(begin).value):
            begin[PARAMETERS.index("constant")] -= lower
            lower *= 2.0
        return maximize(part.evaluate, begin, free, np.minimum(_LOW, begin), np.maximum(_HIGH, begin))

    # Given the retention the problem is easy; a few values of it on a part of the log say where to begin.
    tries = []
    for retention in _RETENTIONS if tires else start[-1:]:
        begin = (tries[-1].parameters if tries else start).copy()
        begin[-1] = retention
        tries.append(climb(few, begin, possible))
    best = max(tries, key=lambda optimum: optimum.evaluation.value)
    possible[-1] = tires
    # Told apart where all of them move, the bounded ones too.
    free = identified(-best.evaluation.hessian, possible)
    begin = np.where(free, best.parameters, parameters_of(config))
    optimum = climb(likelihood, begin, free)
    notes = [
        f"{name} is held at the log's own value: this log does not tell it from the others"
        for name, wanted, moves in zip(_names(config), possible, free, strict=True)
        if wanted and not moves
    ]
    return optimum, free, notes


def _first_sessions(likelihood: ClickLikelihood) -> ClickLikelihood:
    dataset = likelihood.dataset
    early = np.arange(dataset.num_sessions) < np.searchsorted(dataset.offsets, _FEW_ROWS)
    few = likelihood.sessions & early
    if not few.any() or few.sum() == likelihood.sessions.sum():
        return likelihood
    return likelihood.restricted(few)


def _names(config: SessionConfig) -> tuple[str, ...]:
    constant = config.choice.click_constant
    return ("affinity_weight", "appeal_weight", "satiation_weight", constant, "position_decay", "satiation_retention")


def _slope(config: SessionConfig) -> float:
    """Return the scale of utilities, which clicks cannot tell from the weights: the log's own, or 1."""
    return float(getattr(config.choice, "relevance_slope", 1.0)) or 1.0


def _click_estimates(optimum: Optimum, free: np.ndarray, config: SessionConfig) -> dict[str, ParameterEstimate]:
    covariance = sandwich(optimum.evaluation, free)
    estimates = {}
    for i, name in enumerate(_names(config)):
        value = float(optimum.parameters[i])
        estimate = ParameterEstimate.wald(value, math.sqrt(covariance[i, i])) if free[i] else ParameterEstimate(value)
        section = config.choice if name in (config.choice.click_constant, "position_decay") else config.user_model
        section = config.satiation if name.startswith("satiation") else section
        if not hasattr(section, name):
            continue
        if name == "satiation_retention":
            estimate = estimate.clipped(0.0, 1.0)
        elif name == "position_decay":
            estimate = estimate.clipped(-math.inf, 0.0).map(math.exp)
        elif name == "attention":
            estimate = estimate.map(lambda x: math.exp(min(x, 13.0)))
        elif name == "relevance_midpoint":
            estimate = estimate.scaled(-1.0 / _slope(config))
        elif name == "no_click_utility":
            estimate = estimate.scaled(-1.0)
        else:
            estimate = estimate.scaled(1.0 / _slope(config))
        estimates[name] = replace(estimate, logged=float(getattr(section, name)))
    return estimates


def _fitted_config(config: SessionConfig, estimates: dict[str, ParameterEstimate]) -> SessionConfig:
    changes: dict[str, Any] = {
        name: estimate.value for name, estimate in estimates.items() if name not in ("hazard", "leave_rate")
    }
    if hasattr(config.choice, "relevance_slope"):
        changes["relevance_slope"] = _slope(config)
    if "hazard" in estimates:
        # A log without any leaving has the piece off: its hazard lies in an open interval.
        rate = estimates["hazard"].value
        changes["leave_hazard"] = {"hazard": rate, "hazard_relief": 0.0} if 0.0 < rate < 1.0 else None
    return config.override(**changes)


def _judge(
    dataset: LoggedDataset,
    held_out: np.ndarray,
    interest_step: float,
    optimum: Optimum,
    constant: float,
    config: SessionConfig,
) -> HeldOut:
    name = config.choice.name
    judge = ClickLikelihood(dataset, name, held_out, interest_step)
    lengths = np.diff(dataset.offsets)[held_out].astype(np.float64)
    fitted, probability, clicked = judge.predict(optimum.parameters)
    flat = np.zeros(len(PARAMETERS))
    flat[PARAMETERS.index("constant")] = constant
    baseline = judge.predict(flat)[0]
    logged = judge.predict(parameters_of(config))[0]
    return HeldOut(
        num_sessions=len(lengths),
        num_steps=int(lengths.sum()),
        log_likelihood=float(fitted.sum() / lengths.sum()),
        baseline=float(baseline.sum() / lengths.sum()),
        gain=Interval.of_groups(fitted - baseline, lengths),
        reliability=reliability(probability, clicked),
        logged=float(logged.sum() / lengths.sum()),
        gain_on_logged=Interval.of_groups(fitted - logged, lengths),
    )


def _approximations(dataset: LoggedDataset, interest_step: float) -> list[str]:
    """Return a clause for each thing that moves clicks or leaving in the world and is not in the likelihood."""
    config, model, found = dataset.config, dataset.config.user_model, []
    if config.profile_noise > 0.0:
        found.append(f"profile_noise={config.profile_noise}: the profile is a noisy view of the initial interest")
    elif bool((np.abs(dataset.sessions["profile"]) == 1.0).any()):
        found.append("the profile is cut to [-1, 1], and interests go beyond")
    if getattr(model, "interest_step", 0.0) > 0.0:
        stands = "its mean path" if interest_step > 0.0 else "its beginning"
        found.append(f"interest_step={model.interest_step}: the interest moves unseen, {stands} stands for it")
    part = USER_MODELS.part_of(model)
    if part.beyond_fit is None:
        found.append(f"{part.__name__} does not say what moves its clicks beyond_fit: something may be left out")
    for name, reason in (part.beyond_fit or {}).items():
        if getattr(model, name) != 0.0:
            found.append(f"{name}={getattr(model, name)}: {reason}")
    if config.satisfaction is not None and config.satisfaction.satisfaction_weight != 0.0:
        found.append("satisfaction moves utilities unseen")
    relief = 0.0 if config.leave_hazard is None else config.leave_hazard.hazard_relief
    if config.satisfaction is not None and relief != 0.0:
        found.append(f"hazard_relief={relief}: satisfaction moves leaving unseen, a constant rate stands for it")
    if config.retention is not None and config.retention.max_sessions > 1:
        found.append("retention: who leaves and comes back is not counted as leaving")
    if config.freshness is not None and config.freshness.freshness_weight != 0.0:
        found.append("freshness moves utilities by a day that the log does not hold")
    return found
