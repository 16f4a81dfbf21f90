"""What the follow-up to DRPO claims of remoteness: a ladder of guarantees, growth laws, a tether, ratios as tapers."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims.base import Claim

_TEST: Final = "tests/agents/objectives/test_remoteness_claims.py::test_theory_holds[{}]"
_END_TO_END: Final = "tests/agents/objectives/test_registered_claims.py::{}"
_WORLDS: Final = "tests/recsession/experiments/remoteness/test_world_claims.py::{}"
_FOLLOW_UP: Final = "follow-up of DRPO (draft, 2026-07)"
_FIGURE: Final = "reused negative, tapered"

CLAIMS: Final = (
    Claim(
        "level-0",
        "L0, w -> 0 as D grows: the exponential, a hard cut and both reciprocals have it; a global alpha does not.",
        _FOLLOW_UP,
        "guarantee hierarchy",
        "holds",
        _TEST.format("level_0"),
    ),
    Claim(
        "level-1",
        "L1, w sqrt(D) -> 0, no absolute force from afar: the exponential, a hard cut and the quadratic reciprocal "
        "have it; the linear one is left with a constant, alpha sqrt(c) / lambda.",
        _FOLLOW_UP,
        "guarantee hierarchy",
        "holds",
        _TEST.format("level_1"),
    ),
    Claim(
        "level-2",
        "L2, w D = O(1), a bounded loop gain: the quadratic reciprocal has just that, the exponential and a hard cut "
        "more, the linear reciprocal and a global alpha not.",
        _FOLLOW_UP,
        "guarantee hierarchy, loop-gain order",
        "holds",
        _TEST.format("level_2"),
    ),
    Claim(
        "level-3",
        "L3, D^k w -> 0 for every k: the exponential and a hard cut have it, and no reciprocal.",
        _FOLLOW_UP,
        "guarantee hierarchy",
        "holds",
        _TEST.format("level_3"),
    ),
    Claim(
        "far-field-turns-inward",
        "Far out, a weight that goes to 0 turns the force on a Gaussian's mean inward for every finite rho; a global "
        "alpha does so only where alpha q < p.",
        _FOLLOW_UP,
        "selective tapering against global scaling",
        "holds",
        _TEST.format("the_far_field_turns_inward"),
    ),
    Claim(
        "matching-order-is-linear",
        "At the matching order, the quadratic reciprocal, X grows linearly.",
        _FOLLOW_UP,
        "loop-gain order",
        "holds",
        _TEST.format("at_the_matching_order_it_grows_linearly"),
        picture=_FIGURE,
    ),
    Claim(
        "exponential-is-logarithmic",
        "Under the exponential X_t <= (log t + log log t + O(1)) / a.",
        _FOLLOW_UP,
        "Gaussian reuse rates",
        "holds",
        _TEST.format("under_the_exponential_it_grows_logarithmically"),
        picture=_FIGURE,
    ),
    Claim(
        "tapered-suppression-is-polynomial",
        "With w = min(1, (e^tau pi)^beta) the probability of a softmax's reused negative decays polynomially, "
        "pi = Theta(t^(-1/beta)).",
        _FOLLOW_UP,
        "categorical self-limiting suppression",
        "holds",
        _TEST.format("a_tapered_class_vanishes_polynomially"),
        picture=_FIGURE,
    ),
    Claim(
        "tether-restores-an-equilibrium",
        "Regularisation towards a reference with weight gamma restores an equilibrium where p < q iff gamma > q - p.",
        _FOLLOW_UP,
        "restoration by reference regularisation",
        "holds if",
        _TEST.format("a_tether_restores_an_equilibrium"),
        "the regulariser is a KL divergence at the policy's own fixed scale, and eta (p - q + gamma) lambda_max < 2; a "
        "Euclidean tether of the mean needs gamma > (q - p) lambda_max of the precision.",
        _FIGURE,
    ),
    Claim(
        "clipped-ratio-is-a-taper",
        "A clipped behavior ratio, min((pi / mu)^beta, 1), is the exponential taper with lambda / c = beta and each "
        "row's own threshold, its surprisal under the behavior; TOPR is that of beta = 1.",
        _FOLLOW_UP,
        "relation to TOPR",
        "holds if",
        _TEST.format("a_clipped_ratio_is_a_taper"),
        "remoteness is the surprisal of the whole action; per token or per dimension it is a root of the ratio.",
    ),
    Claim(
        "registered-objectives-follow",
        "What is claimed of the losses is what the registered objectives do, step by step: `signed_pg`, `taper` of "
        "every shape and `topr` on one reused negative.",
        "ours",
        "docs/theory.md, Remoteness",
        "holds",
        _END_TO_END.format("test_a_reused_negative_leaves_as_its_law_says"),
    ),
    Claim(
        "scale-settles-with-the-mean",
        "A Gaussian's mean and one learned scale settle together, at m* and sigma^2 = (E+|a - m*|^2 - rho "
        "E-|a - m*|^2) / (d (1 - rho)), where that is positive and rho < 1; where it is negative, a mean at m* loses "
        "its scale for ever.",
        "ours",
        "docs/theory.md, Remoteness",
        "holds if",
        "tests/agents/objectives/test_repulsion_claims.py::test_theory_holds[a_mean_and_one_scale_settle_together]",
        "they begin nearby, and eta (p - q) max(2 d, 1 / sigma^2) < 2.",
    ),
    Claim(
        "little-repulsion-is-useful",
        "In C-U1 a small q / p raises the reward above that of positives alone; then it falls, then it collapses.",
        _FOLLOW_UP,
        "controlled negative-strength sweep",
        "holds if",
        _WORLDS.format("test_little_repulsion_is_useful_from_the_local_negative_alone"),
        "the negative is the local one, a-: the reward rises up to q / p = 7/12, where m* is the optimum. All eight "
        "averaged have their mean at the optimum itself, and any q / p > 0 lowers the reward.",
    ),
    Claim(
        "without-the-far-ones-it-is-rescued",
        "In C-U1 it rescues to remove or cap the negatives beyond 5 sigmas, and not to remove those within.",
        _FOLLOW_UP,
        "causal transmission",
        "holds if",
        _WORLDS.format("test_the_far_negatives_are_to_blame_where_the_scale_is_learned"),
        "the scale is learned: the far ones shrink it, and so grow farther. At the fixed sigma of .60 none is beyond "
        "3.17 sigmas of a+; to remove the near ones removes all, and to remove the far ones rescues nothing.",
    ),
)
