"""What every off-policy estimator promises."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.families import ESTIMATORS
from offline_data.ope.estimate import Estimate, estimate
from offline_data.ope.sessions import FEATURE_COLUMNS, OPTIONAL_COLUMNS, STEP_COLUMNS, WEIGHTED_COLUMNS, LoggedSessions
from offline_data.ope.statistics import SessionStatistics
from offline_data.ope.trust import LEAST_WEIGHT
from recenv.errors import InvalidInput
from recenv.testing.contract import Contract, example_config, quick

check_estimator: Final = Contract("check_estimator", ESTIMATORS)
"""The contract of estimators."""

COLUMNS: Final = frozenset(OPTIONAL_COLUMNS)
"""What an estimator may need besides rewards and the evaluated policy's log-probabilities."""


EXTREMES: Final = ((1e4, -1e4, 1e4), (1e4, 1e4, 1e4), (-1e4, -1e4, -1e4), (-np.inf, 1e4, 0.0))
"""Nats by which the evaluated policy likes each step of three sessions more than the logged one."""


def random_sessions(
    lengths: Sequence[int], seed: int = 0, *, zero_share: float = 0.0, discount: float = 0.9, spread: float = 1.0
) -> LoggedSessions:
    """Return sessions of random numbers, with all that an estimator may need.

    Args:
        lengths: steps of each session.
        seed: of the numbers.
        zero_share: of the steps, which the evaluated policy never takes.
        discount: of the rewards.
        spread: standard deviation of the evaluated policy's log-probabilities, nats.
    """
    rng = np.random.default_rng(seed)
    num_rows = sum(lengths)
    target = rng.normal(0.0, spread, num_rows)
    target[rng.random(num_rows) < zero_share] = -np.inf
    reward, behavior, q_value, state_value = rng.normal(0.0, 1.0, (4, num_rows))
    probabilities = ("behavior_item", "target_item", "behavior_embedding", "target_embedding")
    more: dict[str, Any] = {f"{name}_log_prob": rng.normal(0.0, spread, num_rows) for name in probabilities}
    features: dict[str, Any] = {name: rng.normal(0.0, 1.0, (num_rows, 3)) for name in FEATURE_COLUMNS}
    features |= {name: rng.normal(0.0, 1.0, num_rows) for name in WEIGHTED_COLUMNS}
    return LoggedSessions(
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        reward=reward,
        behavior_log_prob=behavior,
        target_log_prob=target,
        discount=discount,
        q_value=q_value,
        state_value=state_value,
        depends_on=rng.random((num_rows, 2)) < [0.8, 0.0],
        slate_part=rng.normal(1.0, spread, num_rows),
        **more,
        **features,
    )


def reordered(sessions: LoggedSessions, order: np.ndarray) -> LoggedSessions:
    """Return the same sessions in another order."""
    rows = np.concatenate([np.arange(*map(int, sessions.offsets[s : s + 2])) for s in order])
    columns: dict[str, Any] = {name: getattr(sessions, name)[rows] for name in (*STEP_COLUMNS, *FEATURE_COLUMNS)}
    offsets = np.concatenate([[0], np.cumsum(sessions.lengths[order])])
    return dataclasses.replace(sessions, offsets=offsets, **columns)


def value_of(part: Any, sessions: LoggedSessions, **options: Any) -> Estimate:
    """Return what a part's first example estimates; see `estimate`."""
    return estimate(ESTIMATORS.name_of(part), sessions, config=example_config(part), **options)


@check_estimator.promise
def gives_the_sums_that_a_value_is_made_of(part: Any) -> None:
    """It returns one row a session of numerators, denominators and weights, and is called by its name in the answer."""
    assert part.needs <= COLUMNS, f"{sorted(part.needs - COLUMNS)} are none of {sorted(COLUMNS)}"
    sessions = random_sessions((3, 1, 3))
    statistics = part(example_config(part))(sessions)
    assert isinstance(statistics, SessionStatistics)
    assert statistics.numerator.shape == statistics.denominator.shape
    assert len(statistics.numerator) == len(statistics.weights) == 3
    answer = value_of(part, sessions, num_bootstrap=10)
    assert answer.estimator == ESTIMATORS.name_of(part)
    assert np.isfinite(answer.value)


