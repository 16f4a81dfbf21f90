"""Fits of logs from known worlds: what they recover, how often their intervals cover it, and what they refuse."""

from __future__ import annotations

import dataclasses
import json

import gymnasium
import numpy as np
import pytest
from scipy.optimize import minimize

import recenv  # noqa: F401  (registers the environment)
from offline_data.collection.collection import LogRequest, collect
from offline_data.fitting.user_fit import PARAMETERS, fit_user_model, holdout, parameters_of
from recenv.dynamics.choice_models.multinomial_logit import MultinomialLogit
from recenv.errors import InvalidInput
from recenv.families import USER_MODELS
from recenv.session_config import SessionConfig
from tests.reference.user_fit_reference import click_log_likelihood

EXACT = {
    "num_items": 60, "embedding_dim": 4, "num_topics": 5, "slate_size": 4, "max_steps": 25, "history_length": 3,
    "profile_noise": 0.0, "interest_step": 0.0, "time_budget": None, "hazard": 0.04, "satiation_weight": 3.0,
}  # fmt: skip
WORLDS = {
    "multinomial_logit": {"no_click_utility": 1.0, "position_decay": 0.8, "satiation_retention": 0.7},
    "position_based": {
        "choice": {"name": "position_based", "relevance_slope": 1.5, "relevance_midpoint": 0.8, "position_decay": 0.75},
        "affinity_weight": 1.2,
        "satiation_retention": 0.5,
    },
    "exponential_cascade": {
        "choice": {"name": "exponential_cascade", "attention": 0.2, "position_decay": 0.85},
        "appeal_weight": 0.6,
        "satiation_retention": 0.6,
    },
}
every_world = pytest.mark.parametrize("name", WORLDS)


@pytest.fixture(scope="module")
def logged(tmp_path_factory):
    """A log of sessions under the uniform policy."""

    def build(seed: int = 0, num_sessions: int = 200, **options):
        config = SessionConfig().override(**options)
        request = LogRequest(config, "uniform", "slate", num_sessions, seed)
        return collect(tmp_path_factory.mktemp("fit") / "log", request)

    return build


@pytest.fixture(scope="module")
def fits(logged):
    """Twenty fits of each world, each to 300 sessions of its own."""
    made = {}

    def build(name: str):
        if name not in made:
            made[name] = [fit_user_model(logged(seed, 300, **EXACT, **WORLDS[name]), seed=seed) for seed in range(20)]
        return made[name]

    return build


@every_world
def test_intervals_cover_the_truth(fits, name):
    """A parameter's interval misses in 20 independent logs as Binomial(20, 0.05): more than 6 times with 3.3e-5.

    Over the 10 parameters of 3 worlds a right program fails with 0.1 %. Estimates 4.5 standard errors off are refused
    besides: 7e-6 each, 0.4 % over all 600.
    """
    misses = dict.fromkeys(fits(name)[0].estimates, 0)
    for fit in fits(name):
        for parameter, estimate in fit.estimates.items():
            misses[parameter] += not estimate.covers(estimate.logged)
            if estimate.standard_error:
                assert abs(estimate.value - estimate.logged) < 4.5 * estimate.standard_error, parameter
        assert fit.approximations == ()
        assert fit.exact
    assert len(misses) == 10
    assert max(misses.values()) <= 6, misses


def test_intervals_are_not_too_wide(fits):
    """Of 600 intervals about 30 should miss, with correlations at most a standard deviation of 12 or so."""
    missed = sum(not e.covers(e.logged) for name in WORLDS for fit in fits(name) for e in fit.estimates.values())
    assert 5 <= missed <= 65


@every_world
def test_standard_errors_are_the_spread_of_the_estimates(fits, name):
    """A ratio of variances of 20 draws leaves (0.25, 2.56) with 6e-4, one of these 9 with 0.5 %."""
    for parameter in ("affinity_weight", "appeal_weight", "satiation_weight"):
        estimates = [fit.estimates[parameter] for fit in fits(name)]
        spread = np.std([e.value for e in estimates], ddof=1)
        claimed = np.mean([e.standard_error for e in estimates])
        assert 0.5 < spread / claimed < 1.6, (parameter, spread, claimed)


