"""DRPO, DRPO-Exp and Adaptive BC by hand: what is kept, how the share moves, what the weights are."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tensordict import TensorDict

from agents.objectives.bases.batch_filter import keep_best
from agents.objectives.drpo import (
    AdaptiveBcConfig,
    AdaptiveBcObjective,
    DrpoConfig,
    DrpoExpConfig,
    DrpoExpObjective,
    DrpoObjective,
    drpo_exp_weight,
    drpo_weight,
)
from recenv.errors import InvalidInput

CONFIGS = (DrpoConfig, DrpoExpConfig, AdaptiveBcConfig)


def doubles(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def kept(scores: torch.Tensor, share: float, *padding: int):
    counted = torch.ones(len(scores), dtype=torch.bool)
    counted[list(padding)] = False
    return keep_best(scores, doubles(share)[0], counted)


def batch_of(scores: torch.Tensor, **more: Any) -> TensorDict:
    generator, count = torch.Generator().manual_seed(0), len(scores)
    features, proto = (torch.randn(count, size, generator=generator) for size in (3, 2))
    return TensorDict({"observation": {"features": features}, "proto": proto, "score": scores, **more}, [count])


# --- the filter


@pytest.mark.parametrize(
    ("share", "rows", "threshold"),
    [
        (0.5, [1, 2], 2.0),  # of the three twos the first
        (0.79, [1, 2, 3], 2.0),
        (1.0, [0, 1, 2, 3, 4], 1.0),
        (0.6, [1, 2, 3], 2.0),
        (0.05, [1], 3.0),  # at least one
    ],
)
def test_the_best_are_kept_and_of_equal_ones_the_first(share, rows, threshold):
    found = kept(doubles(1.0, 3.0, 2.0, 2.0, 2.0), share)
    assert found.rows.nonzero().flatten().tolist() == rows
    assert int(found.count) == len(rows)
    assert float(found.threshold) == threshold


def test_padding_is_neither_kept_nor_counted():
    found = kept(doubles(9.0, 1.0, 3.0, 2.0, 9.0), 0.7, 0, 4)
    assert found.rows.tolist() == [False, False, True, True, False]  # 2 of 3
    assert float(found.threshold) == 2.0


# --- the weights


def test_weights_of_four_rows():
    scores = doubles(0.0, 5.0, 3.0, 1.0)
    best = kept(scores, 0.75)
    deviation = (8 / 3) ** 0.5  # of 5, 3, 1
    torch.testing.assert_close(drpo_weight(scores, best)[1:], doubles(4.0, 2.0, 0.0) / deviation)
    torch.testing.assert_close(drpo_weight(scores, best, baseline="zero", normalize=False), scores)
    cap = doubles(1.5)[0]
    found = drpo_exp_weight(scores, best, doubles(2.0)[0], cap)
    torch.testing.assert_close(found[1:], doubles(1.5, 1.0, 0.36787944117144233))
    torch.testing.assert_close(
        drpo_exp_weight(scores, best, doubles(1e-3)[0], cap, baseline="zero")[1:], doubles(*[1.5] * 3)
    )


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_a_temperature_in_deviations_is_one_for_scores_of_any_size(size):
    """5, 3 and 1 are kept: their mean is 3, their deviation the root of 8 / 3."""
    scores = doubles(0.0, 5.0, 3.0, 1.0)
    beta, cap = doubles((3 / 8) ** 0.5, 1e15)
    found = drpo_exp_weight(size * scores, kept(size * scores, 0.75), beta, cap, in_deviations=True)
    torch.testing.assert_close(found[1:], doubles(2.0, 0.0, -2.0).exp(), rtol=2e-2 if size == 1e-6 else 1e-6, atol=0.0)
    alike = torch.full((3,), 0.1 * size, dtype=torch.float64)
    torch.testing.assert_close(
        drpo_exp_weight(alike, kept(alike, 1.0), beta, cap, in_deviations=True), doubles(1, 1, 1)
    )


def test_a_deviation_has_a_hundred_millionth_beside_it():
    scores = doubles(0.0, 4e-8)  # their deviation is 2e-8
    best = kept(scores, 1.0)
    torch.testing.assert_close(drpo_weight(scores, best), doubles(0.0, 4 / 3))
    found = drpo_exp_weight(scores, best, *doubles(1.0, 1e15), in_deviations=True)
    torch.testing.assert_close(found, doubles(-2 / 3, 2 / 3).exp())


def test_loss_is_the_mean_over_the_kept(make_actor):
    scores = torch.tensor([0.0, 5.0, 3.0, 1.0])
    objective = AdaptiveBcObjective(make_actor())
    objective.refresh(scores)
    batch = batch_of(scores)
    out = objective(batch)
    torch.testing.assert_close(out["loss_actor"], -objective.log_prob(batch)[1:3].mean())
    assert (float(out["retained_mass"]), float(out["effective_sample_size"]), float(out["kappa"])) == (0.5, 2.0, 0.5)
    linear = DrpoObjective(make_actor())
    linear.refresh(scores)  # 5 and 3 are kept: A = 2 and 0, their deviation is 1
    torch.testing.assert_close(linear(batch)["loss_actor"], -linear.log_prob(batch)[1])
    signed = DrpoObjective(make_actor(), config=DrpoConfig(share=1.0, baseline="zero", normalize=False))
    scores = torch.tensor([2.0, -1.0, 1.0])
    signed.refresh(scores)
    assert float(signed(batch_of(scores))["effective_sample_size"]) == pytest.approx(16 / 6)  # a push weighs, too


@pytest.mark.parametrize("part", [DrpoObjective, DrpoExpObjective, AdaptiveBcObjective])
def test_padding_changes_neither_the_loss_nor_the_share(make_actor, part):
    """Rows beside the log's, far from them: with them counted, the batch would spread enough for the share to grow."""
    scores, found = torch.tensor([0.0, 0.0, 0.0, 4.0, 1.0]), []
    rows, whole = torch.arange(4), torch.tensor([True, True, True, True, False])
    whole_batch: Any = batch_of(torch.where(whole, scores, 1e4), collector={"mask": whole})
    for batch in (whole_batch[rows].exclude("collector"), whole_batch):
        torch.manual_seed(0)
        objective = part(make_actor())
        objective.refresh(scores)
        out = objective(batch).detach()
        found.append([*map(float, out.values()), float(objective.after_step(batch)["kappa"])])
    assert found[1] == pytest.approx(found[0], rel=1e-6)
    assert found[0][-1] == pytest.approx(0.49)


