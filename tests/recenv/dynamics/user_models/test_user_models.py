"""The contract of user models, over every registered one and one from outside."""

from __future__ import annotations

from recenv.testing.user_models import check_user_model


@check_user_model.over("tests.outside_parts.window_shopper:WindowShopper")
def test_contract(part, check):
    check(part)
