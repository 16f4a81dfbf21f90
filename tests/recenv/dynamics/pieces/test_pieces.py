"""The contract of pieces, over every registered one and one from outside."""

from __future__ import annotations

from recenv.testing.pieces import check_piece


@check_piece.over("tests.outside_parts.patience:Patience")
def test_contract(part, check):
    check(part)
