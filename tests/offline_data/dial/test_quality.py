"""Normalised score, its references and intervals, and returns that do not depend on how they are batched."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from offline_data.behavior.base import ACTION_KINDS, WORLD_EXPERT, expert_spec, make_behavior, pinned_spec
from offline_data.behavior.mixture import MixturePolicy
from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.rollout import play_sessions
from offline_data.dial import quality
from offline_data.dial.named_datasets import NOISES
from offline_data.dial.quality import (
    Reference,
    evaluate_returns,
    mixture_spec,
    precise_reference,
    reference_returns,
)
from offline_data.dial.target_score import at_fraction, at_target_score
from offline_data.families import BEHAVIORS
from recenv.errors import InvalidInput
from recenv.families import USER_MODELS
from recenv.random_streams import derive_seeds
from recenv.session_config import SessionConfig
from recenv.statistics import Interval
from recenv.world import make_world
from tests.strategies.worlds import small_worlds

pytestmark = pytest.mark.kernels

WITH_ORACLES = [name for name in USER_MODELS.registered() if USER_MODELS.get(name).far_sighted_oracles]


def exactly(value):
    return Interval(value, value, value)


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


def test_references_take_any_expert_and_noise():
    """By name or spec, of the world's user model where none is given; progress tells every session of both."""
    world = make_world(small_worlds()["boredom_cascade"])
    told: list[int] = []
    reference = reference_returns(world, "adversarial", "slate", num_sessions=50, progress=told.append)
    assert told == [50, 50]
    spelled = reference_returns(
        world, {"name": "adversarial"}, "slate", expert={"name": "diversified"}, num_sessions=50
    )
    assert reference == spelled
    other = reference_returns(world, "adversarial", "slate", expert="greedy", num_sessions=50)
    assert other.noise_return == reference.noise_return
    assert other.expert_return != reference.expert_return


def test_a_references_width_is_that_of_its_two_ends():
    """At 0 the noise's own, at 1 the expert's; between, and beyond, both in their shares."""
    reference = Reference(Interval(12.0, 11.0, 13.0), Interval(2.0, 1.8, 2.2))
    assert reference.half_width(0.0) == pytest.approx(0.02)
    assert reference.half_width(1.0) == pytest.approx(0.1)
    assert reference.half_width(0.25) == pytest.approx(0.04)
    assert reference.half_width(-0.5) == pytest.approx(0.08)
    assert reference.half_width(2.0) == pytest.approx(0.22)
    score = reference.normalized_score_interval(4.5)
    assert score.mean == 0.25
    assert score.half_width == pytest.approx(0.04)
    facts = {"expert_return": reference.expert_return.as_dict(), "noise_return": reference.noise_return.as_dict()}
    assert Reference.of({**facts, "good_fraction": 0.1}) == reference


@pytest.mark.parametrize("correlation", [-1.0, 0.0, 0.9, 1.0])
@pytest.mark.parametrize("score", [0.0, 0.4, 1.0, 1.3])
def test_a_scores_interval_covers_the_true_score_however_the_references_are_correlated(score, correlation):
    """2000 references of 400 users each; expert and noise are normal with means 10 and 4 and deviations 3 and 2.

    At a true coverage of 0.945 fewer than 1840 have a chance of 3e-6 (binomial). Where only one reference counts, or
    both move alike, the interval is no wider than it must be: at 0.96 more than 1960 have a chance of 3e-6.
    """
    rng = np.random.default_rng(0)
    users = rng.standard_normal((2, 2000, 400))
    expert = 10.0 + 3.0 * users[0]
    noise = 4.0 + 2.0 * (correlation * users[0] + math.sqrt(1.0 - correlation**2) * users[1])
    covered = 0
    for good, bad in zip(expert, noise, strict=True):
        interval = Reference(Interval.of(good), Interval.of(bad)).normalized_score_interval(4.0 + 6.0 * score)
        covered += interval.low <= score <= interval.high
    assert covered >= 1840
    if score in (0.0, 1.0) or (correlation == 1.0 and 0.0 < score < 1.0):
        assert covered <= 1960


@pytest.mark.parametrize("score", [0.0, 0.4, 1.0])
def test_the_interval_of_an_estimated_score_covers_the_true_one(score):
    """2000 evaluations of 400 users, deviation 5, beside references of as many others as above.

    At a true coverage of 0.945 fewer than 1840 have a chance of 3e-6 (binomial); the evaluation's own draws alone would
    make it some 0.85 at a score of 1.
    """
    rng = np.random.default_rng(1)
    users = rng.standard_normal((3, 2000, 400))
    covered = 0
    for good, bad, own in zip(10.0 + 3.0 * users[0], 4.0 + 2.0 * users[1], users[2], strict=True):
        value = Interval.of(4.0 + 6.0 * score + 5.0 * own)
        interval = Reference(Interval.of(good), Interval.of(bad)).estimated_normalized_score(value)
        covered += interval.low <= score <= interval.high
    assert covered >= 1840


