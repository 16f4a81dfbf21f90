"""What the claims of the theory leave open: values worked by hand, groups, compiling, extremes, bad input."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given

from agents.robust.density_cap import DensityCap, dual_threshold, filter_weight, hard_filter, optimistic_value
from agents.robust.divergence_balls import ChiSquareBall, KlBall, TotalVariationBall
from tests.agents.robust.dro_cases import every_bounded_set, every_set, random_log, tensor
from tests.strategies.robust import RobustProblem, filter_problems, grouped_filter_problems


def arguments(problem: RobustProblem) -> tuple[Any, ...]:
    return tensor(problem.scores), problem.size, tensor(problem.weights)


# --- by hand


def test_values_worked_by_hand():
    drawn = torch.tensor([1.0, 3.0, 1.0, 0.0])  # kappa 0.5: the 3 whole, half of the tie at 1
    assert dual_threshold(drawn, 0.5) == (1.0, 0.5)
    assert hard_filter(drawn, 0.5).tolist() == [0.25, 0.5, 0.25, 0.0]
    assert optimistic_value(drawn, 0.5).item() == 2.0
    weights = torch.tensor([0.0, 1.0, 6.0, 3.0])  # kappa 0.4: 0.1 at 3, then half of the 0.6 at 1
    torch.testing.assert_close(hard_filter(drawn, 0.4, weights), torch.tensor([0.0, 0.25, 0.75, 0.0]))


def test_groups_worked_by_hand():
    """Kappa 0.5: group 9 keeps its 3 and half of its 1s, group 4 its 2; the masses 3/4 and 1/4 stay."""
    drawn, groups = torch.tensor([1.0, 3.0, 1.0, 2.0]), torch.tensor([9, 9, 9, 4])
    tau, tie_fraction = dual_threshold(drawn, 0.5, scope="group", groups=groups)
    assert tau.tolist() == [1.0, 1.0, 1.0, 2.0]
    assert tie_fraction.tolist() == pytest.approx([0.25, 0.25, 0.25, 0.5])
    assert hard_filter(drawn, 0.5, scope="group", groups=groups).tolist() == pytest.approx([0.125, 0.5, 0.125, 0.25])
    assert optimistic_value(drawn, 0.5, scope="group", groups=groups).item() == pytest.approx(2.25)


def test_balls_worked_by_hand():
    """Two equal scores 0 and 1, where q is (1 - p, p), and p by each divergence."""
    drawn = tensor([0.0, 1.0])
    kl = KlBall(math.log(2) - (0.75 * math.log(4 / 3) + 0.25 * math.log(4))).solve(drawn)  # log 2 less the entropy of p
    torch.testing.assert_close(kl.q, tensor([0.25, 0.75]))
    assert kl.duals["temperature"].item() == pytest.approx(1 / math.log(3))
    chi = ChiSquareBall(0.25).solve(drawn)  # sum (q - b)^2 / b = 4 (p - 1/2)^2
    torch.testing.assert_close(chi.q, tensor([0.25, 0.75]))
    assert chi.duals["eta"].item() == pytest.approx(-0.5)  # w = (s - eta)_+ / E: 1/2 and 3/2
    torch.testing.assert_close(TotalVariationBall(0.25).solve(drawn).q, tensor([0.25, 0.75]))


@pytest.mark.parametrize("radius", [1.0, torch.tensor(1.0)], ids=["number", "tensor"])
def test_total_variation_of_one_moves_everything_to_the_best_score_that_has_mass(radius):
    drawn = tensor([0.0, 1.0, 2.0])
    assert TotalVariationBall(radius).solve(drawn, tensor([3.0, 1.0, 0.0])).q.tolist() == [0.0, 1.0, 0.0]


@every_bounded_set
def test_a_maximizer_that_is_none_has_a_duality_gap(ambiguity_set):
    """The dual value stays, and `q` is the base weights: the gap is what they miss."""

    class Lazy(ambiguity_set):
        def maximize(self, problem: Any) -> Any:
            return replace(super().maximize(problem), weight=torch.ones_like(problem.scores))

    drawn = tensor([0.0, 1.0, 2.0])
    expected = ambiguity_set(0.1).solve(drawn).value - drawn.mean()
    assert expected > 0.1
    torch.testing.assert_close(Lazy(0.1).solve(drawn).duality_gap, expected)


@pytest.mark.parametrize("ball", [KlBall, ChiSquareBall])
def test_a_map_that_is_not_affine_changes_what_a_ball_finds(ball):
    drawn = tensor([0.0, 1.0, 2.0])
    assert (ball(0.1).solve(drawn).q - ball(0.1).solve(drawn**3).q).abs().max() > 0.01


@pytest.mark.parametrize("radius", [1e-4, 1e-12, 1e-20, 1e-100, 1e-300])
@pytest.mark.parametrize(("ball", "twice"), [(KlBall, 2.0), (ChiSquareBall, 1.0)])
def test_a_small_radius_buys_its_root_times_the_spread(ball, twice, radius):
    """V = E_b[s] + sqrt(2 rho Var) for KL and sqrt(rho Var) for chi-square, to first order."""
    drawn = tensor([-1.0, 0.0, 1.0])
    found = ball(radius).solve(drawn)
    rise = math.sqrt(twice * radius * 2 / 3)
    assert (found.q @ drawn).item() == pytest.approx(rise, rel=0.01, abs=3e-16)
    assert found.duality_gap.item() == pytest.approx(0.0, abs=1e-15)
    if radius >= 1e-20:
        assert found.sensitivity.item() == pytest.approx(rise / radius / 2, rel=0.01)


# --- extremes


@pytest.mark.parametrize(("kappa", "kept"), [(0.07, 7), (0.29, 29), (0.3, 30), (0.57, 57)])
@pytest.mark.parametrize("weights", [None, torch.full((100,), 0.1, dtype=torch.float64)])
@pytest.mark.parametrize("num_groups", [1, 3000])
def test_a_kappa_that_binary_cannot_write_keeps_a_whole_number(kappa, kept, weights, num_groups):
    drawn = torch.arange(100.0, dtype=torch.float64).repeat(num_groups)
    weights = None if weights is None else weights.repeat(num_groups)
    groups = None if num_groups == 1 else torch.arange(num_groups).repeat_interleave(100)
    scope = "global" if groups is None else "group"
    tau, tie_fraction = dual_threshold(drawn, kappa, weights, scope=scope, groups=groups)
    assert (tau == 100 - kept).all()
    torch.testing.assert_close(tie_fraction, torch.ones_like(tie_fraction), rtol=0, atol=1e-10)
    assert int((hard_filter(drawn, kappa, weights, scope=scope, groups=groups) > 0).sum()) == kept * num_groups


@pytest.mark.parametrize("size", [1e308, 5e-324])
@every_set
def test_huge_and_tiny_weights_are_normalised_all_the_same(ambiguity_set, size):
    weights = tensor([size, 0.0, size, size, size])
    drawn = torch.arange(5.0, dtype=torch.float64)
    expected = ambiguity_set(0.5).solve(drawn, tensor([1.0, 0.0, 1.0, 1.0, 1.0]))
    found = ambiguity_set(0.5).solve(drawn, weights)
    torch.testing.assert_close(found.q, expected.q)
    torch.testing.assert_close(found.value, expected.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [-120, -60, 60, 120])
@every_bounded_set
def test_huge_and_tiny_scores_are_scaled_exactly(ambiguity_set, power, dtype):
    scores, weights, _ = random_log(dtype)
    found = ambiguity_set(0.2).solve(scores, weights)
    scaled = ambiguity_set(0.2).solve(scores * 2.0**power, weights)
    torch.testing.assert_close(scaled.q, found.q, rtol=0, atol=1e-12)
    torch.testing.assert_close(scaled.value * 2.0**-power, found.value)
    assert abs(scaled.duality_gap.item()) <= 2.0**power * (1e-9 if dtype == torch.float64 else 1e-5)


@pytest.mark.parametrize("rare", [1e-4, 1e-8, 1e-14])
@every_bounded_set
def test_a_rare_best_score_is_weighed_exactly(ambiguity_set, rare):
    """b = (1 - rare, rare) on scores 0 and 1: V is the largest p of the set, from its own equation."""
    weights, drawn = tensor([1.0 - rare, rare]), tensor([0.0, 1.0])
    found = ambiguity_set(0.2).solve(drawn, weights)
    p = found.q[1].item()
    spent = {
        DensityCap: lambda: 0.2 * p / rare,
        KlBall: lambda: (p * math.log(p / rare) + (1 - p) * (math.log1p(-p) - math.log1p(-rare))) / 0.2,
        ChiSquareBall: lambda: (p - rare) ** 2 / (rare * (1 - rare)) / 0.2,
        TotalVariationBall: lambda: (p - rare) / 0.2,
    }[ambiguity_set]()
    assert spent == pytest.approx(1.0, rel=1e-6)
    assert found.duality_gap.item() == pytest.approx(0.0, abs=1e-12)


def test_float32_weights_are_accumulated_in_float64():
    """One weight of 2^24 and 1,000 of 1: in float32 none of the ones would count."""
    drawn = -torch.arange(1001.0)
    weights = torch.ones(1001).index_fill_(0, torch.tensor(0), 2.0**24)
    tau, tie_fraction = dual_threshold(drawn, (2**24 + 500.25) / (2**24 + 1000), weights)
    assert tau.item() == -501
    assert tie_fraction.item() == pytest.approx(0.25, abs=1e-6)


def test_a_small_group_keeps_its_digits_in_a_large_log():
    """One group of three rows with 1e-12 of the mass, behind another of 10,000."""
    drawn = torch.cat([torch.zeros(10_000, dtype=torch.float64), tensor([3.0, 2.0, 1.0])])
    weights = torch.cat([torch.ones(10_000, dtype=torch.float64), tensor([1e-9, 2e-9, 1e-9])])
    groups = torch.cat([torch.zeros(10_000, dtype=torch.int64), torch.ones(3, dtype=torch.int64)])
    tau, tie_fraction = dual_threshold(drawn, 0.5, weights, scope="group", groups=groups)
    assert (tau[-1].item(), tie_fraction[-1].item()) == (2.0, pytest.approx(0.5, abs=1e-12))


@pytest.mark.slow
def test_seventeen_million_scores():
    """More than torch.quantile takes: an atom of a quarter at each of 0, 1, 2, 3, and then the best three of all."""
    drawn = torch.arange(17_000_000, dtype=torch.int32).remainder_(4).float()
    tau, tie_fraction = dual_threshold(drawn, 0.3)
    assert tau.item() == 2
    assert tie_fraction.item() == pytest.approx(0.2, abs=1e-12)
    assert optimistic_value(drawn, 0.3).item() == pytest.approx((0.25 * 3 + 0.05 * 2) / 0.3, rel=1e-6)
    q = hard_filter(drawn, 0.3)
    assert q.sum(dtype=torch.float64).item() == pytest.approx(1.0, abs=1e-6)
    assert q[2::4].sum(dtype=torch.float64).item() == pytest.approx(1 / 6, abs=1e-6)


# --- one answer, however it is asked for


@given(problem=grouped_filter_problems())
def test_the_cap_answers_what_the_functions_do(problem):
    how: dict[str, Any] = {"scope": "group", "groups": torch.tensor(problem.groups)}
    for scope in ({}, how):
        drawn, kappa, weights = arguments(problem)
        found = DensityCap(kappa).solve(drawn, weights, **scope)
        tau, tie_fraction = dual_threshold(drawn, kappa, weights, **scope)
        assert torch.equal(found.duals["tau"], tau)
        assert torch.equal(found.duals["tie_fraction"], tie_fraction)
        assert torch.equal(found.weight, filter_weight(drawn, tau, tie_fraction, kappa))
        assert torch.equal(found.q, hard_filter(drawn, kappa, weights, **scope))
        within = 1e-9 * (1 + np.abs(problem.scores).max())
        assert found.value.item() == pytest.approx(optimistic_value(drawn, kappa, weights, **scope).item(), abs=within)
        assert found.duality_gap.item() == pytest.approx(0.0, abs=within)


@given(problem=filter_problems())
def test_no_base_weights_and_a_kappa_in_a_tensor_change_nothing(problem):
    """Uniform weights take a selection, equal weights and tensors a sort."""
    drawn, kappa, _ = arguments(problem)
    expected = dual_threshold(drawn, kappa)
    for other in (
        dual_threshold(drawn, kappa, torch.full_like(drawn, 7.0)),
        dual_threshold(drawn, tensor(kappa)),
        dual_threshold(drawn, kappa, scope="group", groups=torch.zeros(len(drawn), dtype=torch.int8)),
    ):
        assert (other[0] == expected[0]).all()
        assert ((other[1] - expected[1]).abs() < 1e-10).all()


@every_set
@given(problem=grouped_filter_problems())
def test_a_group_is_solved_as_if_it_were_alone(ambiguity_set, problem):
    drawn, size, _ = arguments(problem)
    groups, base = torch.tensor(problem.groups), tensor(problem.base)
    found = ambiguity_set(size).solve(drawn, base, scope="group", groups=groups)
    within, value = 1e-9 * (1 + np.abs(problem.scores).max()), 0.0
    for group in groups.unique():
        rows = groups == group
        mass = base[rows].sum()
        if mass == 0:
            assert (found.q[rows] == 0).all()
            continue
        alone = ambiguity_set(size).solve(drawn[rows], base[rows])
        torch.testing.assert_close(found.q[rows], mass * alone.q, rtol=0, atol=1e-9)
        # Where the set is just large enough for the best score alone, rounding says which of several duals is told.
        below = drawn[rows] < drawn[rows][base[rows] > 0].max()
        duals = alone.duals if alone.q[below].sum() > 1e-9 else {}
        for name, dual in duals.items():
            torch.testing.assert_close(found.duals[name][rows], dual.expand(int(rows.sum())), rtol=1e-5, atol=1e-9)
        value += (mass * alone.value).item()
    assert found.value.item() == pytest.approx(value, abs=within)
    assert found.duality_gap.item() == pytest.approx(0.0, abs=within)
