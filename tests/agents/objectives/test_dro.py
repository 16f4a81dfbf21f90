from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from agents.objectives.dro import dual_threshold, filter_weight, hard_filter, optimistic_value
from recenv.errors import InvalidInput
from tests.reference import dro_reference as reference
from tests.strategies import base_weights, filter_problems, kappas, scores

TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-12}
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def tensor(values, dtype=torch.float64) -> Any:
    return None if values is None else torch.tensor(values, dtype=dtype)


def solve(drawn, kappa, weights, dtype=torch.float64) -> np.ndarray:
    return hard_filter(tensor(drawn, dtype), kappa, tensor(weights, dtype)).double().numpy()


@DTYPES
@given(problem=filter_problems())
def test_solution_is_feasible_and_attains_the_linear_programmes_optimum(dtype, problem):
    drawn, kappa, weights = problem
    base = reference.normalized(weights, len(drawn))
    q = hard_filter(tensor(drawn, dtype), kappa, tensor(weights, dtype))
    value = optimistic_value(tensor(drawn, dtype), kappa, tensor(weights, dtype))
    assert q.dtype == value.dtype == dtype
    q, tolerance = q.double().numpy(), TOLERANCE[dtype]
    assert (q >= 0).all()
    assert (q <= base / kappa * (1 + tolerance) + tolerance).all()
    assert q.sum() == pytest.approx(1, abs=tolerance)
    optimum = reference.linear_programme(drawn, kappa, base)
    assert q @ drawn == pytest.approx(optimum, abs=1e-6)
    assert value.item() == pytest.approx(optimum, abs=1e-6)
    assert value.item() == pytest.approx(reference.dual_value(drawn, kappa, base), abs=40 * tolerance)


@DTYPES
@given(problem=filter_problems())
def test_a_tie_shares_its_mass_by_base_weight(dtype, problem):
    drawn, kappa, weights = problem
    expected = reference.greedy_filter(drawn, kappa, reference.normalized(weights, len(drawn)))
    np.testing.assert_allclose(solve(drawn, kappa, weights, dtype), expected, rtol=0, atol=TOLERANCE[dtype])


@given(problem=filter_problems())
def test_threshold_is_the_largest_score_with_enough_mass_above(problem):
    drawn, kappa, weights = problem
    base = reference.normalized(weights, len(drawn))
    tau, tie_fraction = (float(x) for x in dual_threshold(tensor(drawn), kappa, tensor(weights)))
    assert base[drawn == tau].sum() > 0
    assert base[drawn >= tau].sum() >= kappa * (1 - 1e-9)
    assert base[drawn > tau].sum() < kappa
    assert 0 <= tie_fraction <= 1
    kept = base[drawn > tau].sum() + tie_fraction * base[drawn == tau].sum()
    assert kept == pytest.approx(kappa, rel=1e-9)


@given(problem=filter_problems())
def test_elementwise_weight_times_base_is_the_solution(problem):
    drawn, kappa, weights = problem
    tau, tie_fraction = dual_threshold(tensor(drawn), kappa, tensor(weights))
    weight = filter_weight(tensor(drawn), tau, tie_fraction, kappa).numpy()
    assert ((weight >= 0) & (weight <= 1 / kappa * (1 + 1e-12))).all()
    expected = solve(*problem)
    np.testing.assert_allclose(weight * reference.normalized(weights, len(drawn)), expected, rtol=0, atol=1e-12)


@given(problem=filter_problems())
def test_all_the_mass_gives_the_base_weights_back(problem):
    drawn, _, weights = problem
    base = reference.normalized(weights, len(drawn))
    np.testing.assert_allclose(solve(drawn, 1.0, weights), base, rtol=0, atol=1e-14)
    assert optimistic_value(tensor(drawn), 1.0, tensor(weights)).item() == pytest.approx(base @ drawn, abs=1e-11)


@given(kappa=st.floats(1e-6, 1.0), score=st.floats(-1e6, 1e6), weight=st.one_of(st.none(), st.floats(1e-300, 1e300)))
def test_one_element_takes_everything(kappa, score, weight):
    weights = None if weight is None else [weight]
    assert solve([score], kappa, weights) == pytest.approx([1.0], abs=1e-14)
    assert optimistic_value(tensor([score]), kappa, tensor(weights)).item() == pytest.approx(score, rel=1e-12)


