"""Counter-based randomness: published vectors, a plain reference, statistics, and addresses that never meet."""

from __future__ import annotations

import itertools

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recenv import random_streams
from recenv.random_streams import (
    BEHAVIOR,
    CANDIDATES,
    INITIAL,
    SEED,
    USER,
    WORLD,
    derive_seeds,
    fill_words,
    normals,
    uniforms,
)
from tests.reference import philox_reference as reference

pytestmark = pytest.mark.kernels

STREAMS = (USER, BEHAVIOR, INITIAL, WORLD, SEED, CANDIDATES)
SAMPLES = 2**12 if numba.config.DISABLE_JIT else 2**16  # type: ignore[attr-defined]
# Chance that a statistical test below fails for a seed drawn at random; the seeds are fixed, so that a run repeats.
FALSE_ALARM = 1e-6

WORDS = st.integers(0, 2**32 - 1)


def words(seed: int, stream: int, episode: int, step: int, num_draws: int) -> list[int]:
    seeds, episodes, steps = (np.array([value], np.uint64) for value in (seed, episode, step))
    out = np.empty((1, num_draws), np.uint64)
    fill_words(seeds, np.uint64(stream), episodes, steps, out)
    return out[0].tolist()


def draw(seeds, stream, episodes, step_numbers, num_draws) -> np.ndarray:
    shape = np.broadcast_shapes(np.shape(seeds), np.shape(episodes), np.shape(step_numbers))
    columns = (np.broadcast_to(np.asarray(x, np.uint64), shape).copy() for x in (seeds, episodes, step_numbers))
    seed_column, episode_column, step_column = columns
    return uniforms(seed_column, stream, episode_column, step_column, num_draws)


# Random123 1.14, examples/kat_vectors, "philox4x32 10": counter, key, words.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_words(counter: str, key: str, expected: str):
    counter_words, key_words, expected_words = (
        [int(word, 16) for word in text.split()] for text in (counter, key, expected)
    )
    block, step, episode, stream = (np.uint64(word) for word in counter_words)
    # Two indices, the second with other words, which the first does not feel.
    seeds = np.array([key_words[0] | key_words[1] << 32, 77], np.uint64)
    episodes, steps = np.array([episode, 3], np.uint64), np.array([step, 5], np.uint64)
    given = np.zeros((4, 2), np.uint64)
    random_streams._philox(block, seeds, stream, episodes, steps, given)
    assert given[:, 0].tolist() == expected_words
    second = [int(word) for word in (block, 5, 3, stream)]
    assert given[:, 1].tolist() == list(reference.philox4x32(second, [77, 0]))
    assert list(reference.philox4x32(counter_words, key_words)) == expected_words


@given(st.integers(0, 2**64 - 1), WORDS, WORDS, WORDS, st.integers(1, 11))
def test_words_and_uniforms_equal_the_reference(seed: int, stream: int, episode: int, step: int, num_draws: int):
    assert words(seed, stream, episode, step, num_draws) == reference.words(seed, stream, episode, step, num_draws)
    drawn = draw([seed], stream, [episode], [step], num_draws)[0]
    assert drawn.tolist() == reference.uniforms(seed, stream, episode, step, num_draws)
    assert (drawn > 0.0).all()
    assert (drawn < 1.0).all()


def test_streams_have_numbers_of_their_own_that_never_change():
    assert (USER, BEHAVIOR, INITIAL, WORLD, SEED, CANDIDATES) == (0, 1, 2, 3, 4, 5)


