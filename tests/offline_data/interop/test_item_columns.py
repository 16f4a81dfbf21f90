"""Embeddings of the items' columns: each kind by hand, what is left out, what is missing, and what does not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data.interop.item_columns import embeddings_of


def encode(columns, words=()) -> tuple[Any, Any, Any]:
    return embeddings_of(columns, words)


def texts(*values):
    return np.array(values, object)


def made(values, kind=None, name="column"):
    rows, told, left = encode({name: values}, (f"{name}={kind}",) if kind else ())
    return rows, (told[0]["as"] if told else None), left


def gram(rows):
    return np.round(rows @ rows.T, 6)


# --- what a column is


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([1.5, 2.0, 9.0]), "number"),
        (np.array([True, False, True]), "number"),
        (np.array(["2024-01-01", "2024-02-01", "2024-01-05"], "datetime64[D]"), "number"),
        (texts(True, None, False), "number"),
        (texts("red", "blue", "red"), "category"),
        (texts("red", "red", None), "category"),
        (texts("Action|Comedy", "Action", "Drama"), "labels"),
        (texts("['a', 'b']", "['a']", "[]"), "labels"),
        (texts("a, b", "b", "a, b, c", "c"), "labels"),
        (texts(["a", "b"], [], ["a"]), "labels"),
        (texts("Blue shoes", "Red shoes, large", "A hat"), "text"),
        (texts("Toy Story (1995)", "Heat, The (1995)", "Casino, or nothing"), "text"),
        (texts("x1", "x2", "x3"), None),
        (texts("https://a.b/c d", "https://a.b/e f", "https://a.b/g"), None),
        (texts("one", "one", "one"), None),
        (texts(None, None, None), None),
        (np.array([np.nan, np.nan, np.nan]), None),
        (np.array([4, 5, 6]), None),
        (np.ones((3, 2)), None),
    ],
)
def test_what_a_column_is(values, kind):
    rows, found, left = made(values)
    assert found == kind
    assert (rows is None) == (kind is None) == (len(left) == 1)


@pytest.mark.parametrize(("name", "kind"), [("brand_id", "category"), ("category", "category"), ("width", "number")])
def test_whole_numbers_are_codes_by_their_name(name, kind):
    assert made(np.array([7, 3, 7, 12]), name=name)[1] == kind


# --- each kind


def test_numbers_are_standardised():
    rows, told, _ = encode({"a": np.array([1.0, 3.0, np.nan, 5.0]), "same": texts("x", "y", "x", "y")})
    assert told[0] == {"column": "a", "as": "number", "width": 2, "mean": 3.0, "sd": pytest.approx(np.sqrt(8 / 3))}
    first, second = rows[:, 0], rows[:, 1]
    np.testing.assert_allclose(
        first / np.linalg.norm(rows[:, 2:], axis=1), np.array([-1, 0, 0, 1]) * np.sqrt(1.5), atol=1e-6
    )
    assert (second > 0).tolist() == [False, False, True, False]


def test_long_tails_are_drawn_in_and_outliers_cut():
    price = np.append(np.geomspace(1.0, 30.0, 99), 5000.0)
    rows, told, _ = encode({"price": price, "other": texts(*["x", "y"] * 50)})
    assert told[0]["logarithm_over"] == pytest.approx(np.median(price))
    assert np.isfinite(rows).all()
    assert rows[-1, 0] < 5.0 * np.linalg.norm(rows[-1, 1:])
    _, plain, _ = encode({"price": np.append(-price, price)})
    assert "logarithm_over" not in plain[0]


def test_categories_have_a_coordinate_each():
    np.testing.assert_array_equal(gram(made(texts("a", "b", "a", "c", "b"))[0]), np.equal.outer(*[list("abacb")] * 2))
    rows, _, _ = made(texts("a", "a", None, None, "b", "b"))
    np.testing.assert_array_equal(gram(rows), np.equal.outer(*[list("aannbb")] * 2))


def test_of_many_values_the_frequent_ones_stand_alone():
    names = [f"brand {n:03d}" for n in range(100) for _ in range(2 + (n < 20) * 5)]
    _, told, _ = encode({"brand": texts(*names)})
    assert (told[0]["width"], told[0]["hashed"], len(told[0]["values"])) == (32, 8, 24)
    assert told[0]["values"][:20] == [f"brand {n:03d}" for n in range(20)]
    rows, _, _ = made(texts(*names))
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)


def test_labels_are_multi_hot():
    expected = [[1, np.sqrt(0.5), 0, 0], [np.sqrt(0.5), 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    for values in (
        texts("Comedy|Action", "Action", "Drama", None),
        texts(["Action", "Comedy"], ["Action"], ["Drama"], []),
        texts("['Action', 'Comedy']", "['Action']", "['Drama']", "[]"),
    ):
        np.testing.assert_allclose(gram(made(values)[0]), expected, atol=1e-5)


def test_titles_that_share_rare_words_are_alike():
    rows, kind, _ = made(
        texts("The red running shoe", "The red leather boot", "The garden hose", "The garden chair", None)
    )
    assert kind == "text"
    alike = rows @ rows.T
    assert alike[0, 1] > max(alike[0, 2], alike[0, 3]) + 0.1
    assert alike[2, 3] > max(alike[2, 0], alike[2, 1]) + 0.1
    np.testing.assert_allclose(alike[4, :4], 0.0, atol=1e-6)


def test_columns_count_alike():
    rng = np.random.default_rng(0)
    columns = {
        "price": rng.normal(size=400),
        "brand": texts(*rng.choice(["a", "b", "c"], 400)),
        "genres": texts(*rng.choice(["x|y", "y", "z|x"], 400)),
    }
    rows, told, _ = encode(columns)
    ends = np.cumsum([each["width"] for each in told])[:-1]
    shares = [np.square(block).sum(axis=1).mean() for block in np.split(rows, ends, axis=1)]
    np.testing.assert_allclose(shares, 1 / 3, atol=0.1)


# --- what does not matter


@given(
    st.lists(
        st.tuples(
            st.sampled_from([1.0, 2.5, 40.0, float("nan")]),
            st.sampled_from(["red", "blue", None]),
            st.sampled_from(["Action|Drama", "Drama", "War", None]),
        ),
        min_size=2,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_the_items_does_not_matter(items, random):
    def columns(rows):
        return {
            "price": np.array([price for price, _, _ in rows]),
            "colour": texts(*(colour for _, colour, _ in rows)),
            "genres": texts(*(genres for _, _, genres in rows)),
        }

    order = list(range(len(items)))
    random.shuffle(order)
    found, told, left = encode(columns(items))
    other, told_other, left_other = encode(columns([items[n] for n in order]))
    assert ([each["column"] for each in told], left) == ([each["column"] for each in told_other], left_other)
    if found is None:
        assert other is None
        return
    np.testing.assert_allclose(other, found[order], atol=1e-5)
    length = np.linalg.norm(found, axis=1)
    assert (np.isclose(length, 1.0, atol=1e-5) | (length == 0.0)).all()


def test_numbers_alone_keep_their_size():
    """Scaled to unit length, a price alone would be its sign, and two columns their ratio."""
    rows, told, _ = encode({"price": np.array([1.0, 2.0, 3.0, 5.0]), "weight": np.array([1.0, 2.0, 3.0, 5.0]) * 2.0})
    assert [each["width"] for each in told] == [1, 1]
    assert rows.shape == (4, 3)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1.0, rtol=1e-6)
    assert (np.diff(rows[:, 0]) > 0.05).all()
    with_category, _, _ = encode({"price": np.array([1.0, 2.0, 5.0]), "brand": texts("a", "b", "a")})
    assert with_category.shape == (3, 3)
