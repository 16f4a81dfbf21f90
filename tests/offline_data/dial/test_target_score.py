"""The dial set by a target score: the search on plain functions, and logs whose own score really is the target."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.behavior.base import expert_spec
from offline_data.collection import collection
from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.corruption import Corruption
from offline_data.dial import named_datasets, target_score
from offline_data.dial.quality import Reference, mixture_spec, precise_reference
from offline_data.dial.target_score import TOLERANCE, at_fraction, at_target_score
from recenv.errors import InvalidInput
from recenv.families import USER_MODELS
from recenv.session_config import SessionConfig
from recenv.statistics import Interval
from recenv.world import make_world

NOISES = ("uniform", "popularity", "clickbait", "stale", "adversarial")


def nearest(curve, target, slack, guess, stride):
    return target_score._nearest(curve, target, lambda score: abs(score - target) <= slack, guess, stride)


# --- the search


class Curve:
    """A score by good fraction that counts its evaluations, and is asked for no fraction twice."""

    def __init__(self, function):
        self.function = function
        self.asked: list[float] = []

    def __call__(self, fraction):
        assert 0.0 <= fraction <= 1.0
        assert fraction == round(fraction, 6)
        assert fraction not in self.asked
        self.asked.append(fraction)
        return self.function(fraction)


@given(
    steepness=st.floats(-1.0, 4.0),
    share=st.floats(0.0, 1.0),
    guess=st.floats(0.0, 1.0),
    stride=st.sampled_from([0.02, 0.25]),
)
def test_search_finds_every_score_of_a_smooth_curve(steepness, share, guess, stride):
    """From any guess, in at most 60 evaluations; the slope is up to 16, or without a bound at zero."""
    curve = Curve(lambda fraction: fraction ** (2.0**steepness))
    fraction, score = nearest(curve, share, 0.005, guess, stride)
    assert score == fraction ** (2.0**steepness)
    assert abs(score - share) <= 0.005
    assert len(curve.asked) <= 60


def test_search_stops_at_the_first_score_that_will_do():
    curve = Curve(lambda fraction: 2.0 * fraction)
    assert nearest(curve, 0.98, 0.03, 0.5, 0.25) == (0.5, 1.0)
    assert curve.asked == [0.5]


@pytest.mark.parametrize(("target", "end"), [(1.3, 1.0), (-0.4, 0.0)])
def test_search_ends_at_an_end_of_the_dial(target, end):
    curve = Curve(lambda fraction: fraction)
    assert nearest(curve, target, 0.01, 0.5, 0.25) == (end, end)
    assert len(curve.asked) <= 4


@pytest.mark.parametrize("target", [0.3, 0.45])
def test_search_closes_in_on_a_jump_over_the_target(target):
    """The score jumps from 0 to 1 at a third: the nearest of the two, and the fractions close in on the jump."""
    curve = Curve(lambda fraction: float(fraction > 1 / 3))
    fraction, score = nearest(curve, target, 0.01, 0.7, 0.25)
    assert score == 0.0
    assert fraction < 1 / 3
    below = max(asked for asked in curve.asked if asked < 1 / 3)
    above = min(asked for asked in curve.asked if asked > 1 / 3)
    assert above - below == pytest.approx(1e-6)


def test_search_takes_a_curve_that_dips_first():
    """A little of the expert makes it worse than the noise alone; the way up still crosses the target."""
    curve = Curve(lambda fraction: fraction * (2.0 * fraction - 1.0))
    fraction, score = nearest(curve, 0.4, 0.005, 0.1, 0.25)
    assert abs(score - 0.4) <= 0.005
    assert fraction > 0.5


# --- small logs, on a scale that is given


@pytest.fixture
def given_scale(monkeypatch):
    """References that are given, not measured: near the truth in the world of `empty_request` against `adversarial`."""
    reference = Reference(Interval(20.0, 19.9, 20.1), Interval(9.0, 8.9, 9.1))
    monkeypatch.setattr(target_score, "precise_reference", lambda *arguments, **options: reference)
    return reference


@pytest.fixture
def empty_request(small_world):
    config = small_world(12, 3, no_click_utility=1.0, max_steps=12, budget=20.0).config
    return LogRequest(config, action_kind="slate", num_sessions=80, dataset_seed=9, group_size=2)


def own_score(dataset, reference):
    return reference.normalized_score(float(dataset.session_returns().mean()))


@pytest.mark.parametrize("sessions_per_range", [2048, 32])
@pytest.mark.parametrize(
    ("kind", "mixing"),
    [("slate", "step"), ("slate", "session"), ("slate", "position"), ("proto", "step"), ("proto", "session")],
)
def test_the_log_is_worth_the_target(
    given_scale, empty_request, tmp_path, monkeypatch, kind, mixing, sessions_per_range
):
    """By its own rewards, however the sessions are cut into ranges; what it was sought with is in the manifest."""
    monkeypatch.setattr(collection, "SESSIONS_PER_RANGE", sessions_per_range)
    request = replace(empty_request, action_kind=kind)
    ends = [
        own_score(collect(tmp_path / str(end), at_fraction(request, end, "adversarial", mixing=mixing)), given_scale)
        for end in (0.0, 1.0)
    ]
    target = round(float(np.mean(ends)), 2)
    found = at_target_score(request, target, "adversarial", mixing=mixing)
    dataset = collect(tmp_path / "log", found)
    half = given_scale.half_width(target)
    assert 0.0 < half < TOLERANCE
    assert abs(own_score(dataset, given_scale) - target) <= TOLERANCE - half
    quality = dataset.manifest["quality"]
    good_fraction = quality["good_fraction"]
    assert found.behavior == mixture_spec(good_fraction, "adversarial", mixing, expert="expert")
    assert quality == {
        "expert": {"name": "expert"},
        "noise": {"name": "adversarial"},
        "mixing": mixing,
        "good_fraction": good_fraction,
        "target_score": target,
        "expert_return": given_scale.expert_return.as_dict(),
        "noise_return": given_scale.noise_return.as_dict(),
    }
    assert Reference.of(quality) == given_scale


@pytest.mark.kernels
def test_the_same_request_gives_the_same_fraction(given_scale, empty_request):
    found = at_target_score(empty_request, 0.5, "adversarial")
    assert found == at_target_score(empty_request, 0.5, "adversarial")
    assert found != at_target_score(replace(empty_request, dataset_seed=10), 0.5, "adversarial")


def test_corrupted_rewards_are_what_is_counted(given_scale, empty_request, tmp_path):
    """Noise of a mean of its own at this size: the log as it is written has the target, not as it was played."""
    request = replace(empty_request, num_sessions=300, corruption=Corruption(reward_noise=8.0))
    found = at_target_score(request, 0.5, "adversarial")
    assert abs(own_score(collect(tmp_path / "log", found), given_scale) - 0.5) <= TOLERANCE
    played = replace(found, corruption=Corruption())
    assert abs(own_score(collect(tmp_path / "played", played), given_scale) - 0.5) > TOLERANCE


@pytest.mark.kernels
def test_progress_tells_every_session_that_is_played(given_scale, empty_request, monkeypatch):
    """Of the first part and of the whole, in ranges."""
    monkeypatch.setattr(collection, "SESSIONS_PER_RANGE", 30)
    told: list[int] = []
    at_target_score(empty_request, 0.5, "adversarial", progress=told.append)
    assert set(told) == {30, 20}
    assert told.count(20) < told.count(30) / 2


@pytest.mark.kernels
@pytest.mark.parametrize("target", [-0.6, 40.0])
def test_a_target_out_of_reach_is_refused_with_the_range(given_scale, empty_request, tmp_path, target):
    low, high = (
        own_score(collect(tmp_path / str(end), at_fraction(empty_request, end, "adversarial")), given_scale)
        for end in (0.0, 1.0)
    )
    with pytest.raises(InvalidInput) as refusal:
        at_target_score(empty_request, target, "adversarial")
    assert f"target_score={target} is out of reach: this log of 80 sessions scores {low:.3f} to {high:.3f}" in str(
        refusal.value
    )
    assert "choose a target in that range, or log more sessions" in str(refusal.value)


@pytest.mark.kernels
def test_a_target_that_too_few_sessions_jump_over_is_refused(given_scale, empty_request, tmp_path):
    """A session of one step is the expert's or the noise's, and nothing between."""
    config = empty_request.config.override(max_steps=1, no_click_utility=-1.0)
    request = replace(empty_request, config=config, num_sessions=1, group_size=1)
    low, high = (
        own_score(collect(tmp_path / str(end), at_fraction(request, end, "adversarial")), given_scale)
        for end in (0.0, 1.0)
    )
    assert high - low > 4 * TOLERANCE
    with pytest.raises(InvalidInput, match=r"log of 1 sessions scores .* at the nearest good_fraction, .*log more"):
        at_target_score(request, (low + high) / 2, "adversarial")


@pytest.mark.parametrize("target", [math.nan, math.inf, "0.5", None])
def test_a_target_that_is_no_number_is_refused(empty_request, target):
    with pytest.raises(InvalidInput, match=r"target_score=.* is not a finite number"):
        at_target_score(empty_request, target, "adversarial")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": "clickbat"}, "did you mean 'clickbait'"),
        ({"noise": "uniform", "expert": "exprt"}, "did you mean 'expert'"),
        ({"noise": "uniform", "mixing": "stp"}, "did you mean 'step'"),
    ],
)
def test_an_unknown_name_is_refused_before_a_session_is_played(empty_request, monkeypatch, options, message):
    monkeypatch.setattr(target_score, "precise_reference", None)
    for dial in (at_target_score, at_fraction):
        with pytest.raises(InvalidInput, match=message):
            dial(empty_request, 0.5, **options)


@pytest.mark.kernels
def test_dial_at_a_fraction_has_its_references(given_scale, empty_request):
    """The expert is that of the world's user model, or the one that is given."""
    boredom = replace(empty_request, config=empty_request.config.override(user_model="boredom_cascade"))
    found = at_fraction(boredom, 0.25, {"name": "clickbait", "temperature": 0.5}, mixing="session")
    assert found.behavior == mixture_spec(
        0.25, {"name": "clickbait", "temperature": 0.5}, "session", expert="diversified"
    )
    assert found.quality is not None
    assert found.quality["expert"] == {"name": "diversified"} == expert_spec(boredom.config)
    assert found.quality["target_score"] is None
    other = at_fraction(boredom, 0.25, "clickbait", expert="greedy")
    assert other.quality is not None
    assert other.quality["expert"] == {"name": "greedy"}
    with pytest.raises(InvalidInput, match=r"good_fraction=1\.5 is outside"):
        at_fraction(boredom, 1.5, "clickbait")


