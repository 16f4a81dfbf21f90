"""The optimistic value under a density cap, q <= b / kappa."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims.base import Claim

_FILE: Final = "tests/agents/robust/test_filter_claims.py"
_TEST: Final = f"{_FILE}::test_theory_holds[{{}}]"
_DRPO: Final = "DRPO, arXiv:2602.10430v1"
_OURS: Final = ("ours", "docs/theory.md, The optimistic value")
_CVAR: Final = "Rockafellar and Uryasev 2000"

CLAIMS: Final = (
    Claim(
        "filter-has-a-tie-fraction",
        "q* = (b / kappa) (1[s > tau] + c 1[s = tau]) with tau the largest score of positive mass with "
        "b(s >= tau) >= kappa and c = (kappa - b(s > tau)) / b(s = tau) in (0, 1].",
        *_OURS,
        "holds",
        _TEST.format("threshold"),
    ),
    Claim(
        "filter-is-the-optimum",
        "The hard filter is the solution of max E_q s under q <= b / kappa, unique off the tie, and its value is the "
        "upper CVaR: strong duality.",
        _DRPO,
        "the optimistic objective",
        "holds",
        _TEST.format("linear_programme"),
    ),
    Claim(
        "value-falls-in-kappa",
        "V and tau do not increase in kappa, kappa q* does not decrease and kappa V is concave; kappa = 1 gives b, "
        "kappa <= b(argmax) the best score alone.",
        *_OURS,
        "holds",
        _TEST.format("kappa"),
    ),
    Claim(
        "only-ranks-decide",
        "A strictly increasing map of the scores leaves q* as it is, and V(alpha s + beta) = alpha V(s) + beta.",
        *_OURS,
        "holds",
        _TEST.format("increasing_map"),
    ),
    Claim(
        "atoms-may-be-split",
        "Permuting the rows permutes q*, and splitting an atom splits its mass and changes no other.",
        *_OURS,
        "holds",
        _TEST.format("permutation_and_splitting"),
    ),
    Claim(
        "filter-recovers-the-good",
        "If b = kappa g + (1 - kappa) h, hard filtering recovers the good part g.",
        _DRPO,
        "recovery",
        "holds if",
        _TEST.format("recovery"),
        "every score of g exceeds every score of h, and kappa is known; at another kappa' precision is "
        "min(1, kappa / kappa').",
    ),
    Claim(
        "precision-by-overlap",
        "At any overlap precision is (kappa / kappa') (g(s > tau) + c g(s = tau)), and recall is precision "
        "kappa' / kappa.",
        *_OURS,
        "holds",
        _TEST.format("precision"),
    ),
    Claim(
        "no-soft-weight-is-better",
        "No exponential, linear or rank weight under the same cap has a larger E_q s than the filter.",
        *_OURS,
        "holds",
        _TEST.format("no_soft_weight_is_better"),
    ),
    Claim(
        "groups-cost-value",
        "A filter in every group has V = sum b(group) V(group) <= the global V.",
        *_OURS,
        "holds",
        _TEST.format("group_value"),
    ),
    Claim(
        "alike-groups-cost-nothing",
        "Where every group has the same weighted scores, the groups' filter is the global one.",
        *_OURS,
        "holds",
        _TEST.format("alike_groups"),
    ),
    Claim(
        "minibatch-quantile-is-biased",
        "The mean of a minibatch's V is at most the log's V: a quantile of the batch selects worse than that of the "
        "log (the best quarter of 3, 2, 1, 0 is 3; of its pairs it is 14/6 in the mean).",
        *_OURS,
        "holds",
        _TEST.format("minibatch_bias"),
    ),
    Claim(
        "value-has-gradients",
        "dV/ds = q* and dV/dkappa = -(V - tau) / kappa (Danskin).",
        _CVAR,
        "the dual",
        "holds if",
        _TEST.format("gradients"),
        "tau is a single atom with 0 < c < 1; at a tie the value has a kink.",
    ),
)
