"""Interest exploration against RecSim's own model on one-hot topics, by hand, and what of the type is to be seen."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv.dynamics.kernel_groups import Response
from recenv.dynamics.user_models.interest_exploration import InterestExploration, InterestExplorationConfig
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.random_streams import INITIAL, USER, uniforms
from recenv.session_config import SessionConfig
from recenv.testing.worlds import catalogs
from recenv.world import make_world
from tests.reference import interest_exploration_reference as reference

pytestmark = pytest.mark.kernels

RECSIM: dict[str, Any] = {
    "type_weights": reference.RECSIM_TYPES,
    "low_affinity": 0.1,
    "num_mainstream": 0,
    "affinity_weight": 1.0,
    "quality_weight": 1.0,
}


def one_hot(num_topics: int, copies: int = 1, **columns: Any) -> Catalog:
    topics = np.repeat(np.arange(num_topics), copies)
    return Catalog.from_arrays(np.eye(max(num_topics, 2))[topics], topics, **columns)


def users_of(model: InterestExploration, count: int, seed: int = 0) -> dict[str, np.ndarray]:
    return model.start(np.random.default_rng(seed).random((count, model.num_initial_draws())))


# --- RecSim's own model


def test_one_hot_topics_are_recsims_model():
    # Through the whole engine: users, utilities, clicks and rewards, from the engine's own uniforms.
    rng = np.random.default_rng(5)
    catalog = one_hot(2, 4, quality=rng.lognormal(np.repeat([0.8, 0.2], 4), 0.1))
    options = {"user_model": "interest_exploration", "no_click_utility": 5.0, "slate_size": 3, "max_steps": 30}
    world = make_world(SessionConfig().override(**options, **RECSIM), catalog)
    model, count = world.user_model, 40
    batch = SessionBatch(world, count)
    seeds, episodes = np.arange(count, dtype=np.uint64), np.zeros(count, np.uint64)
    batch.start(np.arange(count), seeds, episodes)
    draws = uniforms(seeds, INITIAL, episodes, episodes, model.num_initial_draws())
    affinities = []
    for b in range(count):
        kind = reference.user_type(reference.RECSIM_TYPES, draws[b, 0])
        assert batch.state["user_type"][b] == kind
        normals = reference.box_muller(draws[b, 1:].tolist())
        affinities.append(reference.affinities(reference.RECSIM_MEANS[kind], 0.1, normals))
        np.testing.assert_allclose(batch.state["interest"][b], affinities[b], rtol=1e-6)
    first = {name: values.copy() for name, values in batch.state.items()}
    clicks = 0
    for step in range(30):
        slates = np.array([rng.choice(8, 3, replace=False) for _ in range(count)])
        outcome = batch.step(slates)
        draw = uniforms(seeds, USER, episodes, np.full(count, step), 1)[:, 0]
        for b in range(count):
            worth = [affinities[b][item // 4] + float(catalog.quality[item]) for item in slates[b]]
            position = reference.choose(worth, 5.0, draw[b])
            expected = np.zeros(3)
            if position is not None:
                expected[position] = 1.0
            np.testing.assert_array_equal(outcome.feedback[b, :, 0], expected)
            assert outcome.reward[b] == expected.sum()
        clicks += outcome.reward.sum()
        assert not outcome.terminated.any()
    assert 100 < clicks < 1100
    # No drift.
    for name, values in batch.state.items():
        np.testing.assert_array_equal(values, first[name])
    assert outcome.truncated.all()


def test_defaults_are_recsims_constants_where_they_claim_to_be():
    config = InterestExplorationConfig()
    assert (config.high_affinity, config.affinity_spread) == (0.7, 0.1)
    assert (config.click_reward, config.minute_reward) == (1.0, 0.0)


# --- users


@pytest.mark.parametrize(("num_types", "num_mainstream", "num_topics"), [(2, 0, 2), (3, 0, 7), (3, 2, 8), (4, 1, 3)])
def test_median_affinities_follow_the_rule(num_types: int, num_mainstream: int, num_topics: int):
    options = {"type_weights": (1.0,) * num_types, "num_mainstream": num_mainstream, "affinity_spread": 0.0}
    model = InterestExploration(InterestExplorationConfig(**options), one_hot(num_topics), 1)
    users = users_of(model, 50)
    assert set(users["user_type"]) == set(range(num_types))
    for kind, interest in zip(users["user_type"], users["interest"], strict=True):
        for topic in range(num_topics):
            log_median = 0.1 if topic < num_mainstream else -2.0
            if topic >= num_mainstream and (topic - num_mainstream) % num_types == num_types - 1 - kind:
                log_median = 0.7
            assert interest[topic] == pytest.approx(np.exp(log_median), rel=1e-6)


def test_types_have_their_shares():
    config = InterestExplorationConfig(type_weights=(1.0, 0.0, 3.0))
    model = InterestExploration(config, one_hot(2), 1)
    draws = np.full((1000, model.num_initial_draws()), 0.5)
    draws[:, 0] = (np.arange(1000) + 0.5) / 1000
    np.testing.assert_array_equal(np.bincount(model.start(draws)["user_type"]), [250, 0, 750])
    draws[:, 0] = 1.0 - 2**-33
    assert (model.start(draws)["user_type"] == 2).all()


def test_interest_is_dual_to_the_topics_mean_directions():
    rng = np.random.default_rng(2)
    topics = np.repeat([3, 8, 9], 5)  # numbers of topics that have items, with gaps
    catalog = Catalog.from_arrays(
        rng.normal(size=(3, 6))[np.repeat(range(3), 5)] + 0.3 * rng.normal(size=(15, 6)), topics
    )
    model = InterestExploration(InterestExplorationConfig(affinity_spread=0.0, num_mainstream=0), catalog, 1)
    means = np.stack([catalog.embeddings[topics == topic].mean(axis=0, dtype=np.float64) for topic in (3, 8, 9)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    users = users_of(model, 40)
    own = users["interest"] @ means.T
    expected = np.where(np.arange(3)[None] == 18 - users["user_type"][:, None], np.exp(0.7), np.exp(-2.0))
    np.testing.assert_allclose(own, expected, atol=1e-5)
    # And it is the smallest such vector: no part of it is orthogonal to all topics.
    residual = users["interest"] - users["interest"] @ np.linalg.pinv(means) @ means
    np.testing.assert_allclose(residual, 0.0, atol=1e-5)


def test_more_topics_than_dimensions_are_met_in_least_squares():
    rng = np.random.default_rng(3)
    catalog = Catalog.from_arrays(rng.normal(size=(7, 2)), np.arange(7))
    model = InterestExploration(InterestExplorationConfig(affinity_spread=0.0, num_mainstream=0), catalog, 1)
    interest = model.start(np.full((1, model.num_initial_draws()), 0.999))["interest"][0]
    # The last type's own topics are numbers 0, 19, ...
    wanted = np.where(np.arange(7) == 0, np.exp(0.7), np.exp(-2.0))
    best = np.linalg.lstsq(catalog.embeddings.astype(np.float64), wanted, rcond=None)[0]
    np.testing.assert_allclose(interest, best, atol=1e-5)


def test_topics_whose_items_cancel_have_no_direction():
    catalog = Catalog.from_arrays(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]), np.array([0, 0, 1]))
    model = InterestExploration(InterestExplorationConfig(num_mainstream=0), catalog, 1)
    interest = users_of(model, 5)["interest"]
    np.testing.assert_allclose(interest[:, 0], 0.0, atol=1e-7)
    assert (interest[:, 1] > 0.0).all()


@given(catalogs(), st.integers(0, 2**32))
def test_a_user_does_not_depend_on_the_batch(catalog: Catalog, seed: int):
    model = InterestExploration(InterestExplorationConfig(), catalog, 1)
    draws = np.random.default_rng(seed).random((5, model.num_initial_draws()))
    together = model.start(draws)
    for b in range(5):
        for name, values in model.start(draws[b : b + 1]).items():
            assert values.tobytes() == together[name][b : b + 1].tobytes()


def test_the_profile_does_not_give_the_type_away():
    """Nearest type mean over 2,000 users of 19 types: chance is 1/19 = 0.053; the interest itself tells all."""
    world = make_world(SessionConfig().override(user_model="interest_exploration"))
    batch = SessionBatch(world, 4000)
    batch.start(np.arange(4000), np.arange(4000, dtype=np.uint64), np.zeros(4000, np.uint64))
    kinds = batch.state["user_type"]

    def accuracy(seen: np.ndarray) -> float:
        means = np.stack([seen[:2000][kinds[:2000] == kind].mean(axis=0) for kind in range(19)])
        distances = ((seen[2000:, None, :] - means) ** 2).sum(axis=2)
        return float((distances.argmin(axis=1) == kinds[2000:]).mean())

    assert accuracy(batch.state["interest"]) == 1.0
    assert accuracy(batch.profile) < 0.1


# --- answers


@given(st.data(), catalogs())
def test_answers_equal_the_equations(data: st.DataObject, catalog: Catalog):
    config = InterestExplorationConfig(affinity_weight=data.draw(st.floats(-4, 4)), quality_weight=1.5)
    model = InterestExploration(config, catalog, 2)
    interest = data.draw(st.lists(st.floats(-3, 3, width=32), min_size=catalog.embedding_dim, max_size=7))
    interest = np.array([interest[: catalog.embedding_dim]], np.float32)
    slate = data.draw(st.lists(st.integers(0, catalog.num_items - 1), min_size=2, max_size=4))
    clicked = sorted(data.draw(st.sets(st.integers(0, len(slate) - 1), max_size=2)))
    state = {"interest": interest.copy(), "user_type": np.zeros(1, np.int32)}
    feedback, rewards = np.zeros((1, len(slate), 2), np.float32), np.zeros((1, 2), np.float32)
    wanted, benefit, left = np.full((1, 2), np.nan), np.full((1, 2), np.nan), np.ones(1, np.bool_)
    positions = np.array([clicked + [-1] * (2 - len(clicked))], np.int16)
    shown = np.array([slate], np.int32)
    active = np.ones(1, np.bool_)
    model.respond(
        state, Response(shown, positions, np.empty((1, 0)), active, feedback, rewards, wanted, benefit, left, ~left)
    )
    for n, k in enumerate(clicked):
        affinity = sum(float(u) * float(v) for u, v in zip(interest[0], catalog.embeddings[slate[k]], strict=True))
        assert wanted[0, n] == catalog.length[slate[k]]
        expected = config.affinity_weight * affinity + 1.5 * float(catalog.quality[slate[k]])
        assert benefit[0, n] == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(feedback[0, :, 0], [float(k in clicked) for k in range(len(slate))])
    assert not feedback[0, :, 1].any()
    np.testing.assert_array_equal(rewards, [[len(clicked), 0.0]])
    assert np.isnan(benefit[0, len(clicked) :]).all()
    assert not left[0]
    np.testing.assert_array_equal(state["interest"], interest)
    # What oracles read is the benefit: linear in the embedding, and the item's own.
    whole = catalog.embeddings @ model.worth(state)[0] + model.item_worth
    for n, k in enumerate(clicked):
        assert whole[slate[k]] == pytest.approx(benefit[0, n], abs=1e-4)


def test_inactive_sessions_get_nothing():
    model = InterestExploration(InterestExplorationConfig(), one_hot(2), 1)
    feedback, rewards = np.zeros((2, 1, 2), np.float32), np.zeros((2, 2), np.float32)
    wanted, benefit, left = np.full((2, 1), np.nan), np.full((2, 1), np.nan), np.ones(2, np.bool_)
    shown, clicked, active = np.zeros((2, 1), np.int32), np.zeros((2, 1), np.int16), np.array([False, True])
    state = users_of(model, 2)
    model.respond(
        state, Response(shown, clicked, np.empty((2, 0)), active, feedback, rewards, wanted, benefit, left, ~left)
    )
    np.testing.assert_array_equal(rewards, [[0, 0], [1, 0]])
    assert np.isnan(wanted[0]).all()
    assert not feedback[0].any()
    assert not left.any()


# --- the config


def test_config_survives_json_and_can_be_hashed():
    config = InterestExplorationConfig(type_weights=(0.3, 0.7))
    again = InterestExplorationConfig(**json.loads(json.dumps(asdict(config))))
    assert again == config
    assert hash(again) == hash(config)
    session = SessionConfig().override(user_model="interest_exploration", **RECSIM)
    assert SessionConfig.from_json(session.to_json()) == session
    assert session.catalog.embedding_dim == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"type_weights": ()}, r"type_weights=\(\) is not a list of 1 to 1000 weights"),
        ({"type_weights": (0.0, 0.0)}, "sum to zero"),
        ({"type_weights": (1.0, -1.0)}, "type weight=-1.0"),
        ({"num_mainstream": -1}, "num_mainstream=-1"),
        ({"high_affinity": 11.0}, "high_affinity=11.0"),
    ],
)
def test_parameters_out_of_range_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(InvalidInput, match=message):
        InterestExplorationConfig(**options)
