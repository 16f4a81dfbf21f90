"""How well off-policy estimates of the Open Bandit Dataset tell a policy's click rate, which its own log shows.

Each of the two logs is asked what the other's policy would have earned. From the random log it is the Thompson policy,
by the plug-in estimate `position_item_frequencies` of its log, which is taken as given; from the Thompson log it is the
random policy, whose probabilities are exact. Positions count as the log that is asked has them. The relative error of
an estimate is its distance from the policy's own log's click rate, over that rate; its interval is of both logs, drawn
anew: with 42 clicks in the published sample, the rate that is aimed at is itself known to a third.

`dm`, `dr` and the like read a click model of the log that is asked: `fit_click_regression` on the users' features, the
position and the item, fitted to two thirds of the rows and read on the last, in turn.

Source: Saito, Aihara, Matsutani and Narita 2020, arXiv:2008.07146, section 5 for relative errors. There the click rate
that is aimed at is held fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from offline_data.families import ESTIMATORS
from offline_data.fitting.click_regression import fit_click_regression
from offline_data.interop.interactions import Ids
from offline_data.interop.readers.open_bandit import (
    NUM_POSITIONS,
    POLICIES,
    OpenBanditLog,
    position_item_frequencies,
    read_open_bandit,
)
from offline_data.ope.bootstrap import bootstrap
from offline_data.ope.estimate import Estimate, estimate
from offline_data.ope.folds import session_folds
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.trust import disagreement
from recenv.errors import require
from recenv.statistics import Interval

Floats = NDArray[np.float64]

_THOMPSON: Final = "Thompson sampling, by how often its log shows each item at each position (plug-in estimate)"
_FOLDS: Final = 3
_CONTEXTS_AT_ONCE: Final = 1 << 14
_COLUMNS: Final = frozenset({"behavior_log_prob", "q_value", "state_value"})
# Of sessions of one step they are `ips` and `snips`.
_SAME: Final = frozenset({"pdis", "pdsnips"})


@dataclass(frozen=True)
class JudgedClickRate:
    """What estimators say of a policy's click rate, beside what its own log shows."""

    policy: str
    """Whose click rate it is, in words."""
    log: str
    """The log that was asked, "random" or "bts"."""
    on_policy: Estimate
    """The click rate in the policy's own log, in clicks per shown item; estimator "on_policy"."""
    estimates: tuple[Estimate, ...]
    """From the log that was asked."""
    relative_errors: tuple[Interval, ...]
    """Of each, `|estimate - on_policy| / on_policy`, with the 95 % interval of both logs."""


def bandit_estimators() -> list[str]:
    """Return the registered estimators that a log of single clicks and a click model can answer, each once."""
    found = (name for name in ESTIMATORS.registered() if name not in _SAME)
    return [name for name in found if ESTIMATORS.get(name).needs <= _COLUMNS]


def judge_open_bandit(
    path: str | Path,
    campaign: str,
    *,
    estimators: Sequence[str] | None = None,
    seed: int = 0,
    num_bootstrap: int = 1000,
) -> list[JudgedClickRate]:
    """Return each policy's click rate as the other's log tells it: the Thompson policy's first.

    Args:
        path: the folder that holds `random/` and `bts/`.
        campaign: "all", "men" or "women".
        estimators: by name; None for `bandit_estimators`.
        seed: of the bootstrap and of the thirds of the click model.
        num_bootstrap: replicates of the bootstrap.

    Raises:
        InvalidInput: as `read_open_bandit`, `position_item_frequencies` and `estimate` do, if the two logs differ in
            their number of items, or if one has no click.
    """
    names = list(bandit_estimators() if estimators is None else estimators)
    model = any(ESTIMATORS.resolve(name).reads_model() for name in names)
    random_log, thompson_log = (read_open_bandit(path, policy, campaign, users=model) for policy in POLICIES)
    require(
        random_log.num_items == thompson_log.num_items,
        f"item_context.csv of random/{campaign} lists {random_log.num_items} items and that of bts/{campaign} "
        f"{thompson_log.num_items}; take both folders from one release",
    )
    uniform = np.full((NUM_POSITIONS, random_log.num_items), 1.0 / random_log.num_items)
    return [
        _judged(
            _THOMPSON, random_log, thompson_log, position_item_frequencies(thompson_log), names, seed, num_bootstrap
        ),
        _judged("uniform random", thompson_log, random_log, uniform, names, seed, num_bootstrap),
    ]