def test_a_precise_reference_is_as_precise_as_it_is_asked_to_be(small_world, monkeypatch):
    """From as many users as that takes, and not many more; of the same users as any other reference."""
    monkeypatch.setattr(quality, "SESSIONS_PER_BATCH", 64)
    world = small_world(12, 3)
    told: list[int] = []
    reference = precise_reference(
        world, "adversarial", "slate", expert="greedy", precision=0.12, seed=3, progress=told.append
    )
    assert 0.08 < max(reference.half_width(0.0), reference.half_width(1.0)) <= 0.12
    count = (sum(told) - 2 * 64) // 2
    assert count > 64
    assert reference == reference_returns(world, "adversarial", "slate", expert="greedy", num_sessions=count, seed=3)
    rough = precise_reference(world, "adversarial", "slate", precision=0.9)
    assert rough == reference_returns(world, "adversarial", "slate", num_sessions=64)


def test_references_too_close_to_tell_apart_are_refused(small_world, monkeypatch):
    monkeypatch.setattr(quality, "SESSIONS_PER_BATCH", 64)
    monkeypatch.setattr(quality, "MAX_REFERENCE_SESSIONS", 5000)
    with pytest.raises(InvalidInput, match=r"too close to the noise's .* would take [\d,]+ sessions; choose another"):
        precise_reference(small_world(12, 3), "adversarial", "slate", precision=0.001)


def test_the_precision_is_above_zero(small_world):
    with pytest.raises(InvalidInput, match=r"precision=0\.0 is outside \(0\.0, 1\.0\]"):
        precise_reference(small_world(12, 3), "adversarial", "slate", precision=0.0)


def test_dial_is_a_mixture_of_expert_and_noise():
    assert mixture_spec(0.25, "clickbait") == {
        "name": "mixture",
        "components": [{"name": "world_expert"}, {"name": "clickbait"}],
        "weights": [0.25, 0.75],
        "mixing": "step",
    }
    spec = mixture_spec(0.5, {"name": "stale", "temperature": 0.1}, "session", expert="diversified", proto_scale=0.3)
    assert spec["components"] == [
        {"name": "diversified", "proto_scale": 0.3},
        {"name": "stale", "temperature": 0.1, "proto_scale": 0.3},
    ]
    assert spec["mixing"] == "session"
    assert mixture_spec(0.5, "uniform", expert="greedy")["components"][0] == {"name": "greedy"}


def test_noise_may_be_a_mixture_of_several():
    noise = {"name": "mixture", "components": ["popularity", {"name": "stale", "drift": 1.0}], "weights": [0.75, 0.25]}
    spec = mixture_spec(0.2, noise)
    assert [part["name"] for part in spec["components"]] == [WORLD_EXPERT, "popularity", "stale"]
    assert spec["components"][2]["drift"] == 1.0
    np.testing.assert_allclose(spec["weights"], [0.2, 0.6, 0.2])
    with pytest.raises(InvalidInput, match="mixture with mixing='step', and the dial has mixing='session'; give both"):
        mixture_spec(0.2, noise, "session")
    assert mixture_spec(0.2, {**noise, "mixing": "session"}, "session")["mixing"] == "session"


def test_a_spread_is_for_those_who_have_one(small_world):
    """Uniform proto-actions have no scale to set: the judge log of uniform noise could not be asked for."""
    spec = mixture_spec(0.5, "uniform", "session", proto_scale=0.3)
    assert spec["components"] == [{"name": WORLD_EXPERT, "proto_scale": 0.3}, {"name": "uniform"}]
    assert make_behavior(small_world(12, 3), spec, "proto").action_kind == "proto"