@pytest.mark.parametrize("scores", [[2.0] * 4, [1.0]])
def test_what_is_kept_alike_teaches_nothing(make_actor, scores):
    objective = DrpoObjective(make_actor())
    objective.refresh(torch.tensor(scores))
    loss = objective(batch_of(torch.tensor(scores)))["loss_actor"]
    loss.backward()
    assert loss.item() == 0.0
    assert all(not p.grad.any() for p in objective.parameters() if p.grad is not None)


def test_exponential_weights_stop_where_adams_squares_would_overflow(make_actor):
    scores = torch.tensor([1e6, 0.0, -1e6, 0.0])
    objective = DrpoExpObjective(make_actor(), config=DrpoExpConfig(share=1.0))
    objective.refresh(scores)
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad])
    objective(batch_of(scores))["loss_actor"].backward()
    optimizer.step()
    assert all(torch.isfinite(state["exp_avg_sq"]).all() for state in optimizer.state.values())


# --- the controller


@pytest.mark.parametrize(
    ("scores", "share", "expected"),
    [
        ([0.0, 0.0, 9.0, 9.0], 0.5, 0.51),  # what is kept does not spread at all
        ([0.0, 0.1, 0.2, 9.0], 0.5, 0.49),  # 9 and .2 spread more than the batch
        ([3.0, 3.0, 3.0, 3.0], 0.5, 0.49),  # 0 is not below 0
        ([0.0, 9.0, 9.0, 9.0], 0.995, 1.0),
        ([3.0, 3.0, 3.0, 3.0], 0.0505, 0.05),
        ([7.0], 1.0, 0.98),
    ],
)
def test_share_moves_up_where_the_kept_are_alike_and_down_elsewhere(make_actor, scores, share, expected):
    objective = DrpoObjective(make_actor(), config=DrpoConfig(share=share))
    objective.refresh(torch.tensor(scores))
    batch = batch_of(torch.tensor(scores))
    objective(batch)
    assert float(objective.share) == share  # the loss moves nothing
    assert float(objective.after_step(batch)["kappa"]) == pytest.approx(expected, abs=1e-12)
    fixed = DrpoObjective(make_actor(), config=DrpoConfig(share=share, adapt=False))
    fixed.refresh(torch.tensor(scores))
    fixed.after_step(batch)
    assert float(fixed.share) == share


def test_spreads_are_compared_in_double_precision(make_actor):
    """Steps of 1 beside 2^24 - 8: the kept spread .5, and the batch 1.118; in float32 its mean is rounded away."""
    scores = torch.tensor([2.0**24 - 8.0 + step for step in range(4)])
    exact = 0.5 / 1.25**0.5
    for ratio, expected in ((exact + 1e-7, 0.51), (exact - 1e-7, 0.49)):
        objective = DrpoObjective(make_actor(), config=DrpoConfig(spread_ratio=ratio))
        objective.refresh(scores)
        assert float(objective.after_step(batch_of(scores))["kappa"]) == pytest.approx(expected)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.01}, r"share=0.01 is outside \[0.05, 1.0\]"),
        ({"min_share": 0.0}, r"min_share=0.0 is outside \(0.0, 1.0\]"),
        ({"growth": 0.9}, r"growth=0.9 is outside \[1.0, inf\)"),
        ({"decay": 1.1}, r"decay=1.1 is outside \(0.0, 1.0\]"),
        ({"spread_ratio": -0.1}, r"spread_ratio=-0.1 is outside"),
    ],
)
def test_bad_options_are_refused(config, options, message):
    with pytest.raises(InvalidInput, match=message):
        config(**options)


def test_unknown_baselines_are_refused():
    with pytest.raises(InvalidInput, match="baseline='mean' is unknown; choose threshold or zero"):
        DrpoConfig(baseline="mean")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="baseline='nu' is unknown; choose mean or zero"):
        DrpoExpConfig(baseline="nu")  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"weight_cap=1e\+20 is outside"):
        DrpoExpConfig(weight_cap=1e20)