# --- on a scale that is measured

WORLDS = {
    "interest_evolution": {"num_items": 60, "slate_size": 5},
    "boredom_cascade": {"num_items": 60, "slate_size": 5},
    "interest_exploration": {"num_items": 60, "slate_size": 8},
    # Calmer minutes than by default: fewer sessions say as much.
    "long_term_satisfaction": {"num_items": 200, "engagement_scale": 0.3},
    "multi_behavior": {"num_items": 200, "slate_size": 5},
}
# The belief of the default world's expert takes most of the time.
EXPERTS = {"interest_exploration": {"name": "belief", "optimism": 1.0, "num_particles": 32}}
MIXINGS = (("slate", "step"), ("slate", "session"), ("slate", "position"), ("proto", "step"), ("proto", "session"))
# A Latin square: every world with every noise, and each of the two with every kind of action and of mixing.
CASES = [
    (user_model, noise, *MIXINGS[(row + column) % len(MIXINGS)])
    for row, user_model in enumerate(WORLDS)
    for column, noise in enumerate(NOISES)
]
WORLDS["embedding_bandit"] = {"num_items": 200}
CASES += [("embedding_bandit", "uniform", "proto", "step"), ("embedding_bandit", "popularity", "slate", "session")]


def test_every_noise_is_there():
    assert set(WORLDS) == set(USER_MODELS.registered())
    assert set(NOISES) == set(named_datasets.NOISES)