# A run of addresses along each coordinate: [SAMPLES] uniforms that must look independent.
AXES = {
    "seeds": lambda n: draw(np.arange(n), USER, 0, 0, 1),
    "high halves of seeds": lambda n: draw(np.arange(n, dtype=np.uint64) << np.uint64(32), USER, 0, 0, 1),
    "episodes": lambda n: draw(7, INITIAL, np.arange(n), 0, 1),
    "steps": lambda n: draw(7, USER, 3, np.arange(n), 1),
    "draws": lambda n: draw([7], BEHAVIOR, 3, 2, n),
    "streams": lambda n: np.array([draw([7], stream, 3, 2, 1) for stream in range(n // 8)]),
}


@pytest.mark.parametrize("axis", AXES)
def test_uniforms_along_an_axis_are_uniform_and_serially_independent(axis: str):
    drawn = AXES[axis](SAMPLES).ravel()
    bins = 64
    counts = np.bincount((drawn * bins).astype(int), minlength=bins)
    assert stats.chisquare(counts).pvalue > FALSE_ALARM
    # Neighbouring pairs fall evenly into 8 x 8 cells: equal or correlated neighbours do not.
    first, second = (drawn[: len(drawn) // 2 * 2].reshape(-1, 2) * 8).astype(int).T
    assert stats.chisquare(np.bincount(8 * first + second, minlength=64)).pvalue > FALSE_ALARM


def test_no_two_addresses_share_a_block():
    # Values that would meet if two coordinates were added, swapped, or cut to fewer bits.
    seeds = (0, 1, 2**31, 2**32, 2**32 + 1, 2**63)
    small = (0, 1, 2, 3, 255, 256, 65_536, 2**31)
    num_draws = 8
    blocks = []
    for seed, stream in itertools.product(seeds[:3] if numba.config.DISABLE_JIT else seeds, STREAMS):  # type: ignore[attr-defined]
        episodes, step_numbers = np.meshgrid(np.array(small, np.uint64), np.array(small, np.uint64))
        out = np.empty((episodes.size, num_draws), np.uint64)
        keys = np.full(episodes.size, seed, np.uint64)
        fill_words(keys, np.uint64(stream), episodes.ravel(), step_numbers.ravel(), out)
        blocks.append(out.reshape(-1, 4))
    rows = np.concatenate(blocks)
    # A shared counter would give four equal words; 128 random bits meet by chance with probability below 1e-30.
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_draws_do_not_depend_on_the_rest_of_the_batch():
    rng = np.random.default_rng(0)
    seeds = rng.integers(2**63, size=50, dtype=np.uint64)
    episodes, step_numbers = rng.integers(2**32, size=(2, 50), dtype=np.uint64)
    whole = uniforms(seeds, USER, episodes, step_numbers, 5)
    order = rng.permutation(50)[:20]
    np.testing.assert_array_equal(uniforms(seeds[order], USER, episodes[order], step_numbers[order], 5), whole[order])
    for b in order[:5]:
        index = slice(b, b + 1)
        # Nor on how many draws are taken.
        alone = uniforms(seeds[index], USER, episodes[index], step_numbers[index], 9)
        np.testing.assert_array_equal(alone[:, :5], whole[index])


def test_uniforms_take_addresses_of_any_integer_dtype():
    expected = uniforms(np.array([5], np.uint64), USER, np.array([2], np.uint64), np.array([9], np.uint64), 3)
    actual = uniforms(np.array([5], np.uint64), USER, np.array([2], np.int64), np.array([9], np.int32), 3)
    np.testing.assert_array_equal(actual, expected)


def test_normals_of_hand_worked_uniforms():
    # Radius sqrt(-2 ln u), angle 2 pi u': u = exp(-1/2) and exp(-2) make radii 1 and 2.
    draws = np.array([[np.exp(-0.5), np.exp(-2.0), 0.25, 0.5]])
    np.testing.assert_allclose(normals(draws), [[0.0, -2.0, 1.0, 0.0]], atol=1e-15)


def test_normals_are_standard_normal_and_uncorrelated():
    drawn = normals(draw(np.arange(SAMPLES // 4), INITIAL, 0, 0, 4))
    assert drawn.shape == (SAMPLES // 4, 4)
    for j in range(4):
        assert stats.kstest(drawn[:, j], stats.norm.cdf).pvalue > FALSE_ALARM
    # The two normals of a pair share their uniforms: uncorrelated, in value and in square.
    for power in (1, 2):
        for i, j in itertools.combinations(range(4), 2):
            _, pvalue = stats.pearsonr(drawn[:, i] ** power, drawn[:, j] ** power)
            assert pvalue > FALSE_ALARM  # type: ignore[operator]


def test_normals_stay_finite_at_the_ends_of_the_interval():
    smallest = 2.0**-33
    drawn = normals(np.array([[smallest, 1.0 - smallest, smallest, 1.0 - smallest]]))
    assert np.isfinite(drawn).all()
    assert np.abs(drawn).max() == pytest.approx(np.sqrt(66 * np.log(2.0)))


@given(st.integers(0, 2**64 - 1), st.text(max_size=8), st.integers(0, 2**64 - 1))
def test_derived_seeds_equal_the_reference(root_seed: int, role: str, index: int):
    expected = reference.derived_seed(root_seed, role, index, SEED)
    assert derive_seeds(root_seed, role, np.array([index], np.uint64)).tolist() == [expected >> 1]  # 63 bits


def test_derived_seeds_are_distinct_across_roots_roles_and_indices():
    indices = np.concatenate([np.arange(200), 2**32 + np.arange(200)])
    seeds = [
        derive_seeds(root, role, indices)
        for root in (0, 1, 2**32)
        for role in ("session", "behavior", "critic", "evaluation")
    ]
    assert len(np.unique(seeds)) == 3 * 4 * 400


def test_derived_seeds_do_not_depend_on_the_other_indices():
    indices = np.array([9, 2, 40])
    np.testing.assert_array_equal(
        derive_seeds(3, "session", indices), derive_seeds(3, "session", np.arange(41))[indices]
    )
    assert derive_seeds(3, "session", indices).dtype == np.uint64
    assert derive_seeds(3, "session", indices[:0]).shape == (0,)
