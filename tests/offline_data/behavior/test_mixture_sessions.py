"""Mixtures per session: the posterior of the components, and the marginal of a session."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from offline_data.behavior.base import SessionView, make_behavior
from offline_data.collection.rollout import play_sessions
from recenv.engine.session_batch import SessionBatch
from recenv.session_config import SessionConfig
from recenv.world import make_world
from tests.offline_data.behavior.mixture_cases import (
    WEIGHTS,
    judged,
    mixture,
    present,
    repeated,
    slates_and_their_draws,
)
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels


UNIFORM_ACTS = 0.9  # a component's draw that falls to the last of WEIGHTS


# --- per session


@pytest.fixture
def all_sessions(small_world, sessions_under_way):
    """Every session of three slates of 2 of 3 items: 6 ** 3 of them, played by the uniform component.

    Which one acts does not matter to the log-probabilities. The three users shown at the three steps differ, so that
    the components' probabilities do.
    """
    world = small_world(3, 2)
    policy = mixture(world, "session")
    slates, draws = slates_and_their_draws(world)
    choice = np.array(list(product(range(len(slates)), repeat=3)))
    memory = np.zeros((len(choice), policy.num_memory))
    decisions, tables, memories = [], [], []
    for step in range(3):
        view = repeated(sessions_under_way(world, 1, num_steps=step, seed=step), len(choice))
        uniforms = np.column_stack([np.full(len(choice), UNIFORM_ACTS), draws[choice[:, step]]])
        decisions.append(policy.act(view, uniforms, memory))
        np.testing.assert_array_equal(decisions[-1].action, slates[choice[:, step]])
        tables.append([judged(part, view, slates[choice[:, step]])[0] for part in policy.components])
        memories.append(memory.copy())
    return choice, slates, decisions, np.array(tables).transpose(2, 1, 0), memories


def test_product_of_the_conditionals_is_the_sessions_marginal(all_sessions):
    choice, _, decisions, table, _ = all_sessions
    total = np.sum([decision.log_prob for decision in decisions], axis=0)
    expected = [reference.session_mixture(WEIGHTS, table[row]) for row in range(len(choice))]
    np.testing.assert_allclose(total, expected, rtol=1e-12)
    assert np.exp(total).sum() == pytest.approx(1.0, abs=1e-12)
    # The mixture of steps is another distribution: the test above can tell them apart.
    steps = [math.fsum(reference.session_mixture(WEIGHTS, row[:, [t]]) for t in range(3)) for row in table]
    assert np.abs(np.array(steps) - expected).max() > 0.1


@pytest.mark.parametrize("step", [0, 1, 2])
def test_conditionals_of_each_step_sum_to_one_given_the_past(all_sessions, step):
    choice, _, decisions, _, _ = all_sessions
    mass: dict[tuple[int, ...], dict[int, float]] = {}
    for row, slates in enumerate(choice.tolist()):
        mass.setdefault(tuple(slates[:step]), {})[slates[step]] = math.exp(decisions[step].log_prob[row])
    assert len(mass) == 6**step
    for conditional in mass.values():
        assert len(conditional) == 6
        assert sum(conditional.values()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("step", [0, 1, 2])
def test_prefixes_are_marginals_of_the_conditionals(all_sessions, step):
    choice, slates, decisions, _, _ = all_sessions
    prefix = decisions[step].prefix_log_prob
    np.testing.assert_array_equal(prefix[:, -1], decisions[step].log_prob)
    first = slates[choice[:, step], 0]
    for past in {tuple(row[:step]) for row in choice.tolist()}:
        same_past = (choice[:, :step] == past).all(axis=1)
        for item in range(3):
            rows = np.flatnonzero(same_past & (first == item))
            distinct = {int(choice[row, step]): math.exp(decisions[step].log_prob[row]) for row in rows}
            np.testing.assert_allclose(np.exp(prefix[rows, 0]), sum(distinct.values()), rtol=1e-12)


def test_memory_holds_the_posterior(all_sessions):
    choice, _, _, table, memories = all_sessions
    for step, memory in enumerate(memories):
        np.testing.assert_array_equal(memory[:, 0], 2)
        weighted = np.array(WEIGHTS) * np.exp(memory[:, 1:])
        posterior = weighted / weighted.sum(axis=1, keepdims=True)
        expected = [reference.session_posterior(WEIGHTS, table[row][:, : step + 1]) for row in range(len(choice))]
        np.testing.assert_allclose(posterior, expected, rtol=1e-10)


def test_the_component_of_a_session_stays(small_world, sessions_under_way):
    world = small_world()
    policy = mixture(world, "session")
    batch = sessions_under_way(world, 30, num_steps=0)
    memory = np.zeros((30, policy.num_memory))
    rng = np.random.default_rng(3)
    labels = []
    for _ in range(3):
        decision = policy.act(SessionView.of(batch), rng.random((30, policy.num_draws)), memory)
        labels.append(decision.component)
        batch.step(decision.action)
    assert set(labels[0].tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(labels[1], labels[0])
    np.testing.assert_array_equal(labels[2], labels[0])


@pytest.mark.parametrize("kind", ["slate", "proto"])
@pytest.mark.parametrize("weights", [WEIGHTS, (0.2, 0.8, 0.0)])
def test_a_played_sessions_log_probs_add_up_to_its_marginal(small_world, kind, weights):
    """Replayed with the logged actions, component by component, to the session's own end."""
    world = small_world(max_steps=5)
    policy = mixture(world, "session", weights, kind=kind)
    seeds = np.arange(12, dtype=np.uint64)
    played = play_sessions(world, policy, seeds, seeds + np.uint64(100))
    rows, offsets = played.columns, played.offsets
    assert len(set(rows["component"].tolist())) > 1
    for s, seed in enumerate(seeds):
        batch = SessionBatch(world, 1)
        batch.start(np.zeros(1, np.int64), np.array([seed]), np.zeros(1, np.uint64))
        table: list[list[float]] = [[] for _ in policy.components]
        for row in range(offsets[s], offsets[s + 1]):
            view = SessionView.of(batch)
            for part, log_probs in zip(policy.components, table, strict=True):
                log_probs.append(judged(part, view, rows["proto" if kind == "proto" else "slate"][[row]])[0][0])
            batch.step(rows["slate"][[row]])
        total = rows["behavior_log_prob"][offsets[s] : offsets[s + 1]].sum()
        assert total == pytest.approx(reference.session_mixture(weights, table), rel=1e-10)


