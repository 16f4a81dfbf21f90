"""Groups of what passes between kernels: their members' order, and numbers by name."""

from __future__ import annotations

import pytest

from recenv.dynamics.kernel_groups import Response, numbers_of
from recenv.dynamics.pieces.retention import RetentionConfig


def test_order_of_a_response_is_the_one_that_cached_kernels_were_compiled_for():
    # Numba's cache does not hold the names: whoever changes this removes the caches, or renames the group.
    assert Response._fields == (
        *("shown_items", "clicked", "draws", "active", "feedback", "rewards", "wanted", "benefit", "left", "returned"),
    )


def test_numbers_have_the_names_of_the_fields_and_are_floats():
    numbers = numbers_of(("max_sessions", "return_rate"), RetentionConfig(0.25, max_sessions=3))
    assert numbers.dtype.names == ("max_sessions", "return_rate")
    assert numbers.tolist() == [(3.0, 0.25)]
    with pytest.raises(AttributeError, match="hazard"):
        numbers_of(("hazard",), RetentionConfig())