@pytest.mark.slow
@pytest.mark.parametrize(("user_model", "noise", "kind", "mixing"), CASES)
def test_every_world_and_noise_gives_logs_of_the_target(tmp_path, user_model, noise, kind, mixing):
    """The score's whole interval lies within 0.02 of the target; a fresh reference finds the same scale.

    False-alarm rate of the second below 1e-6 a case: five standard deviations.
    """
    config = SessionConfig().override(user_model=user_model, **WORLDS[user_model])
    request = LogRequest(config, action_kind=kind, num_sessions=400, dataset_seed=3)
    expert = EXPERTS.get(user_model)
    dataset = collect(tmp_path / "log", at_target_score(request, 0.35, noise, mixing=mixing, expert=expert))
    earned = float(dataset.session_returns().mean())
    score = Reference.of(dataset.manifest["quality"]).normalized_score_interval(earned)
    assert 0.33 <= score.low < score.high <= 0.37
    assert 0.0 < score.half_width <= TOLERANCE / 2
    fresh = precise_reference(make_world(config), noise, kind, expert=expert, seed=1).normalized_score_interval(earned)
    assert fresh.mean != score.mean
    assert abs(fresh.mean - score.mean) <= 5.0 * math.hypot(score.half_width, fresh.half_width) / 1.96


@pytest.mark.slow
def test_the_claim_holds_at_its_confidence():
    """A hundred logs, each sought with references of its own, on the true scale, of 800,000 users.

    It is within 0.02 of the target, and each score's interval covers the true score. At a confidence of exactly 95 %,
    more than 15 misses of either have a chance below 1e-4.
    """
    config = SessionConfig().override(num_items=30, slate_size=3, max_steps=8, embedding_dim=6)
    world = make_world(config)
    truth = precise_reference(world, "adversarial", "proto", precision=0.001, seed=10_000)
    missed, uncovered = 0, 0
    for seed in range(100):
        request = LogRequest(config, action_kind="proto", num_sessions=200, dataset_seed=seed)
        found = at_target_score(request, 0.5, "adversarial", seed=seed)
        columns = collection.play_range(world, found.policy(world), found, range(200))
        earned = float((columns["rows/reward_vector"].astype(np.float64) @ world.reward_weights).sum()) / 200
        assert found.quality is not None
        interval = Reference.of(found.quality).normalized_score_interval(earned)
        true_score = truth.normalized_score(earned)
        missed += abs(true_score - 0.5) > TOLERANCE
        uncovered += not interval.low <= true_score <= interval.high
    assert missed <= 15
    assert uncovered <= 15
