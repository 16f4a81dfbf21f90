"""The contract of policies, over every registered one and one from outside."""

from __future__ import annotations

from agents.testing.policies import check_policy


@check_policy.over("tests.outside_parts.laplace_policy:LaplacePolicy")
def test_contract(part, check):
    check(part)
