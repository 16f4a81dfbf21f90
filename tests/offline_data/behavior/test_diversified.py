"""The diversified oracle against the enumeration of every slate; what its utilities count, and what greed it holds."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from offline_data.behavior.base import ActionKind, SessionView, make_behavior
from offline_data.behavior.diversified import DiversifiedConfig, DiversifiedPolicy
from offline_data.ranking.plackett_luce import Utilities
from recenv.dynamics.user_models.boredom_cascade import BoredomCascade
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.session_config import SessionConfig
from recenv.world import World, make_world
from tests.reference import behavior_reference, boredom_cascade_reference
from tests.strategies.logs import slate_problems

pytestmark = pytest.mark.kernels

NUM_SESSIONS = 6


class TableDiversified(DiversifiedPolicy):
    """Ranks by a table of utilities, for every session alike."""

    def __init__(self, world: World, table, topics, kind: ActionKind = "slate", **options):
        super().__init__(world, DiversifiedConfig(**options), kind)
        self.table = np.asarray(table, np.float64)
        vars(self)["_topics"] = np.asarray(topics, np.int32)

    def utilities(self, view):
        return Utilities(self.table)


def blank(count):
    """Return a view of sessions of which nothing is known."""
    return SessionView({}, {}, np.zeros(count, np.uint64))


def judged(policy, view, action):
    """Return `log_prob` where nothing is remembered."""
    return policy.log_prob(view, action, np.zeros((len(view.steps), policy.num_memory)))


@st.composite
def topical_problems(draw, spread=4.0, max_items=5):
    """Draw item utilities, a slate size, topics, and a penalty of the utilities' size."""
    table, slate_size = draw(slate_problems(spread, max_items))
    topics = draw(st.lists(st.integers(0, 2), min_size=len(table), max_size=len(table)))
    return table, slate_size, topics, draw(st.sampled_from([0.0, spread]) | st.floats(0.0, spread))


@pytest.fixture(scope="module")
def diversified(small_world):
    def build(problem, temperature=1.0):
        table, slate_size, topics, penalty = problem
        world = small_world(len(table), slate_size)
        return TableDiversified(world, table, topics, topic_penalty=penalty, temperature=temperature)

    return build


# --- the law of the slates


def check_against_enumeration(policy, problem, temperature=1.0):
    table, slate_size, topics, penalty = problem
    slates = behavior_reference.ordered_slates(len(table), slate_size)
    joint, prefix = judged(policy, blank(len(slates)), np.array(slates))
    np.testing.assert_array_equal(joint, prefix[:, -1])
    expected = [
        behavior_reference.diversified_prefixes(table.tolist(), topics, penalty, temperature, s) for s in slates
    ]
    np.testing.assert_allclose(prefix, expected, rtol=1e-11, atol=1e-11)
    for length in range(1, slate_size + 1):
        # A prefix's probability is that of all slates which begin with it.
        mass: dict[tuple[int, ...], float] = {}
        for slate, row in zip(slates, prefix, strict=True):
            mass[slate[:length]] = mass.get(slate[:length], 0.0) + math.exp(row[-1])
        assert sum(mass.values()) == pytest.approx(1.0, abs=1e-11)
        for slate, row in zip(slates, prefix, strict=True):
            assert mass[slate[:length]] == pytest.approx(math.exp(row[length - 1]), rel=1e-9, abs=1e-300)


@given(problem=topical_problems())
def test_log_prob_equals_the_enumeration_of_every_slate(diversified, problem):
    check_against_enumeration(diversified(problem), problem)


@given(problem=topical_problems(spread=900.0))
def test_log_prob_of_scores_hundreds_apart(diversified, problem):
    """exp underflows at 745: what is left must be scaled anew, also where a penalty and no utility brings it down."""
    check_against_enumeration(diversified(problem), problem)


@given(problem=topical_problems(), temperature=st.floats(0.02, 5.0))
def test_temperature_divides_scores_and_penalty(diversified, problem, temperature):
    check_against_enumeration(diversified(problem, temperature), problem, temperature)


def test_log_prob_worked_by_hand(diversified):
    policy = diversified((np.log([4.0, 2.0, 1.0]), 3, [0, 0, 1], math.log(2.0)))
    _, prefix = judged(policy, blank(2), np.array([[0, 1, 2], [2, 1, 0]]))
    # After item 0, item 1 counts half: 4/7, then 1/2; after item 2 nothing falls: 1/7, then 2/6.
    np.testing.assert_allclose(np.exp(prefix), [[4 / 7, 2 / 7, 2 / 7], [1 / 7, 1 / 21, 1 / 21]], rtol=1e-12)


@given(problem=topical_problems(spread=900.0))
def test_a_repeated_item_has_probability_zero_from_there_on(diversified, problem):
    table, slate_size, _, _ = problem
    slates = np.array(list(product(range(len(table)), repeat=slate_size))[:200])
    _, prefix = judged(diversified(problem), blank(len(slates)), slates)
    for slate, row in zip(slates.tolist(), prefix, strict=True):
        for k in range(slate_size):
            assert (row[k] == -np.inf) == (len(set(slate[: k + 1])) <= k)
    assert not np.isnan(prefix).any()


