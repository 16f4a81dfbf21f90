"""Which estimator to believe, by the log itself: the one whose squared error is estimated to be least.

An estimate that exact propensities alone make right, and whose weights are not starved, is an *anchor*: what another
estimate is apart from it shows that one's bias. Both are of the same users, so that the spread of their difference is
known exactly, and is far less than both spreads together let one believe. With d the difference to the anchor, and
variances by the jackknife over users,

    estimated squared error = Var(estimate) + max(0, d^2 - Var(d))

since `E d^2 = bias^2 + Var(d)`: a distance that chance explains counts nothing against an estimate. Of several anchors
the one of least variance is taken. Of several policies judged by one log, the errors are averaged.

Where weights are starved there is no anchor, the variances are not known, and nothing in the log tells a good model
from a bad one. Then the first of `WITHOUT_ANCHOR` is taken that has an answer, and the answer says that it is
unchecked.

Source: the squared error with the direct estimate of the bias, Thomas and Brunskill 2016, and Su, Dimakopoulou,
Krishnamurthy and Dudik 2020, arXiv:1907.09623; that the anchor's own noise has to be taken off d^2, Udagawa, Kiyohara,
Narita, Saito and Tateno 2022, arXiv:2211.13904, who make pseudo-policies by subsampling instead. Its variance by pairs
is ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from offline_data.families import ESTIMATORS
from offline_data.ope.answers import Answer, answers_of
from offline_data.ope.estimators.base import Estimator
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.trust import KEPT_WEIGHT
from recenv.errors import InvalidInput, require

WITHOUT_ANCHOR: Final = (*("dr_os", "switch_dr", "dm", "magic", "density_ratio", "wdr"), *("pdsnips", "snips"))
"""Estimators by rising error where weights are starved, as far as the simulator tells; others come after them."""
_LARGEST: Final = 1e150  # of a number whose square is a double
_TIES: Final = 1e-9  # of a squared error, to the rounding


@dataclass(frozen=True)
class Candidate:
    """An estimator that might be chosen; of several policies, the mean over them.

    Examples:
        >>> from offline_data import Candidate
        >>> Candidate("dm", value=4.1, standard_error=0.1, mse=0.26).out is None
        True
    """

    estimator: str
    """Its registered name."""
    value: float | None = None
    """The estimate, in the log's unit of return; None where it has none."""
    standard_error: float | None = None
    """Of that, over users; of several policies its root mean square. None where it is not known."""
    mse: float | None = None
    """Estimated mean squared error, at least: without what a model's fit adds, nor a bias that the noise of its check
    hides. None where nothing checks it."""
    out: str | None = None
    """Why it cannot be chosen; None where it can."""


