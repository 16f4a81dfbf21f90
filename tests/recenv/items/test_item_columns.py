"""A catalogue is checked and frozen however it is made: nothing reaches a kernel that no item can have."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recenv import Catalog, CatalogConfig, InvalidInput

N = 60
ITEMS = Catalog.generate(CatalogConfig(num_items=N, embedding_dim=5), 0)
NAN = np.full(N, np.nan, np.float32)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "embeddings",
            ITEMS.embeddings * 10,
            "embeddings has 60 rows that are not of unit length, the first of item 0",
        ),
        (
            "embeddings",
            np.where(np.arange(N) == 7, 1.01, 1.0)[:, None] * ITEMS.embeddings,
            "embeddings has 1 rows that",
        ),
        ("embeddings", np.zeros((N, 5)), "embeddings has 60 rows that are not of unit length"),
        ("embeddings", np.full((N, 5), np.nan), "embeddings has 60 rows that are not of unit length"),
        ("embeddings", ITEMS.embeddings[:, 0], "embeddings has shape (60,)"),
        ("embeddings", ITEMS.embeddings[:9], "as many as embeddings has rows"),
        (
            "embeddings",
            ITEMS.embeddings.astype(complex),
            "embeddings is not an array of numbers (it has the dtype com",
        ),
        ("embeddings", None, "embeddings has shape ()"),
        ("topics", np.arange(3), "topics has shape (3,); pass one value an item, shape (60,)"),
        ("topics", np.full(N, 0.5), "topics holds a fraction"),
        ("topics", np.full(N, -1), "topics holds -1; number topics from 0"),
        ("topics", np.full(N, 2.0**40), "topics holds a value that is not finite or exceeds 2.15e+09"),
        ("topics", np.full(N, 2**31, np.uint64), "topics holds a value that is not finite or exceeds 2.15e+09"),
        ("topics", NAN, "topics holds a value that is not finite"),
        ("topics", np.full(N, "a"), "topics is not an array of numbers (it has the dtype <U1)"),
        ("topics", np.full(N, "2020-01-01", "M8[D]"), "topics is not an array of numbers"),
        ("quality", NAN, "quality holds a value that is not finite or exceeds 1e+06"),
        ("quality", np.zeros(10, np.float32), "quality has shape (10,)"),
        ("quality", np.zeros((N, 1)), "quality has shape (60, 1)"),
        ("quality", 0.0, "quality has shape ()"),
        ("quality", np.full(N, -(2**63)), "quality holds a value that is not finite or exceeds 1e+06"),
        ("quality", np.ma.masked_less(np.arange(N), 3), "quality is not an array of numbers (it has masked values)"),
        ("quality", np.full(N, None), "quality holds a value that is not finite"),
        ("quality", np.array(["1"] * N, object), "quality is not an array of numbers (it has the dtype object)"),
        ("appeal", np.full(N, np.inf), "appeal holds a value that is not finite"),
        ("length", -ITEMS.length, "is not above zero; give minutes above zero"),
        ("length", NAN, "length holds a value that is not finite"),
        ("popularity", ITEMS.popularity * 2, "popularity has a negative value, or sums to 2 instead of 1"),
        ("popularity", np.r_[-1.0, 2.0, np.zeros(N - 2)], "popularity has a negative value, or sums to 1 instead of 1"),
        ("age", NAN, "age holds a value that is not finite"),
        ("names", ["a"] * 3, "names has shape (3,)"),
        ("names", ["a"] * (N - 1) + [None], "names holds object values; pass texts"),
        ("source_id", np.zeros(N, int), "source_id holds [0] twice; give each item its own"),
        ("source_id", np.arange(N) / 2, "source_id holds float64 values; pass whole numbers or texts"),
        ("topic_names", [str(n) for n in range(N)], "topic_names calls the topic of item "),
    ],
)
def test_a_wrong_column_is_refused_by_its_name(name: str, values: Any, message: str):
    for make in (
        lambda: replace(ITEMS, **{name: values}),
        lambda: Catalog(**{**ITEMS.arrays(), name: values}),
    ):
        with pytest.raises(InvalidInput) as caught:
            make()
        assert message in str(caught.value)
        assert name in str(caught.value)


def test_columns_of_other_dtypes_are_cast():
    items = replace(ITEMS, topics=np.arange(N, dtype=np.float64), quality=np.arange(N), length=np.ones(N, np.float64))
    assert {name: values.dtype for name, values in items.arrays().items()} == {
        name: values.dtype for name, values in ITEMS.arrays().items()
    }
    np.testing.assert_array_equal(items.topics, np.arange(N))
    np.testing.assert_array_equal(items.quality, np.arange(N))


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda c: pickle.loads(pickle.dumps(c)),
        lambda c: pickle.loads(pickle.dumps(c, 5)),
        copy.copy,
        copy.deepcopy,
        replace,
        lambda c: Catalog(**c.arrays()),
        lambda c: Catalog.from_arrays(**c.arrays()),
        lambda c: Catalog.from_arrays(**{name: np.array(values) for name, values in c.arrays().items()}),
    ],
)
def test_no_array_can_be_written_to(duplicate: Callable[[Catalog], Catalog]):
    items = duplicate(replace(ITEMS, names=[f"item {n}" for n in range(N)], source_id=np.arange(N)))
    for name, values in items.arrays().items():
        assert not values.flags.writeable, name
        with pytest.raises(ValueError, match="WRITEABLE"):
            values.setflags(write=True)
    assert items == replace(ITEMS, names=[f"item {n}" for n in range(N)], source_id=np.arange(N))
    assert hash(items) != hash(ITEMS)


def test_a_catalogue_is_no_alias_of_what_its_maker_holds():
    quality, embeddings = np.zeros(N, np.float32), np.array(ITEMS.embeddings)
    view = quality.view()
    view.setflags(write=False)
    frozen = np.ones(N, np.float32)
    frozen.setflags(write=False)
    items = replace(ITEMS, quality=view, embeddings=embeddings, appeal=frozen)
    frozen.setflags(write=True)
    for array in (quality, embeddings, frozen):
        array[:] = 9.0
    np.testing.assert_array_equal(items.quality, np.zeros(N))
    np.testing.assert_array_equal(items.embeddings, ITEMS.embeddings)
    np.testing.assert_array_equal(items.appeal, np.ones(N))


def test_the_sha256_tells_every_column_apart():
    changes = {
        "embeddings": -ITEMS.embeddings,
        "topics": ITEMS.topics + 1,
        "popularity": ITEMS.popularity[::-1],
        **{name: ITEMS.arrays()[name] + 1 for name in ("quality", "appeal", "length", "age")},
        "names": [f"item {n}" for n in range(N)],
        "source_id": np.arange(N),
        "topic_names": ["topic"] * N,
    }
    others = [replace(ITEMS, **{name: values}) for name, values in changes.items()]
    assert len({ITEMS.sha256, *(other.sha256 for other in others)}) == 1 + len(others)
    assert replace(ITEMS, names=np.array(changes["names"], "<U99")) == replace(ITEMS, names=changes["names"])


def test_a_pickle_of_an_older_version_is_checked_too():
    made, columns = Catalog.__new__(Catalog), {name: np.array(values) for name, values in ITEMS.arrays().items()}
    made.__setstate__(columns)
    assert made == ITEMS
    assert not made.quality.flags.writeable
    with pytest.raises(InvalidInput, match="topics has shape"):
        Catalog.__new__(Catalog).__setstate__({**columns, "topics": np.arange(3)})
