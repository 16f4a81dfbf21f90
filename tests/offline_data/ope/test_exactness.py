"""Exact expectations of estimators over every log of a toy problem; see `enumerated_logs` for how to add one."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from offline_data.ope.estimators.limited_weights import LimitConfig
from tests.offline_data.ope.enumerated_logs import Toy, arms, bandit, expectation, value_by, walks

TOYS: dict[str, Callable[[int], Toy]] = {
    "arms": lambda seed: arms(float(seed)),
    "bandit": bandit,
    "walks": walks,
}
# Name, config, and on what toys: the mean over all logs is the policy's value, whatever the model.
UNBIASED: list[tuple[str, Any, tuple[str, ...]]] = [
    ("ips", None, ("arms", "bandit", "walks")),
    ("pdis", None, ("arms", "bandit", "walks")),
    ("dr", None, ("arms", "bandit", "walks")),
    ("mrdr", None, ("arms", "bandit", "walks")),
    ("cips", LimitConfig(math.inf), ("bandit", "walks")),
    ("switch_dr", LimitConfig(math.inf), ("bandit", "walks")),
    ("dr_os", LimitConfig(math.inf), ("bandit", "walks")),
]
# Of these the bias halves as the sessions double.
CONSISTENT: list[tuple[str, Any]] = [("snips", None), ("pdsnips", None), ("wdr", None)]


@pytest.mark.parametrize("toy", TOYS)
def test_all_sessions_are_there(toy: str):
    problem = TOYS[toy](0)
    assert sum(probability for probability, _ in problem.sessions) == pytest.approx(1.0, abs=1e-14)
    assert sum(probability for probability, _ in problem.logs(2)) == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize(("name", "config", "toy"), [(*row[:2], toy) for row in UNBIASED for toy in row[2]])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_mean_over_all_logs_is_the_value(name: str, config: Any, toy: str, seed: int):
    problem = TOYS[toy](seed)
    for num_sessions in (1, 2):
        found = expectation(problem, num_sessions, value_by(name, config))
        assert found == pytest.approx(problem.truth, abs=1e-10)


@pytest.mark.parametrize(("name", "config"), CONSISTENT)
@pytest.mark.parametrize("problem", [arms(0.5), walks(horizon=2, ends_from=0, luck=0.0)], ids=["arms", "walks"])
def test_the_bias_of_weighted_ones_falls_as_one_over_sessions(name: str, config: Any, problem: Toy):
    few, more = (abs(expectation(problem, size, value_by(name, config)) - problem.truth) for size in (8, 16))
    assert few > 1e-4, "no bias to see: choose another problem"
    assert more == pytest.approx(few / 2.0, rel=0.25)


def test_an_expectation_can_miss_the_value():
    """The log's own return is not the policy's."""
    problem = bandit()
    logged = expectation(problem, 2, lambda sessions: float(sessions.returns().mean()))
    assert abs(logged - problem.truth) > 0.01
