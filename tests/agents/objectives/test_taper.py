from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Categorical, Independent, Laplace

from agents.objectives.signed_pg import signed_pg_loss
from agents.objectives.taper import (
    TaperConfig,
    TaperObjective,
    gaussian_remoteness,
    log_prob_and_remoteness,
    matched_taper,
    remoteness,
    retained_share,
    taper_loss,
    taper_weight,
)
from agents.policies.gaussian import IndependentNormal
from agents.testing.objective_cases import objective_case
from recenv.errors import InvalidInput
from tests.properties import Claim, every_claim
from tests.reference import repulsion_reference as reference

FALLING = ("exponential", "reciprocal_linear", "reciprocal_quadratic")
SHAPES = (*FALLING, "hard", "global")


def scalars(threshold: float, width: float, rate: float, alpha: float = 1.0) -> Any:
    return {"threshold": threshold, "width": width, "rate": rate, "alpha": alpha}


# --- the loss


def check_value_and_gradient_are_the_references(loss, problem):
    """L = -w A log pi, w = 1 for A >= 0 and alpha g(D) for A < 0; the weight is a constant to the gradient."""
    rows, taper, shape = problem
    log_prob, far, advantage = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    log_prob.requires_grad_()
    far = far - 0.0 * log_prob  # of the policy, as D is
    found = loss(log_prob, far, advantage, shape, **scalars(*taper))
    found.sum().backward()
    expected, slopes = reference.taper_losses(
        log_prob.detach().numpy(), far.detach().numpy(), advantage.numpy(), *taper, shape=shape
    )
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-9, atol=1e-9)
    assert log_prob.grad is not None
    np.testing.assert_allclose(log_prob.grad, slopes, rtol=1e-9, atol=1e-9)


def untapered_positives_too(log_prob, far, advantage, shape, **taper):
    return -taper_weight(far, shape, **taper) * advantage * log_prob


def check_without_a_rate_it_is_the_signed_policy_gradient(loss, problem):
    """20. lambda = 0 with finite tau: equal to the last bit, also at D = inf; and so is `global` with any lambda."""
    rows, threshold, shape = problem
    log_prob, far, advantage = (torch.tensor(column) for column in zip(*rows, strict=True))
    for kind, rate in ((shape, 0.0), ("global", 2.0)):
        found = loss(log_prob, far, advantage, kind, threshold=threshold, width=1.0, rate=rate)
        assert torch.equal(found, signed_pg_loss(log_prob, advantage))


def unguarded(log_prob, far, advantage, shape, threshold, width, rate):
    kept = (-rate * (far - threshold).clamp_min(0.0) / width).exp()  # 0 * inf
    return signed_pg_loss(log_prob, torch.where(advantage >= 0, 1.0, kept) * advantage)


def check_without_a_threshold_it_keeps_the_positives_alone(loss, problem):
    """20. tau = -inf with lambda > 0: equal to the last bit to the positives' policy gradient, also at D = inf."""
    rows, rate, shape = problem
    log_prob, far, advantage = (torch.tensor(column) for column in zip(*rows, strict=True))
    found = loss(log_prob, far, advantage, shape, threshold=-math.inf, width=1.0, rate=rate)
    assert torch.equal(found, signed_pg_loss(log_prob, advantage.clamp_min(0.0)))


def large_instead_of_infinite(log_prob, far, advantage, shape, threshold, width, rate):
    return taper_loss(log_prob, far, advantage, shape, threshold=max(threshold, -20.0), width=width, rate=rate)