@given(problem=topical_problems(max_items=4))
def test_sampled_frequencies_over_a_grid_of_uniforms_are_the_probabilities(diversified, problem):
    """Given what stands before it, an item takes an interval of the uniform as long as its probability.

    Of G midpoints, an interval of length p holds p G give or take one; no chance is involved.
    """
    _, slate_size, _, _ = problem
    grid = {1: 64, 2: 16, 3: 8, 4: 5}[slate_size]
    draws = np.array(list(product((np.arange(grid) + 0.5) / grid, repeat=slate_size)))
    policy = diversified(problem)
    decision = policy.act(blank(len(draws)), draws, np.zeros((len(draws), 0)))
    joint, prefix = judged(policy, blank(len(draws)), decision.action)
    np.testing.assert_array_equal(decision.prefix_log_prob, prefix)
    np.testing.assert_array_equal(decision.log_prob, joint)
    counts, probability = Counter({(): len(draws)}), {(): 1.0}
    for slate, row in zip(decision.action.tolist(), prefix, strict=True):
        for k in range(slate_size):
            start = tuple(slate[: k + 1])
            counts[start] += 1
            probability[start] = math.exp(row[k])
    for start in list(counts)[1:]:
        share = counts[start] / counts[start[:-1]]
        assert share == pytest.approx(probability[start] / probability[start[:-1]], abs=1.0 / grid + 1e-12)


def test_slates_worked_by_hand(diversified):
    """All but certain draws: the second item of a topic waits until the others have fallen below it."""
    table = np.array([1.0, 0.9, 0.8, 0.45, 0.3])
    draws = np.full((1, 4), 0.5)

    def slate(penalty):
        policy = diversified((table, 4, [0, 0, 0, 1, 1], penalty), temperature=1e-3)
        return policy.act(blank(1), draws, np.zeros((1, 0))).action[0].tolist()

    assert slate(0.0) == [0, 1, 2, 3]
    assert slate(0.3) == [0, 1, 3, 2]
    assert slate(0.48) == [0, 3, 1, 2]
    assert slate(0.7) == [0, 3, 1, 4]


# --- in a world where topics bore


@pytest.fixture(scope="module")
def boredom_world():
    rng = np.random.default_rng(3)
    # The caller's own topics have gaps.
    catalog = Catalog.from_arrays(rng.normal(size=(9, 3)), np.array([5, 5, 5, 2, 2, 40, 40, 40, 40]))
    options = {"user_model": "boredom_cascade", "slate_size": 3, "history_length": 6, "max_steps": 9}
    return make_world(SessionConfig().override(**options, boredom_threshold=2, relevance_midpoint=-0.5), catalog)


@pytest.fixture(scope="module")
def view(boredom_world, sessions_under_way):
    view = SessionView.of(sessions_under_way(boredom_world, NUM_SESSIONS, num_steps=3))
    assert (view.user_state["boring"] > 0).any(axis=1).sum() >= 2
    assert ((view.observation["history_items"] >= 0).sum(axis=1) >= 2).all()
    return view


def made(world, **options) -> DiversifiedPolicy:
    policy = make_behavior(world, {"name": "diversified", **options})
    assert isinstance(policy, DiversifiedPolicy)
    return policy


def alone_utilities(world, view, index):
    """Return each item's utility by the reference, boredom included."""
    names = np.unique(world.catalog.topics)
    boring = {int(names[g]): int(last) - 1 for g, last in enumerate(view.user_state["boring"][index])}
    user = {"interest": view.user_state["interest"][index].tolist(), "clicks": [], "boring": boring}
    items = [
        {"embedding": v.tolist(), "topic": int(t)}
        for v, t in zip(world.catalog.embeddings, world.catalog.topics, strict=True)
    ]
    return [boredom_cascade_reference.utility(user, item, asdict(world.config.user_model)) for item in items]


@pytest.mark.parametrize(("penalty", "share"), [(0.0, 0.5), (0.3, 0.5), (0.3, 0.0), (2.0, 1.5)])
def test_scores_are_the_utility_with_boredom_less_the_recent_clicks(boredom_world, view, penalty, share):
    topics = boredom_world.catalog.topics.tolist()
    utilities = made(boredom_world, topic_penalty=penalty, recent_share=share).utility_table(view)
    for b in range(NUM_SESSIONS):
        recent = [topics[i] for i in view.observation["history_items"][b] if i >= 0]
        expected = np.array(alone_utilities(boredom_world, view, b))
        expected -= [penalty * share * recent.count(topic) for topic in topics]
        np.testing.assert_allclose(utilities[b], expected, rtol=1e-6, atol=1e-6)


