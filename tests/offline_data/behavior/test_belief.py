"""The belief is Bayes' rule over its particles, from the observation and its own slates alone."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offline_data.behavior.base import ActionKind, SessionView, make_behavior
from offline_data.behavior.belief import BeliefPolicy
from recenv.dynamics.choice_models.multinomial_logit import MultinomialLogit
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world
from tests.reference import interest_exploration_reference as reference

pytestmark = pytest.mark.kernels


class Shy(MultinomialLogit):
    """An heir that clicks nothing: no likelihood of its parent's is its own."""

    def choose(self, utilities, draws, clicked) -> None:
        clicked[:] = -1


SMALL = {"num_items": 12, "slate_size": 3, "embedding_dim": 3, "num_topics": 3, "topic_spread": 0.7}


@pytest.fixture(scope="module")
def world():
    options = {"user_model": "interest_exploration", "no_click_utility": 1.0, "num_mainstream": 0, "max_steps": 9}
    return make_world(SessionConfig().override(**options, **SMALL, history_length=2))


def made(world, kind: ActionKind = "slate", **options: Any) -> BeliefPolicy:
    policy = make_behavior(world, {"name": "belief", "num_particles": 6, **options}, kind)
    assert isinstance(policy, BeliefPolicy)
    return policy


def begun(world, count=8) -> SessionBatch:
    batch = SessionBatch(world, count)
    batch.start(np.arange(count), np.arange(count, dtype=np.uint64), np.zeros(count, np.uint64))
    return batch


def utilities_of(world, policy) -> list[list[float]]:
    model, catalog = world.config.user_model, world.catalog
    affinity = policy.particles["interest"].astype(np.float64) @ catalog.embeddings.T.astype(np.float64)
    return (model.affinity_weight * affinity + np.float32(model.quality_weight) * catalog.quality).tolist()


@pytest.mark.parametrize("kind", ["slate", "proto"])
@pytest.mark.parametrize("decay", [1.0, 0.8])
def test_utilities_equal_bayes_rule(world, kind, decay):
    world = make_world(world.config.override(position_decay=decay))
    policy = made(world, kind, optimism=1.5, temperature=1.0, proto_scale=0.5)
    utilities = utilities_of(world, policy)
    batch, rng = begun(world), np.random.default_rng(0)
    memory = np.zeros((8, policy.num_memory))
    answers: list[list[Any]] = [[] for _ in range(8)]
    slates = None
    for _ in range(5):
        view = SessionView.of(batch, slates)
        policy.remember(view, memory)
        decision = policy.act(view, rng.random((8, policy.num_draws)), memory)
        believed = SessionView({}, {"belief": memory[:, :6]}, view.steps)
        indexed = policy.utility_table(believed)
        for b in range(8):
            # Position bias is a utility lost further down the slate: the reference is told of it as such.
            weights = [1.0] * 6
            for slate, position in answers[b]:
                for p in range(6):
                    worth = [utilities[p][item] + k * np.log(decay) for k, item in enumerate(slate)]
                    chance = reference.choice_probabilities(worth, 1.0)
                    weights[p] *= chance[-1 if position is None else position]
            # What is remembered is the log-likelihood itself, and not up to what all particles share.
            np.testing.assert_allclose(memory[b, :6], np.log(weights), rtol=1e-9, atol=1e-12)
            if decay == 1.0:
                total = sum(weights)
                np.testing.assert_allclose(
                    [w / total for w in weights], reference.posterior(utilities, answers[b], 1.0), rtol=1e-9
                )
            weights = [w / sum(weights) for w in weights]
            expected = [reference.index(utilities, weights, 2.5, item) for item in range(12)]
            np.testing.assert_allclose(indexed[b], expected, rtol=1e-6, atol=1e-6)
        # The decision was taken in that belief, and says its exact probability.
        log_prob, _ = policy.log_prob(view, decision.action, memory)
        np.testing.assert_allclose(decision.log_prob, log_prob, rtol=1e-12)
        slates = decision.action if kind == "slate" else world.catalog.nearest_items(decision.action, 3)
        clicks = batch.step(slates).feedback[:, :, 0]
        for b in range(8):
            answers[b].append((slates[b].tolist(), int(clicks[b].argmax()) if clicks[b].any() else None))
    told = [position is not None for answer in answers for _, position in answer]
    assert any(told)
    assert not all(told)


