"""Played sessions against Gymnasium's environment, step by step, and against themselves in other company."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.behavior.base import SessionView, make_behavior
from offline_data.collection.rollout import play_sessions
from offline_data.dial.quality import mixture_spec
from recenv import InvalidInput, RecSessionEnv
from recenv.dynamics.pieces.freshness import FreshnessConfig
from recenv.dynamics.pieces.leave_hazard import LeaveHazardConfig
from recenv.dynamics.pieces.retention import RetentionConfig
from recenv.engine.session_batch import SessionBatch
from recenv.random_streams import BEHAVIOR, uniforms

pytestmark = pytest.mark.kernels

CASES = [("uniform", "slate"), ("expert", "proto"), (mixture_spec(0.5, "clickbait", "session"), "slate")]
ROW_COLUMNS = {
    "step",
    "slate",
    "shown",
    "feedback",
    "reward_vector",
    "reward",
    "terminated",
    "truncated",
    "behavior_log_prob",
    "component",
}


@pytest.fixture(scope="module")
def world(small_world):
    """A time budget that some users use up and some do not."""
    return small_world(7, 3, budget=22.0)


def seeds(count):
    """Return session seeds that Gymnasium's reset takes too, and behavior seeds of all 64 bits."""
    rng = np.random.default_rng(0)
    return rng.integers(2**63, size=count, dtype=np.uint64), rng.integers(2**64, size=count, dtype=np.uint64)


@pytest.fixture(scope="module", params=CASES, ids=["uniform-slate", "expert-proto", "session-mixture-slate"])
def played(request, world):
    spec, kind = request.param
    policy = make_behavior(world, spec, kind)
    session_seeds, behavior_seeds = seeds(10)
    return policy, session_seeds, behavior_seeds, play_sessions(world, policy, session_seeds, behavior_seeds)


def test_columns_and_their_order(played):
    policy, _, _, rows = played
    own = "proto" if policy.action_kind == "proto" else "prefix_log_prob"
    assert rows.columns.keys() == ROW_COLUMNS | {own}
    assert rows.offsets[0] == 0
    assert rows.offsets.dtype == np.int64
    assert {len(values) for values in rows.columns.values()} == {rows.offsets[-1]}
    steps = np.concatenate([np.arange(length) for length in np.diff(rows.offsets)])
    np.testing.assert_array_equal(rows.columns["step"], steps)
    ended = rows.columns["terminated"] | rows.columns["truncated"]
    np.testing.assert_array_equal(np.flatnonzero(ended), rows.offsets[1:] - 1)
    assert not (rows.columns["terminated"] & rows.columns["truncated"]).any()
    assert rows.columns["terminated"].any()
    assert rows.columns["truncated"].any()


def test_a_session_does_not_depend_on_its_company(world, played):
    policy, session_seeds, behavior_seeds, rows = played
    for order in [*np.arange(10)[:, None], np.arange(10)[::-1], np.array([7, 2, 5])]:
        some = play_sessions(world, policy, session_seeds[order], behavior_seeds[order])
        assert some.profile.tobytes() == rows.profile[order].tobytes()
        for place, session in enumerate(order):
            here, there = (slice(*r.offsets[[i, i + 1]]) for r, i in ((some, place), (rows, session)))
            for name, values in rows.columns.items():
                assert some.columns[name].dtype == values.dtype
                assert some.columns[name][here].tobytes() == values[there].tobytes(), name


def test_it_equals_gymnasiums_environment_under_the_logged_slates(world, played):
    _, session_seeds, _, rows = played
    env = RecSessionEnv(world.config)
    columns = rows.columns
    for session, seed in enumerate(session_seeds):
        observation, _ = env.reset(seed=int(seed))
        np.testing.assert_array_equal(observation["profile"], rows.profile[session])
        for row in range(rows.offsets[session], rows.offsets[session + 1]):
            _, reward, terminated, truncated, info = env.step(columns["slate"][row])
            assert reward == columns["reward"][row]
            assert terminated == columns["terminated"][row]
            assert truncated == columns["truncated"][row]
            for name in ("feedback", "reward_vector", "shown"):
                np.testing.assert_array_equal(info[name], columns[name][row])


def test_the_actions_come_from_the_behavior_seeds_stream(world, played):
    """Replayed by hand: draws of (behavior seed, BEHAVIOR, episode 0, step), and the memory of the steps before."""
    policy, session_seeds, behavior_seeds, rows = played
    for session in range(3):
        batch, memory = SessionBatch(world, 1), np.zeros((1, policy.num_memory))
        batch.start(np.zeros(1, np.int64), session_seeds[[session]], np.zeros(1, np.uint64))
        for step, row in enumerate(range(rows.offsets[session], rows.offsets[session + 1])):
            address = behavior_seeds[[session]], BEHAVIOR, np.zeros(1), np.array([step])
            decision = policy.act(SessionView.of(batch), uniforms(*address, policy.num_draws), memory)
            assert decision.log_prob[0] == rows.columns["behavior_log_prob"][row]
            assert decision.component[0] == rows.columns["component"][row]
            own = "proto" if policy.action_kind == "proto" else "slate"
            np.testing.assert_array_equal(decision.action[0], rows.columns[own][row])
            if policy.action_kind == "slate":
                assert decision.prefix_log_prob is not None
                np.testing.assert_array_equal(decision.prefix_log_prob[0], rows.columns["prefix_log_prob"][row])
            batch.step(rows.columns["slate"][[row]])


