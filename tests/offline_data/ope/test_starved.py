"""Few or no sessions behind a part of an estimate: it says so, whatever its other weights look like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from offline_data.ope.estimate import Estimate, estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.slates import factored_parts

SESSIONS, STEPS = 1000, 4
RNG = np.random.default_rng(0)
STEP, SESSION = np.tile(np.arange(STEPS), SESSIONS), np.repeat(np.arange(SESSIONS), STEPS)


def sessions(log_ratio: np.ndarray, states: np.ndarray) -> LoggedSessions:
    rows = SESSIONS * STEPS
    return LoggedSessions(
        offsets=np.arange(0, rows + 1, STEPS),
        reward=RNG.random(rows),
        behavior_log_prob=np.zeros(rows),
        target_log_prob=log_ratio,
        discount=1.0,
        q_value=RNG.normal(1.0, 0.1, rows),
        state_value=RNG.normal(1.0, 0.1, rows),
        state_features=states,
    )


STATES = {"categories": RNG.integers(5, size=SESSIONS * STEPS), "features": RNG.normal(size=(SESSIONS * STEPS, 3))}
EVEN = np.log(RNG.choice([0.8, 1.2], SESSIONS * STEPS))


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("name", ["mis", "drl"])
def test_a_step_that_two_sessions_make_is_the_sample_size(name, states):
    """The state forgets who came by: at the last step all weigh alike again, and the mean weights are near 1."""
    assert estimate(name, sessions(EVEN, STATES[states])).effective_sample_size > 900
    starved = np.where(STEP == 2, np.where(SESSION < 2, np.log(SESSIONS / 2), -np.inf), EVEN)
    found = estimate(name, sessions(starved, STATES[states]))
    assert found.effective_sample_size == pytest.approx(2.0, abs=0.1)
    assert found.verdict.grade == "untrusted"


@pytest.mark.parametrize("states", STATES)
@pytest.mark.parametrize("name", ["drl", "dr", "wdr", "magic", "switch_dr", "dr_os"])
def test_without_any_weight_there_is_the_models_word_without_an_interval(name, states):
    found = estimate(name, sessions(np.full(SESSIONS * STEPS, -np.inf), STATES[states]))
    assert found.ends is None
    assert found.no_interval == "by the model alone: 0 % of the log's weight is left in it"
    assert found.verdict.grade == "untrusted"


# --- of slates

SLATES, SIZE = 2000, 3
RATIO = RNG.choice([0.6, 1.2], (SLATES, SIZE), p=[1 / 3, 2 / 3])


def slates(**changed: Any) -> Estimate:
    """Return what `pi` says of slates, or another estimator, some columns of which are not what they should be."""
    name = changed.pop("name", "pi")
    zeros = np.zeros((SLATES, SIZE))
    given = {
        "target_log_prob": np.log(RATIO),
        "target_item_log_prob": np.log(RATIO),
        "slate_part": factored_parts(np.log(RATIO)),
        "depends_on": np.broadcast_to(np.eye(SIZE, dtype=np.bool_), (SLATES, SIZE, SIZE)),
    }
    log = LoggedSessions.of_slates(
        reward=np.random.default_rng(3).random((SLATES, SIZE)),
        behavior_log_prob=zeros,
        behavior_item_log_prob=zeros,
        discount=1.0,
        **{**given, **changed},
    )
    return estimate(name, log)


def test_slates_with_all_that_they_should_have_are_trusted():
    for name in ("pi", "aips", "iips"):
        assert slates(name=name).trusted


def test_the_mean_of_pseudo_inverse_weights_is_one_or_the_estimate_is_not_trusted():
    halved = slates(slate_part=factored_parts(np.log(RATIO)) / 2.0)
    assert halved.mean_weight is not None
    assert halved.mean_weight.mean == pytest.approx(0.5, abs=0.02)
    assert halved.doubts == ("mean weight not 1",)


def test_pseudo_inverse_weights_that_cancel_say_little():
    found = slates(slate_part=RNG.choice([-100.0, 100.7], (SLATES, SIZE)))
    assert found.effective_sample_size < 10.0
    assert found.verdict.grade == "untrusted"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("pi", {"slate_part": np.full((SLATES, SIZE), 1.0 / SIZE)}),
        ("aips", {"depends_on": np.zeros((SLATES, SIZE, SIZE), np.bool_)}),
        ("iips", {"target_item_log_prob": np.zeros((SLATES, SIZE))}),
    ],
)
def test_weights_of_one_where_the_slates_differ_are_doubted(name, change):
    found = slates(name=name, **change)
    assert found.blind
    assert found.verdict.grade == "doubtful"
    assert found.doubts == ("its weights are even where those of the actions are not, as if these were worth the same",)


@pytest.mark.parametrize("name", ["aips", "iips", "sniips"])
def test_a_position_that_two_slates_make_is_the_sample_size(name):
    item = np.log(RATIO)
    item[:, 2] = -np.inf
    item[:2, 2] = np.log(SLATES / 2)
    found = slates(name=name, target_item_log_prob=item)
    assert found.effective_sample_size < 30.0
    assert found.verdict.grade == "untrusted"
