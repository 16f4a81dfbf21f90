from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from agents.nn.session_space import SessionSpace
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.store.dataset import LoggedDataset
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world

NO_CANDIDATES = {"freshness": {"horizon": 120.0}}


def observe(world: Any, count: int = 4) -> dict[str, np.ndarray]:
    sessions = SessionBatch(world, count)
    sessions.start(np.arange(count), np.arange(count).astype(np.uint64), np.zeros(count, np.uint64))
    return sessions.observe()


@pytest.mark.parametrize(
    ("options", "calendar", "offer"),
    [
        ({}, False, None),
        ({"num_candidates": 9}, False, "candidates"),
        (NO_CANDIDATES, False, "available"),
        ({**NO_CANDIDATES, "num_candidates": 9}, False, "candidates"),
        ({"retention": {"max_sessions": 3}}, True, None),
        ({**NO_CANDIDATES, "retention": {"max_sessions": 3}}, True, "available"),
    ],
)
def test_space_of_a_world_is_what_its_sessions_show(config, options, calendar, offer):
    world = make_world(config.override(**options))
    space = SessionSpace.of_world(world)
    assert space.has_calendar == world.pieces.has_calendar
    assert space.has_calendar or not calendar
    assert (space.offer, space.has_profile, space.session) == (offer, True, world.config)
    assert (space.num_items, space.embedding_dim, space.slate_size, space.history_length) == (50, 4, 3, 5)
    np.testing.assert_array_equal(space.embeddings, world.catalog.embeddings)
    assert space.popularity.sum() == pytest.approx(1.0)
    observation = observe(world)
    assert set(space.observed) <= set(observation)
    # What an observation has and no policy reads is what another one says already.
    assert set(observation) - set(space.observed) <= {"available"}
    batch: Any = space.batch(observation)
    assert batch.batch_size == (4,)
    assert set(batch["observation"].keys()) == set(space.observed)
    for name in space.observed:
        np.testing.assert_array_equal(batch["observation", name].numpy(), observation[name])


def test_space_of_a_simulated_log_is_its_worlds(log, world):
    space, expected = SessionSpace.of_log(log), SessionSpace.of_world(world)
    for field in dataclasses.fields(SessionSpace):
        np.testing.assert_array_equal(getattr(space, field.name), getattr(expected, field.name))


def imported(path: Any, **catalog: np.ndarray) -> LoggedDataset:
    """Two users' steps of up to two of four items."""
    items, steps = np.array([0, 1, 2, 1, 1, 3]), np.array([0, 0, 1, 2, 0, 1])
    source = path.with_name("source")
    source.touch()
    log = Interactions(
        files=[(source, 6)],
        user=Ids.of(np.array([0, 0, 0, 0, 1, 1])),
        item=Ids(items, np.arange(4)),
        feedback={"click": np.zeros(6), "like": np.zeros(6), "watch": np.zeros(6)},
        step=steps,
        position=np.array([0, 1, 0, 0, 0, 0]),
        catalog=catalog,
    )
    return import_interactions(path, log, "test", options=ImportOptions(history_length=7))


@pytest.mark.parametrize("rows_at_once", [1, 2, 1000])
def test_space_of_an_imported_log(tmp_path, monkeypatch, rows_at_once):
    monkeypatch.setattr("agents.nn.session_space._ROWS_AT_ONCE", rows_at_once)
    embeddings = np.arange(12, dtype=np.float64).reshape(4, 3)
    log = imported(tmp_path / "log", embeddings=embeddings)
    assert (np.asarray(log.rows["slate"])[1:] == [[2, 2], [1, 1], [1, 1], [3, 3]]).all()
    space = SessionSpace.of_log(log)
    np.testing.assert_array_equal(space.embeddings, embeddings)
    assert space.embeddings.dtype == space.popularity.dtype == np.float32
    # Shown 1, 3, 1 and 1 times, and once more each; what fills up a short slate was not shown.
    np.testing.assert_allclose(space.popularity, np.array([2, 4, 2, 2]) / 10, rtol=1e-6)
    assert (space.history_length, space.num_channels, space.slate_size) == (7, 2, 2)
    assert (space.has_profile, space.has_calendar, space.offer, space.session) == (False, False, None, None)
    assert space.observed == ("history_items", "history_feedback", "clock")


