"""The optimistic value over balls of a divergence."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims.base import Claim

_TEST: Final = "tests/agents/robust/test_ball_claims.py::test_theory_holds[{}]"

CLAIMS: Final = (
    Claim(
        "kl-ball-is-tilting",
        "max E_q s under KL(q || b) <= rho is exponential tilting of b, with the dual "
        "min lambda rho + lambda log E_b e^{s / lambda}; saturated iff rho >= -log b(argmax).",
        "Ben-Tal et al. 2013",
        "Kullback-Leibler",
        "holds",
        _TEST.format("kl"),
    ),
    Claim(
        "chi-square-ball-is-a-ramp",
        "max E_q s under chi^2(q || b) <= rho is q ~ b (s - eta)_+, with the dual "
        "min eta + sqrt((1 + rho) E_b (s - eta)_+^2); saturated iff rho >= 1 / b(argmax) - 1.",
        "Namkoong and Duchi 2017",
        "chi-square",
        "holds",
        _TEST.format("chi_square"),
    ),
    Claim(
        "total-variation-ball-moves-the-worst",
        "max E_q s under |q - b|_1 / 2 <= delta moves the worst delta of the mass to the best score: "
        "V = (1 - delta) V_{1 - delta} + delta max s.",
        "Ben-Tal et al. 2013",
        "total variation",
        "holds if",
        _TEST.format("total_variation"),
        "the best score is the best that has mass.",
    ),
)
