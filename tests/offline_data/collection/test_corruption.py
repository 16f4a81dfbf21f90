"""Injected corruption: as much of it as was asked, of what was asked and of nothing else, and recorded."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.corruption import Corruption
from recenv.dynamics.pieces.retention import RetentionConfig
from recenv.errors import InvalidInput
from recenv.random_streams import BEHAVIOR, derive_seeds, normals, uniforms

NUM_SESSIONS = 400


@pytest.fixture(scope="module")
def request_of(small_world):
    """A request with some corruption."""
    config = small_world(12, 3, retention=RetentionConfig(max_sessions=2, return_reward=1.0)).config

    def build(**corruption) -> LogRequest:
        return LogRequest(config, "expert", "slate", NUM_SESSIONS, 3, corruption=Corruption(**corruption))

    return build


@pytest.fixture(scope="module")
def sound(request_of, tmp_path_factory):
    return collect(tmp_path_factory.mktemp("sound") / "log", request_of())


def differing(sound, spoilt):
    """Return the columns in which two logs differ."""
    pairs = {
        f"{folder}/{name}": (values, getattr(spoilt, folder)[name])
        for folder in ("rows", "sessions", "events", "catalog")
        for name, values in getattr(sound, folder).items()
    }
    return {name for name, (a, b) in pairs.items() if a.tobytes() != b.tobytes()}


def test_reward_noise_has_its_spread_and_touches_rewards_alone(sound, request_of, tmp_path):
    spoilt = collect(tmp_path / "log", request_of(reward_noise=0.5))
    assert differing(sound, spoilt) == {"rows/reward_vector"}
    assert spoilt.manifest["injected"] == {"reward_noise": 0.5}
    noise = np.asarray(spoilt.rows["reward_vector"], np.float64) - sound.rows["reward_vector"]
    assert spoilt.manifest["reward_names"][-2:] == ["returned", "days_away"]
    own = noise[:, :-2].ravel()
    assert (noise[:, -2:] == 0.0).all()  # of them the calendar is rebuilt
    # Bounds of five standard errors: a false alarm in two million runs.
    assert abs(own.mean()) < 5 * 0.5 / np.sqrt(own.size)
    assert abs(own.std() / 0.5 - 1.0) < 5 / np.sqrt(2 * own.size)
    np.testing.assert_array_less(
        np.abs(np.corrcoef(noise[:, :-2].T) - np.eye(noise.shape[1] - 2)), 5 / len(noise) ** 0.5
    )


def test_noise_has_a_seed_of_its_own_and_not_the_behaviors(sound, request_of, tmp_path):
    """Drawn of the behavior's uniforms it would be a function of what was shown, and no noise."""
    log = collect(tmp_path / "log", request_of(reward_noise=0.5))
    noise = np.asarray(log.rows["reward_vector"], np.float64)[:, :-2] - sound.rows["reward_vector"][:, :-2]
    lengths, components = np.diff(log.sessions["offsets"]), noise.shape[1]
    steps, even = np.asarray(log.rows["step"]), components + components % 2

    def drawn(seeds: np.ndarray) -> np.ndarray:
        draws = uniforms(np.repeat(seeds, lengths), BEHAVIOR, np.zeros_like(steps), steps, even)
        return 0.5 * normals(draws)[:, :components]

    own = derive_seeds(3, "corruption", np.arange(NUM_SESSIONS))
    np.testing.assert_allclose(noise, drawn(own), atol=1e-5)
    for others in (log.sessions["behavior_seed"], log.sessions["session_seed"]):
        correlation = np.corrcoef(noise.ravel(), drawn(np.array(others)).ravel())[0, 1]
        assert abs(correlation) < 5 / np.sqrt(noise.size)


