"""What every behavior policy promises, for each kind of action that it has."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any, Final

import numpy as np
import pytest

from offline_data.behavior.base import ACTION_KINDS, ActionKind, BehaviorPolicy, Decision, SessionView, make_behavior
from offline_data.dial.quality import mixture_spec
from offline_data.families import BEHAVIORS
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.testing.contract import Contract, examples_of
from recenv.world import World, make_world

check_behavior: Final = Contract("check_behavior", BEHAVIORS)
"""The contract of behavior policies; the worlds of its checks have seven items or fewer, in three dimensions."""

NUM_SESSIONS: Final = 9
# Worlds in which a step offers some items alone: five candidates of seven, and those of seven that have appeared.
LIMITS: Final[dict[str, dict[str, Any]]] = {
    "candidates": {"num_candidates": 5},
    "available": {"horizon": 220.0},
}


@functools.cache
def tiny_world(num_items: int = 5, slate_size: int = 2, **options: Any) -> World:
    """Return a world of a few items in three dimensions, whose users click often.

    Args:
        num_items: N.
        slate_size: K.
        **options: as `SessionConfig.override` takes them.
    """
    small = {"embedding_dim": 3, "num_topics": 2, "max_steps": 6, "history_length": 3, "no_click_utility": -1.0}
    return make_world(SessionConfig().override(num_items=num_items, slate_size=slate_size, **{**small, **options}))


def sessions_under_way(world: World, num_sessions: int, num_steps: int = 2, seed: int = 0) -> SessionBatch:
    """Return sessions of random users that have been shown random slates.

    Args:
        world: where.
        num_sessions: B.
        num_steps: slates shown so far.
        seed: of users and slates.
    """
    rng = np.random.default_rng(seed)
    batch = SessionBatch(world, num_sessions)
    seeds = rng.integers(2**63, size=num_sessions, dtype=np.uint64)
    batch.start(np.arange(num_sessions), seeds, np.zeros(num_sessions, np.uint64))
    for _ in range(num_steps):
        batch.step(rng.integers(world.catalog.num_items, size=(num_sessions, world.config.slate_size)))
    return batch


def world_and_view() -> tuple[World, SessionView]:
    """Return a world of seven items, and nine sessions in it after three steps, who know their last slate."""
    world = tiny_world(7, 3)
    batch = sessions_under_way(world, NUM_SESSIONS)
    slates = np.random.default_rng(2).permuted(np.tile(np.arange(7, dtype=np.int32), (NUM_SESSIONS, 1)), axis=1)[:, :3]
    batch.step(slates)
    return world, SessionView.of(batch, slates)


def first_step(view: SessionView) -> SessionView:
    """Return the view of sessions that begin here."""
    return replace(view, steps=np.zeros_like(view.steps), last_slate=np.full((len(view.steps), 3), -1, np.int32))


def specs_of(part: type[BehaviorPolicy]) -> Iterator[tuple[dict[str, Any], ActionKind]]:
    """Yield the specs of a part's examples with each kind of action that they have.

    Args:
        part: its class.
    """
    for options in examples_of(part):
        for kind in part.action_kinds:
            if (options.get("mixing"), kind) != ("position", "proto"):
                yield {"name": BEHAVIORS.name_of(part), **options}, kind


def slates_of(part: type[BehaviorPolicy]) -> Iterator[tuple[dict[str, Any], ActionKind]]:
    """Yield what `specs_of` does of slates alone."""
    return ((spec, kind) for spec, kind in specs_of(part) if kind == "slate")


def remembered(policy: BehaviorPolicy, view: SessionView, memory: np.ndarray | None = None) -> np.ndarray:
    """Return what the policy remembers at this step, if that was its memory of the last."""
    memory = np.zeros((len(view.steps), policy.num_memory)) if memory is None else memory.copy()
    policy.remember(view, memory)
    return memory


def act(
    policy: BehaviorPolicy, view: SessionView, draws: np.ndarray, memory: np.ndarray | None = None
) -> tuple[Decision, np.ndarray]:
    """Return what the policy does after it remembered, and its memory then."""
    memory = remembered(policy, view, memory)
    return policy.act(view, draws, memory), memory


def judged(policy: BehaviorPolicy, view: SessionView, action: np.ndarray, memory: np.ndarray | None = None) -> Any:
    """Return the log-probabilities of actions after the policy remembered; see `BehaviorPolicy.log_prob`."""
    return policy.log_prob(view, action, remembered(policy, view, memory))


def draws_of(policy: BehaviorPolicy, count: int = NUM_SESSIONS, seed: int = 0) -> np.ndarray:
    """Return the uniforms of a step of `count` sessions."""
    return np.random.default_rng(seed).random((count, policy.num_draws))


def assert_same(decision: Decision, expected: Decision, indices: Any = slice(None)) -> None:
    """Hold a decision to be, bit by bit, that of the sessions at `indices`."""
    for name in ("action", "log_prob", "prefix_log_prob", "component"):
        got, wanted = getattr(decision, name), getattr(expected, name)
        if wanted is None:
            assert got is None
        else:
            assert got.dtype == wanted.dtype
            assert got.tobytes() == wanted[indices].tobytes(), name


def check_chain(
    policy: BehaviorPolicy, view: SessionView, slates: np.ndarray, offered: np.ndarray | None = None
) -> None:
    """Hold, item by item, the law of the next one to sum up to the law of the slate."""
    memory = remembered(policy, view)
    _, prefix = policy.log_prob(view, slates, memory)
    assert prefix is not None
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


def ordered_slates(num_items: int) -> np.ndarray:
    """Return every ordered slate of three different items, [S, 3]."""
    return np.array(list(permutations(range(num_items), 3)))


def fills_item_by_item(part: type[BehaviorPolicy]) -> bool:
    """Say whether a policy has the law of the next item of a slate, which it need not."""
    return part.next_item_log_prob is not BehaviorPolicy.next_item_log_prob


@check_behavior.promise
def is_made_from_a_json_able_spec(part: Any) -> None:
    """A JSON spec makes it; a kind of action that it has not and a misspelt option are refused with a sentence."""
    world = tiny_world(20, 3)
    for options in examples_of(part):
        spec = json.loads(json.dumps({"name": BEHAVIORS.name_of(part), **options}))
        for kind in ACTION_KINDS:
            if kind not in part.action_kinds:
                message = f"has no {kind} actions; pass action_kind='{part.action_kinds[0]}'"
                with pytest.raises(InvalidInput, match=message):
                    make_behavior(world, spec, kind)
    for spec, kind in specs_of(part):
        policy = make_behavior(world, json.loads(json.dumps(spec)), kind)
        assert isinstance(policy, part)
        assert policy.action_kind == kind
        assert isinstance(policy.config, part.Config)
        assert policy.num_draws >= 1
        with pytest.raises(InvalidInput, match="unknown behavior policy option 'tempratur'"):
            make_behavior(world, {**spec, "tempratur": 1.0}, kind)


@check_behavior.promise
def can_be_the_noise(part: Any) -> None:
    """It can be what a log's quality dial mixes with the expert."""
    if part is BEHAVIORS.get("expert") or part is BEHAVIORS.get("mixture"):
        return
    for options in examples_of(part):
        spec = mixture_spec(0.3, {"name": BEHAVIORS.name_of(part), **options})
        policy = make_behavior(tiny_world(20, 3), spec, part.action_kinds[0])
        assert policy.config.weights == [0.3, 0.7]


