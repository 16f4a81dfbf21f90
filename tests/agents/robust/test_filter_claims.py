"""The theory of the hard filter. Base weights b sum to one, 0 < kappa <= 1; tolerances are times 1 + max|s|."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from agents.robust.density_cap import dual_threshold, filter_weight, hard_filter, optimistic_value
from tests.properties import Claim, every_claim
from tests.reference import dro_reference as reference
from tests.strategies.robust import (
    Mixture,
    RobustProblem,
    alike_groups,
    filter_problems,
    grouped_filter_problems,
    mixtures,
    untied_filter_problems,
)

PRECISIONS = ((torch.float64, 1e-9), (torch.float32, 1e-5))


@dataclass(frozen=True)
class Filtered:
    """What a filter answers: thresholds and weights `[N]` as float64 arrays, and the value."""

    tau: np.ndarray
    tie_fraction: np.ndarray
    weight: np.ndarray
    q: np.ndarray
    value: float


Filter = Callable[..., Filtered]


def tensors(problem: RobustProblem, dtype: torch.dtype) -> tuple:
    weights = None if problem.weights is None else torch.tensor(problem.weights)
    return torch.tensor(problem.scores, dtype=dtype), problem.size, weights


def ours(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Filtered:
    arguments = tensors(problem, dtype)
    groups = None if problem.groups is None else torch.tensor(problem.groups)
    scope = "global" if groups is None else "group"
    tau, tie_fraction = dual_threshold(*arguments, scope=scope, groups=groups)
    weight = filter_weight(arguments[0], tau, tie_fraction, problem.size)
    q = hard_filter(*arguments, scope=scope, groups=groups)
    value = optimistic_value(*arguments, scope=scope, groups=groups)
    assert tau.dtype == weight.dtype == q.dtype == value.dtype == dtype
    whole = torch.zeros(len(q), dtype=torch.float64)
    arrays = ((part + whole).numpy() for part in (tau, tie_fraction, weight, q))
    return Filtered(*arrays, value=value.item())


def tolerance(problem: RobustProblem, relative: float = 1e-9) -> float:
    return relative * (1 + np.abs(problem.scores).max())


def close(first, second, within: float = 1e-9) -> None:
    np.testing.assert_allclose(first, second, rtol=0, atol=within)


def answer_with(problem: RobustProblem, q: np.ndarray) -> Filtered:
    """A mutant's answer: the q given, the rest of it as it should be for a q of this kind."""
    return replace(ours(problem), q=q, value=float(q @ problem.scores))


