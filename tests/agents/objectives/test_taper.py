from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from agents.objectives.signed_pg import signed_pg_loss
from agents.objectives.taper import (
    RemotenessThreshold,
    TaperConfig,
    TaperObjective,
    positive_quantile,
    taper_loss,
    taper_weight,
)
from recenv.errors import InvalidInput
from tests.properties import Claim, every_claim
from tests.reference import repulsion_reference as reference

LOG_2PI = math.log(2 * math.pi)
SHAPES = ("exponential", "linear", "quadratic")


def scalars(threshold: float, width: float, rate: float, dtype: torch.dtype = torch.float64) -> Any:
    return [torch.tensor(value, dtype=dtype) for value in (threshold, width, rate)]


# --- the loss


def check_value_and_gradient_are_the_references(loss, problem):
    """L = -w A log pi, w = 1 for A >= 0 and g(D) for A < 0; the weight is a constant to the gradient."""
    pairs, taper, shape = problem
    log_prob = torch.tensor([pair[0] for pair in pairs], dtype=torch.float64, requires_grad=True)
    advantage = torch.tensor([pair[1] for pair in pairs], dtype=torch.float64)
    found = loss(log_prob, advantage, *scalars(*taper), shape=shape)
    found.sum().backward()
    expected, slopes = reference.taper_losses(log_prob.detach().numpy(), advantage.numpy(), *taper, shape=shape)
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-9, atol=1e-9)
    assert log_prob.grad is not None
    np.testing.assert_allclose(log_prob.grad, slopes, rtol=1e-9, atol=1e-9)


def through_the_weight(log_prob, advantage, threshold, width, rate, shape):
    kept = (-rate * (-log_prob - threshold).clamp_min(0.0) / width).exp()
    return -torch.where(advantage >= 0, 1.0, kept) * advantage * log_prob


def check_without_a_rate_it_is_the_signed_policy_gradient(loss, problem):
    """20. lambda = 0 with finite tau, or with one that was not measured yet: equal to the last bit, also at D = inf."""
    pairs, threshold, shape = problem
    log_prob, advantage = (torch.tensor(column) for column in zip(*pairs, strict=True))
    found = loss(log_prob, advantage, *scalars(threshold, 1.0, 0.0, torch.float32), shape=shape)
    assert torch.equal(found, signed_pg_loss(log_prob, advantage))


def unguarded(log_prob, advantage, threshold, width, rate, shape):
    kept = (-rate * (-log_prob - threshold).clamp_min(0.0) / width).exp()  # 0 * inf
    return signed_pg_loss(log_prob, torch.where(advantage >= 0, 1.0, kept) * advantage)


def check_without_a_threshold_it_keeps_the_positives_alone(loss, problem):
    """20. tau = -inf with lambda > 0: equal to the last bit to the positives' policy gradient, also at D = inf."""
    pairs, rate, shape = problem
    log_prob, advantage = (torch.tensor(column) for column in zip(*pairs, strict=True))
    found = loss(log_prob, advantage, *scalars(-torch.inf, 1.0, rate, torch.float32), shape=shape)
    assert torch.equal(found, signed_pg_loss(log_prob, advantage.clamp_min(0.0)))


def large_instead_of_infinite(log_prob, advantage, threshold, width, rate, shape):
    return taper_loss(log_prob, advantage, threshold.clamp_min(-20.0), width, rate, shape)


