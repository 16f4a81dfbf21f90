"""The return distribution: exact on enumerated sessions, by hand, and its bands hold the whole cdf."""

import dataclasses
import math
from types import SimpleNamespace

import numpy as np
import pytest

from offline_data import LoggedSessions, return_distribution
from recenv.errors import InvalidInput
from tests.reference import ope_reference as reference

BEHAVIOR, TARGET = ((0.6, 0.4), (0.3, 0.7)), ((0.2, 0.8), (0.5, 0.5))


def bandit(reward, weight, **options) -> LoggedSessions:
    """Sessions of one step with these rewards and weights; a weight of 0 is an action that is never taken."""
    with np.errstate(divide="ignore"):
        log_weight = np.log(np.asarray(weight, float))
    columns = {"reward": np.asarray(reward, float), "behavior_log_prob": np.zeros(len(reward))}
    return LoggedSessions(
        offsets=np.arange(len(reward) + 1), target_log_prob=log_weight, discount=1.0, **columns, **options
    )


def enumerated(discount: float) -> tuple[LoggedSessions, dict[float, float]]:
    """Every session of a small MDP, as likely as it is: its probability stands in the weight; and the true masses."""
    mdp = reference.SmallMdp()
    zeros = [[[0.0] * 2 for _ in range(2)] for _ in range(3)]
    found = mdp.sessions(BEHAVIOR, TARGET, zeros)
    rows, lengths, truth = [], [], {}
    for probability, steps in found:
        shifted = [(r, b - (math.log(probability * len(found)) if n == 0 else 0.0), t) for n, (r, b, t, *_) in
                   enumerate(steps)]  # fmt: skip
        rows += shifted
        lengths.append(len(steps))
        total = round(reference.session_return(steps, discount), 9)
        likely = probability * math.exp(sum(t - b for _, b, t, *_ in steps))
        truth[total] = truth.get(total, 0.0) + likely
    reward, behavior, target = np.array(rows).T
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    log = LoggedSessions(
        offsets=offsets, reward=reward, behavior_log_prob=behavior, target_log_prob=target, discount=discount
    )
    return log, truth


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_expectation_is_the_true_cdf(normalized, discount):
    log, truth = enumerated(discount)
    found = return_distribution(log, normalized=normalized, num_bootstrap=2)
    assert sum(truth.values()) == pytest.approx(1.0, abs=1e-12)
    for value in sorted(truth):
        below = sum(mass for total, mass in truth.items() if total <= value + 1e-9)
        assert found.at(value + 1e-8).mean == pytest.approx(below, abs=1e-10)
    mean = sum(total * mass for total, mass in truth.items())
    assert found.cvar(1.0).mean == pytest.approx(mean, abs=1e-9)
    assert mean == pytest.approx(reference.SmallMdp().value(TARGET, discount), abs=1e-9)


def test_quantiles_and_tail_means_by_hand():
    # Returns 1, 2, 2, 5 with weights 1, 2, 1, 4: masses .125, .375, .5
    found = return_distribution(bandit([2.0, 5.0, 1.0, 2.0], [2.0, 4.0, 1.0, 1.0]), num_bootstrap=10)
    assert found.values.tolist() == [1.0, 2.0, 5.0]
    assert found.cdf == pytest.approx([0.125, 0.5, 1.0])
    levels = {0.1: 1.0, 0.125: 1.0, 0.13: 2.0, 0.5: 2.0, 0.51: 5.0, 1.0: 5.0}
    assert {level: found.quantile(level).mean for level in levels} == levels
    assert found.cvar(0.125).mean == pytest.approx(1.0)
    assert found.cvar(0.25).mean == pytest.approx(1.5)
    assert found.cvar(0.75).mean == pytest.approx((0.125 + 0.75 + 0.25 * 5.0) / 0.75)
    assert found.cvar(1.0).mean == pytest.approx(0.125 + 0.75 + 2.5)
    assert found.effective_sample_size == pytest.approx(64.0 / 22.0)


def test_band_of_a_known_bound_by_hand():
    """S = 100 and W = 1: half a band is u / 10, with u of the module's docstring."""
    log = bandit([0.0, 1.0, 2.0, 3.0] * 25, [1.0] * 100)
    found = return_distribution(log, normalized=False, max_weight=1.0, support=(0.0, 9.0))
    half = (
        math.sqrt(math.log(40.0) / 2.0) + math.sqrt(math.pi / 2.0) * math.erfc(math.sqrt(math.log(40.0))) / 0.05
    ) / 10.0
    assert half == pytest.approx(0.15236, abs=1e-5)
    assert found.low == pytest.approx(np.maximum([0.25 - half, 0.5 - half, 0.75 - half, 1.0 - half], 0.0))
    assert found.high == pytest.approx([0.25 + half, 0.5 + half, 0.75 + half, 1.0])
    assert (found.at(-0.5).high, found.at(0.0).mean, found.at(9.0).low) == (0.0, 0.25, 1.0)
    assert (found.quantile(0.5).low, found.quantile(0.5).mean, found.quantile(0.5).high) == (1.0, 1.0, 2.0)
    # The highest cdf has .25 + half at 0 and so on; the lowest leaves `half` for 9, the end of the support.
    mean = found.cvar(1.0)
    assert mean.low == pytest.approx((0.25 * 1.0) + 0.25 * 2.0 + (0.25 - half) * 3.0)
    assert mean.mean == pytest.approx(1.5)
    assert mean.high == pytest.approx(0.25 * 1.0 + 0.25 * 2.0 + 0.25 * 3.0 + half * 9.0)


