"""What the filter and the taper do to a policy's steps."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims.base import Claim

_TEST: Final = "tests/agents/objectives/test_restraint_claims.py::test_theory_holds[{}]"

CLAIMS: Final = (
    Claim(
        "filtered-mean-settles-at-what-is-kept",
        "A Gaussian's mean, cloned on the filtered log, settles at the mean kept action E_{q*}[a]; that is m+ only "
        "where q* keeps just the good actions.",
        "ours",
        "docs/theory.md, The optimistic value",
        "holds if",
        _TEST.format("a_filtered_mean_settles_at_what_is_kept"),
        "the scale is fixed and eta p lambda_max < 2, p the retained mass.",
        "taper",
    ),
    Claim(
        "filtered-logits-diverge",
        "A softmax cloned on the filtered log converges to q*, and the logits of actions without mass fall for ever.",
        "ours",
        "docs/theory.md, The optimistic value",
        "holds",
        _TEST.format("filtered_logits_diverge_where_nothing_is_kept"),
    ),
    Claim(
        "scale-collapses-without-a-floor",
        "A learned scale falls to 0 on one retained atom, by eta p a step in its log; a floor stops it.",
        "ours",
        "docs/theory.md, The optimistic value",
        "holds",
        _TEST.format("a_scale_collapses_unless_it_has_a_floor"),
        picture="taper",
    ),
    Claim(
        "tapered-mean-is-bounded",
        "The remoteness taper bounds a Gaussian's trajectory for every finite rho: "
        "|mu_t - m+| <= gamma^t |mu_0 - m+| + (1 - gamma^t) R.",
        "follow-up of DRPO (draft, 2026-07)",
        "bounded trajectory",
        "holds if",
        _TEST.format("a_tapered_mean_stays_within_its_bound"),
        "the scale is fixed, the taper's weight is detached, there is positive mass, and eta p lambda_max < 2.",
        "taper",
    ),
    Claim(
        "one-atom-attains-the-largest-force",
        "The exponential taper's force is at most q sqrt(2 y lambda_max) exp(-lambda (y + k - tau)_+ / c), and one "
        "atom along the steepest axis attains it.",
        "ours",
        "docs/theory.md, A whole log",
        "holds",
        _TEST.format("one_atom_attains_the_largest_force"),
        picture="taper",
    ),
)