NUMBERS = st.floats(-30.0, 10.0, width=32)
PAIRS = st.lists(st.tuples(NUMBERS | st.just(-math.inf), st.floats(-3.0, 3.0, width=32)), min_size=1, max_size=6)
FINITE_PAIRS = st.lists(st.tuples(NUMBERS, st.floats(-3.0, 3.0)), min_size=1, max_size=6)
CLAIMS = [
    Claim(
        check_value_and_gradient_are_the_references,
        st.tuples(
            FINITE_PAIRS,
            st.tuples(st.floats(-5.0, 25.0), st.floats(0.1, 5.0), st.just(0.0) | st.floats(0.01, 5.0)),
            st.sampled_from(SHAPES),
        ),
        taper_loss,
        through_the_weight,
    ),
    Claim(
        check_without_a_rate_it_is_the_signed_policy_gradient,
        st.tuples(PAIRS, st.floats(-30.0, 30.0) | st.just(math.inf), st.sampled_from(SHAPES)),
        taper_loss,
        unguarded,
    ),
    Claim(
        check_without_a_threshold_it_keeps_the_positives_alone,
        st.tuples(PAIRS, st.floats(0.01, 5.0), st.sampled_from(SHAPES)),
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
    """tau = 10, c = 2, lambda = 0.5: D = 9, 10, 12, 14 and 18 lie 0, 0, 1, 2 and 4 widths out."""
    log_prob = -torch.tensor([9.0, 10.0, 12.0, 14.0, 18.0, 22.0, torch.inf])
    weights = {shape: taper_weight(log_prob, *scalars(10.0, 2.0, 0.5, torch.float32), shape=shape) for shape in SHAPES}
    halves = torch.tensor([0.0, 0.0, 0.5, 1.0, 2.0, 3.0, torch.inf])
    torch.testing.assert_close(weights["exponential"], (-halves).exp())
    assert weights["linear"].tolist() == [1.0, 1.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    assert weights["quadratic"].tolist() == [1.0, 1.0, 0.5625, 0.25, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_falls_with_the_rate_from_the_threshold(shape):
    step = 1e-6
    weight = taper_weight(torch.tensor([-3.0 - step], dtype=torch.float64), *scalars(3.0, 2.0, 0.7), shape=shape)
    assert (1 - weight.item()) / step == pytest.approx(0.7 / 2.0, rel=1e-5)


def test_default_exponential_is_a_truncated_ratio():
    log_prob = torch.tensor([-2.0, -5.0, -7.5])
    weight = taper_weight(log_prob, *scalars(5.0, 1.0, 1.0, torch.float32), shape="exponential")
    torch.testing.assert_close(weight, (log_prob + 5.0).exp().clamp_max(1.0))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_small_types_and_extremes_are_numbers(dtype):
    log_prob = torch.tensor([-1e4, -torch.inf, 0.0, -60.0], dtype=dtype, requires_grad=True)
    advantage = torch.tensor([-1e6, -1e6, -1e6, 1e6], dtype=dtype)
    for shape in SHAPES:
        for threshold in (60.0, torch.inf, -torch.inf):
            loss = taper_loss(log_prob[[0, 2, 3]], advantage[[0, 2, 3]], *scalars(threshold, 1.0, 1.0), shape=shape)
            assert loss.dtype == dtype
            assert loss.isfinite().all()
        assert taper_loss(log_prob, advantage, *scalars(60.0, 1.0, 1.0), shape=shape)[1] == 0


# --- the objective


def test_value_worked_by_hand(make_actor, make_batch):
    """A = 1, -1; the second action has D = 2 + log 2 pi, two nats over the threshold, a width: w = 1, e^-1."""
    batch = make_batch(torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([2.0, 0.0]))
    actor = make_actor()
    objective = TaperObjective(actor, config=TaperConfig(threshold=LOG_2PI, width=2.0))
    objective.refresh(torch.tensor([0.0, 2.0, 2.0, 0.0]))
    out = objective(batch)
    kept = math.exp(-1.0)
    assert out["loss_actor"].item() == pytest.approx((0.5 + LOG_2PI - kept * (2 + LOG_2PI)) / 2, rel=1e-6)
    assert out["tapered_share"].item() == pytest.approx(1 - kept, rel=1e-6)
    out["loss_actor"].backward()
    bias = actor.module[0].module.mean.bias
    torch.testing.assert_close(bias.grad, torch.tensor([-0.5, kept]))
    assert objective.after_step(batch) == {}
    assert objective.threshold.value.item() == pytest.approx(LOG_2PI)  # a given one stays


def test_quantile_is_of_the_positives_worked_by_hand():
    surprisal = torch.tensor([4.0, 1.0, 9.0, 3.0, torch.inf, 2.0, torch.nan])
    advantage = torch.tensor([0.0, 1.0, -1.0, 2.0, 1.0, 3.0, 1.0])
    assert positive_quantile(surprisal, advantage, 0.0) == 1.0
    assert positive_quantile(surprisal, advantage, 0.5) == 2.0
    assert positive_quantile(surprisal, advantage, 1.0) == 4.0
    assert positive_quantile(surprisal, -torch.ones(7), 1.0) == 9.0  # no positive: of all
    assert positive_quantile(torch.full((3,), torch.inf), torch.ones(3), 0.9) == torch.inf


def test_threshold_is_an_average_that_never_rises():
    threshold = RemotenessThreshold(TaperConfig(level=1.0, smoothing=0.75))
    assert threshold.value == torch.inf
    found = []
    for surprisal in (8.0, 4.0, 12.0, torch.inf, 2.0, 2.0):
        threshold.measure(torch.tensor([-surprisal, -100.0]), torch.tensor([1.0, -1.0]))
        found.append(threshold.value.item())
    # Averages 8, 7, 8.25; then of the negative alone, 100 nats: 31.2; then 23.9.
    assert found == [8.0, 7.0, 7.0, 7.0, 7.0, 7.0]


def test_threshold_is_measured_after_the_first_step_and_once_an_interval(make_actor, random_batch):
    objective = TaperObjective(make_actor(), config=TaperConfig(measure_interval=3, smoothing=0.0))
    objective.refresh(random_batch["score"])
    assert objective(random_batch)["tapered_share"] == 0
    values = []
    for _ in range(5):
        values.append(objective.after_step(random_batch)["threshold"].item())
        with torch.no_grad():  # less surprised by everything
            objective.actor_network_params.flatten_keys()["module.0.module.log_scale"].data.add_(0.02)
    surprisal = -objective.log_prob(random_batch)
    assert math.isfinite(values[0])
    assert values[0] == values[1] == values[2]
    assert values[3] < values[2]
    assert values[4] == values[3]
    assert (surprisal > values[0]).any()
    assert 0 < objective(random_batch)["tapered_share"] < 1


def test_resumed_threshold_goes_on_where_it_was(make_actor, random_batch):
    objective, other = (TaperObjective(make_actor()) for _ in range(2))
    objective.refresh(random_batch["score"])
    objective.after_step(random_batch)
    other.load_state_dict(objective.state_dict())
    assert other.threshold.value == objective.threshold.value < torch.inf
    assert other.threshold.average == objective.threshold.average


def test_width_and_rate_are_buffers_to_schedule(make_actor, random_batch):
    objective = TaperObjective(make_actor(), config=TaperConfig(threshold=0.0))
    objective.refresh(random_batch["score"])
    losses = [objective(random_batch)["loss_actor"].item()]
    for name in ("width", "rate"):
        setattr(objective, name, 3.0)
        losses.append(objective(random_batch)["loss_actor"].item())
    assert losses[0] == losses[2]  # only lambda / c matters
    assert losses[1] != losses[0]
    assert objective.config.width == 1.0


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"shape": "cubic"}, "shape='cubic' is not a shape; choose one of: exponential, linear, quadratic"),
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
        ({"level": 1.5}, "level=1.5"),
        ({"smoothing": 1.0}, "smoothing=1.0"),
        ({"measure_interval": 0}, "measure_interval=0"),
    ],
)
def test_config_refuses(fields, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        TaperConfig(**fields)


def test_config_accepts_both_ends():
    TaperConfig(threshold=-math.inf)
    TaperConfig(rate=0.0, threshold=3)
    TaperConfig(rate=0.0)
