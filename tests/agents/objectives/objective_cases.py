"""Parametrisations by every registered objective and each policy that it fits, or a quick one."""

from __future__ import annotations

import pytest

from agents.families import OBJECTIVES, POLICIES
from agents.testing.objective_cases import kind_of


def fits(objective: str, policy: str) -> bool:
    return kind_of(OBJECTIVES.get(objective)) in (None, POLICIES.get(policy).action_kind)


PAIRS = [(name, policy) for name in OBJECTIVES.registered() for policy in POLICIES.registered() if fits(name, policy)]
# The quickest policy that each objective fits; the others take their turn by night.
QUICK = [
    next((name, policy) for policy in ("gaussian", "plackett_luce", "generative") if (name, policy) in PAIRS)
    for name in OBJECTIVES.registered()
]
_OTHERS = [pair for pair in PAIRS if pair not in QUICK]

every_pair = pytest.mark.parametrize(
    ("name", "policy"), [*QUICK, *(pytest.param(*pair, marks=pytest.mark.nightly) for pair in _OTHERS)]
)
every_other_pair = pytest.mark.parametrize(("name", "policy"), _OTHERS)
every_objective = pytest.mark.parametrize("name", OBJECTIVES.registered())
