"""Normalised score, its references and intervals, and returns that do not depend on how they are batched."""

from __future__ import annotations

import math

import numpy as np
import pytest

from offline_data import quality
from offline_data.behavior import make_behavior
from offline_data.quality import Interval, Reference, evaluate_returns, reference_returns
from offline_data.rollout import play_sessions
from recenv.errors import InvalidInput
from recenv.random_streams import derive_seeds

pytestmark = pytest.mark.kernels


def exactly(value):
    return Interval(value, value, value)


def test_interval_of_known_samples():
    """Mean 3, standard deviation sqrt(10 / 3) over four: half a width of 1.96 sqrt(10 / 12)."""
    interval = Interval.of(np.array([1.0, 2.0, 4.0, 5.0]))
    half = 1.96 * math.sqrt(10.0 / 12.0)
    assert interval.mean == 3.0
    assert interval.low == pytest.approx(3.0 - half)
    assert interval.high == pytest.approx(3.0 + half)
    assert interval.as_dict() == {"mean": interval.mean, "low": interval.low, "high": interval.high}
    assert f"{interval}" == "3.00 [1.21, 4.79]"
    assert f"{interval:.1f}" == "3.0 [1.2, 4.8]"


def test_interval_of_one_sample_has_no_width():
    assert Interval.of(np.array([2.5])) == exactly(2.5)


def test_interval_covers_the_mean_at_its_rate():
    """2000 samples of 50 uniforms; false-alarm rate below 1e-4: fewer than 1835 or more than 1940 intervals cover.

    That is 2e-5 at a true coverage of 0.940 and 1e-5 at 0.950 (binomial); the normal interval's lies between.
    """
    samples = np.random.default_rng(0).random((2000, 50))
    intervals = [Interval.of(row) for row in samples]
    assert 1835 <= sum(interval.low <= 0.5 <= interval.high for interval in intervals) <= 1940


def test_score_is_zero_at_the_noise_and_one_at_the_expert():
    reference = Reference(expert_return=exactly(12.0), noise_return=exactly(-4.0))
    assert reference.normalized_score(-4.0) == 0.0
    assert reference.normalized_score(12.0) == 1.0
    assert reference.normalized_score(0.0) == 0.25
    assert reference.normalized_score(-20.0) == -1.0


@pytest.mark.parametrize("expert", [3.0, 2.9, float("nan")])
def test_an_expert_no_better_than_the_noise_is_refused(expert):
    with pytest.raises(InvalidInput, match=r"expert's return .* does not exceed the noise's 3\.000 .*choose another"):
        Reference(expert_return=exactly(expert), noise_return=exactly(3.0))


def test_references_are_means_over_the_same_users(small_world):
    world = small_world(12, 3)
    reference = reference_returns(world, "clickbait", "slate", num_sessions=300, seed=4)
    for name, interval in (("expert", reference.expert_return), ("clickbait", reference.noise_return)):
        returns = evaluate_returns(world, make_behavior(world, name), 300, 4, "reference")
        assert interval == Interval.of(returns)
        assert reference.normalized_score(float(returns.mean())) == pytest.approx(float(name == "expert"))


def test_noise_that_is_the_expert_is_refused(small_world):
    with pytest.raises(InvalidInput, match="a normalised score has no meaning here"):
        reference_returns(small_world(12, 3), "expert", "slate", num_sessions=50)


def test_an_unknown_noise_is_refused(small_world):
    with pytest.raises(InvalidInput, match="unknown behavior policy 'clickbat'; did you mean 'clickbait'"):
        reference_returns(small_world(12, 3), "clickbat", "slate", num_sessions=5)


def test_returns_are_those_of_the_sessions_of_their_seeds(small_world):
    world = small_world(12, 3)
    policy = make_behavior(world, "expert", "proto")
    returns = evaluate_returns(world, policy, 30, 4, "test")
    assert returns.dtype == np.float64
    assert len(set(returns.tolist())) > 1
    seeds = (derive_seeds(4, f"test {who}", np.arange(30)) for who in ("users", "luck"))
    np.testing.assert_array_equal(returns, play_sessions(world, policy, *seeds).session_returns())
    np.testing.assert_array_equal(returns, evaluate_returns(world, policy, 30, 4, "test"))
    assert (returns != evaluate_returns(world, policy, 30, 5, "test")).any()
    assert (returns != evaluate_returns(world, policy, 30, 4, "training")).any()


@pytest.mark.parametrize("sessions_per_batch", [1, 7, 30])
def test_returns_do_not_depend_on_the_batches(small_world, monkeypatch, sessions_per_batch):
    world = small_world(12, 3)
    policy = make_behavior(world, "uniform")
    whole = evaluate_returns(world, policy, 30, 0, "test")
    monkeypatch.setattr(quality, "SESSIONS_PER_BATCH", sessions_per_batch)
    np.testing.assert_array_equal(evaluate_returns(world, policy, 30, 0, "test"), whole)
    np.testing.assert_array_equal(evaluate_returns(world, policy, 10, 0, "test"), whole[:10])


def test_no_session_is_refused(small_world):
    world = small_world(12, 3)
    with pytest.raises(InvalidInput, match="num_sessions=0 is outside"):
        evaluate_returns(world, make_behavior(world, "uniform"), 0, 0, "test")
