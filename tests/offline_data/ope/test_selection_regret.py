"""The choice of an estimator against always taking the same one, on small worlds whose truth is known.

States, actions and steps are few, so that a policy's value is a finite sum. Policies are near the log's own and far
from it, models are good, off by a little, off by much, flat and noisy, logs are small and large, sessions of one step
and of four. Of each problem the mean squared error over its logs is told relative to that of the best estimator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, product

import numpy as np
import pytest

from offline_data.ope.answers import Answer, answers_of
from offline_data.ope.selection import choose
from offline_data.ope.sessions import LoggedSessions
from tests.offline_data.ope.other_choices import Answers, by_slope, plain_error, pseudo_policies

Rule = Callable[[LoggedSessions, Answers], str]

NAMES = ("ips", "pdis", "cips", "snips", "pdsnips", "dm", "dr", "switch_dr", "dr_os", "wdr", "magic")
STATES, ACTIONS = 12, 8
SHARES = (0.15, 0.4, 0.7, 0.9, 1.0)
"""Of the target, in an evaluated policy; the rest is the policy that logs."""
MODELS = {
    "good": lambda rng, rate: rate + rng.normal(0.0, 0.03, rate.shape),
    "off": lambda rng, rate: rate + 0.02,
    "far off": lambda rng, rate: rate + 0.1,
    "hopeful": lambda rng, rate: rate + 0.15 * (rate > np.median(rate)),
    "flat": lambda rng, rate: np.full_like(rate, rate.mean()),
    "noisy": lambda rng, rate: rate + rng.normal(0.0, 0.3, rate.shape),
}


def softmax(scores: np.ndarray) -> np.ndarray:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True)


@dataclass
class World:
    """A small decision process with clicks, a policy that logs, and policies to be evaluated."""

    rng: np.random.Generator
    num_steps: int

    def __post_init__(self) -> None:
        shape = (STATES, ACTIONS)
        self.click_rate = 1.0 / (1.0 + np.exp(-self.rng.normal(-1.0, 1.0, shape)))
        self.move = self.rng.dirichlet(np.full(STATES, 0.5), shape)
        self.start = self.rng.dirichlet(np.ones(STATES))
        self.behavior = softmax(self.rng.normal(0.0, 1.0, shape))
        targets = [softmax(4.0 * self.click_rate + self.rng.normal(0.0, 1.0, shape)) for _ in SHARES]
        self.policies = [
            share * target + (1.0 - share) * self.behavior for share, target in zip(SHARES, targets, strict=True)
        ]

    def values(self, policy: np.ndarray, rate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return Q `[steps, states, actions]` and V `[steps, states]`, were that the click rate."""
        q_value, value, after = [], [], np.zeros(STATES)
        for _ in range(self.num_steps):
            q_value.append(rate + self.move @ after)
            after = (policy * q_value[-1]).sum(axis=1)
            value.append(after)
        return np.array(q_value[::-1]), np.array(value[::-1])

    def log(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return states, actions and clicks, `[count, steps]`."""
        state, rows = self.rng.choice(STATES, count, p=self.start), []
        for _ in range(self.num_steps):
            action = self.drawn(self.behavior[state])
            rows.append((state, action, self.rng.random(count) < self.click_rate[state, action]))
            state = self.drawn(self.move[state, action])
        states, actions, clicks = (np.stack(each, axis=1) for each in zip(*rows, strict=True))
        return states, actions, clicks.astype(float)

    def sessions(
        self, policy: np.ndarray, modelled: np.ndarray, states: np.ndarray, actions: np.ndarray, clicks: np.ndarray
    ) -> LoggedSessions:
        """Return a log with a policy's columns, and those of a model of the click rate."""
        q_value, value = self.values(policy, modelled)
        step = np.broadcast_to(np.arange(self.num_steps), states.shape)
        return LoggedSessions(
            offsets=np.arange(0, states.size + 1, self.num_steps),
            reward=clicks.ravel(),
            behavior_log_prob=np.log(self.behavior[states, actions]).ravel(),
            target_log_prob=np.log(policy[states, actions]).ravel(),
            q_value=q_value[step, states, actions].ravel(),
            state_value=value[step, states].ravel(),
            discount=1.0,
        )

    def drawn(self, chances: np.ndarray) -> np.ndarray:
        """Return one of the columns of each row, `[rows]`."""
        above = self.rng.random((len(chances), 1)) > chances.cumsum(axis=1)
        return np.minimum(above.sum(axis=1), chances.shape[1] - 1)


def squared_errors(
    seed: int,
    steps: tuple[int, ...],
    sizes: tuple[int, ...],
    policies: Iterable[int],
    num_logs: int,
    rules: Mapping[str, Rule],
) -> Iterator[np.ndarray]:
    """Yield of each problem those of the estimators and of whom the rules choose, `[logs, names and rules]`."""
    rng = np.random.default_rng(seed)
    for num_steps, model, size in product(steps, MODELS.values(), sizes):
        world = World(rng, num_steps)
        modelled = model(rng, world.click_rate)
        logs = [world.log(size) for _ in range(num_logs)]
        for place in policies:
            policy = world.policies[place]
            truth = float(world.start @ world.values(policy, world.click_rate)[1][0])
            yield np.array([errors_of(world.sessions(policy, modelled, *log), truth, rules) for log in logs])


def errors_of(sessions: LoggedSessions, truth: float, rules: Mapping[str, Rule]) -> list[float]:
    """Return the squared errors of the estimators in one log, and of those that the rules choose."""
    answers = answers_of(sessions, NAMES)
    errors = {name: (each.estimate.value - truth) ** 2 for name, each in answers.items() if isinstance(each, Answer)}
    return [errors[name] for name in (*NAMES, *(rule(sessions, answers) for rule in rules.values()))]


def relative_errors(problems: Iterable[np.ndarray], rules: Mapping[str, Rule]) -> dict[str, float]:
    """Return the geometric mean over problems of each mean squared error over the least of an estimator, by name."""
    means = np.array([errors.mean(axis=0) for errors in problems])
    least = means[:, : len(NAMES)].min(axis=1, keepdims=True)
    found = np.exp(np.log(means / least).mean(axis=0))
    return dict(zip((*NAMES, *rules), found.tolist(), strict=True))


def by_pairs(sessions: LoggedSessions, answers: Answers) -> str:
    del sessions
    chosen = choose([answers]).estimator
    assert chosen is not None
    return chosen


CHEAP = {"chosen": by_pairs, "plain error": plain_error, "slope": by_slope}


def nearer(found: dict[str, float]) -> float:
    """Return the choice's error over that of the best of the estimators and other rules."""
    return found["chosen"] / min(each for name, each in found.items() if name != "chosen")


def test_the_choice_is_nearer_the_best_than_any_estimator_always():
    """A sample of what the nightly run draws more of; the seed is fixed, and so is what is found."""
    found = relative_errors(squared_errors(0, (1, 4), (300, 1500), (0, 2, 4), 5, CHEAP), CHEAP)
    assert nearer(found) < 1.0, found


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_the_choice_is_nearer_the_best_over_many_problems():
    """What docs/evaluation.md tells: 540 problems with 10 logs each."""
    draws = (squared_errors(seed, (1, 4, 10), (100, 1000, 3000), range(5), 10, CHEAP) for seed in range(2))
    found = relative_errors(chain.from_iterable(draws), CHEAP)
    print(found)
    assert nearer(found) < 0.95


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_pseudo_policies_are_no_nearer():
    """The same of 96 problems with 8 logs each, whose weights let sessions be split."""
    rules = {**CHEAP, "pseudo-policies": pseudo_policies}
    found = relative_errors(squared_errors(9, (1, 4), (300, 1000), range(4), 8, rules), rules)
    print(found)
    assert found["pseudo-policies"] > 1.3 * found["chosen"]
