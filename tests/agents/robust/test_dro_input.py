"""The robust solver's compiled form, and what it refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from agents.robust.capped_kl import CappedKl
from agents.robust.density_cap import DensityCap, dual_threshold, hard_filter, optimistic_value
from agents.robust.divergence_balls import ChiSquareBall, KlBall, TotalVariationBall
from agents.robust.estimation_penalty import EstimationPenalty
from recenv.errors import InvalidInput
from tests.agents.robust.dro_cases import SETS, every_set, random_log, tensor

FUNCTIONS = [hard_filter, optimistic_value, dual_threshold]


# --- gradients


@every_set
@pytest.mark.parametrize("scope", ["global", "group"])
def test_value_has_q_and_the_sensitivity_as_its_gradients(ambiguity_set, scope):
    """Both agree with central differences; the scores are untied, and no group's set is saturated."""
    generator = torch.Generator().manual_seed(1)
    drawn, weights = torch.randn(30, generator=generator, dtype=torch.float64), tensor(np.linspace(1.0, 2.0, 30))
    how: dict[str, Any] = {"scope": scope, "groups": torch.arange(30) % 3 if scope == "group" else None}
    size = tensor(0.37)
    drawn.requires_grad_()
    size.requires_grad_()
    found = ambiguity_set(size).solve(drawn, weights, **how)
    by_score, by_size = torch.autograd.grad(found.value, (drawn, size))
    assert not any(part.requires_grad for part in (found.q, found.weight, found.duality_gap))
    torch.testing.assert_close(by_score, found.q)
    torch.testing.assert_close(by_size, found.sensitivity)

    def value(scores: torch.Tensor, radius: float) -> float:
        return ambiguity_set(radius).solve(scores, weights, **how).value.item()

    step = 1e-5
    for row in range(0, 30, 7):
        move = torch.zeros(30, dtype=torch.float64).index_fill_(0, torch.tensor(row), step)
        difference = (value(drawn.detach() + move, 0.37) - value(drawn.detach() - move, 0.37)) / (2 * step)
        assert by_score[row].item() == pytest.approx(difference, abs=1e-6)
    difference = (value(drawn.detach(), 0.37 + step) - value(drawn.detach(), 0.37 - step)) / (2 * step)
    assert by_size.item() == pytest.approx(difference, rel=1e-4)


@pytest.mark.parametrize("ball", [KlBall, ChiSquareBall, TotalVariationBall])
def test_a_radius_of_zero_in_a_tensor_gives_no_nan(ball):
    drawn, radius = (1e10 * tensor([0.0, 1.0, 3.0])).requires_grad_(), tensor(0.0).requires_grad_()
    value = ball(radius).solve(drawn).value
    by_score, by_radius = torch.autograd.grad(value, (drawn, radius))
    assert value.item() == pytest.approx(4e10 / 3)
    torch.testing.assert_close(by_score, torch.full_like(by_score, 1 / 3))
    assert by_radius.item() > 0


# --- compiling and devices


@pytest.fixture
def compiler() -> Any:
    """Compile without what an earlier test of the same function has left."""
    torch._dynamo.reset()
    return lambda function: torch.compile(function, fullgraph=True, backend="eager")


