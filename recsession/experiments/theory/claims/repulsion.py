"""What negative examples do to a policy that is stepped away from them."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims.base import Claim

_TEST: Final = "tests/agents/objectives/test_repulsion_claims.py::test_theory_holds[{}]"
_DRPO: Final = "DRPO, arXiv:2602.10430v1"

CLAIMS: Final = (
    Claim(
        "surprisal-and-score-grow",
        "One action with A < 0 used again and again: D_{t+1} >= D_t + eta |A| R_t and R_{t+1} >= R_t, with D = -log pi "
        "and R = |grad D|^2.",
        _DRPO,
        "section 3",
        "holds if",
        _TEST.format("surprisal_and_score_grow"),
        "D is convex in the coordinates that are stepped: logits, a mean at a fixed scale, natural parameters.",
        "one reused sample",
    ),
    Claim(
        "mean-leaves-geometrically",
        "A Gaussian's mean at a fixed scale leaves one reused negative geometrically: mu_{t+1} - a = (I + eta |A| "
        "Sigma^-1) (mu_t - a). Where Sigma = sigma^2 I the surprisal less that at the mean is X_{t+1} = (1 + eta |A| / "
        "sigma^2)^2 X_t, and a global alpha changes the base alone.",
        "DRPO, arXiv:2602.10430v1, and its follow-up (draft, 2026-07)",
        "section 3; Gaussian reuse rates",
        "holds",
        _TEST.format("a_mean_leaves_geometrically"),
        picture="one reused sample",
    ),
    Claim(
        "softmax-between-two-lines",
        "A softmax has a score function of at most the root of 2, so that the surprisal of one reused negative climbs "
        "between two straight lines, and its log-odds fall between two: its probability decays exponentially.",
        "follow-up of DRPO (draft, 2026-07)",
        "categorical self-limiting suppression",
        "holds",
        _TEST.format("a_softmax_stays_between_two_lines"),
        picture="one reused sample",
    ),
    Claim(
        "mean-settles-drifts-or-leaves",
        "With negative over positive mass rho = q / p a Gaussian's mean settles at m* = m+ + rho / (1 - rho) (m+ - m-) "
        "for rho < 1, drifts at constant speed at 1, and leaves geometrically above 1.",
        "follow-up of DRPO (draft, 2026-07)",
        "aggregate dynamics",
        "holds if",
        _TEST.format("a_mean_settles_drifts_or_leaves"),
        "the scale is fixed and, for rho < 1, eta (p - q) lambda_max < 2.",
        "regimes of rho",
    ),
    Claim(
        "softmax-settles-inside-the-simplex",
        "The probabilities of a softmax settle at m* where that is a distribution; where it is none, the worst "
        "action's logit falls for ever.",
        "ours",
        "docs/theory.md, A whole log",
        "holds",
        _TEST.format("a_softmax_settles_inside_the_simplex"),
        picture="regimes of rho",
    ),
    Claim(
        "mean-and-scale-both-grow",
        "Repulsion explodes quadratically: mean and variance of a Gaussian both expand.",
        _DRPO,
        "section 3",
        "false",
        _TEST.format("a_scale_shrinks_from_what_is_far"),
        "a negative farther than one scale shrinks a learned scale (|z| = 2 at one step: log sigma falls by "
        "3 eta |A|), and only a nearer one widens it. The authors withdrew it.",
        "near and far",
    ),
)
