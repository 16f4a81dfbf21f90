from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from tensordict import TensorDict

from agents.batches.replay import LogStorage
from agents.nn.networks import NetworkConfig
from agents.policies.gaussian import GaussianPolicyConfig, IndependentNormal, diagonal_log_prob
from recenv.errors import InvalidInput


@pytest.fixture
def batch(log) -> TensorDict:
    return LogStorage(log, columns=("proto",)).get(np.arange(40))


OBSERVATION_KEYS = [("observation", name) for name in ("profile", "history_items", "history_feedback", "clock")]


def test_log_prob_is_scipys(build_policy, batch):
    actor = build_policy(initial_scale=0.3)
    with torch.no_grad():
        actor.head.raw_scale.add_(torch.tensor([0.0, 0.5, -0.5, 2.0]))
        distribution = actor.get_dist(batch)
        log_prob = distribution.log_prob(batch["proto"])
    loc, scale = (value.double().numpy() for value in (distribution.mean, distribution.stddev))
    assert len(np.unique(scale[0])) == 4
    expected = stats.norm.logpdf(batch["proto"].double().numpy(), loc, scale).sum(axis=1)
    np.testing.assert_allclose(log_prob.numpy(), expected, rtol=1e-5)


def test_actor_writes_what_it_says_and_reads_nested_keys(build_policy, batch):
    actor = build_policy()
    assert actor.in_keys == OBSERVATION_KEYS
    given = batch.select(*OBSERVATION_KEYS)
    out = actor(given.clone())
    assert set(out.keys()) == {"observation", "loc", "scale", "proto"}
    for name in ("loc", "scale", "proto"):
        assert out[name].shape == (40, 4)
    torch.testing.assert_close(out["loc"], actor.get_dist(given).mean)
    assert torch.equal(out["scale"], out["scale"][:1].expand(40, 4))


def test_initial_scale_is_the_configured_one(build_policy, batch):
    for scale in (0.1001, 0.2, 7.0, 90.0, 1000.0):  # float32's exp ends at 88
        stddev = build_policy(initial_scale=scale).get_dist(batch).stddev
        torch.testing.assert_close(stddev, torch.full((40, 4), scale), rtol=1e-4, atol=0.0)


def test_scale_never_falls_below_its_floor(build_policy, batch):
    actor = build_policy(scale_floor=0.05)
    optimizer = torch.optim.SGD(actor.parameters(), lr=1e6)
    target = actor.get_dist(batch).mean.detach()  # no spread at all: the likelihood is unbounded in the scale
    for _ in range(3):
        optimizer.zero_grad()
        (-actor.get_dist(batch).log_prob(target)).mean().backward()
        actor.head.body.zero_grad()
        optimizer.step()
    raw_scale = actor.head.raw_scale
    assert (raw_scale < -1e3).all()
    stddev = actor.get_dist(batch).stddev
    assert (stddev >= np.float32(0.05)).all()
    with torch.no_grad():
        raw_scale.fill_(-torch.inf)
    assert (actor.get_dist(batch).stddev >= np.float32(0.05)).all()


def test_fixed_scale_gets_no_gradient(build_policy, batch):
    for learned in (True, False):
        actor = build_policy(learn_scale=learned)
        actor.get_dist(batch).log_prob(batch["proto"]).sum().backward()
        assert (actor.head.raw_scale.grad is not None) == learned
        assert actor.head.body[-1].weight.grad is not None


def test_score_function_norm_is_the_gradient_in_the_mean():
    generator = torch.Generator().manual_seed(0)
    loc, scale, action = (torch.randn(9, 4, generator=generator) for _ in range(3))
    loc.requires_grad_()
    distribution = IndependentNormal(loc, scale.abs() + 0.1)
    distribution.log_prob(action).sum().backward()
    assert loc.grad is not None
    torch.testing.assert_close(distribution.score_function_norm(action), loc.grad.norm(dim=-1))


def test_cached_moments_give_pairs_of_opposite_noise(build_policy, batch):
    actor = build_policy(initial_scale=0.3)
    cache = actor.action_cache(batch, torch.Generator())
    assert cache.shape == (40, 8)
    first, second = actor.cached_actions(cache, torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean, scale = (value.float() for value in (actor.get_dist(batch).mean, actor.get_dist(batch).stddev))
    torch.testing.assert_close((first + second) / 2, mean, atol=1e-5, rtol=0.0)
    standard = ((first - mean) / scale).numpy()
    # 160 standard normals: a false alarm in 1 of 10^6, were the seed not fixed.
    assert stats.kstest(standard.reshape(-1), "norm").pvalue > 1e-6  # type: ignore[attr-defined]
    assert not torch.equal(actor.cached_actions(cache, torch.Generator().manual_seed(2))[0], first)


def test_diagonal_log_prob_is_scipys():
    rng = np.random.default_rng(0)
    action, mean = rng.normal(size=(2, 9, 4)).astype(np.float32)
    scale = rng.uniform(0.1, 2.0, size=(9, 4)).astype(np.float32)
    expected = stats.norm.logpdf(action.astype(np.float64), mean, scale).sum(axis=1)
    found = diagonal_log_prob(action, mean, scale)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    far = diagonal_log_prob(np.full((1, 4), 1e30, np.float32), mean[:1], scale[:1])
    assert np.isfinite(far).all()
    assert far < -1e58


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale_floor": 0.0}, "scale_floor=0.0 is outside"),
        ({"scale_floor": math.nan}, "scale_floor=nan is not a finite number"),
        ({"initial_scale": -1.0}, "initial_scale=-1.0 is outside"),
        ({"initial_scale": 1001.0}, "initial_scale=1001.0 is outside"),
        ({"initial_scale": 0.1}, r"initial_scale=0.1 is not above scale_floor=0.1; raise it"),
        ({"network": NetworkConfig(), "scale_floor": 2e3}, "scale_floor=2000.0 is outside"),
    ],
)
def test_config_out_of_range_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        GaussianPolicyConfig(**changes)
