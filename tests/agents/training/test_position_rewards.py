"""What each position of a logged slate earned: by the log's numbers where they add up, else where the user acted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from agents.training.position_rewards import position_rewards
from offline_data.collection.collection import LogRequest, collect
from recenv.session_config import SessionConfig


@pytest.mark.parametrize("model", ["interest_evolution", "boredom_cascade", "multi_behavior", "long_term_satisfaction"])
def test_positions_earn_what_their_step_did(tmp_path, model):
    """And where a user may click several items, each has its own share."""
    config = SessionConfig().override(user_model=model, num_items=40, slate_size=4, max_steps=5, history_length=5)
    log = collect(tmp_path / "log", LogRequest(config, "uniform", "slate", 40, 3))
    earned = position_rewards(log, slice(None))
    np.testing.assert_allclose(earned.sum(axis=1), log.reward(), rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(position_rewards(log, np.array([7, 3])), earned[[7, 3]])
    clicked = log.rows["feedback"][..., 0] > 0
    acted = clicked.any(axis=1)
    # Single-precision sums leave a little at the last position clicked.
    assert np.abs(earned[acted][~clicked[acted]]).max() < 1e-4
    several = clicked.sum(axis=1) > 1
    if model in ("boredom_cascade", "multi_behavior"):
        assert several.any()
        assert (np.abs(earned[several][clicked[several]]) > 1e-3).all()


def test_what_no_position_explains_goes_to_the_last_click_or_the_last_item(slate_log, with_reward):
    reward = np.arange(1.0, slate_log.num_rows + 1)
    rows = {**slate_log.rows, "feedback": np.zeros_like(slate_log.rows["feedback"])}
    rows["feedback"][0, :2, 0] = 1.0
    earned = position_rewards(with_reward(replace(slate_log, rows=rows), reward), slice(None))
    assert earned[0].tolist() == [0.0, 1.0, 0.0]
    assert earned[1:, 2].tolist() == reward[1:].tolist()
    assert not earned[1:, :2].any()


def test_of_a_short_slate_the_last_item_counts(tmp_path):
    from tests.agents.slate_table import varying_log

    log = varying_log(tmp_path / "log")
    earned = position_rewards(log, slice(None))
    shown = np.asarray(log.rows["shown"])
    assert not earned[~shown].any()
    last = 2 - shown[:, ::-1].argmax(axis=1)
    np.testing.assert_allclose(earned[np.arange(len(earned)), last], log.reward())


def test_items_own_rewards_stay_with_them(tmp_path):
    from offline_data.interop.foreign_log import import_interactions
    from offline_data.interop.import_options import ImportOptions
    from offline_data.interop.interactions import Ids, Interactions

    source = tmp_path / "source"
    source.touch()
    log = Interactions(
        files=[(source, 6)],
        user=Ids.of(np.array([0, 0, 0, 1, 1, 1])),
        item=Ids(np.array([0, 1, 2, 2, 1, 0]), np.arange(3)),
        feedback={"click": np.array([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])},
        session=np.array([0, 0, 0, 1, 1, 1]),
        step=np.zeros(6, int),
        position=np.tile([0, 1, 2], 2),
        reward={"points": np.array([5.0, 5.0, 5.0, 7.0, 7.0, 7.0])},
        item_reward={"price": np.array([1.0, 2.0, 3.0, 0.0, 4.0, 0.0])},
        terminated=np.ones(6, bool),
    )
    dataset = import_interactions(tmp_path / "log", log, "table", options=ImportOptions(history_length=3))
    total = dataset.reward()
    earned = position_rewards(dataset, slice(None))
    np.testing.assert_allclose(earned.sum(axis=1), total)
    weight = dict(zip(dataset.manifest["reward_names"], dataset.reward_weights, strict=True))
    expected = weight["price"] * np.array([[1.0, 2.0, 3.0], [0.0, 4.0, 0.0]])
    expected += weight["points"] * np.array([[5.0, 0.0, 0.0], [0.0, 0.0, 7.0]])
    np.testing.assert_allclose(earned, expected)
