"""What is proven of the rule behind `kappa="auto"`: how many of the best rows of a log to keep."""

from __future__ import annotations

from typing import Final

from recsession.experiments.theory.claims.base import Claim

_TEST: Final = "tests/agents/robust/test_selection.py::{}"
_OURS: Final = ("ours", "docs/selection.md, The rule")

CLAIMS: Final = (
    Claim(
        "rule-reads-no-units",
        "The order of the rows, the sessions' names, a shift and a positive scale of the scores or of what the rows "
        "earned leave the rows that are kept as they are; the worth has the units of what was earned, and of the "
        "scores where nobody knows.",
        *_OURS,
        "holds",
        _TEST.format("test_order_shift_and_positive_scale_change_nothing"),
    ),
    Claim(
        "rule-keeps-whole-ties",
        "Equal scores are kept or left together, so that the order of a tie decides nothing.",
        *_OURS,
        "holds",
        _TEST.format("test_it_always_answers_and_keeps_whole_ties"),
    ),
    Claim(
        "whole-log-is-worth-nothing",
        "To keep the whole log is worth exactly zero; so the rule always answers, and leaves rows out only where what "
        "it keeps is worth more than nothing.",
        *_OURS,
        "holds",
        _TEST.format("test_it_always_answers_and_keeps_whole_ties"),
    ),
    Claim(
        "one-session-is-no-evidence",
        "A share of the log whose rows are all of one session is refused, whatever they earned.",
        *_OURS,
        "holds",
        _TEST.format("test_one_session_is_no_evidence"),
    ),
    Claim(
        "cost-of-fitting-is-a-prior",
        "m / (m + d) of a mean over m rows is its posterior mean under a prior of d rows at zero: rows that are normal "
        "around a gain, the gain normal around 0 with 1 / d of their variance. It is a shrinkage, by a half at m = d.",
        *_OURS,
        "holds",
        _TEST.format("test_the_cost_of_fitting_is_a_prior_of_d_rows_at_zero"),
    ),
    Claim(
        "more-rows-to-fit-keep-more",
        "The more rows a policy needs to learn, d, the more are kept.",
        *_OURS,
        "holds if",
        _TEST.format("test_the_more_rows_a_policy_needs_the_more_are_kept_at_their_word"),
        "the scores are believed alone. The error, which d does not shrink, may reverse it: of scores 4, 4, 2, 2 and "
        "twenty times 0 that earned 2, 2, 1, 3 and 0, four rows are kept at d = 4, and two at d = 10.",
    ),
    Claim(
        "error-counts-sessions",
        "se(m) is how far the gain of keeping m rows varies from log to log, with rows of one session sharing their "
        "luck.",
        "Liang and Zeger 1986",
        "the variance of clustered means",
        "holds if",
        _TEST.format("test_the_error_is_the_spread_of_the_gain_over_logs"),
        "sessions are independent of each other and many: it is an approximation, good to a tenth at a hundred.",
    ),
)