@given(data=st.data(), good=scores(), bad=scores(), kappa=st.floats(1e-3, 0.999))
def test_the_good_component_is_recovered(data, good, bad, kappa):
    """If b = kappa g + (1 - kappa) h and every score of g exceeds every score of h, then q* = g."""
    g = reference.normalized(data.draw(base_weights(len(good))), len(good))
    h = reference.normalized(data.draw(base_weights(len(bad))), len(bad))
    drawn = np.concatenate([good - good.min() + 1, bad - bad.max()])
    weights = np.concatenate([kappa * g, (1 - kappa) * h])
    expected = np.concatenate([g, np.zeros(len(bad))])
    np.testing.assert_allclose(solve(drawn, kappa, weights), expected, rtol=0, atol=1e-9)


@given(data=st.data(), problem=filter_problems(weighted=True))
def test_permuting_the_input_permutes_the_solution(data, problem):
    drawn, kappa, weights = problem
    order = data.draw(st.permutations(range(len(drawn))))
    permuted = solve(drawn[order], kappa, weights[order])
    np.testing.assert_allclose(permuted, solve(*problem)[order], rtol=0, atol=1e-13)


@given(problem=filter_problems(weighted=True), share=st.floats(0, 1))
def test_splitting_an_atom_changes_nothing(problem, share):
    drawn, kappa, weights = problem
    split_weights = np.append(weights, share * weights[0])
    split_weights[0] -= share * weights[0]
    split = solve(np.append(drawn, drawn[0]), kappa, split_weights)
    merged = np.append(split[0] + split[-1], split[1:-1])
    np.testing.assert_allclose(merged, solve(*problem), rtol=0, atol=1e-12)


@given(data=st.data(), problem=filter_problems())
def test_value_falls_as_more_mass_is_retained(data, problem):
    drawn, kappa, weights = problem
    larger = max(kappa, data.draw(kappas(len(drawn))))
    values = [optimistic_value(tensor(drawn), k, tensor(weights)).item() for k in (kappa, larger, 1.0)]
    assert values[0] >= values[1] - 1e-10
    assert values[1] >= values[2] - 1e-10


@given(problem=filter_problems(), scale=st.floats(0.01, 100), shift=st.floats(-1e3, 1e3))
def test_value_follows_a_positive_affine_map_of_the_scores(problem, scale, shift):
    drawn, kappa, weights = problem
    value = optimistic_value(tensor(drawn), kappa, tensor(weights)).item()
    mapped = optimistic_value(scale * tensor(drawn) + shift, kappa, tensor(weights)).item()
    assert mapped == pytest.approx(scale * value + shift, abs=1e-9)


@given(problem=filter_problems(weighted=False))
def test_no_base_weights_means_equal_ones(problem):
    drawn, kappa, _ = problem
    equal = solve(drawn, kappa, np.full(len(drawn), 7.0))
    np.testing.assert_allclose(solve(*problem), equal, rtol=0, atol=1e-14)


def test_values_worked_by_hand():
    drawn = torch.tensor([1.0, 3.0, 1.0, 0.0])  # kappa 0.5: the 3 whole, half of the tie at 1
    assert dual_threshold(drawn, 0.5) == (1.0, 0.5)
    assert hard_filter(drawn, 0.5).tolist() == [0.25, 0.5, 0.25, 0.0]
    assert optimistic_value(drawn, 0.5).item() == 2.0
    weights = torch.tensor([0.0, 1.0, 6.0, 3.0])  # kappa 0.4: 0.1 at 3, then half of the 0.6 at 1
    torch.testing.assert_close(hard_filter(drawn, 0.4, weights), torch.tensor([0.0, 0.25, 0.75, 0.0]))


def test_value_has_the_solution_as_its_gradient():
    drawn = torch.tensor([1.0, 3.0, 2.0, 0.0], requires_grad=True)
    optimistic_value(drawn, 0.5).backward()
    assert drawn.grad is not None
    torch.testing.assert_close(drawn.grad, hard_filter(drawn, 0.5))


