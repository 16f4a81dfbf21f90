"""Observations rebuilt from a log equal the environment's, before and after every row, to the bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.behavior import make_behavior
from offline_data.dataset import LoggedDataset
from offline_data.histories import ObservationBuilder
from offline_data.rollout import play_sessions
from recenv import InvalidInput, RecSessionEnv
from recenv.pieces import Freshness, LeaveHazard, Retention

pytestmark = pytest.mark.kernels


def played_log(world, session_seeds):
    """Return a dataset of uniform slates, in memory."""
    policy = make_behavior(world, "uniform")
    played = play_sessions(world, policy, session_seeds, session_seeds + np.uint64(1000))
    manifest = {
        "num_rows": len(played.columns["step"]),
        "num_sessions": len(session_seeds),
        "config": world.config.to_dict(),
        "reward_names": list(world.reward_names),
    }
    sessions = {"offsets": played.offsets, "profile": played.profile, "session_seed": session_seeds}
    rows = {**played.columns, "episode_id": np.zeros(len(played.columns["step"]), np.int64)}
    return LoggedDataset(Path("nowhere"), manifest, rows, sessions, world.catalog.arrays())


def assert_same_observation(rebuilt, row, expected):
    assert rebuilt.keys() == expected.keys()
    for name, values in expected.items():
        assert rebuilt[name].dtype == values.dtype
        np.testing.assert_array_equal(rebuilt[name][row], values, err_msg=name)


def check_against_environment(world, log, session_seeds):
    """Step Gymnasium's environment through every logged slate; return the most items that a session consumed."""
    builder = ObservationBuilder(log)
    every_row = np.arange(log.num_rows)
    before, after = builder.observe(every_row), builder.observe(every_row, after=True)
    env = RecSessionEnv(world.config)
    most = 0.0
    for session, seed in enumerate(session_seeds):
        observation, _ = env.reset(seed=int(seed))
        for row in range(log.offsets[session], log.offsets[session + 1]):
            assert_same_observation(before, row, observation)
            observation, *_ = env.step(log.rows["slate"][row])
            assert_same_observation(after, row, observation)
        most = max(most, float(observation["clock"][1]) * world.config.max_steps)
    return most


@given(
    history_length=st.integers(1, 4),
    slate_size=st.integers(1, 3),
    max_steps=st.integers(1, 7),
    no_click_utility=st.sampled_from([-4.0, 0.0, 4.0]),
    seed=st.integers(0, 2**62),
)
def test_random_logs(small_world, history_length, slate_size, max_steps, no_click_utility, seed):
    world = small_world(
        4,
        slate_size,
        history_length=history_length,
        max_steps=max_steps,
        no_click_utility=no_click_utility,
        budget=12.0,
    )
    session_seeds = np.arange(seed, seed + 3, dtype=np.uint64)
    check_against_environment(world, played_log(world, session_seeds), session_seeds)


# Users who come and go, so that days pass, on which items appear.
RESTLESS = {"leave_hazard": LeaveHazard(0.4), "retention": Retention(0.6, max_absence=3, max_sessions=4)}


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"num_candidates": 4}, {"candidates"}),
        ({"freshness": Freshness(250.0)}, {"available", "calendar"}),
        (RESTLESS, {"calendar"}),
        ({**RESTLESS, "freshness": Freshness(250.0)}, {"available", "calendar"}),
        ({**RESTLESS, "freshness": Freshness(4.0), "num_candidates": 8, "max_age": 7.0}, {"candidates", "calendar"}),
        ({**RESTLESS, "num_candidates": 3}, {"candidates", "calendar"}),
    ],
)
def test_what_a_step_offers_and_the_calendar_are_rebuilt(small_world, options, keys):
    world = small_world(9, 2, **options)
    session_seeds = np.arange(100, dtype=np.uint64)
    log = played_log(world, session_seeds)
    check_against_environment(world, log, session_seeds)
    rebuilt = ObservationBuilder(log).observe(np.arange(log.num_rows))
    assert rebuilt.keys() - {"profile", "history_items", "history_feedback", "clock"} == keys
    if "candidates" in keys:
        assert len(np.unique(rebuilt["candidates"], axis=0)) > 5
    if "available" in keys:
        assert 0.0 < rebuilt["available"].mean() < 1.0
    if "retention" in options:
        returns = log.rows["session_number"].astype(int)
        assert returns.max() == 3
        # Sessions that are cut off at the very step on which the user returned are among them.
        vector = log.rows["reward_vector"]
        assert ((vector[:, -2] > 0) & log.rows["truncated"]).any()


def test_a_log_that_lacks_what_its_world_needs_is_refused(small_world):
    world = small_world(9, 2, num_candidates=4, **RESTLESS)
    log = played_log(world, np.arange(3, dtype=np.uint64))
    for columns, name in ((log.rows, "day"), (log.rows, "session_number"), (log.sessions, "session_seed")):
        held = columns.pop(name)
        with pytest.raises(InvalidInput, match=rf"lacks (rows|sessions)/{name}.npy, which its world needs; collect"):
            ObservationBuilder(log)
        columns[name] = held


@pytest.mark.parametrize("history_length", [1, 3, 30])
@pytest.mark.parametrize("slate_size", [1, 4])
def test_sessions_longer_and_shorter_than_the_history(small_world, history_length, slate_size):
    """Users who always click consume an item a step: ten of them, with room for one, three, and thirty."""
    options = {"history_length": history_length, "max_steps": 10, "no_click_utility": -50.0, "budget": 1000.0}
    world = small_world(4, slate_size, **options)
    session_seeds = np.arange(3, dtype=np.uint64)
    most = check_against_environment(world, played_log(world, session_seeds), session_seeds)
    assert round(most) == 10


def test_a_log_in_which_nothing_was_clicked(small_world):
    world = small_world(4, 2, no_click_utility=50.0)
    session_seeds = np.arange(2, dtype=np.uint64)
    log = played_log(world, session_seeds)
    assert not log.rows["feedback"].any()
    assert check_against_environment(world, log, session_seeds) == 0.0


def test_any_batch_of_rows_in_any_order_is_fresh_arrays(small_world):
    world = small_world(4, 2)
    builder = ObservationBuilder(played_log(world, np.arange(4, dtype=np.uint64)))
    rows = np.array([9, 0, 9, 3])
    whole = builder.observe(np.arange(10))
    part = builder.observe(rows)
    for name, values in part.items():
        np.testing.assert_array_equal(values, whole[name][rows])
        values[:] = 0
    for name, values in builder.observe(np.arange(10)).items():
        np.testing.assert_array_equal(values, whole[name])
