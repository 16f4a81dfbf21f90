"""Observations rebuilt from a log equal the environment's, before and after every row, to the bit."""

from __future__ import annotations

import dataclasses
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.behavior.base import make_behavior
from offline_data.collection.rollout import play_sessions
from offline_data.store.dataset import LoggedDataset
from offline_data.store.dataset_writer import consumed_events
from offline_data.store.histories import ObservationBuilder
from recenv import InvalidInput, RecSessionEnv
from recenv.dynamics.pieces.freshness import FreshnessConfig
from recenv.dynamics.pieces.leave_hazard import LeaveHazardConfig
from recenv.dynamics.pieces.retention import RetentionConfig

pytestmark = pytest.mark.kernels


def played_log(world, session_seeds, **manifest):
    """Return a dataset of uniform slates, in memory; what the manifest says may be changed."""
    policy = make_behavior(world, "uniform")
    played = play_sessions(world, policy, session_seeds, session_seeds + np.uint64(1000))
    offsets, count = played.offsets, len(session_seeds)
    manifest = {
        "num_rows": int(offsets[-1]),
        "num_sessions": count,
        "num_items": world.catalog.num_items,
        "history_length": world.config.history_length,
        "max_steps": world.config.max_steps,
        "source": {"kind": "simulator"},
        "config": world.config.to_dict(),
        "reward_names": list(world.reward_names),
        "injected": {},
        **manifest,
    }
    rows = {**played.columns, "session_id": np.repeat(np.arange(count), np.diff(offsets))}
    sessions = {"offsets": offsets, "profile": played.profile, "session_seed": session_seeds}
    sessions["episode_id"] = np.zeros(count, np.int64)
    columns = {"rows": rows, "sessions": sessions, "events": {}, "catalog": world.catalog.arrays()}
    for name, values in consumed_events(rows["slate"], rows["feedback"], offsets).items():
        folder, column = name.split("/")
        columns[folder][column] = values
    return LoggedDataset(Path("nowhere"), manifest, **columns)


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
RESTLESS = {"leave_hazard": LeaveHazardConfig(0.4), "retention": RetentionConfig(0.6, max_absence=3, max_sessions=4)}