@pytest.mark.parametrize("noise", ["clickbait", "stale", {"name": "adversarial", "utility_weight": -2.0}])
def test_noise_that_a_world_does_not_define_is_refused_wherever_it_is_asked_for(tmp_path, noise):
    config = SessionConfig().override(user_model="embedding_bandit", num_items=30)
    world, request = make_world(config), LogRequest(config, action_kind="proto", num_sessions=4)
    for ask in (
        lambda: make_behavior(world, noise, "proto"),
        lambda: make_behavior(world, mixture_spec(0.5, noise), "proto"),
        lambda: reference_returns(world, noise, "proto", num_sessions=10),
        lambda: at_fraction(request, 0.5, noise),
        lambda: at_target_score(request, 0.5, noise),
        lambda: collect(tmp_path / "log", replace(request, behavior=noise)),
        lambda: collect(tmp_path / "log", replace(request, behavior=mixture_spec(0.5, noise))),
        lambda: make_behavior(world, {"name": "epsilon_greedy", "base": noise}, "proto"),
    ):
        with pytest.raises(
            InvalidInput, match=r"is not defined for the user model 'embedding_bandit': .*; choose uniform"
        ):
            ask()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("user_model", WITH_ORACLES)
def test_the_dials_expert_is_that_of_whichever_world_it_acts_in(user_model):
    """Nobody who makes a spec knows the world yet: a dial that named the default world's expert is wrong in others."""
    world = make_world(SessionConfig().override(user_model=user_model, num_items=30))
    own = USER_MODELS.get(user_model).expert
    assert own is not None
    for given in (WORLD_EXPERT, {"name": WORLD_EXPERT}):
        policy = make_behavior(world, mixture_spec(1.0, "clickbait", expert=given))
        assert isinstance(policy, MixturePolicy)
        assert policy.components[0].config == make_behavior(world, own).config
        assert make_behavior(world, given).config == make_behavior(world, own).config
    altered = make_behavior(world, {"name": WORLD_EXPERT, "temperature": 3.5})
    assert altered.config == replace(make_behavior(world, own).config, temperature=3.5)
    told = pinned_spec(world.config, {"name": "epsilon_greedy", "base": WORLD_EXPERT, "epsilon": 0.25})
    assert told == {"name": "epsilon_greedy", "base": dict(own), "epsilon": 0.25}


def test_a_log_of_the_dial_is_that_of_the_worlds_own_expert_and_says_so(tmp_path):
    config = SessionConfig().override(user_model="boredom_cascade", num_items=30, slate_size=3)
    log = collect(tmp_path / "log", LogRequest(config, mixture_spec(0.5, "clickbait"), "proto", 6))
    spec = mixture_spec(0.5, "clickbait", expert="diversified")
    told = collect(tmp_path / "told", LogRequest(config, spec, "proto", 6))
    behavior = log.manifest["source"]["request"]["behavior"]
    assert behavior["components"] == [{"name": "diversified"}, {"name": "clickbait"}]
    assert log.manifest == told.manifest
    assert collect(tmp_path / "log", LogRequest(config, mixture_spec(0.5, "clickbait"), "proto", 6)).num_sessions == 6


def test_a_world_whose_user_model_names_no_expert_asks_for_one(monkeypatch):
    world = make_world(SessionConfig().override(user_model="boredom_cascade", num_items=30))
    monkeypatch.setattr(type(world.user_model), "expert", None)
    for refused in (
        lambda: make_behavior(world, mixture_spec(0.5, "clickbait")),
        lambda: reference_returns(world, "clickbait", "proto", num_sessions=2),
        lambda: expert_spec(world.config),
    ):
        with pytest.raises(InvalidInput, match=r"BoredomCascade names no expert, .*say which it is \(`expert=`"):
            refused()
    assert make_behavior(world, mixture_spec(0.5, "clickbait", expert="expert"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ACTION_KINDS)
@pytest.mark.parametrize("user_model", USER_MODELS.registered())
def test_experts_of_the_default_worlds_exceed_every_noise(user_model, kind):
    """By so much that scores between them mean something: more than a third of what the expert earns.

    300 users each; the gaps are 30 standard errors and more.
    """
    world = make_world(SessionConfig().override(user_model=user_model))
    defined = [noise for noise in NOISES if noise not in world.user_model.undefined_behaviors]
    expert, *noises = (
        evaluate_returns(world, make_behavior(world, spec, kind), 300, 0, "test").mean()
        for spec in (expert_spec(world.config), *defined)
    )
    assert max(noises) < 2 / 3 * expert


@pytest.mark.parametrize("user_model", WITH_ORACLES)
def test_expert_is_the_far_sighted_oracle_of_its_own_world(user_model):
    """It is of the family that the myopic gap is measured on."""
    world = make_world(SessionConfig().override(user_model=user_model))
    spec = expert_spec(world.config)
    assert spec["name"] in BEHAVIORS.registered()
    assert spec["name"] == USER_MODELS.get(user_model).far_sighted_oracles[0]["name"]
    assert expert_spec(world.config) is not spec


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
