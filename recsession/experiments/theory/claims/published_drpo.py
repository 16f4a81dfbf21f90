"""What DRPO's paper states of its objective and its follow-up took back, as far as it is not in the other topics."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims import weight_pictures
from recsession.experiments.theory.claims.base import Claim

_FILE: Final = "tests/agents/robust/test_published_drpo_claims.py"
_DRPO: Final = "DRPO, arXiv:2602.10430v1"
_END_TO_END: Final = "tests/agents/objectives/test_registered_claims.py::{}"
_EXP: Final = "DRPO-Exp, weights e^{s / T} inside the filter, solves the optimistic problem with a KL term: "

CLAIMS: Final = (
    Claim(
        "drpo-exp-solves-the-statement",
        _EXP + "max E_q s - T KL(q || uniform on the support) under q <= b / kappa.",
        _DRPO,
        "theorem on DRPO-Exp, statement",
        "false",
        f"{_FILE}::test_drpo_exp_is_not_the_optimum[uniform]",
        "the optimum is min(b / kappa, e^{(s - c) / T} / n), positive everywhere and within the cap. Scores 1 and 0, "
        "b = (1/2, 1/2), kappa = 1/2, T = 1: DRPO-Exp keeps the better row alone and is worth 0.307, the optimum "
        "(0.731, 0.269) is worth 0.620; with kappa = 1 it breaks the cap.",
        weight_pictures.drpo_exp,
    ),
    Claim(
        "drpo-exp-solves-the-proof",
        _EXP + "max E_q s - T KL(q || b) under q <= b / kappa, the Lagrangian of the proof.",
        _DRPO,
        "theorem on DRPO-Exp, proof",
        "false",
        f"{_FILE}::test_drpo_exp_is_not_the_optimum[base]",
        "the optimum is b min(1 / kappa, e^{(s - c) / T}), positive wherever b is and within the cap; the two rows of "
        "the statement's counterexample show it, and with b = (1/4, 3/4) the two problems themselves differ.",
    ),
    Claim(
        "drpo-exp-tilts-the-filter",
        _EXP + "max E_q s - T KL(q || p) for a reference p.",
        _DRPO,
        "theorem on DRPO-Exp",
        "holds if",
        f"{_FILE}::test_drpo_exp_tilts_the_filtered_log",
        "p is the filtered q* itself, and the cap is dropped.",
    ),
    Claim(
        "filter-without-the-ties-fraction",
        "q* = (b / kappa) 1[s >= tau] is a distribution.",
        _DRPO,
        "the hard filter",
        "false",
        f"{_FILE}::test_a_filter_without_the_ties_fraction_is_no_distribution",
        "at an atom it needs the tie's fraction: two equal scores at kappa = 1/2 sum to 2.",
    ),
    Claim(
        "kappa-follows-the-variance",
        "The share kappa that is kept is proportional to the variance of the rewards.",
        _DRPO,
        "the body's text on kappa",
        "false",
        "tests/agents/objectives/test_drpo_claims.py::test_the_share_does_not_follow_the_variance",
        "Algorithm 1 moves it by a ratio of standard deviations, the kept rows' to the batch's: rewards four times as "
        "large have sixteen times the variance and the same share.",
    ),
    Claim(
        "repulsion-always-explodes",
        "Negative gradients of logged actions drive a policy to explode, inevitably.",
        _DRPO,
        "introduction; section 5, RQ2",
        "false",
        _END_TO_END.format("test_repulsion_does_not_always_explode"),
        "with rho < 1 the mean settles: actions 0 (A = 1) and 1 (A = -1/2) in one dimension settle at -1. The authors "
        "withdrew it.",
        "regimes of rho",
    ),
    Claim(
        "expected-curvature-sets-the-rate",
        "A policy leaves an action of A < 0 as I + eta |A| H, mean and scale alike, with H = E[-grad^2 log pi] the "
        "local curvature, which is positive definite.",
        _DRPO,
        "section 3, sign-dependent dynamics, and its proof",
        "false",
        _END_TO_END.format("test_the_expected_curvature_is_not_the_trajectorys"),
        "H is a mean over the policy's own actions, the Fisher information. In log sigma it is 2; at an action z "
        "scales away the curvature is 2 z^2, 18 at z = 3, and 0 at the mean, where two scales keep their distance for "
        "ever. The authors withdrew it; for a mean at a fixed scale and for logits both are equal.",
    ),
    Claim(
        "only-a-hard-filter-holds",
        "Any weight that is not zero on what is bad meets an infinite multiplier in the end: only hard filtering holds "
        "repulsion, and it is necessary.",
        _DRPO,
        "section 5, RQ1 and RQ2",
        "false",
        _END_TO_END.format("test_more_than_the_filter_holds_repulsion"),
        "AWR's weights, positive for every row, take mean and scale to their own weighted moments; and at rho = 2 a "
        "taper holds the mean, and so does a KL tether of gamma > q - p, though both use the negatives. The authors "
        "withdrew it.",
        "taper",
    ),
)