def test_without_penalty_the_slate_has_the_most_expected_clicks_of_all(boredom_world, view):
    """Greedy in truth: of every ordered slate, by the click probabilities of the position-based model."""
    choice = boredom_world.config.choice
    policy = made(boredom_world, topic_penalty=0.0, temperature=1e-4)
    slates = policy.act(view, np.full((NUM_SESSIONS, 3), 0.5), np.zeros((NUM_SESSIONS, 0))).action
    for b in range(NUM_SESSIONS):
        utilities = alone_utilities(boredom_world, view, b)
        relevance = [
            1.0 / (1.0 + math.exp(-choice.relevance_slope * (s - choice.relevance_midpoint))) for s in utilities
        ]

        def expected_clicks(slate, relevance=relevance):
            return sum(choice.position_decay**k * relevance[i] for k, i in enumerate(slate))

        best = max(expected_clicks(slate) for slate in behavior_reference.ordered_slates(9, 3))
        assert expected_clicks(slates[b]) == pytest.approx(best, rel=1e-6)


def test_without_penalty_it_is_the_greedy_oracle_where_nothing_bores(small_world, sessions_under_way):
    world = small_world(7, 3)
    under_way = SessionView.of(sessions_under_way(world, NUM_SESSIONS, num_steps=3))
    draws = np.random.default_rng(0).random((NUM_SESSIONS, 3))
    memory = np.zeros((NUM_SESSIONS, 0))
    ours = made(world, topic_penalty=0.0, temperature=0.3).act(under_way, draws, memory)
    greedy = make_behavior(world, {"name": "greedy", "temperature": 0.3}).act(under_way, draws, memory)
    np.testing.assert_array_equal(ours.action, greedy.action)
    np.testing.assert_allclose(ours.log_prob, greedy.log_prob, rtol=1e-12)
    other = made(world, topic_penalty=0.5, temperature=0.3).act(under_way, draws, memory)
    assert np.abs(other.log_prob - greedy.log_prob).max() > 0.01


class Crowded(BoredomCascade):
    """A user to whom every item of a slate is worth less for each that stands beside it."""

    def adjust(self, state, shown_items, utilities):
        utilities -= np.float32(shown_items.shape[1] - 1) + np.float32(0.25) * shown_items.astype(np.float32)


def test_scores_are_those_of_an_item_alone(boredom_world, view):
    model = boredom_world.user_model
    crowded = replace(boredom_world, user_model=Crowded(model.config, model.catalog, model.max_clicks))
    affinity = view.user_state["interest"] @ model.catalog.embeddings.T
    utilities = made(crowded, topic_penalty=0.0).utility_table(view)
    np.testing.assert_allclose(utilities, affinity - 0.25 * np.arange(9), rtol=1e-5, atol=1e-6)


def test_it_reads_the_user_and_the_history_and_nothing_else(boredom_world, view):
    policy = made(boredom_world)
    utilities = policy.utility_table(view)
    for name in ("interest", "boring"):
        state = {key: values.copy() for key, values in view.user_state.items()}
        state[name] = -state[name] if name == "interest" else 1 - np.minimum(state[name], 1)
        assert (policy.utility_table(replace(view, user_state=state)) != utilities).any(axis=1).all()
    items = view.observation["history_items"]
    assert (
        (policy.utility_table(replace(view, observation={"history_items": items * 0})) != utilities).any(axis=1).all()
    )
    state = view.user_state | {"recent_clicks": view.user_state["recent_clicks"] + 1}
    blind = SessionView({"history_items": items}, state, view.steps + np.uint64(1))
    np.testing.assert_array_equal(policy.utility_table(blind), utilities)


# --- proto-actions


def test_direction_is_the_mean_of_the_best_slate(small_world):
    world = small_world(5, 3)
    options = {"topic_penalty": 0.5, "proto_scale": 0.25}
    policy = TableDiversified(world, [1.0, 0.9, 0.8, 0.45, 0.3], [0, 0, 0, 1, 1], "proto", **options)
    mean = world.catalog.embeddings[[0, 3, 1]].astype(np.float64).sum(axis=0)
    mean /= np.linalg.norm(mean)
    np.testing.assert_allclose(policy.direction(blank(2)), [mean, mean], rtol=1e-12)
    decision = policy.act(blank(1), np.full((1, policy.num_draws), 0.3), np.zeros((1, 0)))
    expected = stats.norm.logpdf(decision.action[0], mean, 0.25).sum()
    np.testing.assert_allclose(decision.log_prob, [expected], rtol=1e-9)
    assert decision.prefix_log_prob is None
    density, prefix = judged(policy, blank(1), decision.action)
    np.testing.assert_array_equal(density, decision.log_prob)
    assert prefix is None


@pytest.mark.parametrize("name", ["topic_penalty", "recent_share"])
@pytest.mark.parametrize("value", [-0.1, 1001.0, math.nan, True])
def test_a_config_out_of_range_is_refused(boredom_world, name, value):
    with pytest.raises(InvalidInput, match=rf"{name}=.*set {name} to"):
        made(boredom_world, **{name: value})


@pytest.mark.parametrize("name", ["temperature", "proto_scale"])
def test_its_randomness_is_a_ranking_policy_s(boredom_world, name):
    with pytest.raises(InvalidInput, match=rf"{name}=.*set {name} to"):
        made(boredom_world, **{name: 0.0})
