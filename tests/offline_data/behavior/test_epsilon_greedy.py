"""Epsilon-greedy is the mixture per step of its base and uniform, by enumeration and to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from offline_data.behavior.base import ActionKind, SessionView, make_behavior
from offline_data.behavior.epsilon_greedy import EpsilonGreedyPolicy
from recenv.errors import InvalidInput
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels

BASE = {"name": "clickbait", "temperature": 0.5, "proto_scale": 0.4}


def made(world, kind: ActionKind = "slate", **options) -> EpsilonGreedyPolicy:
    policy = make_behavior(world, {"name": "epsilon_greedy", **options}, kind)
    assert isinstance(policy, EpsilonGreedyPolicy)
    return policy


@pytest.fixture
def world(small_world):
    return small_world(4, 3)


@pytest.fixture
def view(world, sessions_under_way):
    return SessionView.of(sessions_under_way(world, 9))


@pytest.mark.parametrize("epsilon", [0.0, 0.25, 1.0])
def test_a_slates_probability_is_the_weighted_mean_of_the_two(world, view, epsilon):
    slates = np.array(reference.ordered_slates(4, 3))
    here, memory = view.take(np.zeros(len(slates), np.int64)), np.zeros((len(slates), 0))
    joint, prefix = made(world, base=BASE, epsilon=epsilon).log_prob(here, slates, memory)
    base, base_prefix = make_behavior(world, BASE).log_prob(here, slates, memory)
    assert prefix is not None
    assert base_prefix is not None
    uniform = np.exp(reference.uniform_slate_prefixes(4, 3))
    np.testing.assert_allclose(np.exp(joint), (1.0 - epsilon) * np.exp(base) + epsilon * uniform[-1], rtol=1e-12)
    np.testing.assert_allclose(np.exp(prefix), (1.0 - epsilon) * np.exp(base_prefix) + epsilon * uniform, rtol=1e-12)
    assert np.exp(joint).sum() == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kind", ["slate", "proto"])
@pytest.mark.parametrize("base", [BASE, "greedy", {"name": "belief", "num_particles": 5}], ids=str)
def test_it_is_the_mixture_to_the_bit(world, view, base, kind):
    components: dict[str, Any] = {"components": [base, "uniform"], "weights": [0.75, 0.25]}
    ours, mixture = (
        made(world, kind, base=base, epsilon=0.25),
        make_behavior(world, {"name": "mixture", **components}, kind),
    )
    assert ours.num_draws == mixture.num_draws
    assert ours.num_memory == mixture.num_memory == make_behavior(world, base, kind).num_memory
    draws = np.random.default_rng(0).random((9, ours.num_draws))
    decisions = [policy.act(view, draws, np.zeros((9, policy.num_memory))) for policy in (ours, mixture)]
    assert decisions[0].action.tobytes() == decisions[1].action.tobytes()
    assert decisions[0].log_prob.tobytes() == decisions[1].log_prob.tobytes()


def test_the_latent_label_tells_the_uniform_steps(world, view):
    """Of 1000 midpoints an interval of length 0.1 holds 100, give or take one."""
    policy = made(world, epsilon=0.1)
    draws = np.random.default_rng(1).random((1000, policy.num_draws))
    draws[:, 0] = (np.arange(1000) + 0.5) / 1000
    decision = policy.act(view.take(np.zeros(1000, np.int64)), draws, np.zeros((1000, 0)))
    assert abs(decision.component.sum() - 100) <= 1
    assert len({tuple(slate) for slate in decision.action[decision.component == 1].tolist()}) > 12
    assert len({tuple(slate) for slate in decision.action[decision.component == 0].tolist()}) < 12


@pytest.mark.parametrize("outer", ["step", "session"])
def test_it_can_be_a_component(world, view, outer):
    slates = np.array(reference.ordered_slates(4, 3))
    noise = {"name": "epsilon_greedy", "base": BASE, "epsilon": 0.5}
    spec = {"name": "mixture", "components": ["expert", noise], "weights": [0.2, 0.8], "mixing": outer}
    flat = {"name": "mixture", "components": ["expert", BASE, "uniform"], "weights": [0.2, 0.4, 0.4]}
    here = view.take(np.zeros(len(slates), np.int64))
    nested, flattened = (
        policy.log_prob(here, slates, np.zeros((len(slates), policy.num_memory)))[0]
        for policy in (make_behavior(world, s) for s in (spec, flat))
    )
    np.testing.assert_allclose(nested, flattened, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 1.5}, r"epsilon=1\.5 is outside \[0\.0, 1\.0\]; set epsilon to"),
        ({"epsilon": None}, "epsilon=None is not a finite number"),
        ({"base": "gredy"}, "unknown behavior policy 'gredy'; did you mean 'greedy'?"),
        ({"base": {"name": "expert", "quality": 1.0}}, "unknown behavior policy option 'quality'; did you mean"),
        ({"base": {"name": "mixture", "components": ["expert"], "weights": [1.0]}}, "a mixture cannot hold a mixture"),
        ({"base": "gaussian"}, "GaussianPolicy has no slate actions; pass action_kind='proto'"),
    ],
)
def test_a_wrong_config_is_refused(world, options, message):
    with pytest.raises(InvalidInput, match=message):
        made(world, **options)