def test_without_a_support_what_is_out_of_sight_may_be_anything():
    found = return_distribution(bandit([0.0, 1.0, 2.0, 3.0] * 25, [1.0] * 100), normalized=False, max_weight=1.0)
    assert found.cvar(0.1).low == -math.inf
    assert found.cvar(1.0).high == math.inf
    assert found.cvar(0.5).high < math.inf, "the best half does not matter to the worst"
    assert (found.quantile(0.1).low, found.quantile(0.99).high) == (-math.inf, math.inf)


@pytest.mark.parametrize("normalized", [True, False])
def test_scale_of_the_weights_and_their_size(normalized):
    """Normalised weights know no scale, not even e^1000; plain ones above 1 on average are cut at 1."""
    log = bandit([0.0, 1.0, 1.0], [1.0, 1.0, 2.0])
    lifted = dataclasses.replace(log, target_log_prob=log.target_log_prob + 1000.0)
    one, two = (return_distribution(each, normalized=normalized, num_bootstrap=20) for each in (log, lifted))
    assert np.isfinite([two.cdf, two.low, two.high]).all()
    assert two.cdf == pytest.approx(one.cdf if normalized else [1.0, 1.0])


def test_users_are_drawn_with_all_of_their_sessions():
    """Ten users, whose fifty sessions each are the same: ten independent returns, and not five hundred."""
    rng = np.random.default_rng(3)
    returns, weights = rng.normal(size=10), rng.random(10) + 0.5
    alone = return_distribution(bandit(returns, weights), seed=1)
    users = np.repeat(np.arange(10), 50)
    shared = return_distribution(bandit(returns[users], weights[users], user_id=users), seed=1)
    apart = return_distribution(bandit(returns[users], weights[users]), seed=1)
    assert shared.floor == pytest.approx(alone.floor)
    assert apart.floor < alone.floor / 4.0


def sampled(rng: np.random.Generator, size: int) -> tuple[LoggedSessions, SimpleNamespace]:
    """Eight arms, each with a return of its own and a weight of at most 3; the true cdf."""
    behavior = np.full(8, 0.125)
    target = np.array([0.375, 0.25, 0.125, 0.05, 0.05, 0.05, 0.05, 0.05])
    arm = rng.integers(8, size=size)
    return bandit(arm, target[arm] / behavior[arm]), SimpleNamespace(cdf=np.cumsum(target), max_weight=3.0)


def coverage(num_logs: int, size: int, **options) -> float:
    """Return in which share of logs the band holds the whole cdf."""
    hits = 0
    for seed in range(num_logs):
        log, truth = sampled(np.random.default_rng([7, seed]), size)
        found = return_distribution(log, seed=seed, **options)
        bands = [found.at(float(arm)) for arm in range(7)]
        hits += all(
            band.low <= cdf + 1e-12 and cdf <= band.high + 1e-12 for band, cdf in zip(bands, truth.cdf[:7], strict=True)
        )
    return hits / num_logs


def test_bands_hold_the_whole_cdf():
    """Of 200 logs the false alarm of a right 95 % band below 90 % is 1 in 500; the bounded one is conservative."""
    assert coverage(200, 300, num_bootstrap=200) >= 0.9
    assert coverage(200, 300, normalized=False, max_weight=3.0, num_bootstrap=2) >= 0.95


@pytest.mark.nightly
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("size", [50, 300, 3000])
def test_bootstrap_bands_cover_as_often_as_they_say(size, normalized):
    assert 0.92 <= coverage(4000, size, num_bootstrap=500, normalized=normalized) <= 0.975


@pytest.mark.parametrize(
    ("log", "options", "message"),
    [
        (bandit([1.0], [1.0]), {"confidence": 1.0}, r"confidence=1\.0 is outside \(0\.0, 1\.0\)"),
        (bandit([1.0], [1.0]), {"num_bootstrap": 1}, "num_bootstrap=1 is outside"),
        (bandit([1.0, 0.0], [0.0, 0.0]), {}, "target_log_prob is -inf in each of 2 sessions"),
        (bandit([1.0, 3.0], [1.0, 1.0]), {"support": (0.0, 2.0)}, r"does not hold the return \[3\.\] of session \[1\]"),
        (bandit([1.0], [1.0]), {"max_weight": 2.0}, "max_weight=2.0 bounds plain weights, .* pass normalized=False"),
        (bandit([1.0], [4.0]), {"max_weight": 2.0, "normalized": False}, "is below the largest weight in the log"),
        (
            bandit([1.0, 2.0], [1.0, 1.0], user_id=np.array([5, 5])),
            {"max_weight": 2.0, "normalized": False},
            "1 users have 2; leave it out",
        ),
        (dataclasses.replace(bandit([1.0], [1.0]), behavior_log_prob=None), {}, "behavior_log_prob=None, but"),
    ],
)
def test_what_is_refused(log, options, message):
    with pytest.raises(InvalidInput, match=message):
        return_distribution(log, **options)


def test_levels_are_refused_outside_of_their_range():
    found = return_distribution(bandit([1.0], [1.0]), num_bootstrap=2)
    for read in (found.quantile, found.cvar):
        with pytest.raises(InvalidInput, match="level=0 is outside"):
            read(0)
    assert found.quantile(1.0).mean == 1.0
