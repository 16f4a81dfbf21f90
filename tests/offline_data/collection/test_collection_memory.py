"""However little memory is given, the bytes are the same; what does not fit is said in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offline_data.collection import collection, rollout
from offline_data.collection.collection import LogRequest, RangeWriter, collect
from offline_data.collection.rollout import TooManyRows, play_rewards, play_sessions
from offline_data.dial.target_score import at_target_score
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput
from recenv.random_streams import derive_seeds
from recenv.session_config import SessionConfig
from recenv.world import make_world

ROOT = Path(__file__).parents[3]
GIB = 1 << 30

pytestmark = pytest.mark.usefixtures("small_ranges")


@pytest.mark.parametrize("row_bytes", [1500, 5000, 20_000])
@pytest.mark.parametrize("flight_bytes", [1, rollout.FLIGHT_BYTES])
@pytest.mark.parametrize("pieces", [2, rollout._PIECES])
def test_neither_changes_a_byte(
    small_request, compared_bytes, expected, tmp_path, monkeypatch, row_bytes, flight_bytes, pieces
):
    monkeypatch.setattr(rollout, "ROW_BYTES", row_bytes)
    monkeypatch.setattr(rollout, "FLIGHT_BYTES", flight_bytes)
    monkeypatch.setattr(rollout, "_PIECES", pieces)
    collect(tmp_path / "log", small_request)
    assert compared_bytes(tmp_path / "log") == expected


def test_halves_that_are_there_are_not_played_again(small_request, compared_bytes, expected, tmp_path, monkeypatch):
    """A stop in the middle of a range that does not fit leaves the parts that were done; whole ranges serve, too."""
    partial = tmp_path / "log.partial"
    partial.mkdir()
    writer = RangeWriter(partial, small_request)
    whole, split, *_ = writer.request.ranges()
    writer.write(whole)
    monkeypatch.setattr(rollout, "ROW_BYTES", 2000)
    writer.write(range(split.start, split.start + len(split) // 2))
    assert not writer.is_done(split)
    played: list[int] = []

    def count(*arguments):
        played.append(len(arguments[2]))
        return play_sessions(*arguments)

    monkeypatch.setattr(collection, "play_sessions", count)
    writer.write(whole)
    assert played == []
    writer.write(split)
    assert played[0] == len(split)
    assert sum(played[1:]) < 4 * len(split)
    assert writer.is_done(split)
    collect(tmp_path / "log", small_request)
    assert compared_bytes(tmp_path / "log") == expected


def test_a_session_that_does_not_fit_is_refused(small_request, tmp_path, monkeypatch):
    monkeypatch.setattr(rollout, "ROW_BYTES", 100)
    sentence = r"a session has more than 0 steps of \d+ bytes, and these do not fit into memory; lower max_steps=6"
    with pytest.raises(InvalidInput, match=sentence):
        collect(tmp_path / "log", small_request)
    assert not (tmp_path / "log").exists()


def test_what_sessions_earn_is_the_same_in_halves(small_request, monkeypatch):
    world = make_world(small_request.config)
    policy = small_request.policy(world)
    seeds = derive_seeds(3, "users", np.arange(50)), derive_seeds(3, "luck", np.arange(50))
    whole = play_sessions(world, policy, *seeds, rewards_only=True)
    monkeypatch.setattr(rollout, "ROW_BYTES", 400)
    with pytest.raises(TooManyRows):
        play_sessions(world, policy, *seeds, rewards_only=True)
    rewards = play_rewards(world, policy, *seeds)
    np.testing.assert_array_equal(rewards.total, whole.session_returns())
    np.testing.assert_array_equal(rewards.first, whole.columns["reward"][whole.offsets[:-1]])


def test_the_dial_is_set_alike(small_request, monkeypatch):
    request = replace(small_request, num_sessions=300)
    dial = at_target_score(request, 0.4, "clickbait")
    monkeypatch.setattr(rollout, "ROW_BYTES", 10_000)
    again = at_target_score(request, 0.4, "clickbait")
    assert again.behavior == dial.behavior


def test_fewer_sessions_are_in_flight_where_one_takes_more():
    def count(**options) -> int:
        world = make_world(SessionConfig().override(**options))
        return rollout._sessions_at_once(world, LogRequest().policy(world))

    assert count() == rollout.SESSIONS_AT_ONCE
    assert count(num_items=100_000) < 64
    assert count(history_length=4096) < 500
    assert 1 <= count(embedding_dim=4096, num_items=50) < 500


MEASURE = """
import json, resource, sys
from offline_data import LogRequest, collect
from recenv import SessionConfig

config = SessionConfig().override(**json.loads(sys.argv[2]))
log = collect(sys.argv[1], LogRequest(config, behavior=json.loads(sys.argv[4]), num_sessions=int(sys.argv[3])))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("options", "num_sessions", "behavior"),
    [
        ({"time_budget": None, "max_steps": 2000, "slate_size": 100}, 300, "uniform"),
        ({"time_budget": None, "max_steps": 30_000}, 40, "popularity"),
        ({"slate_size": 1024, "num_items": 2000}, 1500, "expert"),
        ({"history_length": 4096, "embedding_dim": 512}, 4096, "expert"),
        ({"num_items": 300_000}, 100, "expert"),
        ({"num_items": 200_000, "num_candidates": 50_000}, 64, "uniform"),
        ({"num_items": 200_000, "freshness": True}, 64, "uniform"),
    ],
)
def test_no_request_takes_more_than_a_gibibyte(tmp_path, options, num_sessions, behavior):
    words = [sys.executable, "-c", MEASURE, tmp_path / "log", json.dumps(options), num_sessions, json.dumps(behavior)]
    done = subprocess.run(list(map(str, words)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < GIB
    assert LoggedDataset.open(tmp_path / "log").num_sessions == num_sessions