NUMBERS = st.floats(-30.0, 10.0, width=32)
REMOTE = st.floats(0.0, 40.0, width=32)
ROWS = st.lists(
    st.tuples(NUMBERS | st.just(-math.inf), REMOTE | st.just(math.inf), st.floats(-3.0, 3.0, width=32)),
    min_size=1,
    max_size=6,
)
FINITE_ROWS = st.lists(st.tuples(NUMBERS, REMOTE, st.floats(-3.0, 3.0)), min_size=1, max_size=6)
SCALARS = st.tuples(
    st.floats(-5.0, 25.0), st.floats(0.1, 5.0), st.just(0.0) | st.floats(0.01, 5.0), st.floats(0.0, 2.0)
)
CLAIMS = [
    Claim(
        check_value_and_gradient_are_the_references,
        st.tuples(FINITE_ROWS, SCALARS, st.sampled_from(SHAPES)),
        taper_loss,
        untapered_positives_too,
    ),
    Claim(
        check_without_a_rate_it_is_the_signed_policy_gradient,
        st.tuples(ROWS, st.floats(-30.0, 30.0), st.sampled_from(FALLING)),
        taper_loss,
        unguarded,
    ),
    Claim(
        check_without_a_threshold_it_keeps_the_positives_alone,
        st.tuples(ROWS, st.floats(0.01, 5.0), st.sampled_from((*FALLING, "hard"))),
        taper_loss,
        large_instead_of_infinite,
    ),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


def test_shapes_worked_by_hand():
    """tau = 1, c = 2, lambda = 0.5: D = 0, 1, 3, 9, 33 lie 0, 0, 1, 4 and 16 widths out."""
    far = torch.tensor([0.0, 1.0, 3.0, 9.0, 33.0, torch.inf])
    weights = {shape: taper_weight(far, shape, **scalars(1.0, 2.0, 0.5)) for shape in SHAPES}  # type: ignore[arg-type]
    widths = torch.tensor([0.0, 0.0, 1.0, 4.0, 16.0, torch.inf])
    torch.testing.assert_close(weights["exponential"], (-0.5 * widths).exp())
    torch.testing.assert_close(weights["reciprocal_linear"], torch.tensor([1.0, 1.0, 1 / 1.5, 1 / 2.0, 1 / 3.0, 0.0]))
    torch.testing.assert_close(weights["reciprocal_quadratic"], torch.tensor([1.0, 1.0, 1 / 1.5, 1 / 3, 1 / 9, 0.0]))
    assert weights["hard"].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert weights["global"].tolist() == [1.0] * 6
    for shape, weight in weights.items():
        halved = taper_weight(far, shape, **scalars(1.0, 2.0, 0.5, 0.5))  # type: ignore[arg-type]
        assert torch.equal(halved, 0.5 * weight)


def test_defaults_are_the_papers():
    """Countdown: 15 % is left of a negative at D = 2."""
    assert taper_weight(torch.tensor(2.0)).item() == pytest.approx(0.15, abs=1e-4)
    assert taper_weight(torch.tensor(0.0)).item() == 1.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_small_types_and_extremes_are_numbers(dtype):
    log_prob = torch.tensor([-1e4, -torch.inf, 0.0, -60.0], dtype=dtype, requires_grad=True)
    advantage = torch.tensor([-1e6, -1e6, -1e6, 1e6], dtype=dtype)
    tapers = [torch.tensor(value, dtype=torch.float64) for value in (60.0, -torch.inf)]
    for shape in (*FALLING, "hard"):
        for threshold in tapers:
            far = -log_prob.detach()
            loss = taper_loss(log_prob, far, advantage, shape, threshold=threshold)  # type: ignore[arg-type]
            assert loss.dtype == dtype
            assert loss.isfinite().all()
            assert loss[1] == 0


# --- remoteness


@pytest.mark.parametrize("dim", [1, 2, 16])
def test_a_gaussians_own_actions_have_remoteness_one(dim):
    """The mean of |z|^2 / d is 1; 4,000 samples have a standard error below 0.023, the bound is four of them."""
    generator = torch.Generator().manual_seed(dim)
    mean, scale = torch.randn(dim, generator=generator), 0.1 + torch.rand(dim, generator=generator)
    action = mean + scale * torch.randn(4_000, dim, generator=generator)
    law = IndependentNormal(mean.expand_as(action), scale.expand_as(action))
    far = remoteness(law, action, law.log_prob(action))
    torch.testing.assert_close(far, gaussian_remoteness(action, mean, scale))
    assert far.mean().item() == pytest.approx(1.0, abs=0.09)
    assert remoteness(law, law.mean, law.log_prob(law.mean)).abs().max() == 0
    # Twice the surprisal that is above the mode's, a dimension.
    above = 2 * (law.log_prob(law.mean) - law.log_prob(action)) / dim
    torch.testing.assert_close(far, above, rtol=1e-3, atol=1e-4)


def test_other_actions_are_as_remote_as_their_surprisal_a_part():
    logits = torch.tensor([[0.0, math.log(3.0)]], requires_grad=True)
    law = Categorical(logits=logits)
    action = torch.tensor([0])
    far = remoteness(law, action, law.log_prob(action))
    assert far.tolist() == pytest.approx([math.log(4.0)])
    assert not far.requires_grad
    double = Independent(Laplace(torch.zeros(1, 4), 1.0), 1)
    wide = torch.full((1, 4), 2.0)
    assert remoteness(double, wide, double.log_prob(wide)).tolist() == pytest.approx([2.0 + math.log(2.0)])


@pytest.mark.parametrize(("policy", "tokens"), [("plackett_luce", 1), ("generative", 3)])
def test_slates_are_as_remote_as_their_mean_token(policy, tokens):
    """Two codes and the one that tells items of the same codes apart; a slate with an empty position has fewer."""
    case = objective_case("taper", policy)
    objective = case.objective()
    batch = case.batch(objective)
    batch["slate"][0, 1] = -1
    batch["slate"][1, -1] = batch["slate"][1, -2]
    log_prob, far = log_prob_and_remoteness(objective, batch)
    items = torch.full((len(batch),), 3)
    items[:2] = 2
    torch.testing.assert_close(far, -log_prob.detach() / (tokens * items))


# --- at equal strength


@given(
    st.sampled_from(FALLING),
    st.integers(0, 2**32 - 1),
    st.floats(0.02, 1.0),
    st.floats(0.1, 4.0),
)
def test_matched_tapers_leave_the_same_share(shape, seed, share, width):
    rng = np.random.default_rng(seed)
    far, magnitude = torch.tensor(rng.exponential(3.0, 40)), torch.tensor(rng.exponential(1.0, 40))
    config = matched_taper(TaperConfig(shape, threshold=0.0, width=width, alpha=1.0), far, magnitude, share)
    weight = taper_weight(far, **vars(config))
    assert retained_share(weight, magnitude).item() == pytest.approx(share, rel=1e-9)
    whole = matched_taper(TaperConfig("global"), far, magnitude, share)
    assert retained_share(taper_weight(far, **vars(whole)), magnitude).item() == pytest.approx(share)


def test_matched_tapers_worked_by_hand():
    """D = 0, 2, 2, 6 of magnitudes 1, 1, 2, 4: a threshold leaves 1/8, 1/2 or all."""
    far, magnitude = torch.tensor([2.0, 0.0, 6.0, 2.0]), torch.tensor([1.0, 1.0, 4.0, 2.0])
    for share, threshold in ((0.01, 0.0), (0.3, 0.0), (0.32, 2.0), (0.74, 2.0), (0.75, 2.0), (0.76, 6.0), (1.0, 6.0)):
        assert matched_taper(TaperConfig("hard"), far, magnitude, share).threshold == threshold
    # 1 + 3 e^-lambda + 4 e^-(3 lambda) = 1 + 1.5 + 0.5 at lambda = log 2, width 2.
    found = matched_taper(TaperConfig(), far, magnitude, 3.0 / 8.0)
    assert found.rate == pytest.approx(math.log(2.0))
    assert found == TaperConfig(rate=found.rate)
    halved = matched_taper(TaperConfig(alpha=0.5), far, magnitude, 1.5 / 8.0)
    assert halved.rate == pytest.approx(math.log(2.0))
    assert matched_taper(TaperConfig(), far, magnitude, 1.0).rate == 0.0


def test_no_parameter_leaves_some_shares():
    far, magnitude = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 3.0])
    with pytest.raises(InvalidInput, match=r"share=0\.2 is not above 0\.25, what lies within threshold=0\.0"):
        matched_taper(TaperConfig(), far, magnitude, 0.2)
    with pytest.raises(InvalidInput, match=r"share=0\.6 is above alpha=0\.5"):
        matched_taper(TaperConfig(alpha=0.5), far, magnitude, 0.6)
    with pytest.raises(InvalidInput, match="share=0"):
        matched_taper(TaperConfig(), far, magnitude, 0.0)
    for bad in (torch.tensor([0.0, torch.inf]), torch.tensor([0.0, torch.nan])):
        with pytest.raises(InvalidInput, match="must be finite"):
            matched_taper(TaperConfig(), bad, magnitude, 0.5)
    for bad in (torch.zeros(2), torch.tensor([-1.0, 2.0])):
        with pytest.raises(InvalidInput, match="somewhere above"):
            matched_taper(TaperConfig(), far, bad, 0.5)


