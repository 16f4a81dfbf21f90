"""The pseudo-inverse: exact for sums over positions, by the general matrix and of policies that fill them apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline_data.ope.slates import factored_parts, pseudo_inverse_parts
from recenv.errors import InvalidInput
from tests.offline_data.ope.enumerated_slates import (
    APART,
    APART_TARGET,
    BEHAVIOR,
    TARGET,
    each,
    own,
    unfolded,
    whole,
)
from tests.reference import slate_reference
from tests.reference.slate_reference import SlateSessions


def matrix_parts(world: SlateSessions) -> np.ndarray:
    """The general parts of every slate of every session that may be logged."""
    slates = slate_reference.all_slates(world.behavior)
    rows = [slate[0] for _, session in world.logged() for slate in session]
    laws = [
        [[slate_reference.probability(policy, row["context"], slate) for slate in slates] for row in rows]
        for policy in (world.behavior, world.target)
    ]
    return pseudo_inverse_parts(slates, laws[0], laws[1], [slates.index(row["slate"]) for row in rows])


@pytest.mark.parametrize(("reward", "exact"), [(own, True), (whole, False)])
@pytest.mark.parametrize("policies", [(BEHAVIOR, TARGET), (APART, APART_TARGET)])
def test_pseudo_inverse_is_exact_for_sums_over_positions(reward, exact, policies):
    """Only what a whole slate earned is read: it is given to the last item."""

    def at_last(context, slate, k):
        return k * (reward(context, slate, 0) + reward(context, slate, 1))

    world = SlateSessions(policies[0], policies[1], at_last)
    probability, sessions = unfolded(world)
    parts = matrix_parts(world)
    found = each("pi", replace(sessions, slate_part=parts.ravel()))
    error = abs(probability @ found - world.value())
    assert error < 1e-10 if exact else error > 0.02


def test_parts_of_policies_that_fill_positions_apart_are_the_general_ones():
    world = SlateSessions(APART, APART_TARGET, own)
    _, sessions = unfolded(world)
    ratios = sessions.column("target_item_log_prob") - sessions.column("behavior_item_log_prob")
    factored_sums = factored_parts(ratios.reshape(-1, 2)).sum(axis=1)
    np.testing.assert_allclose(matrix_parts(world).sum(axis=1), factored_sums, atol=1e-12)


def test_a_target_beyond_the_logs_slates_has_no_pseudo_inverse():
    slates = [(0, 1), (1, 0), (2, 2)]
    with pytest.raises(InvalidInput, match=r"puts items where the log never has them.*\(by 0.25 of probability\)"):
        pseudo_inverse_parts(slates, [0.5, 0.5, 0.0], [0.5, 0.25, 0.25], [0, 1])
    with pytest.raises(InvalidInput, match=r"target is negative or sums to 0\.5"):
        pseudo_inverse_parts(slates, [0.5, 0.5, 0.0], [0.25, 0.25, 0.0], [0, 1])
    with pytest.raises(InvalidInput, match=r"behavior has shape \(2,\); pass \[3\] or \[2, 3\]"):
        pseudo_inverse_parts(slates, [0.5, 0.5], [0.5, 0.5, 0.0], [0, 1])
