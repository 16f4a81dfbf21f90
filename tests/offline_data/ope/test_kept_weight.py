"""What is left of the log's weights in an estimate: where that is little, it is its model's word and not trusted."""

import dataclasses

import numpy as np
import pytest

from offline_data.families import ESTIMATORS
from offline_data.ope.estimate import Estimate, estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.trust import KEPT_WEIGHT, MOST_WEIGHT

COUNT = 4000


def log() -> LoggedSessions:
    """Return one-step sessions of two actions, shown evenly; the policy takes one in 8 of 10; Q is 100."""
    rng = np.random.default_rng(0)
    first = np.arange(COUNT) % 2 == 0
    even, item = np.full(COUNT, np.log(0.5)), np.log(np.where(first, 0.8, 0.2))
    return LoggedSessions(
        offsets=np.arange(COUNT + 1),
        reward=(rng.random(COUNT) < np.where(first, 0.6, 0.4)).astype(float),
        behavior_log_prob=even,
        target_log_prob=item,
        behavior_item_log_prob=even,
        target_item_log_prob=item,
        behavior_embedding_log_prob=np.zeros(COUNT),  # all actions are of one cluster
        target_embedding_log_prob=np.zeros(COUNT),
        q_value=np.full(COUNT, 100.0),
        state_value=np.full(COUNT, 100.0) + rng.normal(0.0, 0.1, COUNT),
        discount=1.0,
    )


def starved(name: str) -> Estimate | None:
    """Return an estimate that is made to take nothing of the log, or None for one that cannot be."""
    made = ESTIMATORS.get(name)
    if not made.needs <= {each for each, column in vars(log()).items() if column is not None}:
        return None
    given = {each.name for each in dataclasses.fields(made.Config)}
    options = {"max_log_weight": -600.0} if "max_log_weight" in given else {"limit": 0.0} if "limit" in given else None
    return None if options is None else estimate(name, log(), config=made.Config(**options))


@pytest.mark.parametrize("name", ESTIMATORS.registered())
def test_what_takes_nothing_of_the_log_is_not_trusted(name):
    found = starved(name)
    if found is None:  # without such a parameter: a model alone has no interval, others weigh
        made = ESTIMATORS.get(name)
        assert made.weighs() or made.unchecked()
        return
    assert found.kept == pytest.approx(0.0, abs=1e-9)
    assert found.ends is None
    assert found.verdict.grade == "untrusted"
    assert "0 % of the log's weight is left in it" in found.doubts[0]


def test_one_cluster_of_all_actions_leaves_the_difference_to_the_model():
    found = estimate("offcem", log())
    assert found.kept == 0.0
    assert not found.trusted


@pytest.mark.parametrize(("name", "limit"), [("cips", 0.5), ("switch_dr", 0.5), ("dr_os", 0.1)])
def test_less_than_half_is_a_models_word(name, limit):
    found = estimate(name, log(), config=ESTIMATORS.get(name).Config(limit=limit))
    assert 0.05 < found.kept < MOST_WEIGHT + 0.01
    assert not found.trusted


def test_a_cap_is_told_by_what_it_removes():
    """Weights of 1.6 and .4, half of the sessions each, capped at 1.2: .8 of 1 is left."""
    found = estimate("cips", log(), config=ESTIMATORS.get("cips").Config(limit=1.2))
    assert found.kept == pytest.approx(0.8)
    assert found.kept < KEPT_WEIGHT
    assert found.doubts == ("20 % of the log's weight is cut off, and biases it by what that earns",)
    whole = estimate("cips", log(), config=ESTIMATORS.get("cips").Config(limit=2.0))
    assert whole.kept == 1.0
    assert whole.trusted


def test_magic_that_chooses_the_model_says_so():
    """Of a model that is right and weights that are wild the blend has hardly a correction."""
    rng = np.random.default_rng(0)
    wild = dataclasses.replace(
        log(),
        target_log_prob=np.log(rng.pareto(1.2, COUNT) + 1e-3) - 3.0,
        reward=rng.normal(0.0, 10.0, COUNT),
        q_value=np.zeros(COUNT),
        state_value=rng.normal(0.0, 0.001, COUNT),
    )
    found = estimate("magic", wild)
    assert found.kept < KEPT_WEIGHT
    assert not found.trusted