@every_world
def test_optimum_is_that_of_a_plain_optimiser(logged, name):
    log = logged(3, 25, **EXACT, **WORLDS[name])
    fit = fit_user_model(log, seed=1)
    train = np.flatnonzero(~holdout(log, 0.2, 1))
    sessions = []
    for s in train:
        rows = range(log.offsets[s], log.offsets[s + 1])
        steps = [
            (log.rows["slate"][i].tolist(), np.flatnonzero(log.rows["feedback"][i, :, 0]).tolist(), False) for i in rows
        ]
        sessions.append((log.sessions["profile"][s].tolist(), steps))
    embeddings, appeal = log.catalog["embeddings"].tolist(), log.catalog["appeal"].tolist()

    def lost(point):
        value = -click_log_likelihood(name, point, sessions, embeddings, appeal)
        return value if np.isfinite(value) else 1e9

    bounds = [(None, None)] * 4 + [(-10.0, 0.0), (0.0, 0.999)]
    found = parameters_of(fit.config)
    # From the fit, and from elsewhere: neither wins anything.
    for start in (found, parameters_of(log.config)):
        other = minimize(lost, start, method="L-BFGS-B", bounds=bounds)
        assert lost(found) <= other.fun + 1e-3
    assert (np.abs(found - other.x) < 0.05 * (1.0 + np.abs(found))).all()
    assert lost(found) == pytest.approx(-fit.training["log_likelihood"] * fit.training["num_steps"], rel=1e-9)


def test_fitted_config_is_one_to_simulate_with(fits, logged):
    fit = fits("position_based")[0]
    plain = json.loads(json.dumps(fit.as_dict(), allow_nan=False))
    config = SessionConfig.from_json(json.dumps(plain["config"]))
    assert config == fit.config
    assert getattr(gymnasium.make("RecSession-v0", config=plain["config"]).unwrapped, "config") == config  # noqa: B009
    for name, section in (("affinity_weight", config.user_model), ("position_decay", config.choice)):
        assert getattr(section, name) == fit.estimates[name].value
    assert config.leave_hazard is not None
    assert config.leave_hazard.hazard == fit.estimates["hazard"].value
    assert config.satiation is not None
    assert config.satiation.satiation_retention == fit.estimates["satiation_retention"].value
    assert config.choice.relevance_slope == 1.5
    # What is not fitted is the log's own.
    assert config.catalog == SessionConfig().override(**EXACT).catalog
    # The fit of a log of the fitted world finds the fitted world.
    log = logged(99, 300, **{name: getattr(config, name) for name in ("user_model", "choice", "satiation")}, **{
        k: v for k, v in EXACT.items() if k not in ("satiation_weight", "interest_step")
    })  # fmt: skip
    again = fit_user_model(log).estimates["affinity_weight"]
    assert abs(again.value - config.user_model.affinity_weight) < 4.5 * (again.standard_error or 0.0)


@every_world
def test_held_out_judgement(fits, name):
    fit = fits(name)[0]
    held_out = fit.held_out
    assert held_out.gain.low > 0.0
    assert "is better than a constant click rate" in held_out.as_dict()["verdict"]
    assert held_out.gain.mean == pytest.approx(held_out.log_likelihood - held_out.baseline)
    # Overfitting costs about P / 2 nats in all: the truth is no better than that, beyond 4 standard errors.
    spread = (held_out.gain_on_logged.high - held_out.gain_on_logged.low) / 3.92
    assert abs(held_out.gain_on_logged.mean) < 4.0 * spread + 10.0 / held_out.num_steps
    assert held_out.reliability.calibration_error < 2.0 * held_out.reliability.chance_error
    assert sum(b.count for b in held_out.reliability.bins) == 4 * held_out.num_steps
    assert held_out.num_steps + fit.training["num_steps"] > 1000


