"""Parametrisations by every registered objective and each policy that it fits, or a quick one."""

from __future__ import annotations

import pytest

from agents.families import OBJECTIVES, POLICIES
from agents.testing.objective_cases import kind_of


def fits(objective: str, policy: str) -> bool:
    return kind_of(OBJECTIVES.get(objective)) in (None, POLICIES.get(policy).action_kind)


PAIRS = [(name, policy) for name in OBJECTIVES.registered() for policy in POLICIES.registered() if fits(name, policy)]

every_pair = pytest.mark.parametrize(("name", "policy"), PAIRS)
every_objective = pytest.mark.parametrize("name", OBJECTIVES.registered())