@pytest.mark.parametrize(
    ("options", "keys"),
    [
        ({"num_candidates": 4}, {"candidates"}),
        ({"freshness": FreshnessConfig(250.0)}, {"available", "calendar"}),
        (RESTLESS, {"calendar"}),
        ({**RESTLESS, "freshness": FreshnessConfig(250.0)}, {"available", "calendar"}),
        (
            {**RESTLESS, "freshness": FreshnessConfig(4.0), "num_candidates": 8, "max_age": 7.0},
            {"candidates", "calendar"},
        ),
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


def test_before_and_after_at_once_are_those_of_each(small_world):
    options = {**RESTLESS, "freshness": FreshnessConfig(250.0), "num_candidates": 4}
    log = played_log(small_world(9, 2, **options), np.arange(20, dtype=np.uint64))
    builder, rows = ObservationBuilder(log), np.random.default_rng(0).permutation(log.num_rows)
    for both, each in zip(builder.observe_both(rows), (False, True), strict=True):
        alone = builder.observe(rows, after=each)
        assert both.keys() == alone.keys()
        for name, values in alone.items():
            np.testing.assert_array_equal(both[name], values)


@pytest.mark.parametrize("wrong", [-1, 40, -(2**40), 2**40])
def test_a_row_that_the_log_does_not_have_is_refused(small_world, wrong):
    log = played_log(small_world(4, 2), np.arange(10, dtype=np.uint64))
    builder = ObservationBuilder(dataclasses.replace(log, manifest={**log.manifest, "num_rows": 40}))
    assert len(builder.observe(np.array([39, 0]))["clock"]) == 2
    assert len(builder.observe(np.array([], np.int64), after=True)["clock"]) == 0
    with pytest.raises(InvalidInput, match=rf"^row {wrong} is outside \[0, 40\); choose rows of the log"):
        builder.observe(np.array([3, wrong, 7]))


@pytest.mark.parametrize("limit", [0, 1, 2, 5, 9])
def test_an_injected_limit_cuts_histories_and_nothing_else(small_world, limit):
    world = small_world(4, 3, history_length=5, max_steps=9, no_click_utility=-50.0, budget=1000.0)
    seeds = np.arange(4, dtype=np.uint64)
    whole = ObservationBuilder(played_log(world, seeds))
    cut = ObservationBuilder(played_log(world, seeds, injected={"history_limit": limit}))
    every_row = np.arange(4 * 9)
    for full, limited in zip(whole.observe_both(every_row), cut.observe_both(every_row), strict=True):
        assert (full["history_items"][8] >= 0).all()
        full["history_items"][:, : max(5 - limit, 0)] = -1
        full["history_feedback"][:, : max(5 - limit, 0)] = 0.0
        for name, values in full.items():
            np.testing.assert_array_equal(limited[name], values, err_msg=name)


@pytest.mark.parametrize("channels", [0, 1, 2])
def test_a_log_of_no_simulated_world_gives_what_it_has(small_world, channels):
    log = played_log(small_world(6, 2), np.arange(20, dtype=np.uint64))
    expected = ObservationBuilder(log).observe(np.arange(log.num_rows), after=True)
    foreign = dataclasses.replace(
        log,
        manifest={**log.manifest, "config": None},
        sessions={name: log.sessions[name] for name in ("offsets", "event_offsets")},
        events={**log.events, "feedback": log.events["feedback"][:, :channels].copy()},
        catalog={},
    )
    observation = ObservationBuilder(foreign).observe(np.arange(log.num_rows), after=True)
    assert observation.keys() == {"history_items", "history_feedback", "clock"}
    expected["history_feedback"] = expected["history_feedback"][:, :, :channels]
    for name, values in observation.items():
        assert values.dtype == expected[name].dtype
        np.testing.assert_array_equal(values, expected[name])


@pytest.mark.parametrize(
    ("folder", "name", "row", "value"),
    [
        ("rows", "session_id", 3, -1),
        ("rows", "session_id", 3, 2**40),
        ("rows", "session_id", 3, 1),
        ("rows", "consumed", 3, 2**30),
        ("rows", "consumed", 4, -1),
        ("sessions", "event_offsets", 0, -5),
        ("sessions", "offsets", 1, 2),
    ],
)
def test_columns_that_contradict_one_another_are_refused(small_world, folder, name, row, value):
    """As a flipped bit leaves them, in a log that nobody verified."""
    log = played_log(small_world(6, 2), np.arange(20, dtype=np.uint64))
    column = getattr(log, folder)[name].copy()
    column[row] = value
    damaged = dataclasses.replace(log, **{folder: {**getattr(log, folder), name: column}})
    assert log.offsets[1] > 4
    with pytest.raises(
        InvalidInput, match=r"^row [0-4] of nowhere lies in no session, or its history in no events; the"
    ):
        ObservationBuilder(damaged).observe(np.arange(5))


def test_memory_does_not_grow_with_the_log(small_world, tmp_path):
    """A log of ten million rows, most of them holes in a file: a byte for each would be ten times the bound."""
    log = played_log(small_world(4, 2), np.arange(10, dtype=np.uint64))
    count = 10**7
    rows = {name: np.memmap(tmp_path / name, "i8", "w+", shape=count) for name in ("session_id", "consumed")}
    sessions = {**log.sessions, "offsets": np.array([0, count]), "event_offsets": np.array([0, 0])}
    long = dataclasses.replace(log, manifest={**log.manifest, "num_rows": count}, rows=rows, sessions=sessions)
    ObservationBuilder(long).observe(np.zeros(4, np.int64))
    tracemalloc.start()
    try:
        ObservationBuilder(long).observe_both(np.random.default_rng(0).integers(count, size=1024))
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
