"""The catalogue: a pure function of config and seed with the promised statistics, own items, and the nearest items."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.items.synthetic_items import QUALITY_LIMIT, CatalogConfig

pytestmark = pytest.mark.kernels


SMALL = CatalogConfig(num_items=60, embedding_dim=5, num_topics=4)


def changed(first: Catalog, second: Catalog) -> set[str]:
    """Return the names of the columns that differ in a bit."""
    other = second.arrays()
    return {name for name, values in first.arrays().items() if values.tobytes() != other[name].tobytes()}


@pytest.fixture(scope="module")
def default() -> Catalog:
    return Catalog.generate(CatalogConfig(), 0)


# --- synthetic items


def test_generate_is_a_pure_function_of_config_and_seed():
    first = Catalog.generate(SMALL, 7)
    assert changed(first, Catalog.generate(SMALL, 7)) == set()
    assert changed(first, Catalog.generate(SMALL, 8)) == set(first.arrays())


def test_shapes_and_dtypes():
    shapes = {name: (values.shape, values.dtype.name) for name, values in Catalog.generate(SMALL, 0).arrays().items()}
    assert shapes == {
        "embeddings": ((60, 5), "float32"),
        "topics": ((60,), "int32"),
        "quality": ((60,), "float32"),
        "appeal": ((60,), "float32"),
        "length": ((60,), "float32"),
        "popularity": ((60,), "float32"),
        "age": ((60,), "float32"),
    }


@pytest.mark.parametrize(
    ("option", "value", "columns"),
    [
        ("num_topics", 5, {"embeddings", "topics", "quality", "appeal"}),
        ("topic_spread", 0.1, {"embeddings", "quality", "appeal"}),
        ("quality_mean", 0.5, {"quality", "appeal"}),
        ("quality_scale", 0.1, {"quality", "appeal"}),
        ("quality_noise", 0.1, {"quality", "appeal"}),
        ("clickbait", 0.1, {"appeal"}),
        ("length_mean", 9.0, {"length"}),
        ("length_spread", 0.5, {"length"}),
        ("zipf_exponent", 0.5, {"popularity"}),
        ("max_age", 10.0, {"age"}),
    ],
)
def test_each_option_changes_its_own_columns(option: str, value: float, columns: set[str]):
    # The appeal's standard scores may move in the last bit where quality only shifts.
    found = changed(Catalog.generate(SMALL, 0), Catalog.generate(replace(SMALL, **{option: value}), 0))
    assert found | {"appeal"} == columns | {"appeal"}


def test_more_items_keep_those_that_were_there():
    few, many = Catalog.generate(SMALL, 3), Catalog.generate(replace(SMALL, num_items=90), 3)
    for name in ("embeddings", "topics", "quality", "length", "age"):
        np.testing.assert_array_equal(many.arrays()[name][:60], few.arrays()[name])


def test_items_of_the_default_world(default: Catalog):
    # Written down: world_hash covers the options, not the way that items are drawn from them.
    np.testing.assert_array_equal(default.topics[:8], [2, 7, 6, 14, 2, 18, 10, 2])
    first_and_last = [[0.14145236, -0.00029973747, -0.34131435], [-0.09646001, -0.22556847, 0.03378465]]
    np.testing.assert_allclose(default.embeddings[[0, 999], :3], first_and_last, rtol=1e-4)
    np.testing.assert_allclose(default.quality[:3], [-1.4061517, -1.8577479, -0.49936306], rtol=1e-4)
    np.testing.assert_allclose(default.appeal[:3], [0.73366964, 1.4889522, -0.49581036], rtol=1e-4)
    np.testing.assert_allclose(default.length[:3], [5.1070824, 4.5827413, 3.98892], rtol=1e-4)
    np.testing.assert_allclose(default.popularity[:3], [0.00019791427, 0.00016173381, 0.0007031165], rtol=1e-4)
    np.testing.assert_allclose(default.age[:3], [335.6203, 166.05408, 204.39879], rtol=1e-4)


def test_embeddings_are_unit_rows_around_their_topics(default: Catalog):
    np.testing.assert_allclose(np.linalg.norm(default.embeddings, axis=1), 1.0, rtol=1e-6)
    cosines = default.embeddings @ default.embeddings.T
    same = default.topics[:, None] == default.topics
    # Scatter of 0.7 around a unit centroid leaves a mean cosine of 1 / 1.49 within a topic, and none across.
    assert cosines[same].mean() == pytest.approx(1 / 1.49, abs=0.05)
    assert cosines[~same].mean() == pytest.approx(0.0, abs=0.1)
    assert set(np.unique(default.topics)) == set(range(20))


def test_items_without_scatter_lie_on_their_centroid():
    catalog = Catalog.generate(replace(SMALL, topic_spread=0.0), 0)
    assert len(np.unique(catalog.embeddings, axis=0)) == len(np.unique(catalog.topics)) == 4


def test_quality_has_its_mean_and_spread_and_stays_in_its_limits(default: Catalog):
    config = CatalogConfig()
    # Its part that the embedding explains has the stated spread over the sphere; twenty topics sample that coarsely.
    spread = np.hypot(config.quality_scale, config.quality_noise)
    assert default.quality.mean() == pytest.approx(config.quality_mean, abs=0.3)
    assert default.quality.std() == pytest.approx(spread, rel=0.25)
    wild = Catalog.generate(replace(SMALL, quality_noise=50.0), 0)
    assert wild.quality.min() == np.float32(-QUALITY_LIMIT)
    assert wild.quality.max() == np.float32(QUALITY_LIMIT)


def test_quality_without_noise_is_linear_in_the_embedding():
    catalog = Catalog.generate(replace(SMALL, quality_noise=0.0), 0)
    design = np.column_stack([np.ones(60), catalog.embeddings])
    solution, *_ = np.linalg.lstsq(design, catalog.quality.astype(np.float64), rcond=None)
    np.testing.assert_allclose(design @ solution, catalog.quality, atol=1e-5)
    assert solution[0] == pytest.approx(SMALL.quality_mean, abs=1e-4)
    assert np.linalg.norm(solution[1:]) == pytest.approx(SMALL.quality_scale * np.sqrt(5), rel=1e-4)


@pytest.mark.parametrize("clickbait", [0.0, 0.7, 1.0])
def test_appeal_is_correlated_with_minus_quality(default: Catalog, clickbait: float):
    catalog = default if clickbait == 0.7 else Catalog.generate(CatalogConfig(num_items=1000, clickbait=clickbait), 0)
    correlation = np.corrcoef(catalog.quality, catalog.appeal)[0, 1]
    # Five standard errors of a correlation over 1000 items: false alarms below 1e-6 over seeds.
    assert correlation == pytest.approx(-clickbait, abs=5 * (1 - clickbait**2) / np.sqrt(1000) + 1e-6)
    assert catalog.appeal.std() == pytest.approx(1.0, abs=0.12)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 1.5])
def test_popularity_is_zipfs_law_over_a_random_order(exponent: float):
    popularity = Catalog.generate(replace(SMALL, zipf_exponent=exponent), 0).popularity
    ranks = np.arange(1, 61)
    expected = ranks**-exponent / (ranks**-exponent).sum()
    np.testing.assert_allclose(np.sort(popularity)[::-1], expected, rtol=1e-5)
    if exponent:
        order = np.argsort(-popularity)
        assert sorted(order.tolist()) == list(range(60))
        assert order.tolist() != list(range(60))


def test_length_is_log_normal_around_its_median(default: Catalog):
    # Five standard errors.
    assert np.median(default.length) == pytest.approx(4.0, abs=5 * 4.0 * 0.25 * 1.2533 / np.sqrt(1000))
    assert np.log(default.length).std() == pytest.approx(0.25, abs=5 * 0.25 / np.sqrt(2000))


def test_age_is_uniform_up_to_its_maximum(default: Catalog):
    assert default.age.min() >= 0.0
    assert default.age.max() < 365.0
    assert default.age.mean() == pytest.approx(365 / 2, abs=5 * 365 / np.sqrt(12_000))


@pytest.mark.parametrize(
    "options",
    [
        {"num_items": 1},
        {"length_mean": 1e-3, "length_spread": 10.0},
        {"length_mean": 1e6, "length_spread": 10.0},
        {"quality_noise": 1e6, "quality_scale": 1e6, "topic_spread": 1e6, "zipf_exponent": 1e6, "max_age": 1e6},
        {"quality_noise": 0.0, "quality_scale": 0.0, "clickbait": 1.0, "num_topics": 1, "topic_spread": 0.0},
    ],
)
def test_items_at_the_ends_of_the_options(options: dict[str, Any]):
    catalog = Catalog.generate(replace(SMALL, **options), 1)
    for name, values in catalog.arrays().items():
        assert np.isfinite(values).all(), name
    assert (catalog.length > 0.0).all()


@pytest.mark.parametrize("duplicate", [lambda c: pickle.loads(pickle.dumps(c)), copy.deepcopy], ids=["pickle", "copy"])
def test_arrays_are_read_only_and_stay_so(duplicate: Any):
    original = Catalog.generate(SMALL, 0)
    original.nearest_items(np.ones((1, 5)), 1)
    again = duplicate(original)
    for catalog in (original, again):
        for values in catalog.arrays().values():
            with pytest.raises(ValueError, match="read-only"):
                values[:1] = 0
    assert changed(original, again) == set()
    protos = np.eye(5)
    np.testing.assert_array_equal(again.nearest_items(protos, 9), original.nearest_items(protos, 9))


# --- the caller's own items


def test_own_items_are_scaled_and_take_defaults():
    rows = np.array([[3.0, 4.0], [0.0, -2.0], [1e-3, 0.0]])
    catalog = Catalog.from_arrays(rows)
    np.testing.assert_allclose(catalog.embeddings, [[0.6, 0.8], [0.0, -1.0], [1.0, 0.0]])
    assert (catalog.num_items, catalog.embedding_dim) == (3, 2)
    np.testing.assert_array_equal(catalog.topics, [0, 0, 0])
    np.testing.assert_array_equal(catalog.length, [4.0, 4.0, 4.0])
    np.testing.assert_allclose(catalog.popularity, [1 / 3] * 3)
    for values in (catalog.quality, catalog.appeal, catalog.age):
        np.testing.assert_array_equal(values, [0.0, 0.0, 0.0])
    np.testing.assert_array_equal(rows[0], [3.0, 4.0])


def test_own_columns_are_kept_and_popularity_is_scaled():
    catalog = Catalog.from_arrays(
        np.eye(2),
        np.array([5, 3]),
        quality=np.array([1.0, -1.0]),
        appeal=np.array([0.5, 0.25]),
        length=np.array([2.0, 3.0]),
        popularity=np.array([1, 3]),
        age=np.array([7.0, 8.0]),
    )
    np.testing.assert_array_equal(catalog.topics, [5, 3])
    np.testing.assert_array_equal(catalog.quality, [1.0, -1.0])
    np.testing.assert_array_equal(catalog.appeal, [0.5, 0.25])
    np.testing.assert_array_equal(catalog.length, [2.0, 3.0])
    np.testing.assert_array_equal(catalog.popularity, [0.25, 0.75])
    np.testing.assert_array_equal(catalog.age, [7.0, 8.0])


DIRECTION = "embeddings has 1 zero or non-finite rows, the first of item {}; every item needs a direction"


@pytest.mark.parametrize(
    ("embeddings", "columns", "message"),
    [
        (np.ones(3), {}, "embeddings has shape (3,); pass an array of shape [num_items, embedding_dim]"),
        (np.ones((0, 3)), {}, "embeddings has shape (0, 3); pass an array of shape [num_items, embedding_dim]"),
        ([[1.0, 0.0], [1.0]], {}, "embeddings is not an array of numbers"),
        ([["a", "b"]], {}, "embeddings is not an array of numbers"),
        ([[1.0, 0.0], [0.0, 0.0]], {}, DIRECTION.format(1)),
        ([[1.0, 0.0], [np.nan, 0.0]], {}, DIRECTION.format(1)),
        ([[1.0, 0.0], [np.inf, 0.0]], {}, DIRECTION.format(1)),
        ([[1e300, 1e300]], {}, DIRECTION.format(0)),
        (np.eye(2), {"quality": [1.0]}, "quality has shape (1,); pass one value an item, shape (2,)"),
        (np.eye(2), {"topics": [[1, 2]]}, "topics has shape (1, 2); pass one value an item, shape (2,)"),
        (np.eye(2), {"topics": [1, 1.5]}, "topics holds a fraction; pass whole numbers"),
        (np.eye(2), {"topics": [1, 2**31]}, "topics holds a value that is not finite or exceeds 2.15e+09; replace it"),
        (np.eye(2), {"appeal": [1.0, np.nan]}, "appeal holds a value that is not finite or exceeds 1e+06"),
        (np.eye(2), {"age": [1.0, np.inf]}, "age holds a value that is not finite or exceeds 1e+30"),
        (np.eye(2), {"length": [1.0, 1e60]}, "length holds a value that is not finite or exceeds 1e+30"),
        (np.eye(2), {"quality": ["a", "b"]}, "quality is not an array of numbers"),
        (np.eye(2), {"length": [1.0, 0.0]}, "length=0.0 is not above zero; give minutes above zero"),
        (np.eye(2), {"length": [1.0, -2.0]}, "length=-2.0 is not above zero; give minutes above zero"),
        # Above zero, but zero in float32.
        (np.eye(2), {"length": [1.0, 1e-60]}, "length=0.0 is not above zero; give minutes above zero"),
        (np.eye(2), {"popularity": [3.0, -1.0]}, "popularity has a negative value or sums to zero; give counts"),
        (np.eye(2), {"popularity": [0.0, 0.0]}, "popularity has a negative value or sums to zero; give counts"),
    ],
)
def test_bad_items_are_refused_in_one_line(embeddings: Any, columns: dict[str, Any], message: str):
    with pytest.raises(InvalidInput) as caught:
        Catalog.from_arrays(embeddings, **columns)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "sizes", [{"num_items": 2**31 - 1}, {"num_items": 10**9}, {"embedding_dim": 4096, "num_items": 10**8}]
)
def test_more_items_than_the_memory_holds_are_refused_before_any_is_drawn(sizes):
    config = CatalogConfig(**sizes)
    with pytest.raises(InvalidInput, match=r"^drawing num_items=.* half of the memory is .*; lower one of them"):
        Catalog.generate(config, 0)