def test_a_log_is_counted_in_blocks(tmp_path, monkeypatch):
    log = imported(tmp_path / "log", embeddings=np.zeros((4, 3)))
    sizes = []

    class Column:
        def __getitem__(self, rows):
            sizes.append(rows.stop - rows.start)
            return log.rows["slate"][rows]

        shape = log.rows["slate"].shape

    monkeypatch.setattr("agents.nn.session_space._ROWS_AT_ONCE", 2)
    watched = dataclasses.replace(log, rows={**log.rows, "slate": Column()})
    watched.require_sound()
    sizes.clear()
    SessionSpace.of_log(watched)
    assert sizes == [2, 2, 2]


# --- batches


@pytest.fixture
def space(world) -> SessionSpace:
    return SessionSpace.of_world(world)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"clock": None},
            "the observation has no 'clock'; the policy reads profile, history_items, history_feedback, ",
        ),
        ({"profile": np.zeros((4, 5))}, r"observation 'profile' has shape \(4, 5\); the policy reads \(4, 4\)"),
        ({"profile": np.zeros(4)}, r"observation 'profile' has shape \(4,\); the policy reads \(4, 4\)"),
        ({"history_items": np.zeros(4, int)}, r"observation 'history_items' has shape \(4,\); .* \(4, any\)"),
        ({"history_items": np.zeros((3, 5), int)}, r"observation 'history_items' has shape \(3, 5\); .* \(4, any\)"),
        (
            {"history_items": np.zeros((4, 2), int)},
            r"observation 'history_feedback' has shape \(4, 5, 2\); .* \(4, 2, 2\)",
        ),
        ({"history_feedback": np.zeros((4, 5, 9))}, r"observation 'history_feedback' has shape \(4, 5, 9\)"),
        ({"clock": np.zeros((4, 3))}, r"observation 'clock' has shape \(4, 3\); the policy reads \(4, 2\)"),
        ({"profile": np.float32(0.0)}, r"observation 'profile' has shape \(\); the policy reads \(1, 4\)"),
    ],
)
def test_batch_refuses_another_shape(world, space, changes, message):
    observation = {name: values for name, values in {**observe(world), **changes}.items() if values is not None}
    with pytest.raises(InvalidInput, match=message):
        space.batch(observation)


def test_batch_refuses_no_observation_at_all(space):
    with pytest.raises(InvalidInput, match="the observation has no 'profile'"):
        space.batch({})


def test_batch_refuses_another_offer(space):
    offered = dataclasses.replace(space, offer="available", has_profile=False, has_calendar=True)
    entries = {
        "history_items": np.zeros((2, 0), int),
        "history_feedback": np.zeros((2, 0, 2)),
        "clock": np.zeros((2, 2)),
    }
    entries |= {"calendar": np.zeros((2, 2)), "available": np.zeros((2, 49), np.int8)}
    with pytest.raises(InvalidInput, match=r"observation 'available' has shape \(2, 49\); the policy reads \(2, 50\)"):
        offered.batch(entries)
    entries["available"] = np.zeros((2, 50), np.int8)
    assert set(offered.batch(entries)["observation"].keys()) == set(offered.observed)
    with pytest.raises(InvalidInput, match=r"'calendar' has shape \(2, 1\)"):
        offered.batch({**entries, "calendar": np.zeros((2, 1))})
    with pytest.raises(InvalidInput, match=r"'candidates' has shape \(2,\); the policy reads \(2, any\)"):
        dataclasses.replace(offered, offer="candidates").batch({**entries, "candidates": np.zeros(2)})


def test_batch_takes_another_length_of_history_and_leaves_out_what_is_not_read(world, space):
    observation = observe(world) | {"history_items": np.zeros((4, 9), np.int32), "more": np.zeros(7)}
    observation["history_feedback"] = np.zeros((4, 9, space.num_channels), np.float32)[:, ::-1]
    batch = space.batch(observation)
    assert batch["observation", "history_items"].shape == (4, 9)
    assert "more" not in batch["observation"].keys()  # noqa: SIM118
    assert batch["observation", "history_items"].dtype == torch.int32


# --- fits


def test_the_same_space_fits(world, space):
    space.require_like(SessionSpace.of_world(world), "policy p", "log l", slate_size=True)