# --- the objective


def test_value_worked_by_hand(make_actor, make_batch):
    """A = 1, -1; the second action has D = 4 / 2, a width over the threshold: w = alpha e^-1."""
    batch = make_batch(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([2.0, 0.0]))
    actor = make_actor()
    objective = TaperObjective(actor, config=TaperConfig(threshold=1.0, width=1.0, rate=1.0, alpha=0.5))
    objective.refresh(torch.tensor([0.0, 2.0, 2.0, 0.0]))
    out = objective(batch)
    kept, offset = 0.5 * math.exp(-1.0), math.log(2 * math.pi)
    assert out["loss_actor"].item() == pytest.approx((0.5 + offset - kept * (2 + offset)) / 2, rel=1e-6)
    assert out["tapered_share"].item() == pytest.approx(1 - kept, rel=1e-6)
    out["loss_actor"].backward()
    bias = actor.module[0].module.mean.bias
    torch.testing.assert_close(bias.grad, torch.tensor([-0.5, kept]))


def test_a_batch_without_negatives_has_nothing_taken_off(make_actor, make_batch):
    objective = TaperObjective(make_actor())
    objective.refresh(torch.tensor([0.0, 2.0]))
    assert objective(make_batch(torch.ones(2, 2), torch.full((2,), 2.0)))["tapered_share"] == 0.0


