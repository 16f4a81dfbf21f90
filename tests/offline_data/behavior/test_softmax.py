"""Softmax utilities items by columns of the catalogue, by the caller's numbers, or by both."""

from __future__ import annotations

import json

import numpy as np
import pytest

from offline_data.behavior.base import SessionView, make_behavior
from offline_data.behavior.softmax import COLUMNS, SoftmaxPolicy
from recenv.errors import InvalidInput

pytestmark = pytest.mark.kernels


def made(world, **options) -> SoftmaxPolicy:
    policy = make_behavior(world, json.loads(json.dumps({"name": "softmax", **options})))
    assert isinstance(policy, SoftmaxPolicy)
    return policy


@pytest.mark.parametrize("column", COLUMNS)
def test_each_column_is_the_catalogues(small_world, column):
    catalog = small_world(7, 3).catalog
    values = np.log(catalog.popularity.astype(float)) if column == "log_popularity" else getattr(catalog, column)
    utilities = made(small_world(7, 3), weights={column: -2.5}).item_utilities
    assert utilities.dtype == np.float64
    np.testing.assert_allclose(utilities, -2.5 * values, rtol=1e-6)


def test_columns_and_own_scores_add_up(small_world):
    world, own = small_world(7, 3), [0.5, -1.0, 0.0, 2, 3.5, -2.0, 1.0]
    catalog = world.catalog
    expected = np.array(own) + 2.0 * catalog.quality.astype(float) - 0.5 * catalog.appeal.astype(float)
    utilities = made(world, weights={"quality": 2.0, "appeal": -0.5}, utilities=own).item_utilities
    np.testing.assert_allclose(utilities, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(made(world, utilities=own).item_utilities, own)


def test_the_order_of_the_weights_does_not_change_a_bit(small_world):
    weights = {"quality": 0.1, "age": 1 / 3, "appeal": 0.7, "length": -1e5}
    one, other = (made(small_world(7, 3), weights=w) for w in (weights, dict(reversed(weights.items()))))
    assert one.item_utilities.tobytes() == other.item_utilities.tobytes()


def test_odds_worked_by_hand(small_world):
    """Utilities log 4, log 2, 0 at temperature 1: 4/7, then 2/3 of what is left."""
    policy = made(small_world(3, 2), utilities=np.log([4.0, 2.0, 1.0]).tolist())
    view = SessionView({}, {}, np.zeros(1, np.uint64))
    _, prefix = policy.log_prob(view, np.array([[0, 1]]), np.zeros((1, 0)))
    assert prefix is not None
    np.testing.assert_allclose(np.exp(prefix), [[4 / 7, 8 / 21]], rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, r"softmax has neither weights nor utilities; give it weights, as in .*, or a utility an item"),
        ({"weights": {"qualty": 1.0}}, "unknown column in weights 'qualty'; did you mean 'quality'?"),
        ({"weights": {"embeddings": 1.0}}, "unknown column in weights 'embeddings'; .*choose one of: age, appeal"),
        ({"weights": {"quality": 1e7}}, r"weight of quality=10000000.0 is outside \[-1000000.0, 1000000.0\]; set"),
        ({"weights": ["quality"]}, r"weights=\['quality'\] is not a dict; give columns and numbers"),
        ({"utilities": 3.0}, "utilities=3.0 is not a list; give one number an item"),
        ({"utilities": [0.0, "1", 2.0]}, "utility of item 1='1' is not a finite number; set utility of item 1 to"),
        ({"utilities": [0.0, 1.0]}, "utilities has 2 numbers, and the world 3 items; give one an item"),
        ({"weights": {"quality": 1.0}, "temperature": 0.0}, "temperature=0.0 is outside"),
    ],
)
def test_a_wrong_config_is_refused(small_world, options, message):
    with pytest.raises(InvalidInput, match=message):
        made(small_world(3, 2), **options)
