"""Toy problems whose every log can be written down with its probability: exact expectations of estimators.

To prove an estimator: add a row to `UNBIASED` of `test_exactness.py` (its name, its config, what toys it is unbiased
on), or to `CONSISTENT` if its bias falls as 1 / sessions. If it reads a column that no toy has yet, give it to the toys
below, a number a step, by the name that `LoggedSessions` has for it. A toy of another kind (slates, embeddings) is a
function that returns a `Toy`: all sessions that can happen, each with its probability under the policy that logged.
Where an estimator's expectation is known to be another than the policy's value, compare `expectation` with that.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from offline_data.families import ESTIMATORS
from offline_data.ope.sessions import LoggedSessions


@dataclass(frozen=True)
class Toy:
    """A problem with few possible sessions."""

    truth: float
    """Value of the evaluated policy."""
    discount: float
    sessions: tuple[tuple[float, dict[str, list[float]]], ...]
    """Of each possible session its probability under the logging policy and its columns, by name; they sum to 1."""

    def logs(self, num_sessions: int) -> Iterator[tuple[float, LoggedSessions]]:
        """Yield every log of so many independent sessions, but for their order, with its probability."""
        for kinds in combinations_with_replacement(range(len(self.sessions)), num_sessions):
            probability = float(math.factorial(num_sessions))
            for kind, count in Counter(kinds).items():
                probability *= self.sessions[kind][0] ** count / math.factorial(count)
            yield probability, self.log(kinds)

    def log(self, kinds: tuple[int, ...]) -> LoggedSessions:
        """Return the log of some of the sessions."""
        found = [self.sessions[kind][1] for kind in kinds]
        columns: dict[str, Any] = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
        offsets = np.cumsum([0, *(len(each["reward"]) for each in found)])
        return LoggedSessions(offsets=offsets, discount=self.discount, **columns)


def expectation(toy: Toy, num_sessions: int, estimate: Callable[[LoggedSessions], float]) -> float:
    """Return the exact mean of an estimate over all logs of so many sessions."""
    return math.fsum(probability * estimate(sessions) for probability, sessions in toy.logs(num_sessions))


def value_by(name: str, config: Any = None) -> Callable[[LoggedSessions], float]:
    """Return the function from a log to the value by a registered estimator."""
    estimator = ESTIMATORS.get(name)(config)
    return lambda sessions: estimator(sessions).value


def arms(model: float = 1.0) -> Toy:
    """Return one step, three arms of fixed rewards: three sessions. The model's Q is the reward times `model` + 1."""
    behavior, target, reward = (0.5, 0.3, 0.2), (0.1, 0.2, 0.7), (1.0, -2.0, 3.0)
    state_value = sum(p * (model * r + 1.0) for p, r in zip(target, reward, strict=True))
    sessions = [
        (b, _columns([(r, b, p, model * r + 1.0, state_value)]))
        for b, p, r in zip(behavior, target, reward, strict=True)
    ]
    return Toy(sum(p * r for p, r in zip(target, reward, strict=True)), 1.0, tuple(sessions))


def bandit(seed: int = 0) -> Toy:
    """Return two contexts, three actions and rewards by chance: twelve sessions of one step, with any model."""
    rng = np.random.default_rng(seed)
    behavior, target = rng.dirichlet(np.ones(3), size=(2, 2))
    click, q = rng.random((2, 3)), rng.normal(size=(2, 3))
    sessions, truth = [], 0.0
    for context, share in enumerate((0.4, 0.6)):
        state_value = float(target[context] @ q[context])
        for action in range(3):
            logged, wanted, rate = (float(table[context, action]) for table in (behavior, target, click))
            truth += share * wanted * (rate * 2.0 - (1.0 - rate))
            for chance, reward in ((rate, 2.0), (1.0 - rate, -1.0)):
                step = (reward, logged, wanted, float(q[context, action]), state_value)
                sessions.append((share * logged * chance, _columns([step])))
    return Toy(truth, 1.0, tuple(sessions))


def walks(seed: int = 0, horizon: int = 3, discount: float = 0.8, ends_from: int = 1, luck: float = 1.5) -> Toy:
    """Return sessions that last up to `horizon` steps, action 0 ends them from step `ends_from` on; with any model.

    Two actions; both policies know the step and the action before. The first reward is `luck` more in 3 of 10.
    """
    rng = np.random.default_rng(seed)
    shape = (horizon, 2, 2)  # step, action before, action
    behavior, target = rng.dirichlet(np.full(2, 4.0), size=(2, horizon, 2))
    reward, q = rng.normal(size=(2, *shape))
    sessions: list[tuple[float, dict[str, list[float]]]] = []
    truth = 0.0

    def walk(probability: float, wanted: float, before: int, steps: list[tuple[float, ...]], so_far: float) -> None:
        nonlocal truth
        step = len(steps)
        for action in range(2):
            logged, chosen = (float(policy[step, before, action]) for policy in (behavior, target))
            here = q[step, before]
            for chance, more in ((0.3, luck), (0.7, 0.0)) if step == 0 and luck else ((1.0, 0.0),):
                paid = float(reward[step, before, action]) + more
                row = (paid, logged, chosen, float(here[action]), float(target[step, before] @ here))
                now, then = probability * logged * chance, wanted * chosen * chance
                earned = so_far + discount**step * paid
                if step == horizon - 1 or (step >= ends_from and action == 0):
                    sessions.append((now, _columns([*steps, row])))
                    truth += then * earned
                else:
                    walk(now, then, action, [*steps, row], earned)

    walk(1.0, 1.0, 0, [], 0.0)
    return Toy(truth, discount, tuple(sessions))


def _columns(steps: list[tuple[float, ...]]) -> dict[str, list[float]]:
    """Return the columns of steps (reward, propensity, its like of the evaluated policy, Q of the action, V)."""
    reward, behavior, target, q_value, state_value = map(list, zip(*steps, strict=True))
    return {
        "reward": reward,
        "behavior_log_prob": [math.log(p) for p in behavior],
        "target_log_prob": [math.log(p) for p in target],
        "q_value": q_value,
        "state_value": state_value,
        # Another model.
        "weighted_q_value": [1.0 - 0.5 * q for q in q_value],
        "weighted_state_value": [1.0 - 0.5 * v for v in state_value],
    }