def test_a_proto_shows_its_nearest_items(world):
    session_seeds, behavior_seeds = seeds(5)
    rows = play_sessions(world, make_behavior(world, "uniform", "proto"), session_seeds, behavior_seeds).columns
    closeness = rows["proto"].astype(np.float64) @ world.catalog.embeddings.T.astype(np.float64)
    np.testing.assert_array_equal(rows["slate"], np.argsort(-closeness, axis=1)[:, :3])


@pytest.mark.parametrize(
    "limit", [{"num_candidates": 4}, {"freshness": FreshnessConfig(200.0)}], ids=["candidates", "days"]
)
def test_a_proto_shows_its_nearest_items_of_those_offered(small_world, limit):
    world = small_world(7, 3, **limit)
    session_seeds, behavior_seeds = seeds(20)
    rows = play_sessions(world, make_behavior(world, "uniform", "proto"), session_seeds, behavior_seeds)
    assert rows.columns["shown"].all()
    closeness = rows.columns["proto"].astype(np.float64) @ world.catalog.embeddings.T.astype(np.float64)
    batch = SessionBatch(world, 20)
    batch.start(np.arange(20), session_seeds, np.zeros(20, np.uint64))
    first = rows.offsets[:-1]
    offered = SessionView.of(batch).offered(7)
    assert offered is not None
    assert not offered.all()
    expected = np.argsort(np.where(offered, -closeness[first], np.inf), axis=1)[:, :3]
    np.testing.assert_array_equal(rows.columns["slate"][first], expected)


def test_days_and_sessions_are_logged_where_the_world_has_them(small_world):
    world = small_world(7, 3, retention=RetentionConfig(0.6, max_sessions=3), leave_hazard=LeaveHazardConfig(0.4))
    rows = play_sessions(world, make_behavior(world, "uniform"), *seeds(40))
    assert rows.columns.keys() == ROW_COLUMNS | {"prefix_log_prob", "day", "session_number"}
    day, number = rows.columns["day"], rows.columns["session_number"]
    assert (day.dtype, number.dtype) == (np.float32, np.int32)
    returned, away = rows.columns["reward_vector"][:, -2:].T
    total = 0
    for start, stop in zip(rows.offsets, rows.offsets[1:], strict=False):
        assert (day[start], number[start]) == (0.0, 0)
        np.testing.assert_array_equal(np.diff(number[start:stop]), returned[start : stop - 1])
        np.testing.assert_array_equal(np.diff(day[start:stop]), (returned * away)[start : stop - 1])
        total += number[stop - 1]
    assert total > 20


def test_users_and_draws_have_seeds_of_their_own(world):
    policy = make_behavior(world, "uniform")
    session_seeds, behavior_seeds = seeds(4)
    rows = play_sessions(world, policy, session_seeds, behavior_seeds)
    other_draws = play_sessions(world, policy, session_seeds, behavior_seeds[::-1])
    np.testing.assert_array_equal(rows.profile, other_draws.profile)
    assert (rows.columns["slate"][rows.offsets[:-1]] != other_draws.columns["slate"][other_draws.offsets[:-1]]).any()
    other_users = play_sessions(world, policy, session_seeds[::-1], behavior_seeds)
    first = other_users.columns["slate"][other_users.offsets[:-1]]
    np.testing.assert_array_equal(rows.columns["slate"][rows.offsets[:-1]], first)
    assert (rows.profile != other_users.profile).any()


def test_session_returns_are_sums_of_rewards(played):
    rows = played[3]
    expected = [sum(rows.columns["reward"][a:b].tolist()) for a, b in zip(rows.offsets, rows.offsets[1:], strict=False)]
    assert len(expected) == 10
    assert max(expected) > 0
    np.testing.assert_allclose(rows.session_returns(), expected, rtol=1e-12)


def test_rewards_only_plays_the_same_sessions(world, played):
    policy, session_seeds, behavior_seeds, rows = played
    short = play_sessions(world, policy, session_seeds, behavior_seeds, rewards_only=True)
    assert short.columns.keys() == {"step", "reward"}
    np.testing.assert_array_equal(short.columns["reward"], rows.columns["reward"])
    np.testing.assert_array_equal(short.session_returns(), rows.session_returns())


def test_no_sessions_are_refused(small_world):
    world = small_world(7, 3)
    with pytest.raises(InvalidInput, match="session_seeds is empty"):
        play_sessions(world, make_behavior(world, "uniform"), np.empty(0, np.uint64), np.empty(0, np.uint64))
