from __future__ import annotations

import math

import numpy as np
import pytest

from recsession.experiments.remoteness.worlds import categorical_contexts, continuous_contexts
from tests.reference import remoteness_reference as reference

ROLES = ("train", "test")


@pytest.fixture(scope="module", params=ROLES)
def continuous(request):
    return continuous_contexts(101, request.param, 200)


@pytest.fixture(scope="module", params=ROLES)
def categorical(request):
    return categorical_contexts(101, request.param, 60)


def test_continuous_contexts_are_as_published(continuous):
    for n, s in enumerate(continuous.context):
        expected = reference.continuous(s)
        found = {"a+": continuous.target, "u": continuous.direction, "a*": continuous.optimum}
        found |= {"a-": continuous.bad[:, 0], "bad": continuous.bad}
        for name, values in found.items():
            np.testing.assert_allclose(values[n], expected[name], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(continuous.good[n].sum(0), expected["good"].sum(0), atol=1e-12)
        for action in continuous.good[n]:
            assert np.abs(expected["good"] - action).sum(1).min() < 1e-12
        actions = np.concatenate([continuous.good[n], continuous.bad[n]])
        rewards = [reference.continuous_reward(action, expected["a*"]) for action in actions]
        np.testing.assert_allclose(
            np.concatenate([continuous.advantage(continuous.good)[n], continuous.advantage(continuous.bad)[n]]),
            np.array(rewards) - 0.40,
            atol=1e-12,
        )


def test_good_actions_have_their_centroid_at_a_plus_and_bad_ones_at_the_optimum(continuous):
    np.testing.assert_allclose(continuous.good.mean(1), continuous.target, atol=1e-12)
    np.testing.assert_allclose(continuous.bad.mean(1), continuous.optimum, atol=1e-12)


def test_quality_is_the_same_within_a_sign(continuous):
    np.testing.assert_allclose(continuous.advantage(continuous.good), math.exp(-0.5) - 0.4, atol=1e-12)
    np.testing.assert_allclose(continuous.advantage(continuous.bad), math.exp(-1.28) - 0.4, atol=1e-12)
    assert (continuous.reward(continuous.optimum) == 1).all()


def test_reward_of_a_gaussian_is_its_mean_by_quadrature():
    contexts = continuous_contexts(102, "train", 3)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    grid = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    mass = np.outer(weights, weights).ravel() / weights.sum() ** 2
    for scale in (0.2, 0.6, 1.5):
        expected = contexts.reward(contexts.target[:, None] + scale * grid) @ mass
        np.testing.assert_allclose(contexts.reward(contexts.target, scale), expected, rtol=1e-6)


def test_categorical_contexts_are_as_published(categorical):
    np.testing.assert_allclose(np.linalg.norm(categorical.embedding, axis=1), 1.0)
    np.testing.assert_allclose((categorical.target * categorical.direction).sum(1), 0.0, atol=1e-12)
    for n in range(len(categorical.context)):
        target, u = categorical.target[n], categorical.direction[n]
        good, bad, reward = reference.roles(categorical.embedding, target, u)
        assert categorical.good[n].tolist() == good
        assert categorical.bad[n].tolist() == bad
        np.testing.assert_allclose(categorical.reward[n], reward, atol=1e-12)
        assert int(reward.argmax()) not in [*good, *bad]
        assert len({*good, *bad}) == 9


@pytest.mark.parametrize("draw", [continuous_contexts, categorical_contexts])
def test_roles_share_no_context_and_seeds_no_world(draw):
    train, test, again = draw(103, "train", 50), draw(103, "test", 50), draw(103, "train", 50)
    assert np.array_equal(train.context, again.context)
    assert not np.isin(train.context, test.context).any()
    assert not np.isin(train.context, draw(104, "train", 50).context).any()
    if draw is categorical_contexts:
        assert np.array_equal(train.embedding, test.embedding)
        # A linear map of the context, the same for either role.
        fits = [np.linalg.lstsq(c.context, c.target * 1.0, rcond=None)[0] for c in (train, test)]
        assert np.corrcoef(fits[0].ravel(), fits[1].ravel())[0, 1] > 0.9