def test_split_is_by_user_and_seed(logged, tmp_path):
    config = SessionConfig().override(**EXACT)
    log = collect(tmp_path / "log", LogRequest(config, "uniform", "slate", 400, 0, group_size=4))
    drawn = holdout(log, 0.3, 0)
    assert (drawn.reshape(100, 4) == drawn.reshape(100, 4)[:, :1]).all()
    assert 10 < drawn[::4].sum() < 50
    np.testing.assert_array_equal(drawn, holdout(log, 0.3, 0))
    assert (drawn != holdout(log, 0.3, 1)).any()
    assert fit_user_model(log, seed=2).as_dict() == fit_user_model(log, seed=2).as_dict()


def test_drift_and_noise_are_named_and_the_mean_path_predicts_better(logged):
    log = logged(0, 2000, num_items=60, embedding_dim=4, slate_size=4, max_steps=25, profile_noise=0.2)
    static, path = (fit_user_model(log, interest=interest) for interest in ("profile", "mean_path"))
    assert [line.split("=")[0] for line in path.approximations] == ["profile_noise", "interest_step"]
    assert "its mean path" in path.approximations[1]
    assert path.as_dict()["exact"] is False
    assert "its beginning" in static.approximations[1]
    assert path.training["log_likelihood"] > static.training["log_likelihood"]
    # Attenuated, as the docstring says.
    affinity = static.estimates["affinity_weight"]
    assert affinity.high is not None
    assert affinity.high < log.config.user_model.affinity_weight
    # Leaving is the time budget's, which stays.
    assert path.config.time_budget == log.config.time_budget
    assert path.config.leave_hazard is None
    assert path.estimates["leave_rate"].logged is None
    assert any("leave_rate" in note for note in path.notes)


SMALL = {"num_items": 60, "embedding_dim": 4, "num_topics": 5, "slate_size": 4, "max_steps": 25, "profile_noise": 0.0}


def named(fit) -> list[str]:
    return [line.split("=")[0].split(":")[0] for line in fit.approximations]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"user_model": "boredom_cascade"}, ["boredom_penalty", "weariness", "influence"]),
        ({"user_model": "boredom_cascade", "boredom_penalty": 0.0, "weariness": 0.0, "influence": 0.0}, []),
        ({"user_model": "long_term_satisfaction"}, []),
        (
            {"user_model": "long_term_satisfaction", "satisfaction_weight": 1.0, "leave_hazard": {"hazard": 0.1}},
            ["satisfaction moves utilities unseen", "hazard_relief"],
        ),
        ({"user_model": "multi_behavior"}, ["interest_step", "slate_correlation", "retention"]),
        (
            {"user_model": "multi_behavior", "interest_step": 0.0, "slate_correlation": 0.0, "retention": None},
            [],
        ),
        (
            {"user_model": "interest_exploration", "no_click_utility": 2.0},
            ["the profile is cut to [-1, 1], and interests go beyond", "quality_weight"],
        ),
        (
            {"interest_step": 0.0, "freshness": {"horizon": 5.0}},
            ["freshness moves utilities by a day that the log does not hold"],
        ),
    ],
)
def test_what_moves_clicks_outside_the_likelihood_is_named(logged, options, expected):
    fit = fit_user_model(logged(0, 150, **{**SMALL, **options}))
    assert named(fit) == expected
    written = fit.as_dict()
    assert written["exact"] is fit.exact is (not expected)
    assert written["approximations"] == list(fit.approximations)


def test_a_model_that_the_fit_does_not_know_is_not_called_exact(logged, monkeypatch):
    monkeypatch.setattr(USER_MODELS.get("interest_evolution"), "beyond_fit", None)
    (line,) = fit_user_model(logged(0, 100, **EXACT)).approximations
    assert line == "InterestEvolution does not say what moves its clicks beyond_fit: something may be left out"


def test_a_choice_model_without_a_likelihood_is_refused(logged, monkeypatch):
    log = logged(0, 100, **EXACT)
    monkeypatch.setattr(type(log.config.choice), "click_constant", None)
    with pytest.raises(InvalidInput, match="has no likelihood that fit knows; fit a log of one that names its click_c"):
        fit_user_model(log)


