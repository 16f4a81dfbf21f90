"""What DRPO's paper states of its objective and its follow-up took back, as far as it is not in the other topics."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims import weight_pictures
from recsession.experiments.theory.claims.base import Claim

_FILE: Final = "tests/agents/robust/test_published_drpo_claims.py"
_DRPO: Final = "DRPO, arXiv:2602.10430"
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
        "hard-filtering-is-the-only-way",
        "Only hard filtering keeps repulsion from diverging.",
        _DRPO,
        "conclusion",
        "false",
        f"{_FILE}::test_other_weights_settle_too",
        "any weights >= 0 settle, tilting among them, and so does the taper; the authors withdrew it.",
    ),
    Claim(
        "negatives-always-explode",
        "Negative examples make a Gaussian policy diverge, whatever their mass.",
        _DRPO,
        "section 3",
        "false",
        f"{_FILE}::test_few_negatives_settle",
        "one positive and one negative with half of its mass settle at m* = m+ + (m+ - m-); the authors withdrew it.",
    ),
    Claim(
        "fisher-is-the-trajectorys-curvature",
        "The curvature along a trajectory is the Fisher information.",
        _DRPO,
        "the Fisher argument",
        "false",
        f"{_FILE}::test_the_fisher_information_is_an_expectation",
        "in log sigma the Hessian of -log pi at an action z scales away is 2 z^2, and 2 only in expectation: 18 at "
        "z = 3; the authors withdrew it.",
    ),
)
