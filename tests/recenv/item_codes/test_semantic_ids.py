"""Semantic IDs: equal to plain residual k-means, one code an item and one item a code."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv.errors import InvalidInput
from recenv.item_codes.semantic_ids import SemanticIdConfig, SemanticIds
from recenv.items.catalog import Catalog
from recenv.items.synthetic_items import CatalogConfig
from recenv.random_streams import WORLD, derive_seeds, uniforms
from recenv.testing.worlds import catalogs
from tests.reference import semantic_id_reference as reference

pytestmark = pytest.mark.kernels

SMALL = SemanticIdConfig(num_codebooks=2, codebook_size=4)


@pytest.fixture(scope="module")
def items() -> Catalog:
    return Catalog.generate(CatalogConfig(num_items=80, embedding_dim=6, num_topics=5), 0)


@pytest.fixture(scope="module")
def ids(items: Catalog) -> SemanticIds:
    return SemanticIds.fit(items, SMALL)


# --- residual k-means


def plain_codes(catalog: Catalog, config: SemanticIdConfig) -> tuple[list[list[int]], list[np.ndarray]]:
    seeds = derive_seeds(config.seed, "semantic_ids", np.arange(config.num_codebooks))

    def draw(number: int, count: int) -> np.ndarray:
        return np.stack([uniforms(s[None], WORLD, np.array([number]), np.zeros(1), count)[0] for s in seeds])

    most = config.points_per_token * config.codebook_size
    keys, draws = draw(0, catalog.num_items), draw(1, config.codebook_size)
    if most >= catalog.num_items:
        keys = np.zeros_like(keys)
    return reference.residual_codes(catalog.embeddings, draws, keys, most, config.num_rounds)


def assert_equals_plain_k_means(catalog: Catalog, config: SemanticIdConfig) -> None:
    found = SemanticIds.fit(catalog, config)
    codes, codebooks = plain_codes(catalog, config)
    assert found.codes.tolist() == codes
    for level, codebook in enumerate(codebooks):
        np.testing.assert_array_equal(found.codebooks[level, : len(codebook)], codebook)
        assert not found.codebooks[level, len(codebook) :].any()


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        SemanticIdConfig(num_codebooks=3, codebook_size=8, seed=5),
        SemanticIdConfig(num_codebooks=2, codebook_size=5, num_rounds=0),
        SemanticIdConfig(num_codebooks=2, codebook_size=3, num_rounds=1),
        SemanticIdConfig(num_codebooks=2, codebook_size=4, points_per_token=7),
        SemanticIdConfig(num_codebooks=1, codebook_size=1),
    ],
)
def test_codes_equal_plain_residual_k_means_to_the_bit(items: Catalog, config: SemanticIdConfig):
    assert_equals_plain_k_means(items, config)


@given(catalogs(), st.integers(1, 3), st.integers(1, 7), st.integers(0, 2**63 - 1), st.integers(1, 4))
def test_any_items_copies_among_them_equal_plain_residual_k_means(
    catalog: Catalog, num_codebooks: int, codebook_size: int, seed: int, points_per_token: int
):
    config = SemanticIdConfig(num_codebooks, codebook_size, seed=seed, points_per_token=points_per_token)
    assert_equals_plain_k_means(catalog, config)


def test_codes_are_fixed_by_catalogue_and_config(items: Catalog, ids: SemanticIds):
    again = SemanticIds.fit(items, SMALL)
    assert again.codes.tobytes() == ids.codes.tobytes()
    assert again.codebooks.tobytes() == ids.codebooks.tobytes()
    other = SemanticIds.fit(items, SemanticIdConfig(num_codebooks=2, codebook_size=4, seed=1))
    assert (other.codes != ids.codes).any()
    assert SemanticIds.fit(items).config == SemanticIdConfig()


def test_each_level_leaves_less_over_and_lloyds_rounds_help(items: Catalog):
    def left_over(**options: Any) -> list[float]:
        fitted = SemanticIds.fit(items, SemanticIdConfig(codebook_size=8, **options))
        residuals = items.embeddings.astype(np.float64)
        sizes = [1.0]
        for level, codebook in enumerate(fitted.codebooks):
            residuals = residuals - codebook[fitted.codes[:, level]]
            sizes.append(float((residuals**2).sum(axis=1).mean()))
        return sizes

    settled = left_over()
    assert settled == sorted(settled, reverse=True)
    # Three levels of 8 tokens in 6 dimensions leave little of a unit vector: one eighth of what one token would.
    one_token = float(1.0 - (items.embeddings.mean(axis=0) ** 2).sum())
    assert settled[-1] < one_token / 8
    assert settled[1] < left_over(num_rounds=0)[1]


def test_copies_share_every_token_but_the_last_which_counts_them(items: Catalog):
    rows = np.concatenate([items.embeddings[:20], items.embeddings[:20], items.embeddings[:5]])
    fitted = SemanticIds.fit(Catalog.from_arrays(rows), SemanticIdConfig(num_codebooks=3, codebook_size=16))
    np.testing.assert_array_equal(fitted.codes[20:40, :-1], fitted.codes[:20, :-1])
    np.testing.assert_array_equal(fitted.codes[40:, :-1], fitted.codes[:5, :-1])
    assert len(np.unique(fitted.codes[:20, :-1], axis=0)) == 20
    assert fitted.codes[:, -1].tolist() == [0] * 20 + [1] * 20 + [2] * 5
    assert fitted.num_collisions == 25
    assert fitted.level_sizes == (16, 16, 16, 3)
    np.testing.assert_array_equal(fitted.tree.items(fitted.codes), np.arange(45))


def test_one_item_and_only_copies():
    for count in (1, 9):
        fitted = SemanticIds.fit(Catalog.from_arrays(np.tile([[3.0, 4.0]], (count, 1))))
        assert fitted.codes.tolist() == [[0, 0, 0, n] for n in range(count)]
        assert fitted.level_sizes == (16, 16, 16, count)
        assert fitted.num_collisions == count - 1
        np.testing.assert_array_equal(fitted.codebooks[0, 0], np.array([0.6, 0.8], np.float32))
        assert not fitted.codebooks[0, 1:].any()
        assert not fitted.codebooks[1:].any()
        assert fitted.tree.next_tokens(np.array([[0, 0, 0]])).all()


def test_codes_know_their_items(items: Catalog, ids: SemanticIds):
    assert ids.are_of(items)
    others = [items.embeddings[::-1], items.embeddings[:-1], -items.embeddings]
    assert not any(ids.are_of(Catalog.from_arrays(rows)) for rows in others)
    # What is hidden is not coded.
    assert ids.are_of(Catalog.from_arrays(items.embeddings, quality=np.ones(80)))
    assert not dataclasses.replace(ids, embeddings_sha256=None).are_of(items)


def test_codes_are_read_only_and_survive_pickling(ids: SemanticIds):
    with pytest.raises(ValueError, match="read-only"):
        ids.codes[0, 0] = 1
    assert (ids.codes.dtype, ids.codes.shape) == (np.int32, (80, 3))
    again = pickle.loads(pickle.dumps(ids))
    np.testing.assert_array_equal(again.tree.items(ids.codes), np.arange(80))
    assert again.embeddings_sha256 == ids.embeddings_sha256
    assert (again.config, again.level_sizes, again.num_collisions) == (ids.config, ids.level_sizes, ids.num_collisions)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_codebooks": 0}, "num_codebooks=0 is outside [1, 32]; set num_codebooks to an integer in [1, 32]"),
        ({"codebook_size": 0}, "codebook_size=0 is outside [1, 65536]; set codebook_size to an integer in [1, 65536]"),
        ({"codebook_size": 4.0}, "codebook_size=4.0 is not an integer; set codebook_size to an integer in [1, 65536]"),
        ({"num_rounds": -1}, "num_rounds=-1 is outside [0, 10000]; set num_rounds to an integer in [0, 10000]"),
        ({"points_per_token": 0}, "points_per_token=0 is outside [1, 2147483647]; set points_per_token to an integer"),
        ({"seed": -1}, f"seed=-1 is outside [0, {2**63 - 1}]; set seed to an integer in [0, {2**63 - 1}]"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str):
    with pytest.raises(InvalidInput) as caught:
        SemanticIdConfig(**options)
    assert str(caught.value).startswith(message)


# --- codes of one's own


def own_codes(num_items: int = 80) -> Any:
    """Codes of three levels, of 4, 5 and 4 tokens, that no two items share."""
    return np.stack(np.unravel_index(np.random.default_rng(0).permutation(80)[:num_items], (4, 5, 4)), axis=1)


def test_codes_of_ones_own_are_the_items_codes(items: Catalog, tmp_path: Any):
    own: Any
    codes = own_codes()
    np.save(tmp_path / "codes.npy", codes)
    for own in (codes, codes.tolist(), codes.astype(np.uint8), tmp_path / "codes.npy"):
        ids = SemanticIds.fit(items, SemanticIdConfig(codes=own))
        np.testing.assert_array_equal(ids.codes, codes)
        assert ids.level_sizes == (4, 5, 4)
        np.testing.assert_array_equal(ids.tree.items(codes), np.arange(80))
        assert ids.are_of(items)
        assert ids.num_collisions == 80 - 20
        assert SemanticIdConfig(**ids.config.to_dict()) == ids.config
        assert hash(ids.config) == hash(SemanticIdConfig(codes=own))
    for level, size in ((0, 4), (1, 5)):
        for token in range(size):
            mean = items.embeddings[codes[:, level] == token].mean(axis=0)
            np.testing.assert_allclose(ids.codebooks[level, token], mean, atol=1e-6)
    # Any tokens lead to an item, and a code that names one to it.
    np.testing.assert_array_equal(ids.nearest_items(codes[None]), np.arange(80)[None])
    few = np.arange(0, 80, 9, dtype=np.int32)[None]
    assert set(ids.nearest_items(codes[None], candidates=few)[0].tolist()) <= set(few[0].tolist())
    assert "codes" not in SemanticIdConfig().to_dict()


def test_one_level_may_be_the_item_itself(items: Catalog):
    ids = SemanticIds.fit(items, SemanticIdConfig(codes=tuple((item,) for item in range(80))))
    assert ids.level_sizes == (80,)
    assert ids.num_collisions == 79
    assert ids.nearest_items(np.array([[[7]]])).tolist() == [[7]]


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (
            np.zeros(3, int),
            "codes has shape (3,) and dtype int64; pass integers of shape [num_items, L], L in [1, 33], a",
        ),
        (np.zeros((3, 2)), "codes has shape (3, 2) and dtype float64; pass integers of shape [num_items, L]"),
        (np.zeros((3, 34), int), "codes has shape (3, 34) and dtype int64; pass integers of shape"),
        (np.zeros((0, 2), int), "codes has shape (0, 2) and dtype int64; pass integers of shape"),
        ([[0], [0, 1]], "codes is ragged; pass integers of shape [num_items, L]"),
        ([[0, -1]], "codes holds token -1 at level 1 of item 0; number a level's tokens from 0, below 65,536"),
        (
            [[65_536, 0]],
            "codes holds token 65536 at level 0 of item 0; number a level's tokens from 0, below 65,536",
        ),
        (np.zeros((2**19, 3), int), "codes has 1,572,864 tokens, and a policy's or a spec's JSON holds 1,048,576; fit"),
        ("codes.npy", "codes='codes.npy' is a text; pass integers of shape [num_items, L]"),
    ],
)
def test_what_are_no_codes_is_refused(codes: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        SemanticIdConfig(codes=codes)
    assert str(caught.value).startswith(message)


def test_codes_of_other_items_are_refused(items: Catalog):
    twice = own_codes()
    twice[5] = twice[3]
    for codes, message in (
        (own_codes(79), "codes has 79 rows for 80 items; give one code an item, in the items' order"),
        (twice, f"codes gives items 3 and 5 the same code {twice[3].tolist()}; add a level that tells them apart"),
    ):
        with pytest.raises(InvalidInput) as caught:
            SemanticIds.fit(items, SemanticIdConfig(codes=codes))  # type: ignore[arg-type]
        assert str(caught.value) == message
    with pytest.raises(
        InvalidInput, match=r"^codes are given, and codebook_size and seed would say how they are fitted; "
    ):
        SemanticIdConfig(codes=own_codes(), codebook_size=4, seed=1)  # type: ignore[arg-type]
