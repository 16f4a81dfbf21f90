"""AWR with its cap, the hard filter and tilting are one family: on any log, and as the registered objectives train."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from agents.objectives.awr import AwrConfig, AwrObjective, awr_loss
from agents.objectives.robust_filter import RobustFilterConfig, RobustFilterObjective
from agents.robust.capped_kl import CappedKl
from agents.robust.density_cap import hard_filter
from agents.robust.problem import Solution
from agents.training.log_columns import make_storage
from tests.properties import Claim, every_claim
from tests.strategies.robust import RobustProblem, weighted_scores


def tensor(values) -> torch.Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def of_awr(advantage: torch.Tensor, base: torch.Tensor, temperature: float, cap: float) -> Solution:
    return CappedKl.of_awr(advantage, temperature, cap, base).solve(advantage, base)


def inverse_cap(advantage: torch.Tensor, base: torch.Tensor, temperature: float, cap: float) -> Solution:
    """Takes AWR's cap for the largest q / b, as if its weights had mean one."""
    return CappedKl(min(1.0, 1.0 / cap), temperature).solve(advantage, base)


def check_awr_is_capped_kl(solve: Any, drawn: tuple[RobustProblem, float, float]) -> None:
    """min(M, e^{A/T}) / E_b[min(M, e^{A/T})] = q/b of CappedKl at the same T and 1/kappa = M / E_b[min(M, e^{A/T})].

    c = T log E_b[min(M, e^{A/T})], and tau = T log M where the cap binds: for any A, b, T > 0 and M > 0.
    """
    problem, temperature, cap = drawn
    unit = max(float(np.abs(problem.scores).max()), 2.0**-22)
    advantage, base = tensor(problem.scores / unit), tensor(problem.base)
    # Of AWR's own loss, at log pi = -1.
    weight = awr_loss(-torch.ones_like(advantage), advantage, tensor(temperature), tensor(cap))
    mean = weight @ base
    found = solve(advantage, base, temperature, cap)
    has_mass = base > 0
    torch.testing.assert_close(found.weight[has_mass], (weight / mean)[has_mass], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(found.q, base * weight / mean, rtol=1e-8, atol=1e-12)
    highest = advantage[has_mass].max()
    if highest > temperature * np.log(cap) + 1e-9 > advantage[has_mass].min() + 2e-9:
        torch.testing.assert_close(found.duals["offset"], temperature * mean.log(), rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(found.duals["tau"], temperature * tensor(np.log(cap)), rtol=1e-7, atol=1e-7)


CAPS = st.one_of(st.sampled_from([1.0, 20.0, 1e3, 1e6]), st.floats(-1.0, 4.0).map(lambda power: 10.0**power))
CLAIMS = [
    Claim(
        check_awr_is_capped_kl,
        st.tuples(weighted_scores(), st.floats(-1.0, 1.0).map(lambda power: 10.0**power), CAPS),
        of_awr,
        inverse_cap,
        shows="awr-is-capped-kl",
    )
]


@every_claim(CLAIMS)
def test_theory_holds(claim: Claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim: Claim):
    claim.catches_the_mutant()


# --- as the registered objectives train


def whole_log(objective: Any, log: Any, scores: torch.Tensor) -> Any:
    """The log as one batch, as the trainer's batches are drawn from it, after what it shows the objective at first."""
    objective.refresh(scores)
    return make_storage(objective, log, scores).get(torch.arange(log.num_rows))


@pytest.mark.claim("awr-is-capped-kl")
@pytest.mark.claim("awr-uncapped-is-tilting")
@pytest.mark.parametrize(
    ("temperature", "cap"),
    [(1.0, 20.0), (0.3, 20.0), (0.3, 1e6), (0.3, 1e30)],
    ids=["default", "sharp", "quickstart", "uncapped"],
)
def test_awr_as_it_trains_is_capped_kl(temperature, cap, log, scores, build_policy):
    """The registered objective's loss on a collected log, its standardisation and its cap included."""
    objective = AwrObjective(build_policy(), config=AwrConfig(temperature, cap))
    batch = whole_log(objective, log, scores)
    with torch.no_grad():
        weight = (objective.terms(batch)["loss_actor"] / -objective.log_prob(batch)).double()
    drawn = scores.double()
    advantage = (drawn - drawn.mean()) / drawn.std(correction=0)
    problem = CappedKl.of_awr(advantage, temperature, cap)
    found = problem.solve(advantage)
    assert float(found.duality_gap) == pytest.approx(0, abs=1e-9)
    torch.testing.assert_close(weight / weight.mean(), found.weight, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(weight.mean() / cap, problem.kappa, rtol=1e-3, atol=0.0)
    if cap == 1e30:
        torch.testing.assert_close(CappedKl(0.0, temperature).solve(advantage).q, (advantage / temperature).softmax(0))
        torch.testing.assert_close(found.q, (advantage / temperature).softmax(0))
    else:
        assert (weight > cap * 0.999).any() == (advantage.max() > temperature * np.log(cap))


@pytest.mark.claim("robust-filter-trains-on-the-corner")
@pytest.mark.parametrize("tied", [False, True])
def test_robust_filter_as_it_trains_is_the_corner(tied, log, scores, build_policy):
    """T = 0 of the family, on the whole log; a tie is shared, and the mean is one all the same."""
    scores = (scores * 2).round() / 2 if tied else scores
    objective = RobustFilterObjective(build_policy(), config=RobustFilterConfig(kappa=0.1))
    batch = whole_log(objective, log, scores)
    weight = objective.weight(batch)
    found = CappedKl(0.1, 0.0).solve(scores)
    torch.testing.assert_close(weight, found.weight)
    torch.testing.assert_close(weight / len(weight), hard_filter(scores, 0.1))
    assert weight.double().mean().item() == pytest.approx(1.0, rel=1e-5)
    assert len(weight.unique()) == 3  # above, at and below the threshold
    # A minibatch is weighed by the log's threshold, not its own.
    torch.testing.assert_close(objective.weight(batch[:32]), weight[:32])
