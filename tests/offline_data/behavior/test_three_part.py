"""Three parts are the mixture of the world's expert, a suboptimal mode and uniform, in DRPO's shares."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.behavior.base import SessionView, make_behavior
from offline_data.behavior.three_part import SCENARIOS, ThreePartConfig, noise_of
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world

BANDIT = SessionConfig().override(user_model="embedding_bandit", num_items=40)


def test_the_papers_shares():
    assert ThreePartConfig().weights == (0.1, 0.6, 0.3)
    assert ThreePartConfig(shares="extreme").weights == (0.05, 0.05, 0.9)


@pytest.mark.parametrize("kind", ["slate", "proto"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_log_has_exact_propensities_and_labels_in_the_shares(tmp_path, scenario, kind):
    """The log-probability is that of three behaviors weighed by hand; labels deviate by 5 standard errors at most."""
    request = LogRequest(BANDIT, {"name": "three_part", "shares": scenario}, kind, num_sessions=2000)
    log = collect(tmp_path / "log", request)
    shares = np.array(SCENARIOS[scenario])
    labels = log.open_latent_labels()
    counts = np.bincount(labels, minlength=3) / 2000
    assert (np.abs(counts - shares) < 5 * np.sqrt(shares * (1 - shares) / 2000)).all()
    world = make_world(BANDIT)
    action = np.array(log.rows["proto" if kind == "proto" else "slate"])
    # A session is one step, and its profile the user.
    observation = {"profile": np.array(log.sessions["profile"])}
    view = SessionView(observation, {"interest": observation["profile"]}, np.zeros(2000, np.uint64))
    parts = [make_behavior(world, spec, kind) for spec in ("expert", "exposure", "uniform")]
    parts[0] = make_behavior(world, "world_expert", kind)
    densities = [np.exp(part.log_prob(view, action, np.zeros((2000, 0)))[0]) for part in parts]
    expected = np.log(np.tensordot(shares, densities, axes=1))
    np.testing.assert_allclose(log.rows["behavior_log_prob"], expected, rtol=1e-6)


@pytest.mark.parametrize("mixing", ["step", "session", "position"])
def test_it_is_the_dial_with_two_noises(mixing):
    """The quality dial says the same: its noise may be a mixture."""
    world = make_world(BANDIT.override(slate_size=3))
    good, noise = noise_of(SCENARIOS["medium"])
    dial = make_behavior(world, mixture_spec(good, {**noise, "mixing": mixing}, mixing))
    ours = make_behavior(world, {"name": "three_part", "mixing": mixing})
    np.testing.assert_allclose(dial.config.weights, ours.config.weights, rtol=1e-12)  # type: ignore[attr-defined]
    assert [type(part) for part in dial.components] == [type(part) for part in ours.components]  # type: ignore[attr-defined]
    assert dial.config.mixing == ours.config.mixing == mixing  # type: ignore[attr-defined]


def test_another_suboptimal_mode():
    world = make_world(SessionConfig())
    policy = make_behavior(world, {"name": "three_part", "suboptimal": "stale", "shares": [0.5, 0.25, 0.25]})
    assert type(policy.components[1]).__name__ == "StalePolicy"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"shares": "mediun"}, "unknown shares 'mediun'; did you mean 'medium'.* or give three numbers"),
        ({"shares": [0.5, 0.5]}, r"shares=\[0.5, 0.5\] are not three; give those of expert, suboptimal and uniform"),
        ({"shares": 0.1}, "shares=0.1 are not three"),
        ({"shares": [0.5, 0.6, 0.1]}, "sum to 1.2.*; they must sum to 1"),
        ({"shares": [-0.5, 1.4, 0.1]}, "mixture weight=-0.5 is outside"),
        ({"mixing": "steps"}, "unknown mixing 'steps'"),
        ({"suboptimal": "clickbait"}, "clickbait is not defined for the user model 'embedding_bandit'"),
    ],
)
def test_what_cannot_be_is_refused(options, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        make_behavior(make_world(BANDIT), {"name": "three_part", **options})
