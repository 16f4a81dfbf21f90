"""What is compared: defaults, and what is refused."""

from __future__ import annotations

import math

import pytest

from agents.objectives.awr import AwrConfig
from agents.objectives.robust_filter import RobustFilterConfig
from recenv.errors import InvalidInput
from recsession.experiments.comparison import Comparison, Method


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("good_fraction", 0.0),
        ("good_fraction", 1.5),
        ("good_fraction", math.nan),
        ("num_sessions", 9),
        ("num_judge_sessions", 9),
        ("num_evaluation_sessions", 9),
        ("num_sessions", 10.5),
    ],
)
def test_option_out_of_range_is_refused(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value} is "):
        Comparison(**{field: value})


def test_unknown_noise_suggests_the_nearest():
    with pytest.raises(InvalidInput, match="unknown behavior policy 'clickbate'; did you mean 'clickbait'"):
        Comparison(noise="clickbate")


def test_defaults_are_the_issues():
    default = Comparison()
    assert (default.num_sessions, default.good_fraction, default.noise) == (20_000, 0.02, "clickbait")
    assert list(default.methods) == ["bc", "awr", "robust_filter", "signed_pg", "drpo", "drpo_exp"]
    assert {name: method.kappa for name, method in default.methods.items() if method.kappa} == {
        "robust_filter": 0.005,
    }


@pytest.mark.parametrize(
    ("config", "kappa"),
    [
        (RobustFilterConfig(kappa=0.3), 0.3),
        (RobustFilterConfig(kappa="auto"), None),
        (AwrConfig(), None),
    ],
)
def test_kappa_of_a_method_is_its_filters(config, kappa):
    assert Method("any", config).kappa == kappa
