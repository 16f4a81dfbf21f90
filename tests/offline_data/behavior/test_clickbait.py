"""Clickbait ranks by appeal."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.behavior.base import make_behavior
from offline_data.behavior.clickbait import ClickbaitPolicy

pytestmark = pytest.mark.kernels


def test_scores_are_the_appeal(small_world):
    world = small_world(7, 3)
    policy = make_behavior(world, "clickbait")
    assert isinstance(policy, ClickbaitPolicy)
    assert policy.item_utilities.dtype == np.float64
    np.testing.assert_array_equal(policy.item_utilities, world.catalog.appeal)