@every_set
@pytest.mark.parametrize(
    ("scope", "weighted", "size"),
    [("global", False, 0.3), ("global", True, torch.tensor(0.3)), ("group", True, 0.3)],
    ids=["plain", "tensor", "group"],
)
def test_a_solution_compiles_without_a_break(ambiguity_set, scope, weighted, size, compiler):
    scores, weights, groups = random_log()
    chosen, ids = weights if weighted else None, groups if scope == "group" else None

    def solve(scores: torch.Tensor) -> Any:
        return ambiguity_set(size).solve(scores, chosen, scope=scope, groups=ids)

    expected = solve(scores)
    found = compiler(solve)(scores)
    for name in ("q", "weight", "value", "sensitivity", "duality_gap"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_functions_compile_without_a_break(function, compiler):
    scores, weights, _ = random_log()
    for given_weights in (None, weights):
        found = compiler(function)(scores, 0.3, given_weights)
        torch.testing.assert_close(found, function(scores, 0.3, given_weights))


@pytest.mark.gpu
@every_set
@pytest.mark.parametrize("scope", ["global", "group"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cuda_answers_the_same(ambiguity_set, scope, weighted, dtype):
    scores, weights, groups = random_log(dtype)
    chosen, ids = weights if weighted else None, groups if scope == "group" else None
    expected = ambiguity_set(0.3).solve(scores, chosen, scope=scope, groups=ids)
    found = ambiguity_set(0.3).solve(scores.cuda(), chosen, scope=scope, groups=ids)
    for name in ("q", "weight", "value"):
        torch.testing.assert_close(getattr(found, name).cpu(), getattr(expected, name), rtol=1e-6, atol=1e-9)
    assert found.q.is_cuda
    assert abs(found.duality_gap.item()) < 1e-5


# --- bad input


BAD_SCORES_AND_WEIGHTS = [
    (([1.0], None), "scores is a list"),
    ((torch.tensor([]), None), "at least one score"),
    ((torch.tensor(1.0), None), "one-dimensional"),
    ((torch.ones(2, 2), None), "one-dimensional"),
    ((torch.ones(3, dtype=torch.int64), None), "float32 or float64"),
    ((torch.ones(3, dtype=torch.float16), None), "float32 or float64"),
    ((torch.tensor([0.0, torch.nan]), None), "1 NaN or infinite"),
    ((torch.tensor([0.0, torch.inf]), None), "1 NaN or infinite"),
    ((torch.tensor([torch.nan, -torch.inf, 1.0]), None), "2 NaN or infinite"),
    ((torch.tensor([3e38, -3e38]), None), "too far apart for torch.float32"),
    ((torch.ones(3), [1.0, 1.0, 1.0]), "base_weights is a list"),
    ((torch.ones(3), torch.ones(2)), r"base_weights has shape \(2,\), scores \(3,\)"),
    ((torch.ones(3), torch.tensor([1.0, -1.0, 1.0])), "pass finite weights >= 0"),
    ((torch.ones(3), torch.tensor([1.0, torch.nan, 1.0])), "pass finite weights >= 0"),
    ((torch.ones(3), torch.tensor([1.0, torch.inf, 1.0])), "pass finite weights >= 0"),
    ((torch.ones(3), torch.zeros(3)), "sums to 0"),
]


@pytest.mark.parametrize(("given", "sentence"), BAD_SCORES_AND_WEIGHTS)
def test_bad_scores_and_weights_are_one_sentence(given, sentence):
    calls = [lambda f=f: f(given[0], 0.5, given[1]) for f in FUNCTIONS]
    calls += [lambda s=s: s(0.5).solve(*given) for s in SETS.values()]
    for call in calls:
        with pytest.raises(InvalidInput, match=sentence) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kappa", "sentence"),
    [
        (0.0, "kappa=0.0"),
        (-0.1, "kappa=-0.1"),
        (1.1, "kappa=1.1"),
        (math.nan, "kappa=nan"),
        ("half", "kappa='half'"),
        (torch.tensor(0.0), "kappa=0.0"),
        (torch.tensor([0.5]), r"kappa is a tensor of shape \(1,\)"),
        (torch.tensor(1), "dtype torch.int64"),
    ],
)
@pytest.mark.parametrize("function", [*FUNCTIONS, lambda scores, kappa: DensityCap(kappa)])
def test_bad_kappa_is_one_sentence(function, kappa, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        function(torch.ones(3), kappa)


@pytest.mark.parametrize(
    ("ball", "radius"),
    [(KlBall, -0.1), (KlBall, math.inf), (ChiSquareBall, "one"), (TotalVariationBall, 1.5), (TotalVariationBall, -1.0)],
)
def test_bad_radius_is_one_sentence(ball, radius):
    with pytest.raises(InvalidInput, match=f"radius={radius!r}"):
        ball(radius)


@pytest.mark.parametrize(
    ("build", "sentence"),
    [
        (lambda: CappedKl(-0.1, 1.0), r"kappa=-0.1 .*set kappa to a number in \[0.0, 1.0\]"),
        (lambda: CappedKl(1.5, 1.0), "kappa=1.5"),
        (lambda: CappedKl(0.5, math.inf), "temperature=inf"),
        (lambda: CappedKl(0.5, -1.0), "temperature=-1.0"),
        (lambda: CappedKl(0.5, torch.tensor([1.0])), r"temperature is a tensor of shape \(1,\)"),
        (lambda: CappedKl(0.5, 1.0, "none"), "reference='none' is none; choose 'base' or 'uniform'"),  # type: ignore[arg-type]
        (lambda: CappedKl.of_awr(torch.ones(3), 0.0, 20.0), "temperature=0.0"),
        (lambda: CappedKl.of_awr(torch.ones(3), 1.0, 0.0), "weight_cap=0.0"),
        (lambda: CappedKl.of_awr(torch.tensor([torch.nan]), 1.0, 20.0), "1 NaN or infinite"),
        (lambda: EstimationPenalty(-1.0), "penalty=-1.0"),
        (lambda: EstimationPenalty(math.nan), "penalty=nan"),
    ],
)
def test_bad_prices_are_one_sentence(build, sentence):
    with pytest.raises(InvalidInput, match=sentence) as caught:
        build()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-9, 1.0, 1e9, 1e18])
@pytest.mark.parametrize("kappa", [0.0, 1e-300, 0.3, 1.0 - 1e-12, 1.0])
def test_extreme_prices_have_a_certificate(kappa, temperature, dtype):
    """Both references, groups and ties, scores up to 1e6: the sum is one, and the gap is rounding."""
    scores, weights, groups = random_log(dtype, 60)
    for scale in (1.0, 1e6):
        for how in ({}, {"scope": "group", "groups": groups}):
            found = CappedKl(kappa, temperature).solve(scores * scale, weights, **how)  # type: ignore[arg-type]
            within = (1e-9 if dtype == torch.float64 else 1e-4) * scale
            assert found.q.double().sum().item() == pytest.approx(1.0, abs=1e-5)
            assert abs(found.duality_gap.item()) < within
            other = CappedKl(kappa, temperature, "uniform").solve(scores * scale, weights, **how)  # type: ignore[arg-type]
            assert other.q.double().sum().item() == pytest.approx(1.0, abs=1e-5)
            assert abs(other.duality_gap.item()) < within * (1 + temperature)
            assert torch.isfinite(other.weight).all()


@pytest.mark.parametrize(
    ("scope", "groups", "sentence"),
    [
        ("session", None, "scope='session' is not a scope"),
        ("global", torch.zeros(3, dtype=torch.int64), "groups are given with scope='global'"),
        ("group", None, "groups a NoneType"),
        ("group", [0, 0, 1], "groups a list"),
        ("group", torch.zeros(2, dtype=torch.int64), r"groups has shape \(2,\), scores \(3,\)"),
        ("group", torch.zeros(3), "groups has dtype torch.float32; pass integers"),
    ],
)
def test_bad_groups_are_one_sentence(scope, groups, sentence):
    for function in (*FUNCTIONS, lambda scores, kappa, **how: DensityCap(kappa).solve(scores, **how)):
        with pytest.raises(InvalidInput, match=sentence):
            function(torch.ones(3), 0.5, scope=scope, groups=groups)