@pytest.mark.parametrize(
    ("changes", "own", "theirs"),
    [
        ({"history_length": 6}, "history_length=5", "6"),
        ({"num_channels": 4}, "num_channels=2", "4"),
        ({"has_profile": False}, r"observed=\('profile', 'history_items', .*\)", r"\('history_items', .*\)"),
        ({"offer": "available"}, r"observed=\(.*'clock'\)", r"\(.*, 'available'\)"),
        ({"has_calendar": True}, r"observed=\(.*'clock'\)", r"\(.*, 'calendar'\)"),
        ({"embeddings": np.zeros((49, 4), np.float32)}, "num_items=50", "49"),
        ({"embeddings": np.zeros((50, 5), np.float32)}, "embedding_dim=4", "5"),
        ({"session": None}, "user_model='interest_evolution'", "'none, an imported log'"),
        (
            {"session": SessionConfig().override(user_model="boredom_cascade")},
            "user_model='int.*'",
            "'boredom_cascade'",
        ),
    ],
)
def test_another_space_is_refused_by_what_differs(space, changes, own, theirs):
    other = dataclasses.replace(space, **changes)
    message = (
        f"^policy p was made for {own}, and log l has {theirs}; use a log and a world of the policy's own, or train a "
        "policy on these$"
    )
    with pytest.raises(InvalidInput, match=message):
        space.require_like(other, "policy p", "log l")


def test_other_items_are_refused(space):
    embeddings = space.embeddings.copy()
    embeddings[7, 2] += 1e-6
    with pytest.raises(InvalidInput, match=r"^policy p was made for other items than those of log l; train"):
        space.require_like(dataclasses.replace(space, embeddings=embeddings), "policy p", "log l")


def test_size_of_the_slate_counts_where_it_is_asked_for(space):
    other = dataclasses.replace(space, slate_size=4)
    space.require_like(other, "policy p", "log l")
    with pytest.raises(InvalidInput, match="policy p was made for slate_size=3, and log l has 4; use"):
        space.require_like(other, "policy p", "log l", slate_size=True)


def test_popularity_and_what_no_policy_reads_may_differ(space):
    changed = space.session.override(num_candidates=None, no_click_utility=0.0)
    other = dataclasses.replace(space, popularity=space.popularity[::-1].copy(), session=changed)
    space.require_like(other, "policy p", "log l", slate_size=True)


@pytest.mark.parametrize(
    ("name", "wrong"), [("history_items", 50), ("history_items", -2), ("candidates", 50), ("candidates", 0.5)]
)
def test_batch_refuses_an_id_that_no_item_has(config, name, wrong):
    offering = make_world(config.override(num_candidates=9))
    observation = observe(offering)
    space = SessionSpace.of_world(offering)
    space.batch(observation)
    values = observation[name].astype(np.float64 if wrong == 0.5 else np.int64)
    values[1, 2] = wrong
    with pytest.raises(InvalidInput, match=rf"observation '{name}' has dtype .* item ids are integers in \[0, 49\]"):
        space.batch({**observation, name: values})


def test_batch_refuses_a_step_that_shows_a_part_of_the_items(world, space):
    for name, values in (("candidates", np.zeros((4, 5), np.int32)), ("available", np.ones((4, 50), np.int8))):
        with pytest.raises(InvalidInput, match=f"has {name}: the step shows a part of the items"):
            space.batch({**observe(world), name: values})


def test_another_share_of_time_is_refused_and_how_to_import_the_log_said(space):
    for session, remedy in ((space.session, "set max_steps=8"), (None, "import the log with --max-steps 8")):
        mine = dataclasses.replace(space, session=session)
        with pytest.raises(
            InvalidInput, match=f"^policy p was made for max_steps=8, and log l has 7; {remedy}, or train a policy"
        ):
            mine.require_like(dataclasses.replace(mine, max_steps=7), "policy p", "log l")


@pytest.mark.parametrize("wrong", [-0.5, 3.0, np.nan])
def test_batch_refuses_a_clock_that_counts_otherwise(world, space, wrong):
    observation = observe(world)
    observation["clock"][1, 1] = wrong
    with pytest.raises(InvalidInput, match=r"'clock' holds .*; it is steps and consumed .* policy's max_steps=8, and"):
        space.batch(observation)


@pytest.mark.parametrize("name", ["profile", "history_feedback"])
def test_batch_refuses_what_is_no_number(world, space, name):
    observation = observe(world)
    observation[name][-1] = np.nan
    with pytest.raises(InvalidInput, match=f"observation '{name}' holds a number that is not finite"):
        space.batch(observation)