def test_scalars_are_buffers_to_schedule(make_actor, random_batch):
    objective = TaperObjective(make_actor())
    objective.refresh(random_batch["score"])
    losses = [objective(random_batch)["loss_actor"].item()]
    for name, value in (("width", 4.0), ("rate", 2 * 1.897), ("threshold", 1.0), ("alpha", 0.5)):
        setattr(objective, name, value)
        losses.append(objective(random_batch)["loss_actor"].item())
    assert losses[0] == pytest.approx(losses[2])  # only lambda / c matters
    assert len(set(losses[1:])) == 4
    assert objective.config == TaperConfig()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"shape": "linear"}, "shape='linear' is not a shape; choose one of: exponential, reciprocal_linear, "),
        ({"threshold": "high"}, "threshold='high'"),
        ({"threshold": math.inf}, "threshold=inf"),
        ({"threshold": math.nan}, "threshold=nan"),
        ({"threshold": True}, "threshold=True"),
        ({"width": 0.0}, "width=0.0"),
        ({"width": math.inf}, "width=inf"),
        ({"rate": -1.0}, "rate=-1.0"),
        ({"rate": math.inf}, "rate=inf"),
        ({"rate": math.nan}, "rate=nan"),
        ({"rate": 0.0, "threshold": -math.inf}, "rate=0 with threshold=-inf is not defined"),
        ({"alpha": -0.1}, "alpha=-0.1"),
        ({"alpha": math.nan}, "alpha=nan"),
    ],
)
def test_config_refuses(fields, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        TaperConfig(**fields)


def test_config_accepts_both_ends():
    TaperConfig(threshold=-math.inf)
    TaperConfig(rate=0.0, threshold=3)
    TaperConfig(alpha=0.0)
