"""Flat features and history tokens."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

from recenv import (
    FlatObservation,
    HistoryTokens,
)
from tests.recenv.envs.wrapper_cases import CODES, plain, single

pytestmark = pytest.mark.kernels


# --- observations


def observed(seed: int = 1, num_steps: int = 6) -> list[dict[str, np.ndarray]]:
    """Return the bare environment's observations of some steps, of which some have a history."""
    env = single(max_steps=50, budget=1e4)
    found = [env.reset(seed=seed)[0]]
    for slate in np.random.default_rng(seed).integers(40, size=(num_steps, 4)):
        found.append(env.step(slate)[0])
    consumed = [int((o["history_items"] >= 0).sum()) for o in found]
    assert set(consumed) == {0, 1, 2, 3}
    return found


def test_pooled_features_are_numbers_means_and_the_share_of_history():
    env = FlatObservation(single())
    embeddings = single().world.catalog.embeddings.astype(np.float64)
    assert env.observation_space.shape == (2 + 6 + 6 + 2 + 1,)
    for observation in observed():
        items, feedback = observation["history_items"], observation["history_feedback"]
        there = items >= 0
        means = np.zeros(8)
        if there.any():
            means = np.concatenate([embeddings[items[there]].mean(axis=0), feedback[there].mean(axis=0)])
        flat = env.observation(observation)
        assert flat.dtype == np.float32
        np.testing.assert_array_equal(flat[:8], [*observation["clock"], *observation["profile"]])
        np.testing.assert_allclose(flat[8:16], means, atol=1e-6)
        assert flat[16] == np.float32(there.sum() / 3)


def test_embedded_features_are_numbers_embeddings_and_feedback():
    env = FlatObservation(single(), history="embedded")
    embeddings = single().world.catalog.embeddings
    for observation in observed():
        rows = [embeddings[item] if item >= 0 else np.zeros(6) for item in observation["history_items"]]
        expected = [*observation["clock"], *observation["profile"], *np.ravel(rows)]
        expected += np.ravel(observation["history_feedback"]).tolist()
        np.testing.assert_array_equal(env.observation(observation), np.array(expected, np.float32))


@pytest.mark.parametrize("history", ["pooled", "embedded"])
def test_features_have_finite_bounds_and_leave_ids_out(history: str):
    plain_space = FlatObservation(single(), history).observation_space
    assert isinstance(plain_space, gymnasium.spaces.Box)
    assert plain_space.is_bounded()
    assert (np.abs([plain_space.low, plain_space.high]) <= 1.0).all()
    assert FlatObservation(single(num_candidates=7), history).observation_space == plain_space


def test_item_tokens_are_ids_plus_one_and_zero_is_padding():
    env = HistoryTokens(single())
    assert (env.num_tokens, env.ids) == (41, None)
    for observation in observed():
        tokens = env.observation(observation)
        assert set(tokens) == {"profile", "history_tokens", "history_feedback", "clock"}
        assert tokens["history_tokens"].dtype == np.int32
        assert tokens["history_tokens"].tolist() == [item + 1 for item in observation["history_items"].tolist()]
        assert plain(tokens["profile"]) == plain(observation["profile"])


def test_semantic_tokens_have_numbers_of_their_own_at_each_level():
    env = HistoryTokens(single(), "semantic", **CODES)
    assert env.ids is not None
    sizes = env.ids.level_sizes
    assert env.num_tokens == 1 + sum(sizes)
    for observation in observed():
        expected = []
        for item in observation["history_items"].tolist():
            code = [-1, -1, -1] if item < 0 else env.ids.codes[item].tolist()
            expected += [0 if item < 0 else 1 + sum(sizes[:level]) + token for level, token in enumerate(code)]
        tokens = env.observation(observation)["history_tokens"]
        assert tokens.dtype == np.int32
        assert tokens.tolist() == expected