def test_it_reads_the_observation_alone(world):
    policy = made(world)
    batch, draws = begun(world), np.random.default_rng(0).random((8, policy.num_draws))
    view = SessionView.of(batch)
    decision = policy.act(view, draws, np.zeros((8, policy.num_memory)))
    blind = SessionView({k: view.observation[k] for k in ("clock", "history_items")}, {}, view.steps)
    memory = np.zeros((8, policy.num_memory))
    policy.remember(blind, memory)
    np.testing.assert_array_equal(policy.act(blind, draws, memory).action, decision.action)


def test_an_answer_to_a_slate_that_it_does_not_know_teaches_nothing(world):
    policy = made(world)
    batch, rng = begun(world), np.random.default_rng(0)
    for _ in range(3):
        batch.step(rng.integers(12, size=(8, 3)))
    view = SessionView.of(batch)
    assert view.observation["clock"][:, 1].any()
    for slates in (None, np.full((8, 3), -1, np.int32)):
        memory = np.zeros((8, policy.num_memory))
        policy.remember(replace(view, last_slate=slates), memory)
        assert not memory[:, :6].any()
    # A click outside the slate: what was shown is another one.
    memory[:, 6] = -1.0
    view.observation["history_items"][:, -1] = 5
    policy.remember(replace(view, last_slate=np.tile(np.arange(3, dtype=np.int32), (8, 1))), memory)
    assert not memory[:, :6].any()
    # And one inside it.
    memory[:, 6] = -1.0
    policy.remember(replace(view, last_slate=np.tile(np.arange(3, 6, dtype=np.int32), (8, 1))), memory)
    assert memory[:, :6].all()


def test_optimism_ranks_by_what_an_item_may_be_worth(world):
    view = SessionView({}, {}, np.zeros(1, np.uint64))
    utilities = np.array(utilities_of(world, made(world)))
    greedy, hopeful = (made(world, optimism=optimism).utility_table(view)[0] for optimism in (0.0, 100.0))
    np.testing.assert_allclose(greedy, np.log(np.exp(utilities).mean(axis=0)), rtol=1e-6)
    np.testing.assert_allclose(hopeful, utilities.max(axis=0), atol=np.log(6) / 101 + 1e-6)
    assert (hopeful > greedy).all()


def test_direction_is_the_fit_of_the_scores(world):
    view = SessionView({}, {}, np.zeros(2, np.uint64))
    policy = made(world, "proto")
    rows, utilities = world.catalog.embeddings.astype(np.float64), policy.utility_table(view)[0]
    fit = np.linalg.solve(rows.T @ rows + 1e-3 * np.eye(3), rows.T @ (utilities - utilities.mean()))
    np.testing.assert_allclose(policy.direction(view), np.tile(fit / np.linalg.norm(fit), (2, 1)), rtol=1e-6)


def test_hopeless_beliefs_stay_finite(world):
    policy = made(world, optimism=100.0)
    belief = np.full((1, 6), -1e6)
    belief[0, 0] = 0.0
    assert np.isfinite(policy.utility_table(SessionView({}, {"belief": belief}, np.ones(1, np.uint64)))).all()


def test_particles_are_users_of_the_model_and_the_world_s_own(world):
    policy = made(world, num_particles=500)
    shares = np.bincount(policy.particles["user_type"], minlength=19) / 500
    assert shares.max() < 3 / 19
    np.testing.assert_array_equal(policy.particles["interest"], made(world, num_particles=500).particles["interest"])


@pytest.mark.parametrize("choice", ["exponential_cascade", f"{__name__}:Shy"])
def test_another_choice_model_is_refused(world, choice):
    other = make_world(world.config.override(choice=choice))
    with pytest.raises(InvalidInput, match=f"choice='{choice}', and belief reads clicks of multinomial"):
        made(other)