def test_label_flips_invert_clicks_of_shown_items_and_the_history_follows(sound, request_of, tmp_path):
    share = 0.2
    spoilt = collect(tmp_path / "log", request_of(label_flips=share))
    changed = {"rows/feedback", "rows/consumed", "sessions/event_offsets", "events/item", "events/feedback"}
    assert differing(sound, spoilt) == changed
    assert spoilt.manifest["injected"] == {"label_flips": share}
    before, after = (np.asarray(log.rows["feedback"]) for log in (sound, spoilt))
    flipped = before[:, :, 0] != after[:, :, 0]
    shown = np.asarray(sound.rows["shown"])
    assert not flipped[~shown].any()
    assert abs(flipped[shown].mean() - share) < 5 * np.sqrt(share * (1 - share) / shown.sum())
    assert (after[flipped][:, 1:] == 0.0).all()
    np.testing.assert_array_equal(after[~flipped], before[~flipped])
    assert (flipped & (before[:, :, 0] > 0)).any()
    assert (flipped & (before[:, :, 0] == 0)).any()
    row, position = np.nonzero(after[:, :, 0])
    np.testing.assert_array_equal(spoilt.events["item"], spoilt.rows["slate"][row, position])


@pytest.mark.parametrize(("share", "left"), [(0.3, "partial"), (1.0, "missing")])
def test_propensities_are_lost_by_session(sound, request_of, tmp_path, share, left):
    spoilt = collect(tmp_path / "log", request_of(missing_propensities=share))
    assert differing(sound, spoilt) == {"rows/behavior_log_prob", "rows/prefix_log_prob"}
    assert spoilt.propensities == left
    lost = np.isnan(spoilt.rows["behavior_log_prob"])
    np.testing.assert_array_equal(np.isnan(spoilt.rows["prefix_log_prob"]), np.repeat(lost[:, None], 3, axis=1))
    by_session = np.logical_and.reduceat(lost, spoilt.offsets[:-1])
    np.testing.assert_array_equal(np.repeat(by_session, np.diff(spoilt.offsets)), lost)
    assert abs(by_session.mean() - share) <= 5 * np.sqrt(share * (1 - share) / NUM_SESSIONS)
    for name in ("behavior_log_prob", "prefix_log_prob"):
        np.testing.assert_array_equal(spoilt.rows[name][~lost], sound.rows[name][~lost])


def test_a_history_limit_is_recorded_for_who_rebuilds_them(sound, request_of, tmp_path):
    spoilt = collect(tmp_path / "log", request_of(history_limit=0))
    assert differing(sound, spoilt) == set()
    assert spoilt.manifest["injected"] == {"history_limit": 0}


def test_each_kind_is_the_same_beside_the_others(request_of, tmp_path):
    both = collect(tmp_path / "both", request_of(reward_noise=0.5, label_flips=0.2, missing_propensities=0.3))
    for name, column in (("reward_noise", "reward_vector"), ("label_flips", "feedback")):
        alone = collect(tmp_path / name, request_of(**{name: {"reward_noise": 0.5, "label_flips": 0.2}[name]}))
        np.testing.assert_array_equal(alone.rows[column], both.rows[column])


def test_a_proto_log_has_no_prefix_to_lose(request_of, tmp_path):
    request = replace(request_of(missing_propensities=1.0), action_kind="proto", num_sessions=20)
    log = collect(tmp_path / "log", request)
    assert np.isnan(log.rows["behavior_log_prob"]).all()
    assert np.isfinite(log.rows["proto"]).all()


def test_another_corruption_is_another_request(request_of, tmp_path):
    collect(tmp_path / "log", request_of(reward_noise=0.5))
    with pytest.raises(InvalidInput, match=r"another request \(corruption\.reward_noise 0\.5 there, 0\.25 here\)"):
        collect(tmp_path / "log", request_of(reward_noise=0.25))


def test_a_request_with_a_corruption_survives_json(request_of):
    request = request_of(reward_noise=0.5, history_limit=3)
    assert LogRequest.from_dict(json.loads(json.dumps(request.to_dict()))) == request


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"label_flip": 0.1}, "unknown Corruption option 'label_flip'; did you mean 'label_flips'?"),
        (None, "corruption=None is not an object"),
        ({"label_flips": 2.0}, "label_flips=2.0 is outside"),
    ],
)
def test_a_corruption_that_is_none_is_refused(values, message):
    with pytest.raises(InvalidInput) as refusal:
        LogRequest.from_dict({"corruption": values})
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("reward_noise", -1.0),
        ("reward_noise", float("nan")),
        ("label_flips", 1.1),
        ("missing_propensities", -0.1),
        ("history_limit", -1),
        ("history_limit", 1.5),
    ],
)
def test_corruption_out_of_range_is_refused(name, value):
    with pytest.raises(InvalidInput, match=f"^{name}={value!r} is "):
        Corruption(**{name: value})