@check_behavior.promise_each(specs_of)
def actions_have_shapes_dtypes_and_ranges(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """Slates are [B, K] int32 of different items, protos [B, d] float32; log-probabilities are float64 and finite."""
    world, view = world_and_view()
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


@check_behavior.promise_each(specs_of)
def log_prob_of_an_action_is_what_the_decision_said(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """`log_prob` says of an action what `act` said, at a session's first step and, with its memory, at the second."""
    world, view = world_and_view()
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


@check_behavior.promise_each(specs_of)
def log_prob_writes_nothing(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """Being asked for a probability changes neither memory nor action."""
    world, view = world_and_view()
    policy = make_behavior(world, spec, kind)
    decision, _ = act(policy, view, draws_of(policy))
    memory, action = remembered(policy, view), decision.action.copy()
    before = memory.copy()
    policy.log_prob(view, action, memory)
    if kind == "slate" and fills_item_by_item(part):
        policy.next_item_log_prob(view, action[:, :2], memory)
    np.testing.assert_array_equal(memory, before)
    np.testing.assert_array_equal(action, decision.action)


@check_behavior.promise_each(specs_of)
def the_batch_does_not_change_a_bit(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """Over two steps, each session alone, and all in another order, act the same."""
    world, view = world_and_view()
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


@check_behavior.promise_each(specs_of)
def exactly_num_draws_are_read_and_nothing_is_written(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """`num_draws` uniforms fix an action, no more is read, and view and uniforms stay as they were."""
    world, view = world_and_view()
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


@check_behavior.promise_each(slates_of)
def masses_of_all_slates_sum_to_one(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """The probabilities of all slates of four items sum to one, and so do those of their first items."""
    world, slates = tiny_world(4, 3), ordered_slates(4)
    one = SessionView.of(sessions_under_way(world, 1), np.array([[2, 0, 1]], np.int32))
    log_prob, prefix = judged(make_behavior(world, spec), one.take(np.zeros(len(slates), np.int64)), slates)
    assert prefix is not None
    assert np.exp(log_prob).sum() == pytest.approx(1.0, abs=1e-12)
    assert np.exp(prefix[::2, 1]).sum() == pytest.approx(1.0, abs=1e-12)  # two slates begin with each pair
    assert np.exp(prefix[::6, 0]).sum() == pytest.approx(1.0, abs=1e-12)


@check_behavior.promise_each(slates_of)
def the_next_items_make_the_slate(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """`next_item_log_prob` is a law over the items that are left, whose sum along a slate is the slate's."""
    if not fills_item_by_item(part):
        pytest.skip("it has no next_item_log_prob, and is not mixed per position")
    world, view = world_and_view()
    slates = ordered_slates(7)
    for b in (0, 4):
        check_chain(make_behavior(world, spec), view.take(np.full(len(slates), b)), slates)


@check_behavior.promise_each(slates_of)
def a_repeated_item_has_probability_zero(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """A slate that repeats an item is impossible, and what comes before the repetition is not."""
    world, view = world_and_view()
    slates = np.tile([[3, 1, 3]], (NUM_SESSIONS, 1))
    log_prob, prefix = judged(make_behavior(world, spec), view, slates)
    assert prefix is not None
    np.testing.assert_array_equal(log_prob, -np.inf)
    assert np.isfinite(prefix[:, :2]).all()


@check_behavior.promise_each(specs_of)
def one_item_a_slate(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """In a world of one item the slate of it is certain."""
    world = tiny_world(1, 1)
    policy = make_behavior(world, spec, kind)
    decision, _ = act(policy, SessionView.of(sessions_under_way(world, 2)), draws_of(policy, 2))
    if kind == "slate":
        np.testing.assert_array_equal(decision.action, 0)
        np.testing.assert_allclose(decision.log_prob, 0.0, atol=1e-15)
    assert np.isfinite(decision.log_prob).all()


@check_behavior.promise_each(slates_of)
def what_is_not_offered_is_never_shown(part: Any, spec: dict[str, Any], kind: ActionKind) -> None:
    """Where a step offers some items alone, the others have probability zero."""
    for limit, options in LIMITS.items():
        world = tiny_world(7, 3, **options)
        view = SessionView.of(sessions_under_way(world, NUM_SESSIONS))
        assert set(view.offer) == {limit}
        offered = view.offered(7)
        assert offered is not None
        assert (offered.sum(axis=1) >= 3).all()
        assert not offered.all(axis=1).any()
        policy = make_behavior(world, spec)
        for seed in range(20):
            decision, _ = act(policy, view, draws_of(policy, seed=seed))
            assert np.take_along_axis(offered, decision.action.astype(int), axis=1).all()
            assert all(len(set(slate)) == 3 for slate in decision.action.tolist())
            assert decision.prefix_log_prob is not None
            assert np.isfinite(decision.prefix_log_prob).all()
        slates = ordered_slates(7)
        for b in range(NUM_SESSIONS):
            joint, prefix = judged(policy, view.take(np.full(len(slates), b)), slates)
            allowed = offered[b][slates]
            assert ((prefix == -np.inf) == ~np.logical_and.accumulate(allowed, axis=1)).all()
            assert np.exp(joint).sum() == pytest.approx(1.0)
        decision, _ = act(policy, view, draws_of(policy))
        joint, prefix = judged(policy, view, decision.action)
        assert decision.prefix_log_prob is not None
        np.testing.assert_allclose(decision.log_prob, joint, rtol=1e-12)
        np.testing.assert_allclose(decision.prefix_log_prob, prefix, rtol=1e-12)
        if fills_item_by_item(part):
            check_chain(policy, view, decision.action, offered)
