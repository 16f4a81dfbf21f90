"""The adversary ranks by the oracle's utility and worth with weights of its own, and earns less than chance."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.behavior.adversarial import AdversarialPolicy
from offline_data.behavior.base import ActionKind, SessionView, make_behavior
from offline_data.dial.quality import evaluate_returns
from offline_data.ranking.ranking import RankingPolicy
from recenv.errors import InvalidInput
from recenv.families import USER_MODELS
from recenv.session_config import SessionConfig
from recenv.statistics import Interval
from recenv.world import make_world
from tests.reference import behavior_reference as reference
from tests.strategies.worlds import small_worlds

pytestmark = pytest.mark.kernels


def made(world, kind: ActionKind = "slate", **options) -> AdversarialPolicy:
    policy = make_behavior(world, {"name": "adversarial", **options}, kind)
    assert isinstance(policy, AdversarialPolicy)
    return policy


@pytest.fixture
def world(small_world):
    return small_world(4, 3, satiation=None)


@pytest.fixture
def view(world, sessions_under_way):
    return SessionView.of(sessions_under_way(world, 3))


@pytest.mark.parametrize(("utility_weight", "quality_weight"), [(-1.0, -0.1), (-0.5, -2.0), (1.0, 0.7), (0.0, -1.0)])
def test_slates_are_plackett_luce_over_weighted_utility_and_worth(world, view, utility_weight, quality_weight):
    options = {"utility_weight": utility_weight, "quality_weight": quality_weight, "temperature": 1.5}
    config = vars(world.config.user_model) | {"satiation_weight": 0.0}
    columns, slates = world.catalog.arrays(), reference.ordered_slates(4, 3)
    for b in range(3):
        interest = view.user_state["interest"][b]
        utility = reference.expert_worth(interest, np.zeros(3), columns, config, 0.0)
        worth = reference.expert_worth(interest, np.zeros(3), columns, config, 1.0) - utility
        utilities = (utility_weight * utility + quality_weight * worth) / 1.5
        here = view.take(np.full(len(slates), b))
        _, prefix = made(world, **options).log_prob(here, np.array(slates), np.zeros((len(slates), 0)))
        expected = [reference.plackett_luce_prefixes(utilities.tolist(), slate) for slate in slates]
        assert prefix is not None
        np.testing.assert_allclose(prefix, expected, rtol=1e-4, atol=1e-5)


def test_direction_is_the_opposite_of_the_expert_s_of_the_same_weights(world, view):
    expert = make_behavior(world, {"name": "expert", "quality_weight": 0.1}, "proto")
    assert isinstance(expert, RankingPolicy)
    np.testing.assert_allclose(made(world, "proto").direction(view), -expert.direction(view), rtol=1e-6)


def test_what_is_not_linear_in_the_embedding_counts_too(sessions_under_way):
    options = {"user_model": "boredom_cascade", "num_items": 12, "num_topics": 3, "slate_size": 2, "embedding_dim": 4}
    world = make_world(SessionConfig().override(**options))
    batch = sessions_under_way(world, 4)
    batch.state["boring"][:, 0] = 3
    view = SessionView.of(batch)
    ours = made(world, quality_weight=-1.0).utilities(view)
    expert = make_behavior(world, {"name": "expert", "quality_weight": 1.0})
    assert isinstance(expert, RankingPolicy)
    assert np.any(expert.utilities(view).extras)
    for mine, theirs in zip(ours, expert.utilities(view), strict=True):
        assert theirs is not None
        np.testing.assert_array_equal(mine, -theirs)


@pytest.mark.parametrize("kind", ["slate", "proto"])
@pytest.mark.parametrize(
    "name",
    [name for name in USER_MODELS.registered() if "adversarial" not in USER_MODELS.get(name).undefined_behaviors],
)
def test_it_earns_less_than_chance_in_every_user_models_world(name, kind):
    """The 95 % intervals of 200 sessions lie apart."""
    world = make_world(small_worlds()[name])
    ours, uniform = (
        Interval.of(evaluate_returns(world, make_behavior(world, spec, kind), 200, 100, "test"))
        for spec in ("adversarial", "uniform")
    )
    assert ours.high < uniform.low


@pytest.mark.parametrize("name", ["utility_weight", "quality_weight"])
@pytest.mark.parametrize("value", [-1001.0, float("nan"), True])
def test_a_weight_out_of_range_is_refused(world, name, value):
    with pytest.raises(InvalidInput, match=rf"{name}=.*set {name} to"):
        made(world, **{name: value})