def first_come(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Filtered:
    """Hands the tie out in the order of the log."""
    q, left = np.zeros(len(problem.scores)), 1.0
    for row in np.argsort(-problem.scores, kind="stable"):
        q[row] = min(left, problem.base[row] / problem.size)
        left -= q[row]
    return answer_with(problem, q)


def rounded_to_rows(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Filtered:
    """Keeps a whole number of rows, in every group, as a top-k does."""
    groups = np.zeros(len(problem.scores)) if problem.groups is None else problem.groups
    q = np.zeros(len(problem.scores))
    for group in np.unique(groups):
        rows = np.flatnonzero(groups == group)
        best = rows[np.argsort(-problem.scores[rows], kind="stable")][: max(1, int(problem.size * len(rows)))]
        q[best] = problem.base[rows].sum() / len(best)
    return answer_with(problem, q)


def whole_tie(problem: RobustProblem, dtype: torch.dtype = torch.float64) -> Filtered:
    """Keeps all of the tie at tau, evenly with what is above."""
    found = ours(problem)
    kept = problem.base * (problem.scores >= found.tau)
    return answer_with(problem, kept / kept.sum())


# --- the solution


def check_threshold(filtered: Filter, problem: RobustProblem) -> None:
    """Tau is the largest score of positive mass with b(s >= tau) >= kappa, c in (0, 1], and w = q*/b comes from c.

    A mass is the same as another one 1e-9 of kappa away: neither the caller's kappa nor the sums are exact.
    """
    found, base, kappa = filtered(problem), problem.base, problem.size
    tau, c = found.tau[0], found.tie_fraction[0]
    above, at = base[problem.scores > tau].sum(), base[problem.scores == tau].sum()
    assert at > 0
    assert above < kappa <= (above + at) * (1 + 1e-9)
    assert 0 < c <= 1
    assert above + c * at == pytest.approx(kappa, rel=1e-9)
    expected = ((problem.scores > tau) + c * (problem.scores == tau)) / kappa
    np.testing.assert_allclose(found.weight, expected, rtol=1e-12)
    close(found.q, base * expected, 1e-12)


def divided_weight(problem: RobustProblem) -> Filtered:
    """Divides: 0 / 0 where there is no mass."""
    found = ours(problem)
    with np.errstate(invalid="ignore"):
        return replace(found, weight=found.q / problem.base)


def check_linear_programme(filtered: Filter, problem: RobustProblem) -> None:
    """Q* is feasible, and E_{q*}[s] = V = the linear programme = tau + E_b[(s - tau)_+] / kappa.

    q < b / kappa implies s <= tau, q > 0 implies s >= tau, and all optima agree off {s = tau}.
    """
    scores, base, kappa = problem.scores, problem.base, problem.size
    general = reference.linear_programme(scores, kappa, base)
    for dtype, relative in PRECISIONS:
        found, within = filtered(problem, dtype), tolerance(problem, relative)
        tau = found.tau[0]
        assert (found.q >= 0).all()
        assert (found.q <= base / kappa + relative).all()
        close(found.q.sum(), 1.0, relative)
        close([found.value, found.q @ scores], general @ scores, within)
        close(found.value, reference.cap_dual(scores, kappa, base), within)
        close(found.value, tau + base @ np.maximum(scores - tau, 0.0) / kappa, within)
        assert (scores[found.q < base / kappa * (1 - 1e-6)] <= tau).all()
        assert (scores[found.q > 0] >= tau).all()
        off = scores != tau
        close(found.q[off], general[off], 1e-6)


def check_kappa(filtered: Filter, problem: RobustProblem) -> None:
    """V and tau do not increase in kappa, kappa q*_i does not decrease, and kappa V is concave.

    kappa = 1 gives q = b; kappa <= b(argmax) gives q = b( . | argmax) and V = max, over the support of b.
    """
    within = tolerance(problem)
    best = problem.base[problem.best].sum()
    kappas = np.array(
        sorted({problem.size / 3, problem.size, (1 + problem.size) / 2, best / 2, best * (1 - 1e-9), 1.0})
    )
    every = [filtered(replace(problem, size=kappa)) for kappa in kappas]
    for small, large in itertools.pairwise(range(len(kappas))):
        assert every[large].value <= every[small].value + within
        assert every[large].tau[0] <= every[small].tau[0]
        assert (kappas[large] * every[large].q >= kappas[small] * every[small].q - 1e-12).all()
    sums = kappas * np.array([found.value for found in every])
    for a, b, c in itertools.combinations(range(len(kappas)), 3):
        share = (kappas[b] - kappas[a]) / (kappas[c] - kappas[a])
        assert sums[b] >= (1 - share) * sums[a] + share * sums[c] - within
    close(every[-1].q, problem.base, 1e-12)
    for kappa, found in zip(kappas, every, strict=True):
        if kappa <= best * (1 - 1e-9):
            close(found.q, problem.base * problem.best / best)
            close(found.value, problem.scores[problem.best][0], within)


def squared_kappa(problem: RobustProblem) -> Filtered:
    """Retains kappa^2: still the base weights at 1."""
    return ours(replace(problem, size=problem.size**2))


# --- invariances


def check_increasing_map(filtered: Filter, problem: RobustProblem) -> None:
    """For f strictly increasing, in floats too, q* is equal and tau goes to f(tau). V(alpha s + beta) = alpha V + beta.

    alpha > 0; alpha and beta are dyadic, since a shift that rounds can merge ties.
    """
    scores, found = problem.scores, filtered(problem)
    ranks = np.unique(scores, return_inverse=True)[1].astype(np.float64)
    unit = 1e-3 * max(np.abs(scores).max(), 1.0)
    for mapped in (ranks, ranks**3 - 5.0, np.exp(ranks), np.arctan(scores / unit)):
        if len(np.unique(mapped)) < len(np.unique(scores)):
            continue
        after = filtered(replace(problem, scores=mapped))
        assert np.array_equal(after.q, found.q)
        assert after.tau[0] == mapped[scores == found.tau[0]][0]
    step = 2.0 ** np.frexp(np.abs(scores).max())[1]
    for alpha, beta in ((0.25, 0.0), (1.0, 2 * step), (3.0, -step)):
        after = filtered(replace(problem, scores=alpha * scores + beta))
        assert np.array_equal(after.q, found.q)
        close(after.value, alpha * found.value + beta, 8 * tolerance(problem))


def tilted(problem: RobustProblem) -> Filtered:
    """Weighs by the exponential of the score: what is best depends on how much better it is."""
    found = ours(problem)
    q = problem.base * np.exp((problem.scores - problem.scores.max()) / (1 + np.abs(problem.scores).max()))
    return replace(found, q=q / q.sum())


def check_permutation_and_splitting(filtered: Filter, drawn: tuple[RobustProblem, int, float]) -> None:
    """Permuting the rows permutes q*; splitting an atom splits its q* proportionally and changes no other."""
    problem, seed, share = drawn
    problem = replace(problem, weights=problem.base)
    found = filtered(problem)
    order = np.random.default_rng(seed).permutation(len(problem.scores))
    permuted = filtered(replace(problem, scores=problem.scores[order], weights=problem.base[order]))
    close(permuted.q, found.q[order], 1e-12)
    row = order[0]
    weights = np.append(problem.base, share * problem.base[row])
    weights[row] -= weights[-1]
    split = filtered(replace(problem, scores=np.append(problem.scores, problem.scores[row]), weights=weights))
    expected = np.append(found.q, share * found.q[row])
    expected[row] -= expected[-1]
    close(split.q, expected, 1e-12)


# --- recovery of the good component


def check_recovery(filtered: Filter, mixture: Mixture) -> None:
    """If b = kappa g + (1 - kappa) h and min s(g) > max s(h), then q* = g.

    At another kappa' precision is min(1, kappa/kappa').
    """
    problem, good = mixture.problem, mixture.good
    g = problem.base * good / mixture.kappa
    close(filtered(replace(problem, size=mixture.kappa)).q, g)
    close(filtered(problem).q[good].sum(), min(1.0, mixture.kappa / problem.size))


def unweighted(problem: RobustProblem) -> Filtered:
    """Filters as if all rows weighed the same."""
    return ours(replace(problem, weights=None))


def check_precision(filtered: Filter, mixture: Mixture) -> None:
    """At any overlap: precision = (kappa/kappa') [g(s > tau) + c g(s = tau)], recall = precision kappa'/kappa.

    Recall is the share of g that the filter retains: its mass kappa' q*, over kappa.
    """
    problem, good, kappa = mixture.problem, mixture.good, mixture.kappa
    found, g = filtered(problem), problem.base * mixture.good / kappa
    expected = reference.greedy_filter(problem.scores, problem.size, problem.base)[good].sum()
    tau, c = found.tau[0], found.tie_fraction[0]
    retained = g[problem.scores > tau].sum() + c * g[problem.scores == tau].sum()
    precision, recall = found.q[good].sum(), problem.size * found.q[good].sum() / kappa
    close(precision, expected)
    close(precision, kappa / problem.size * retained)
    close(recall, retained)
    close(recall, precision * problem.size / kappa)


# --- against other weights


def check_no_soft_weight_is_better(filtered: Filter, problem: RobustProblem) -> None:
    """Every q <= b / kappa has E_q[s] <= V: exponential, linear and rank weights, water-filled into the cap, too."""
    scores, base, value = problem.scores, problem.base, filtered(problem).value
    standard = (scores - scores.min()) / ((scores.max() - scores.min()) or 1.0)
    ranks = np.unique(scores, return_inverse=True)[1] + 1.0
    for weight in (np.exp(standard), np.exp(20 * standard), 1e-6 + standard, ranks):
        q = reference.water_filled(weight, problem.size, base)
        close(q.sum(), 1.0)
        assert (q <= base / problem.size * (1 + 1e-9)).all()
        assert q @ scores <= value + tolerance(problem)


# --- groups


def check_group_value(filtered: Filter, problem: RobustProblem) -> None:
    """V_group = sum b(group) V(group) <= V_global, with q = b(group) q(group), for any groups."""
    found, q = filtered(problem), np.zeros(len(problem.scores))
    for group in np.unique(problem.groups):  # type: ignore[arg-type]
        rows = problem.groups == group
        if (mass := problem.base[rows].sum()) > 0:
            q[rows] = mass * reference.greedy_filter(problem.scores[rows], problem.size, problem.base[rows] / mass)
    close(found.q, q)
    close(found.value, q @ problem.scores, tolerance(problem))
    assert found.value <= ours(replace(problem, groups=None)).value + tolerance(problem)


def check_alike_groups(filtered: Filter, problem: RobustProblem) -> None:
    """Q is the global one if every group has the same conditional weighted scores: then nothing is rounded to rows."""
    close(filtered(problem).q, ours(replace(problem, groups=None)).q)


def check_minibatch_bias(value: Callable[[RobustProblem], float], problem: RobustProblem) -> None:
    """The mean over all minibatches of a minibatch's V is at most V: a quantile of the batch is biased downwards."""
    problem = RobustProblem(problem.scores[:6], problem.size)
    for size in range(1, len(problem.scores) + 1):
        batches = itertools.combinations(problem.scores, size)
        values = [value(replace(problem, scores=np.array(batch))) for batch in batches]
        assert np.mean(values) <= value(problem) + tolerance(problem)


def our_value(problem: RobustProblem) -> float:
    return optimistic_value(*tensors(problem, torch.float64)).item()


def rounded_value(problem: RobustProblem) -> float:
    return rounded_to_rows(problem).value


@pytest.mark.claim("minibatch-quantile-is-biased")
def test_a_minibatch_of_half_the_scores_misses_a_good_one():
    """The best quarter of 3, 2, 1, 0 is 3; of the six pairs three hold it, and the others' best are 2, 2 and 1."""
    pairs = [our_value(RobustProblem(np.array(pair), 0.25)) for pair in itertools.combinations([3.0, 2.0, 1.0, 0.0], 2)]
    assert our_value(RobustProblem(np.array([3.0, 2.0, 1.0, 0.0]), 0.25)) == 3.0
    assert np.mean(pairs) == pytest.approx(14 / 6)


# --- gradients

Value = Callable[..., torch.Tensor]


def check_gradients(value: Value, problem: RobustProblem) -> None:
    """dV/ds = q* and dV/dkappa = -(V - tau) / kappa where tau is a single atom and 0 < c < 1; differences agree."""
    scores, _, weights = tensors(problem, torch.float64)
    kappa = torch.tensor(problem.size, dtype=torch.float64)
    scores.requires_grad_()
    kappa.requires_grad_()
    result = value(scores, kappa, weights)
    by_score, by_kappa = torch.autograd.grad(result, (scores, kappa))
    close(by_score.numpy(), reference.greedy_filter(problem.scores, problem.size, problem.base))
    tau = ours(problem).tau[0]
    close(by_kappa.item(), -(result.item() - tau) / problem.size, 1e-9 * 50 / problem.size)
    with torch.no_grad():
        differences = []
        for row in range(len(scores)):
            step = torch.zeros_like(scores).index_fill_(0, torch.tensor(row), 0.0625)
            differences.append((value(scores + step, kappa, weights) - value(scores - step, kappa, weights)) / 0.125)
        close(by_score.numpy(), np.array(differences), 1e-8)
        # kappa V is piecewise linear, and its slope is tau.
        step = 1e-3 * float(problem.base.min())
        ends = [k * value(scores, k, weights) for k in (kappa - step, kappa + step)]
        slope = (ends[1] - ends[0]).item() / (2 * step)
        close(result.item() + problem.size * by_kappa.item(), slope, 1e-6)


def value_of_the_dual(scores: torch.Tensor, kappa: torch.Tensor, weights: torch.Tensor | None) -> torch.Tensor:
    """Differentiates the dual at a fixed tau: nothing for the atom at tau."""
    tau, _ = dual_threshold(scores.detach(), kappa.detach(), weights)
    base = torch.ones_like(scores) if weights is None else weights
    return tau + (base / base.sum() * (scores - tau).clamp_min(0.0)).sum() / kappa


@pytest.mark.claim("value-has-gradients")
def test_gradients_need_a_single_atom():
    """Two atoms at tau: the value rises with either alone by more than its share falls."""
    scores = torch.tensor([2.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    up, down = (optimistic_value(scores + torch.tensor([0.0, h, 0.0, 0.0]), 0.5).item() for h in (0.1, -0.1))
    assert (up - 1.5, 1.5 - down) == pytest.approx((0.05, 0.0))


CLAIMS = [
    Claim(check_threshold, filter_problems(), ours, divided_weight, shows="filter-has-a-tie-fraction"),
    Claim(check_linear_programme, filter_problems(), ours, rounded_to_rows, shows="filter-is-the-optimum"),
    Claim(check_kappa, filter_problems(), ours, squared_kappa, shows="value-falls-in-kappa"),
    Claim(check_increasing_map, filter_problems(), ours, tilted, shows="only-ranks-decide"),
    Claim(
        check_permutation_and_splitting,
        st.tuples(filter_problems(), st.integers(0, 2**32 - 1), st.floats(0, 1)),
        ours,
        first_come,
        shows="atoms-may-be-split",
    ),
    Claim(check_recovery, mixtures(separated=True), ours, unweighted, shows="filter-recovers-the-good"),
    Claim(check_precision, mixtures(separated=False), ours, whole_tie, shows="precision-by-overlap"),
    Claim(check_no_soft_weight_is_better, filter_problems(), ours, whole_tie, shows="no-soft-weight-is-better"),
    Claim(check_group_value, grouped_filter_problems(), ours, rounded_to_rows, shows="groups-cost-value"),
    Claim(check_alike_groups, alike_groups(), ours, rounded_to_rows, shows="alike-groups-cost-nothing"),
    Claim(check_minibatch_bias, filter_problems(), our_value, rounded_value, shows="minibatch-quantile-is-biased"),
    Claim(check_gradients, untied_filter_problems(), optimistic_value, value_of_the_dual, shows="value-has-gradients"),
]


@every_claim(CLAIMS)
def test_theory_holds(claim: Claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim: Claim):
    claim.catches_the_mutant()