def test_a_session_whose_likelihood_underflows_keeps_finite_conditionals(small_world, sessions_under_way):
    """A sharp Gaussian far off loses thousands of nats a step; the posterior must go to the others in log space."""
    world = small_world()
    components = ({"name": "clickbait", "proto_scale": 0.01}, "uniform")
    policy = mixture(world, "session", (0.5, 0.5), components, "proto")
    batch = sessions_under_way(world, 4, num_steps=0)
    memory = np.zeros((4, policy.num_memory))
    rng = np.random.default_rng(4)
    for step in range(3):
        draws = rng.random((4, policy.num_draws))
        draws[:, 0] = UNIFORM_ACTS
        decision = policy.act(replace(SessionView.of(batch), steps=np.full(4, step, np.uint64)), draws, memory)
        uniform, _ = judged(policy.components[1], SessionView.of(batch), decision.action)
        expected = uniform + (math.log(0.5) if step == 0 else 0.0)
        np.testing.assert_allclose(decision.log_prob, expected, rtol=1e-9)
    assert (memory[:, 1] < -2000).all()


# --- components with a memory


@pytest.mark.parametrize("mixing", ["step", "session", "position"])
def test_a_component_with_a_memory_learns_from_what_others_show(mixing):
    """The log-probabilities of played sessions, made anew from the log: a belief of its own follows each session."""
    options = {"user_model": "interest_exploration", "num_mainstream": 0, "no_click_utility": 0.0, "max_steps": 6}
    sizes = {"num_items": 9, "slate_size": 2, "embedding_dim": 3, "num_topics": 3}
    world = make_world(SessionConfig().override(**options, **sizes))
    components = ({"name": "belief", "num_particles": 5, "temperature": 0.5}, "clickbait", "uniform")
    policy = mixture(world, mixing, components=components)
    assert policy.num_memory == {"step": 6, "session": 10, "position": 6}[mixing]
    seeds = np.arange(20, dtype=np.uint64)
    played = play_sessions(world, policy, seeds, seeds + np.uint64(100))
    rows = played.columns
    parts = [make_behavior(world, component) for component in components]
    learned = 0
    for s, seed in enumerate(seeds):
        batch, slates = SessionBatch(world, 1), np.full((1, 2), -1, np.int32)
        batch.start(np.zeros(1, np.int64), np.array([seed]), np.zeros(1, np.uint64))
        memories = [np.zeros((1, part.num_memory)) for part in parts]
        table: list[list[float]] = [[] for _ in parts]
        for row in range(played.offsets[s], played.offsets[s + 1]):
            view, prefixes = SessionView.of(batch, slates), []
            slates = rows["slate"][[row]]
            for part, memory, log_probs in zip(parts, memories, table, strict=True):
                part.remember(view, memory)
                whole, prefix = part.log_prob(view, slates, memory)
                log_probs.append(whole[0])
                prefixes.append(present(prefix)[0])
            learned += memories[0][:, :5].any()
            if mixing == "step":
                expected = reference.session_mixture(WEIGHTS, [[log_probs[-1]] for log_probs in table])
            elif mixing == "session":
                expected = reference.session_mixture(WEIGHTS, table)
                expected -= reference.session_mixture(WEIGHTS, [log_probs[:-1] for log_probs in table])
            else:
                expected = reference.position_mixture(WEIGHTS, prefixes)[-1]
            assert rows["behavior_log_prob"][row] == pytest.approx(expected, rel=1e-10)
            batch.step(slates)
    assert learned > 40