@check_estimator.promise
def refuses_a_config_of_another_kind(part: Any) -> None:
    """A config that is none of its own is refused with a sentence."""
    with pytest.raises(InvalidInput, match=f"config is a dict; {part.__name__} takes a {part.Config.__name__}"):
        part({})


@check_estimator.promise
def session_order_does_not_matter(part: Any) -> None:
    """Property: sessions in another order have the same value and the same effective sample size."""

    @quick()
    @given(st.integers(0, 2**32 - 1), st.lists(st.integers(1, 4), min_size=2, max_size=6))
    def run(seed: int, lengths: list[int]) -> None:
        sessions, order = random_sessions(lengths, seed), np.random.default_rng(seed).permutation(len(lengths))
        one, two = (value_of(part, given_, num_bootstrap=2) for given_ in (sessions, reordered(sessions, order)))
        assert two.value == pytest.approx(one.value, rel=1e-9, abs=1e-12)
        assert two.effective_sample_size == pytest.approx(one.effective_sample_size)

    run()


@check_estimator.promise_each(lambda part: EXTREMES)
def extreme_ratios_stay_finite(part: Any, *ratios: float) -> None:
    """Sessions that the evaluated policy makes e^20,000 times likelier, or impossible, give numbers."""
    kinds = ("", "item_", "embedding_")
    columns: dict[str, Any] = {f"target_{kind}log_prob": np.repeat(ratios, 2) for kind in kinds}
    columns |= {f"behavior_{kind}log_prob": np.zeros(6) for kind in kinds}
    sessions = dataclasses.replace(random_sessions((2, 2, 2)), **columns)
    result = value_of(part, sessions, num_bootstrap=50)
    assert np.isfinite([result.value, result.effective_sample_size]).all()
    assert (result.low is None) == (result.high is None) == (result.no_interval is not None)
    if result.low is not None and result.high is not None:
        assert np.isfinite([result.low, result.high]).all()


@check_estimator.promise
def one_session_of_one_step_has_no_interval(part: Any) -> None:
    """One session of one step has one effective session, no interval, and no trust."""
    result = value_of(part, random_sessions((1,), seed=4))
    assert result.low is None
    assert result.high is None
    assert result.no_interval is not None
    assert result.effective_sample_size == 1.0
    assert result.verdict.grade == "untrusted"


@check_estimator.promise
def interval_holds_the_value(part: Any) -> None:
    """The interval holds the value and narrows with the confidence; what is a model's word has none."""
    sessions = random_sessions([3] * 200, spread=0.3)
    found, again, narrow = (value_of(part, sessions, confidence=share) for share in (0.95, 0.95, 0.5))
    assert found == again
    if part.unchecked() or found.kept < LEAST_WEIGHT:
        assert found.low is None
        assert not found.trusted
        return
    assert found.low is not None
    assert found.high is not None
    assert narrow.low is not None
    assert narrow.high is not None
    assert found.low < narrow.low < found.value < narrow.high < found.high


@check_estimator.promise
def single_precision_is_read_as_double(part: Any) -> None:
    """Columns in single precision, as a memory map may hold them, are worth what the same numbers are in double."""
    sessions = random_sessions((3, 1, 2, 2), spread=0.3)
    numbers = [name for name in STEP_COLUMNS if getattr(sessions, name).dtype == np.float64]
    single = {name: getattr(sessions, name).astype(np.float32) for name in numbers}
    double = {name: values.astype(np.float64) for name, values in single.items()}
    one, two = (value_of(part, dataclasses.replace(sessions, **columns)) for columns in (single, double))
    assert one == two


@check_estimator.promise
def declared_needs_are_the_columns_read(part: Any) -> None:
    """Without a column that it needs there is a sentence; without another nothing changes."""
    sessions = random_sessions((2, 1))
    for column in sorted(COLUMNS):
        without = dataclasses.replace(sessions, **{column: None})
        if column in part.needs:
            with pytest.raises(InvalidInput, match=f"{column}=None, but this estimator needs "):
                value_of(part, without)
        else:
            assert value_of(part, without) == value_of(part, sessions)