@pytest.mark.parametrize(("kappa", "kept"), [(0.07, 7), (0.29, 29), (0.3, 30), (0.57, 57)])
@pytest.mark.parametrize("weights", [None, torch.full((100,), 0.1, dtype=torch.float64)])
def test_a_kappa_that_binary_cannot_write_keeps_a_whole_number(kappa, kept, weights):
    drawn = torch.arange(100.0, dtype=torch.float64)
    tau, tie_fraction = dual_threshold(drawn, kappa, weights)
    assert tau.item() == 100 - kept
    assert tie_fraction.item() == pytest.approx(1, abs=1e-12)
    assert int((hard_filter(drawn, kappa, weights) > 0).sum()) == kept


@pytest.mark.parametrize("size", [1e308, 5e-324])
def test_huge_and_tiny_weights_are_normalised_all_the_same(size):
    weights = torch.tensor([size, 0.0, size, size, size], dtype=torch.float64)
    drawn = torch.arange(5.0, dtype=torch.float64)
    torch.testing.assert_close(hard_filter(drawn, 0.5, weights), tensor([0.0, 0.0, 0.0, 0.5, 0.5]))


def test_float32_weights_are_accumulated_in_float64():
    """One weight of 2^24 and 1,000 of 1: in float32 none of the ones would count."""
    drawn = -torch.arange(1001.0)
    weights = torch.ones(1001).index_fill_(0, torch.tensor(0), 2.0**24)
    tau, tie_fraction = dual_threshold(drawn, (2**24 + 500.25) / (2**24 + 1000), weights)
    assert tau.item() == -501
    assert tie_fraction.item() == pytest.approx(0.25, abs=1e-6)


def test_more_scores_than_torch_quantile_accepts():
    size = 16_777_216 + 1000
    drawn = torch.arange(size, dtype=torch.int32).remainder_(4).float()  # an atom of a quarter at each of 0, 1, 2, 3
    tau, tie_fraction = dual_threshold(drawn, 0.3)
    assert tau.item() == 2
    assert tie_fraction.item() == pytest.approx(0.2, abs=1e-12)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([1.0], 0.5), "scores is a list"),
        ((torch.tensor([]), 0.5), "at least one score"),
        ((torch.tensor(1.0), 0.5), "one-dimensional"),
        ((torch.ones(2, 2), 0.5), "one-dimensional"),
        ((torch.ones(3, dtype=torch.int64), 0.5), "float32 or float64"),
        ((torch.ones(3, dtype=torch.float16), 0.5), "float32 or float64"),
        ((torch.tensor([0.0, torch.nan]), 0.5), "1 NaN or infinite"),
        ((torch.tensor([0.0, torch.inf]), 0.5), "1 NaN or infinite"),
        ((torch.ones(3), 0.0), "kappa=0.0"),
        ((torch.ones(3), -0.1), "kappa=-0.1"),
        ((torch.ones(3), 1.1), "kappa=1.1"),
        ((torch.ones(3), float("nan")), "kappa=nan"),
        ((torch.ones(3), "half"), "kappa='half'"),
        ((torch.ones(3), 0.5, [1.0, 1.0, 1.0]), "base_weights is a list"),
        ((torch.ones(3), 0.5, torch.ones(2)), r"base_weights has shape \(2,\), scores \(3,\)"),
        ((torch.ones(3), 0.5, torch.tensor([1.0, -1.0, 1.0])), "negative or non-finite"),
        ((torch.ones(3), 0.5, torch.tensor([1.0, torch.nan, 1.0])), "negative or non-finite"),
        ((torch.ones(3), 0.5, torch.tensor([1.0, torch.inf, 1.0])), "negative or non-finite"),
        ((torch.ones(3), 0.5, torch.zeros(3)), "sums to 0"),
    ],
)
@pytest.mark.parametrize("function", [hard_filter, optimistic_value, dual_threshold])
def test_bad_input_is_one_sentence(function, arguments, sentence):
    with pytest.raises(InvalidInput, match=sentence) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
