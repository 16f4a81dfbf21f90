"""Estimators by embedding: exact on enumerated bandits under their assumptions, biased where these fail."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline_data.families import ESTIMATORS
from offline_data.ope.estimate import estimate
from offline_data.ope.estimators.embeddings import choose_embedding
from offline_data.ope.sessions import LoggedSessions
from recenv.errors import InvalidInput

# Two contexts, four actions in two clusters; the last action is never logged, and shares the cluster of the third.
CONTEXT = np.array([0.3, 0.7])
BEHAVIOR = np.array([[0.5, 0.2, 0.3, 0.0], [0.1, 0.3, 0.6, 0.0]])
TARGET = np.array([[0.1, 0.4, 0.2, 0.3], [0.3, 0.2, 0.1, 0.4]])
CLUSTER = np.array([0, 0, 1, 1])
OF_CLUSTER = np.array([[1.0, 4.0], [-2.0, 3.0]])  # what clusters are worth in each context
WITHIN = np.array([[0.5, -0.5, 0.2, 1.0], [-1.0, 2.0, 0.0, 0.3]])  # and what actions differ by inside of one


def enumerated(reward: np.ndarray, model: np.ndarray) -> tuple[np.ndarray, LoggedSessions]:
    """The probability of each pair of context and logged action, and a log of one round of each."""
    context, action = np.nonzero(BEHAVIOR)
    clusters = {
        name: np.stack([law[:, c == CLUSTER].sum(axis=1) for c in (0, 1)], axis=1)[context, CLUSTER[action]]
        for name, law in (("behavior", BEHAVIOR), ("target", TARGET))
    }
    sessions = LoggedSessions(
        offsets=np.arange(len(action) + 1),
        reward=reward[context, action],
        behavior_log_prob=np.log(BEHAVIOR[context, action]),
        target_log_prob=np.log(TARGET[context, action]),
        discount=1.0,
        behavior_embedding_log_prob=np.log(clusters["behavior"]),
        target_embedding_log_prob=np.log(clusters["target"]),
        q_value=model[context, action],
        state_value=(TARGET * model).sum(axis=1)[context],
    )
    return CONTEXT[context] * BEHAVIOR[context, action], sessions


def error(name: str, reward: np.ndarray, model: np.ndarray) -> float:
    probability, sessions = enumerated(reward, model)
    truth = CONTEXT @ (TARGET * reward).sum(axis=1)
    return abs(probability @ ESTIMATORS.get(name)()(sessions).numerator[:, 0] - truth)


NOTHING = np.zeros((2, 4))


@pytest.mark.parametrize("name", ["mips", "offcem"])
def test_exact_where_the_cluster_is_all_that_matters(name):
    """Though the evaluated policy takes an action that was never logged, which no weight of actions can repair."""
    reward = OF_CLUSTER[:, CLUSTER]
    assert error(name, reward, NOTHING) < 1e-10
    assert error("dr", reward, NOTHING) > 0.5


def test_biased_where_the_action_matters_beside_its_cluster():
    assert error("mips", OF_CLUSTER[:, CLUSTER] + WITHIN, NOTHING) > 0.05


def test_conjunct_effects_are_exact_for_a_model_that_knows_differences_alone():
    """What the model says of the clusters themselves is far off; within each it is off by a constant."""
    reward = OF_CLUSTER[:, CLUSTER] + WITHIN
    constant = np.array([[10.0, -7.0], [3.0, 20.0]])
    assert error("offcem", reward, WITHIN + constant[:, CLUSTER]) < 1e-10
    assert error("offcem", reward, 0.5 * WITHIN) > 0.02


def test_without_the_actions_propensities_the_embeddings_will_do():
    _, sessions = enumerated(OF_CLUSTER[:, CLUSTER], WITHIN)
    for name in ("mips", "offcem"):
        full = estimate(name, sessions, num_bootstrap=20)
        alone = estimate(name, replace(sessions, behavior_log_prob=None), num_bootstrap=20)
        assert alone == full
        assert full.low is not None
        message = "target_embedding_log_prob=None, but this estimator needs the embeddings' probabilities"
        with pytest.raises(InvalidInput, match=message):
            estimate(name, replace(sessions, target_embedding_log_prob=None))


def test_trust_is_judged_by_the_weights_of_embeddings():
    """Those of the actions are wild, of the clusters 1: by `mips` they are worth the same, to `offcem` a model says."""
    count = 400
    rng = np.random.default_rng(0)
    zeros = np.zeros(count)
    sessions = LoggedSessions(
        reward=rng.random(count),
        behavior_log_prob=zeros,
        target_log_prob=rng.normal(0.0, 5.0, count),
        discount=1.0,
        behavior_embedding_log_prob=zeros,
        target_embedding_log_prob=zeros,
        q_value=zeros,
        state_value=zeros,
    )
    for name in ("mips", "offcem"):
        answer = estimate(name, sessions)
        assert answer.mean_weight is not None
        assert answer.mean_weight.mean == 1.0
        assert answer.effective_sample_size == pytest.approx(count)
        assert answer.value == pytest.approx(sessions.reward.mean())
        assert answer.verdict.grade == ("doubtful" if name == "mips" else "untrusted")
        assert name == "offcem" or "as if these were worth the same" in answer.doubts[0]
        alone = estimate(name, replace(sessions, behavior_log_prob=None))  # who knows how wild the actions' are
        assert not alone.trusted
    assert not estimate("ips", sessions).trusted


@pytest.mark.parametrize(("differs", "expected"), [(0.0, 2), (3.0, 1)])
def test_the_coarsest_embedding_that_says_enough_is_chosen(differs, expected):
    """Eight actions in four pairs: by actions, by pairs, by nothing; rewards are by pair, or all alike."""
    rng = np.random.default_rng(2)
    action, target = rng.integers(8, size=3000), np.array([0.59, 0.01, 0.19, 0.01, 0.09, 0.01, 0.09, 0.01])
    reward = differs * (action < 2) + rng.normal(size=3000)
    base = LoggedSessions(
        reward=reward,
        behavior_log_prob=np.full(3000, np.log(1 / 8)),
        target_log_prob=np.log(target[action]),
        discount=1.0,
    )

    def by(group: np.ndarray) -> LoggedSessions:
        laws = [np.bincount(group, law) for law in (np.full(8, 1 / 8), target)]
        logged, asked = (np.log(law)[group[action]] for law in laws)
        return replace(base, behavior_embedding_log_prob=logged, target_embedding_log_prob=asked)

    candidates = [by(np.arange(8)), by(np.arange(8) // 2), by(np.zeros(8, int))]
    assert choose_embedding(candidates) == expected