def _judged(
    policy: str,
    asked: OpenBanditLog,
    own: OpenBanditLog,
    probability: Floats,
    names: Sequence[str],
    seed: int,
    num_bootstrap: int,
) -> JudgedClickRate:
    """Return what estimators say of the policy of `own`, `[3, M]` probabilities, from the log that is asked."""
    require(
        int(own.click.sum()) > 0,
        f"{own.file} has no click: there is no rate to be compared with; take the log of more rows",
    )
    with np.errstate(divide="ignore"):
        target = np.log(probability[asked.position, asked.item_id])
    model = any(ESTIMATORS.resolve(name).reads_model() for name in names)
    columns = model_columns(asked, probability, seed=seed) if model else {}
    sessions = replace(_sessions(asked, target), **columns)
    on_policy = _sessions(own, np.log(own.propensity))
    options: dict[str, Any] = {"seed": seed, "num_bootstrap": num_bootstrap}
    rate = replace(estimate("snips", on_policy, **options), estimator="on_policy")
    (drawn,) = bootstrap(ESTIMATORS.get("snips")()(on_policy), num_bootstrap=num_bootstrap, seed=seed + 1)
    estimates = disagreement({name: estimate(name, sessions, **options) for name in names})
    errors = []
    for name, found in estimates.items():
        (replicates,) = bootstrap(ESTIMATORS.resolve(name)()(sessions), **options)
        aimed = drawn > 0.0  # a resample without a click has no relative error
        low, high = np.quantile(np.abs(replicates[aimed] - drawn[aimed]) / drawn[aimed], (0.025, 0.975))
        errors.append(Interval(abs(found.value - rate.value) / rate.value, float(low), float(high)))
    return JudgedClickRate(policy, asked.policy, rate, tuple(estimates.values()), tuple(errors))


def model_columns(log: OpenBanditLog, probability: Floats, *, seed: int = 0) -> dict[str, Floats]:
    """Return what click models that have not seen a row say of it: `q_value` and `state_value`, `[N]`.

    Args:
        log: with its users' features, if it has them.
        probability: of each item at each position under the evaluated policy, `[3, M]`.
        seed: of the thirds.

    Raises:
        InvalidInput: if there are fewer than three rows, or two thirds of them have no click, or nothing else.
    """
    users = [each for each in log.context.values() if isinstance(each, Ids)]
    codes = [each.codes.astype(np.int64) + 1 for each in users]  # a row without the feature is of a category of its own
    sizes = [len(each.source) + 1 for each in users]
    codes, sizes = [*codes, log.position, log.item_id], [*sizes, NUM_POSITIONS, log.num_items]
    fold = session_folds(len(log.click), _FOLDS, seed)
    context, first = _contexts(codes[:-1], sizes[:-1])
    found = {name: np.empty(len(log.click)) for name in ("q_value", "state_value")}
    for which in range(_FOLDS):
        there, rest = np.flatnonzero(fold == which), fold != which
        fitted = fit_click_regression([each[rest] for each in codes], sizes, log.click[rest])
        found["q_value"][there] = _chance(fitted.log_odds(*(each[there] for each in codes)))
        values = np.empty(len(first))
        for part in _parts(len(first)):
            rows = first[part]
            log_odds = fitted.log_odds(*(each[rows] for each in codes[:-1]))[:, None] + fitted.effects[-1]
            values[part] = np.sum(probability[log.position[rows]] * _chance(log_odds), axis=1)
        found["state_value"][there] = values[context[there]]
    return found


def _contexts(codes: Sequence[NDArray[np.int64]], sizes: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return which context each row has, and the first row of each."""
    context = np.zeros(len(codes[0]), np.int64)
    for each, size in zip(codes, sizes, strict=True):
        _, first, context = np.unique(context * size + each, return_index=True, return_inverse=True)
    return context, first


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + _CONTEXTS_AT_ONCE) for start in range(0, count, _CONTEXTS_AT_ONCE))


def _chance(log_odds: Floats) -> Floats:
    return np.exp(-np.logaddexp(0.0, -log_odds))


def _sessions(log: OpenBanditLog, target_log_prob: Floats) -> LoggedSessions:
    return LoggedSessions(
        reward=log.click.astype(np.float64),
        behavior_log_prob=np.log(log.propensity),
        target_log_prob=target_log_prob,
        discount=1.0,
    )