class Shy(MultinomialLogit):
    """An heir that clicks nothing: no likelihood of its parent's is its own."""

    def choose(self, utilities, draws, clicked) -> None:
        clicked[:] = -1


def test_an_heir_of_a_choice_model_is_not_fitted_as_its_parent(logged):
    with pytest.raises(InvalidInput, match=r"choice=Shy\(.* has no likelihood that fit knows"):
        fit_user_model(logged(0, 100, **EXACT, choice=f"{__name__}:Shy"))


def test_a_profile_of_noise_is_no_better_than_a_constant_rate(logged):
    log = logged(0, 200, user_model="interest_exploration", max_steps=20)
    held_out = fit_user_model(log).held_out
    assert held_out.gain.low <= 0.0
    assert held_out.as_dict()["verdict"] == (
        "the fitted model is no better than a constant click rate on held-out steps"
    )


def test_what_the_log_does_not_tell_is_held(logged):
    options = {**EXACT, "slate_size": 1, "clickbait": 1.0, "quality_scale": 0.0, "quality_noise": 0.0, "hazard": 1e-9}
    log = logged(0, 200, **options, position_decay=0.5)
    fit = fit_user_model(log)
    # One position tells no decay; no quality, no appeal and no like_quality.
    for name in ("position_decay", "appeal_weight", "match_quality"):
        assert fit.estimates[name].low is None, name
        assert fit.estimates[name].value == fit.estimates[name].logged
        assert any(note.startswith(name) for note in fit.notes)
    assert fit.estimates["affinity_weight"].covers(log.config.user_model.affinity_weight)
    # Nobody left: the piece is off, and the interval begins at zero.
    assert fit.config.leave_hazard is None
    assert fit.estimates["hazard"].low == 0.0
    assert (fit.estimates["hazard"].high or 0.0) > 0.0


def test_hazard_counts_a_truncated_session_as_steps_without_leaving(logged):
    log = logged(0, 200, **EXACT)
    fit = fit_user_model(log, holdout_fraction=0.5, seed=4)
    train = ~holdout(log, 0.5, 4)
    ended = np.add.reduceat(np.asarray(log.rows["terminated"], np.int64), log.offsets[:-1])[train]
    assert 0 < ended.sum() < train.sum()
    assert fit.estimates["hazard"].value == pytest.approx(ended.sum() / np.diff(log.offsets)[train].sum())


def test_satiation_off_is_left_off(logged):
    options = {name: value for name, value in EXACT.items() if name != "satiation_weight"}
    log = logged(0, 200, **options, satiation=None)
    fit = fit_user_model(log)
    assert fit.config.satiation is None
    assert not {"satiation_weight", "satiation_retention"} & set(fit.estimates)
    assert fit.estimates["affinity_weight"].covers(log.config.user_model.affinity_weight)


def test_parameters_of_a_config():
    config = SessionConfig().override(**EXACT, **WORLDS["position_based"])
    expected = [1.5 * 1.2, 1.5 * 1.0, 1.5 * 3.0, -1.5 * 0.8, np.log(0.75), 0.5]
    np.testing.assert_allclose(parameters_of(config), expected)
    assert len(PARAMETERS) == len(expected)


def test_refusals(logged):
    log = logged(0, 20, **EXACT)
    with pytest.raises(InvalidInput, match="leaves 0 of 20 sessions"):
        fit_user_model(log, holdout_fraction=1e-9)
    with pytest.raises(InvalidInput, match=r"holdout_fraction=1\.0 is outside"):
        fit_user_model(log, holdout_fraction=1.0)
    with pytest.raises(InvalidInput, match="did you mean 'profile'"):
        fit_user_model(log, interest="profil")  # type: ignore[arg-type]
    silent = dataclasses.replace(
        log,
        rows={
            name: np.zeros_like(log.rows[name]) if name in ("feedback", "consumed") else log.rows[name]
            for name in log.rows
        },
        sessions={**log.sessions, "event_offsets": np.zeros_like(log.sessions["event_offsets"])},
        events={name: values[:0] for name, values in log.events.items()},
    )
    with pytest.raises(InvalidInput, match="0 clicks in"):
        fit_user_model(silent)