@dataclass(frozen=True)
class Selection:
    """Which estimator is to be believed, and why.

    Examples:
        >>> from offline_data import Candidate, Selection
        >>> found = Selection("dm", "nothing checks it", (Candidate("dm", 4.1, 0.1),), checked=False)
        >>> found.estimator, found.policies
        ('dm', ())
    """

    estimator: str | None
    """Its registered name; None where no candidate has an answer."""
    reason: str
    """In a sentence."""
    candidates: tuple[Candidate, ...]
    """As they were asked for."""
    checked: bool
    """Whether it was compared with an anchor, of each policy."""
    policies: tuple[Selection, ...] = ()
    """What would be chosen for each policy alone; () for one policy."""

    @property
    def chosen(self) -> Candidate | None:
        """The candidate that is chosen."""
        return next((each for each in self.candidates if each.estimator == self.estimator), None)

    @property
    def of_each(self) -> tuple[Selection, ...]:
        """What would be chosen for each policy alone, also of one policy."""
        return self.policies or (self,)

    def as_dict(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


def select(
    logs: LoggedSessions | Sequence[LoggedSessions], estimators: Sequence[str | type[Estimator]] | None = None
) -> Selection:
    """Return which estimator to believe of one policy, or of several that are judged by the same sessions.

    Args:
        logs: the sessions with a policy's columns; of several policies, one log each.
        estimators: names of registered ones, MODULE:CLASS, or classes; None for all whose columns are there.

    Raises:
        InvalidInput: for no log or no estimator, an unknown name, or logs of different sessions or users.

    Examples:
        >>> import numpy as np
        >>> from offline_data import LoggedSessions, select
        >>> rng = np.random.default_rng(3)
        >>> clicks, weights = rng.random(4000) < 0.3, np.where(rng.random(4000) < 0.5, 0.2, 1.8)
        >>> sessions = LoggedSessions(
        ...     reward=clicks.astype(float),
        ...     behavior_log_prob=np.zeros(4000),
        ...     target_log_prob=np.log(weights),
        ...     discount=1.0,
        ...     q_value=np.full(4000, 0.9),
        ...     state_value=np.full(4000, 0.9),
        ... )
        >>> select(sessions, ["ips", "dm"]).estimator  # the model is wrong
        'ips'
    """
    given = [logs] if isinstance(logs, LoggedSessions) else list(logs)
    require(len(given) > 0, "logs has no log; pass the sessions of one policy at least")
    for place, log in enumerate(given[1:], start=1):
        _require_same(given[0], log, place)
    if estimators is None:
        names = tuple(name for name in ESTIMATORS.registered() if all(_has_columns(name, log) for log in given))
        require(len(names) > 0, "logs have no estimator's columns; pass behavior_log_prob, or state_value of a model")
    else:
        names = tuple(dict.fromkeys(ESTIMATORS.resolve(each) for each in estimators))
        require(len(names) > 0, "estimators is empty; name one at least, or pass None for all that the log allows")
    return choose([answers_of(log, names) for log in given])


def choose(answers: Sequence[Mapping[str, Answer | InvalidInput]]) -> Selection:
    """Return which estimator to believe, from what each of them says of each policy, one at least.

    Args:
        answers: of each policy, by the same estimators; see `answers_of`.
    """
    alone = tuple(_of_policy(each) for each in answers)
    if len(alone) == 1:
        return alone[0]
    candidates = tuple(_over_policies(of_one) for of_one in zip(*(each.candidates for each in alone), strict=True))
    unchecked = [place for place, each in enumerate(alone) if not each.checked]
    if unchecked:
        found = _without_anchor(candidates, alone[unchecked[0]].reason)
        which = ", ".join(str(place + 1) for place in unchecked)
        reason = f"of policy {which} of {len(alone)}: {found.reason}"
        return Selection(found.estimator, reason, candidates, False, alone)
    known = [each for each in candidates if each.out is None]
    if not known:
        return Selection(None, _nobody(candidates), candidates, False, alone)
    best = _least(known)
    reason = f"the least estimated squared error over {len(alone)} policies, by differences to estimates of weights"
    return Selection(best.estimator, reason, candidates, True, alone)


def _of_policy(answers: Mapping[str, Answer | InvalidInput]) -> Selection:
    """Return the choice for one policy."""
    known = {
        name: each
        for name, each in answers.items()
        if isinstance(each, Answer) and float(np.abs(each.influence).max()) < _LARGEST
    }
    spreads = {name: _standard_error(each.influence) for name, each in known.items()}
    anchor = _anchor(known, spreads)
    candidates = []
    for name, each in answers.items():
        if isinstance(each, InvalidInput):
            candidates.append(Candidate(name, out=str(each)))
        elif name not in known:
            candidates.append(Candidate(name, out="its sums are beyond the doubles; weights are too large"))
        else:
            mse = None if anchor is None else _squared_error(each, known[anchor], spreads[name])
            error = spreads[name] if math.isfinite(spreads[name]) else None
            candidates.append(Candidate(name, each.estimate.value, error, mse))
    candidates = tuple(candidates)
    if anchor is None:
        return _without_anchor(candidates, _starved(known))
    best = _least(sorted((each for each in candidates if each.out is None), key=lambda each: each.estimator != anchor))
    on = "" if known[anchor].anchors else ", which is right only where what it assumes holds"
    if best.estimator == anchor:
        reason = f"no other is estimated to be nearer the truth than {anchor}, which checks them{on}"
    else:
        reason = f"the least estimated squared error, by its difference to {anchor}{on}"
    return Selection(best.estimator, reason, candidates, True)


def _anchor(known: Mapping[str, Answer], spreads: Mapping[str, float]) -> str | None:
    """Return by whom the others are checked: of those that propensities alone make right, and else of all that weigh.

    None where none of them has enough weights: a spread that starved weights show is not that of the estimate. What
    cuts its weights off checks nobody.
    """
    sound = [name for name, each in known.items() if each.estimate.verdict.grade != "untrusted"]
    first = [name for name in sound if known[name].anchors]
    whole = [name for name in sound if known[name].estimate.kept >= KEPT_WEIGHT]
    weighing = [name for name in whole if known[name].estimate.mean_weight is not None]
    return min(first or weighing, key=spreads.__getitem__, default=None)


def _squared_error(answer: Answer, anchor: Answer, spread: float) -> float:
    apart = answer.influence - anchor.influence
    noise, distance = _standard_error(apart), float(apart.mean())
    return spread**2 + max(0.0, distance**2 - noise**2)


def _standard_error(influence: np.ndarray) -> float:
    """Return that of a mean of users' numbers; infinite of one user."""
    return float(influence.std(ddof=1)) / math.sqrt(len(influence)) if len(influence) > 1 else math.inf


def _least(candidates: Sequence[Candidate]) -> Candidate:
    """Return the first of those that have the least squared error, to the rounding."""
    errors = [math.inf if each.mse is None else each.mse for each in candidates]
    return next(each for each, error in zip(candidates, errors, strict=True) if error <= min(errors) * (1.0 + _TIES))


def _without_anchor(candidates: Sequence[Candidate], why: str) -> Selection:
    """Return the choice where nothing can be checked."""
    able = {each.estimator: each for each in candidates if each.out is None}
    if not able:
        return Selection(None, _nobody(candidates), tuple(candidates), False)
    name = next((name for name in WITHOUT_ANCHOR if name in able), next(iter(able)))
    return Selection(name, why, tuple(candidates), False)


def _starved(known: Mapping[str, Answer]) -> str:
    """Return why no estimate can check the others."""
    doubts = {name: each.estimate.doubts for name, each in known.items() if each.estimate.mean_weight is not None}
    left = "what is taken cannot be checked, and ranks policies at best"
    doubted = {name: each for name, each in doubts.items() if each}
    if not doubted:
        return f"no estimate that could check the others; {left}"
    name = next((name for name in doubted if known[name].anchors), next(iter(doubted)))
    return f"no estimate by weights is to be trusted ({name}: {doubted[name][0]}); {left}"


def _nobody(candidates: Sequence[Candidate]) -> str:
    return "no estimator has an answer: " + "; ".join(f"{each.estimator}: {each.out}" for each in candidates)


def _over_policies(found: Sequence[Candidate]) -> Candidate:
    """Return an estimator's word on several policies as one."""
    name = found[0].estimator
    for place, each in enumerate(found):
        if each.out is not None:
            return Candidate(name, out=f"of policy {place + 1}: {each.out}")
    value = _mean([each.value for each in found])
    variance = _mean([None if each.standard_error is None else each.standard_error**2 for each in found])
    spread = None if variance is None else math.sqrt(variance)
    return Candidate(name, value, spread, _mean([each.mse for each in found]))


def _mean(numbers: Sequence[float | None]) -> float | None:
    """Return the mean; None where one is not known."""
    known = [number for number in numbers if number is not None]
    return float(np.mean(known)) if len(known) == len(numbers) else None


def _has_columns(name: str, log: LoggedSessions) -> bool:
    return all(getattr(log, column) is not None for column in ESTIMATORS.get(name).needs)


def _require_same(first: LoggedSessions, other: LoggedSessions, place: int) -> None:
    """Refuse logs of different sessions or users: their differences are no pairs."""
    for name in ("offsets", "slate_offsets", "user_id", "reward", "behavior_log_prob"):
        one, two = getattr(first, name), getattr(other, name)
        same = one is None and two is None if one is None or two is None else np.array_equal(one, two)
        require(
            same,
            f"logs[{place}] has other {name} than logs[0]; pass the same sessions of the same users in the same order, "
            "with each policy's own columns",
        )
    require(
        first.discount == other.discount,
        f"logs[{place}].discount={other.discount}, but logs[0].discount={first.discount}; judge all by one",
    )
