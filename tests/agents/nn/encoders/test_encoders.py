"""The contract of encoders, over every registered one and one from outside."""

from __future__ import annotations

from agents.testing.encoders import check_encoder


@check_encoder.over("tests.outside_parts.latest_item:LatestItemEncoder")
def test_contract(part, check):
    check(part)
