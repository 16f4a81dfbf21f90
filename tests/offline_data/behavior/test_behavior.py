"""What every registered behavior policy promises, for both kinds of action; a new one is tested by being registered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offline_data.behavior.base import BehaviorPolicy, Decision, SessionView, make_behavior
from offline_data.behavior.uniform import UniformConfig, UniformPolicy
from offline_data.families import BEHAVIORS
from recenv.dynamics.pieces.freshness import FreshnessConfig
from recenv.errors import InvalidInput
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels

BELIEF = {"name": "belief", "num_particles": 6}
# A policy that needs options, or has modes that act differently, lists its specs; any other is made by its name.
SPECS: dict[str, list[dict[str, Any]]] = {
    "mixture": [
        {"name": "mixture", "components": ["expert", "clickbait", "uniform"], "weights": [0.3, 0.3, 0.4], "mixing": m}
        for m in ("step", "session", "position")
    ]
    + [
        {"name": "mixture", "components": [BELIEF, "clickbait"], "weights": [0.6, 0.4], "mixing": m}
        for m in ("session", "position")
    ],
    "belief": [BELIEF],
    "gaussian": [{"name": "gaussian", "mean": mean} for mean in ("profile", "history", [0.5, -1.0, 0.0])],
    "softmax": [{"name": "softmax", "weights": {"quality": 2.0, "log_popularity": -0.5}}],
}
CASES = [
    pytest.param(spec, kind, id=f"{name}-{spec.get('mixing', spec.get('mean', ''))}-{kind}")
    for name in BEHAVIORS.registered()
    for spec in SPECS.get(name, [{"name": name}])
    for kind in BEHAVIORS.get(name).action_kinds
    if (spec.get("mixing"), kind) != ("position", "proto")
]
NUM_SESSIONS = 9


def remembered(policy, view, memory=None) -> np.ndarray:
    """Return what the policy remembers at this step, if that was its memory of the last."""
    memory = np.zeros((len(view.steps), policy.num_memory)) if memory is None else memory.copy()
    policy.remember(view, memory)
    return memory


def act(policy, view, draws, memory=None) -> tuple[Decision, np.ndarray]:
    memory = remembered(policy, view, memory)
    return policy.act(view, draws, memory), memory


def judged(policy, view, action, memory=None):
    return policy.log_prob(view, action, remembered(policy, view, memory))


def draws_of(policy, count=NUM_SESSIONS, seed=0):
    return np.random.default_rng(seed).random((count, policy.num_draws))


def assert_same(decision, expected, indices=slice(None)):
    for name in ("action", "log_prob", "prefix_log_prob", "component"):
        got, wanted = getattr(decision, name), getattr(expected, name)
        if wanted is None:
            assert got is None
        else:
            assert got.dtype == wanted.dtype
            assert got.tobytes() == wanted[indices].tobytes(), name


@pytest.fixture(scope="module")
def world(small_world):
    return small_world(7, 3)


# Worlds in which a step offers some items alone: five candidates of seven, and those of seven that have appeared.
LIMITS: dict[str, dict[str, Any]] = {
    "candidates": {"num_candidates": 5},
    "available": {"freshness": FreshnessConfig(220.0)},
}


@pytest.fixture(scope="module", params=LIMITS)
def limited(request, small_world, sessions_under_way):
    """A world of limits, a view of sessions in it, and which items their step offers."""
    world = small_world(7, 3, **LIMITS[request.param])
    view = SessionView.of(sessions_under_way(world, NUM_SESSIONS))
    assert set(view.offer) == {request.param}
    offered = view.offered(7)
    assert offered is not None
    assert (offered.sum(axis=1) >= 3).all()
    assert not offered.all(axis=1).any()
    return world, view, offered


@pytest.fixture(scope="module")
def view(world, sessions_under_way):
    batch = sessions_under_way(world, NUM_SESSIONS)
    slates = np.random.default_rng(2).permuted(np.tile(np.arange(7, dtype=np.int32), (NUM_SESSIONS, 1)), axis=1)[:, :3]
    batch.step(slates)
    return SessionView.of(batch, slates)


def first_step(view):
    """Return the view of sessions that begin here."""
    return replace(view, steps=np.zeros_like(view.steps), last_slate=np.full((len(view.steps), 3), -1, np.int32))


@pytest.mark.parametrize(("spec", "kind"), CASES)
def test_shapes_dtypes_and_ranges(world, view, spec, kind):
    policy = make_behavior(world, spec, kind)
    decision, _ = act(policy, view, draws_of(policy))
    assert policy.action_kind == kind
    assert decision.log_prob.shape == (NUM_SESSIONS,)
    assert decision.log_prob.dtype == np.float64
    assert np.isfinite(decision.log_prob).all()
    positions = (3,) if spec.get("mixing") == "position" else ()
    assert decision.component.shape == (NUM_SESSIONS, *positions)
    assert decision.component.dtype == np.int8
    assert decision.component.min() >= 0
    if kind == "proto":
        assert decision.action.shape == (NUM_SESSIONS, 3)
        assert decision.action.dtype == np.float32
        assert np.isfinite(decision.action).all()
        assert decision.prefix_log_prob is None
        return
    assert decision.action.shape == (NUM_SESSIONS, 3)
    assert decision.action.dtype == np.int32
    assert all(len(set(slate)) == 3 and set(slate) <= set(range(7)) for slate in decision.action.tolist())
    assert decision.prefix_log_prob is not None
    assert decision.prefix_log_prob.shape == (NUM_SESSIONS, 3)
    assert decision.prefix_log_prob.dtype == np.float64
    np.testing.assert_array_equal(decision.prefix_log_prob[:, -1], decision.log_prob)
    assert (np.diff(decision.prefix_log_prob, axis=1, prepend=0.0) <= 0.0).all()


@pytest.mark.parametrize(("spec", "kind"), CASES)
def test_log_prob_of_an_action_is_what_the_decision_said(world, view, spec, kind):
    """At a session's first step, and at the second, with the memory of the first."""
    policy = make_behavior(world, spec, kind)
    memory = None
    for seen in (first_step(view), view):
        before = memory
        decision, memory = act(policy, seen, draws_of(policy), before)
        log_prob, prefix = judged(policy, seen, decision.action, before)
        np.testing.assert_allclose(log_prob, decision.log_prob, rtol=1e-13)
        if kind == "proto":
            assert prefix is None
        else:
            assert prefix is not None
            assert decision.prefix_log_prob is not None
            np.testing.assert_allclose(prefix, decision.prefix_log_prob, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize(("spec", "kind"), CASES)
def test_log_prob_writes_nothing(world, view, spec, kind):
    policy = make_behavior(world, spec, kind)
    decision, _ = act(policy, view, draws_of(policy))
    memory, action = remembered(policy, view), decision.action.copy()
    before = memory.copy()
    policy.log_prob(view, action, memory)
    if kind == "slate":
        policy.next_item_log_prob(view, action[:, :2], memory)
    np.testing.assert_array_equal(memory, before)
    np.testing.assert_array_equal(action, decision.action)


@pytest.mark.parametrize(("spec", "kind"), CASES)
def test_the_batch_does_not_change_a_bit(world, view, spec, kind):
    """Two steps, the second with the memory of the first: each session alone, and all in another order."""
    policy = make_behavior(world, spec, kind)
    draws = draws_of(policy)
    began, memory = act(policy, first_step(view), draws)
    went_on, last_memory = act(policy, view, draws[::-1].copy(), memory)
    log_prob, prefix = judged(policy, view, went_on.action, memory)
    order = np.random.default_rng(1).permutation(NUM_SESSIONS)
    for indices in [*np.arange(NUM_SESSIONS)[:, None], order, order[:4]]:
        some, some_memory = act(policy, first_step(view).take(indices), draws[indices])
        assert_same(some, began, indices)
        later, later_memory = act(policy, view.take(indices), draws[::-1][indices], some_memory)
        assert_same(later, went_on, indices)
        assert later_memory.tobytes() == last_memory[indices].tobytes()
        some_log_prob, some_prefix = judged(policy, view.take(indices), went_on.action[indices], some_memory)
        assert some_log_prob.tobytes() == log_prob[indices].tobytes()
        assert prefix is None or (some_prefix is not None and some_prefix.tobytes() == prefix[indices].tobytes())


@pytest.mark.parametrize(("spec", "kind"), CASES)
def test_exactly_num_draws_are_read_and_nothing_is_written(world, view, spec, kind):
    policy = make_behavior(world, spec, kind)
    draws = draws_of(policy)
    # Past the last column lies NaN; a read there would show.
    wide = np.full((NUM_SESSIONS, policy.num_draws + 4), np.nan)
    wide[:, : policy.num_draws] = draws
    before = {name: values.copy() for name, values in {**view.observation, **view.user_state}.items()}
    decision, _ = act(policy, view, draws)
    assert_same(act(policy, view, wide[:, : policy.num_draws])[0], decision)
    np.testing.assert_array_equal(wide[:, : policy.num_draws], draws)
    for name, values in {**view.observation, **view.user_state}.items():
        np.testing.assert_array_equal(values, before[name])
    # And the draws are what the action comes from.
    other, _ = act(policy, view, draws_of(policy, seed=1))
    assert (other.action != decision.action).any()


@pytest.mark.parametrize("spec", [case.values[0] for case in CASES if case.values[1] == "slate"], ids=str)
def test_masses_of_all_slates_sum_to_one(small_world, sessions_under_way, spec):
    world = small_world(4, 3)
    slates = np.array(reference.ordered_slates(4, 3))
    one = SessionView.of(sessions_under_way(world, 1), np.array([[2, 0, 1]], np.int32))
    log_prob, prefix = judged(make_behavior(world, spec), one.take(np.zeros(len(slates), np.int64)), slates)
    assert prefix is not None
    assert np.exp(log_prob).sum() == pytest.approx(1.0, abs=1e-12)
    assert np.exp(prefix[::2, 1]).sum() == pytest.approx(1.0, abs=1e-12)  # two slates begin with each pair
    assert np.exp(prefix[::6, 0]).sum() == pytest.approx(1.0, abs=1e-12)


def check_chain(policy, view, slates, offered=None):
    """Item by item the law of the next one, summed up to the law of the slate."""
    memory = remembered(policy, view)
    _, prefix = policy.log_prob(view, slates, memory)
    rows, total = np.arange(len(slates)), np.zeros(len(slates))
    for k in range(slates.shape[1]):
        following = policy.next_item_log_prob(view, slates[:, :k], memory)
        assert following.dtype == np.float64
        np.testing.assert_allclose(np.exp(following).sum(axis=1), 1.0, rtol=1e-12)
        impossible = np.zeros(following.shape, bool) if offered is None else ~offered
        impossible[rows[:, None], slates[:, :k]] = True
        np.testing.assert_array_equal(following == -np.inf, impossible)
        total += following[rows, slates[:, k]]
        np.testing.assert_allclose(prefix[:, k], total, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("spec", [case.values[0] for case in CASES if case.values[1] == "slate"], ids=str)
def test_the_next_items_make_the_slate(world, view, spec):
    slates = np.array(reference.ordered_slates(7, 3))
    for b in (0, 4):
        check_chain(make_behavior(world, spec), view.take(np.full(len(slates), b)), slates)


@pytest.mark.parametrize("spec", [case.values[0] for case in CASES if case.values[1] == "slate"], ids=str)
def test_a_repeated_item_has_probability_zero(world, view, spec):
    slates = np.tile([[3, 1, 3]], (NUM_SESSIONS, 1))
    log_prob, prefix = judged(make_behavior(world, spec), view, slates)
    assert prefix is not None
    np.testing.assert_array_equal(log_prob, -np.inf)
    assert np.isfinite(prefix[:, :2]).all()


@pytest.mark.parametrize(("spec", "kind"), CASES)
def test_one_item_a_slate(small_world, sessions_under_way, spec, kind):
    world = small_world(1, 1)
    policy = make_behavior(world, spec, kind)
    decision, _ = act(policy, SessionView.of(sessions_under_way(world, 2)), draws_of(policy, 2))
    if kind == "slate":
        np.testing.assert_array_equal(decision.action, 0)
        np.testing.assert_allclose(decision.log_prob, 0.0, atol=1e-15)
    assert np.isfinite(decision.log_prob).all()


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
        ({"name": ["expert"]}, "slate", "{'name': ['expert']} has no 'name'; add the name of a registered"),
        ("..relative:X", "slate", "cannot import '..relative'"),
        ({"temperature": 1.0}, "slate", "has no 'name'; add the name of a registered behavior policy"),
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
            "no class of that name that is a BehaviorPolicy; name one",
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


# --- worlds in which a step does not offer every item

SLATE_SPECS = [pytest.param(case.values[0], id=case.id) for case in CASES if case.values[1] == "slate"]


@pytest.mark.parametrize("spec", SLATE_SPECS)
def test_what_is_not_offered_is_never_shown_and_has_probability_zero(limited, spec):
    world, view, offered = limited
    policy = make_behavior(world, spec)
    for seed in range(20):
        decision, _ = act(policy, view, draws_of(policy, seed=seed))
        assert np.take_along_axis(offered, decision.action.astype(int), axis=1).all()
        assert all(len(set(slate)) == 3 for slate in decision.action.tolist())
        assert decision.prefix_log_prob is not None
        assert np.isfinite(decision.prefix_log_prob).all()
    slates = np.array(reference.ordered_slates(7, 3))
    for b in range(NUM_SESSIONS):
        joint, prefix = judged(policy, view.take(np.full(len(slates), b)), slates)
        allowed = offered[b][slates]
        assert ((prefix == -np.inf) == ~np.logical_and.accumulate(allowed, axis=1)).all()
        assert np.exp(joint).sum() == pytest.approx(1.0)


@pytest.mark.parametrize("spec", SLATE_SPECS)
def test_log_prob_of_a_decision_is_its_own_where_the_offer_is_limited(limited, spec):
    world, view, offered = limited
    policy = make_behavior(world, spec)
    decision, _ = act(policy, view, draws_of(policy))
    joint, prefix = judged(policy, view, decision.action)
    assert decision.prefix_log_prob is not None
    assert prefix is not None
    np.testing.assert_allclose(decision.log_prob, joint, rtol=1e-12)
    np.testing.assert_allclose(decision.prefix_log_prob, prefix, rtol=1e-12)
    check_chain(policy, view, decision.action, offered)


def test_a_view_of_candidates_names_them_without_their_padding():
    observation = {"candidates": np.array([[0, 2, -1], [1, 3, 4], [-1, -1, -1]], np.int32)}
    offered = SessionView(observation, {}, np.zeros(3, np.uint64)).offered(5)
    np.testing.assert_array_equal(offered, np.array([[1, 0, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool))
    assert SessionView({}, {}, np.zeros(3, np.uint64)).offered(5) is None
