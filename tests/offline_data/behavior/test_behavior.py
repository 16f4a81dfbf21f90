"""The contract of behavior policies, over every registered one and one from outside; and specs that mean none."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.behavior.base import BehaviorPolicy, SessionView, make_behavior
from offline_data.behavior.uniform import UniformConfig, UniformPolicy
from offline_data.testing.behaviors import act, assert_same, check_behavior, draws_of, world_and_view
from recenv.errors import InvalidInput

pytestmark = pytest.mark.kernels


@check_behavior.over("tests.outside_parts.longest_first:LongestFirst")
def test_contract(part, check):
    check(part)


@pytest.fixture(scope="module")
def world():
    return world_and_view()[0]


@pytest.fixture(scope="module")
def view():
    return world_and_view()[1]


def test_a_name_alone_is_a_spec(world, view):
    by_name, by_mapping = make_behavior(world, "uniform"), make_behavior(world, {"name": "uniform"})
    draws = draws_of(by_name)
    assert_same(act(by_name, view, draws)[0], act(by_mapping, view, draws)[0])


def test_a_class_outside_the_registry_is_a_spec(world, view):
    name, options = "offline_data.behavior.clickbait:ClickbaitPolicy", {"temperature": 0.7}
    imported = make_behavior(world, {"name": name, **options})
    named = make_behavior(world, {"name": "clickbait", **options})
    assert type(imported) is type(named)
    draws = draws_of(named)
    assert_same(act(imported, view, draws)[0], act(named, view, draws)[0])
    mixture = make_behavior(world, {"name": "mixture", "components": [name, "uniform"], "weights": [0.5, 0.5]})
    assert np.isfinite(act(mixture, view, draws_of(mixture))[0].log_prob).all()


class OnlyWhole(UniformPolicy):
    """A policy that does not fill its slates item by item."""

    next_item_log_prob = BehaviorPolicy.next_item_log_prob


def test_a_policy_of_whole_slates_says_that_it_has_no_positions(world, view):
    with pytest.raises(InvalidInput, match="OnlyWhole does not say how it fills single positions of a slate; give it"):
        OnlyWhole(world, UniformConfig(), "slate").next_item_log_prob(view, np.zeros((9, 0), int), np.zeros((9, 0)))


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("expret", "slate", "unknown behavior policy 'expret'; did you mean 'expert'?"),
        ({"name": "uniform", "temperature": 1.0}, "slate", "unknown behavior policy option 'temperature'"),
        ({"name": "expert", "quality_wight": 1.0}, "slate", "did you mean 'quality_weight'?"),
        (None, "slate", "behavior spec None is neither a name nor an object"),
        (
            {"name": ["expert"]},
            "slate",
            "{'name': ['expert']} has no 'name' that is a text; add the name of a registered",
        ),
        ("..relative:X", "slate", "cannot import '..relative'"),
        ({"temperature": 1.0}, "slate", "has no 'name' that is a text; add the name of a registered behavior policy"),
        ("uniform", "slates", "unknown action kind 'slates'; did you mean 'slate'?"),
        (
            "offline_data.behaviour:X",
            "slate",
            "cannot import 'offline_data.behaviour' (ModuleNotFoundError: No module named",
        ),
        (":Gone", "slate", "behavior policy ':Gone': cannot import ''"),
        (
            "offline_data.collection.rollout:Gone",
            "slate",
            "no class of that name that is a BehaviorPolicy",
        ),
        (
            "offline_data.collection.rollout:SessionRows",
            "slate",
            "no class of that name that is a BehaviorPolicy",
        ),
        (
            {"name": "offline_data.behavior.uniform:UniformPolicy", "tem": 1},
            "slate",
            "behavior policy option 'tem'",
        ),
    ],
)
def test_a_wrong_spec_is_refused(world, spec, kind, message):
    with pytest.raises(InvalidInput) as refusal:
        make_behavior(world, spec, kind)
    assert message in str(refusal.value)


def test_a_view_of_candidates_names_them_without_their_padding():
    observation = {"candidates": np.array([[0, 2, -1], [1, 3, 4], [-1, -1, -1]], np.int32)}
    offered = SessionView(observation, {}, np.zeros(3, np.uint64)).offered(5)
    np.testing.assert_array_equal(offered, np.array([[1, 0, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool))
    assert SessionView({}, {}, np.zeros(3, np.uint64)).offered(5) is None
