from __future__ import annotations

import json

import numpy as np
import pytest

from offline_data.store.context import ContextColumn, context_columns, context_width, encode_context
from recenv.errors import InvalidInput
from recenv.plain_config import to_plain

AGE = ContextColumn("age", "number", mean=30.0, sd=5.0, has_missing=True)
CITY = ContextColumn("city", "category", values=("12", "Paris"))


def test_numbers_are_standardised_cut_and_told_when_missing():
    values = [35.0, np.nan, np.inf, -np.inf, 1e308, 30.0]
    np.testing.assert_array_equal(AGE.encode(values), [[1, 0], [0, 1], [10, 0], [-10, 0], [10, 0], [0, 0]])


def test_categories_are_one_hot_whatever_they_are_written_as():
    expected = [[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]]
    np.testing.assert_array_equal(CITY.encode([12, 12.0, "12", "Paris", "Rome", None, np.nan]), expected)


def test_largest_numbers_keep_their_distance():
    column = ContextColumn("debt", "number", mean=1e308, sd=1e308)
    np.testing.assert_allclose(column.encode([1e308, -1e308]), [[0.0], [-2.0]])


def test_a_moment_is_encoded_by_names():
    np.testing.assert_array_equal(encode_context([AGE, CITY], {"city": "Paris"}), [0, 1, 0, 1, 0])
    with pytest.raises(InvalidInput, match=r"'cty'.*did you mean 'city'"):
        encode_context([AGE, CITY], {"cty": "Paris"})
    with pytest.raises(InvalidInput, match=r"context age is a number, and one of .*'old'"):
        encode_context([AGE], {"age": "old"})


def test_columns_come_back_from_json():
    plain = json.loads(json.dumps([to_plain(AGE), to_plain(CITY)]))
    assert context_columns(plain) == (AGE, CITY)
    assert context_width((AGE, CITY)) == 5


@pytest.mark.parametrize(
    "plain",
    [
        None,
        {},
        [1],
        [{"name": "a"}],
        [{"name": "", "kind": "number"}],
        [{"name": "a", "kind": "text"}],
        [{"name": "a", "kind": "number", "sd": 0.0}],
        [{"name": "a", "kind": "number", "mean": float("nan")}],
        [{"name": "a", "kind": "number", "mean": True}],
        [{"name": "a", "kind": "number", "has_missing": 1}],
        [{"name": "a", "kind": "category", "values": ["x", "x"]}],
        [{"name": "a", "kind": "category", "values": "x"}],
        [{"name": "a", "kind": "category", "values": [1]}],
        [{"name": "a", "kind": "number"}] * 2,
        [{"name": "a", "kind": "number", "widht": 3}],
    ],
)
def test_what_is_no_column_is_refused(plain):
    with pytest.raises(InvalidInput):
        context_columns(plain)
