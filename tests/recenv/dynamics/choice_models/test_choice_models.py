"""The contract of choice models, over every registered one and one from outside."""

from __future__ import annotations

import pytest

from recenv.testing.choice_models import check_choice_model

pytestmark = pytest.mark.kernels


@check_choice_model.over("tests.outside_parts.good_enough:GoodEnough")
def test_contract(part, check):
    check(part)
