"""Factors of a log's own items: the reference's, the same whatever the threads and the items' numbers, and bounded."""

from __future__ import annotations

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offline_data import Ids, ImportOptions, Interactions, import_interactions
from offline_data.fitting import item_factors as module
from offline_data.fitting.item_factors import Contexts, item_factors, leading_factors
from tests.reference.item_factors_reference import gram

pytestmark = pytest.mark.kernels

SETS = st.lists(st.sets(st.integers(0, 11), min_size=2, max_size=6), min_size=1, max_size=40)


def contexts(sets: list[set[int]]) -> Contexts:
    starts = np.cumsum([0, *map(len, sets)])
    return Contexts(starts, np.concatenate([np.array(sorted(each), np.int32) for each in sets]))


def written(path, user, item, click, *, session=None, step=None, num_items=None):
    path.with_name("source").touch()
    user, item = np.asarray(user), np.asarray(item)
    log = Interactions(
        files=[(path.with_name("source"), len(item))],
        user=Ids.of(user),
        item=Ids(item, np.arange(num_items or item.max() + 1)),
        feedback={"click": np.asarray(click, float)},
        session=session,
        step=step,
    )
    return import_interactions(path, log, "test", options=ImportOptions())


@given(st.lists(SETS, min_size=1, max_size=2), st.integers(0, 2**31))
def test_they_are_those_of_the_reference(kinds, seed):
    found = leading_factors([contexts(sets) for sets in kinds], 12, 12, seed)
    np.testing.assert_allclose(found @ found.T, gram(kinds, 12, 12), atol=1e-8)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="half a minute, interpreted")  # type: ignore[attr-defined]
def test_few_factors_are_the_leading_ones():
    rng = np.random.default_rng(0)
    sets = []
    for group in rng.integers(0, 6, 400):  # six overlapping tastes of 160 items
        liked = 20 * group + rng.integers(0, 60, 7)
        sets.append({*liked.tolist(), *rng.integers(0, 160, 2).tolist()})
    found = leading_factors([contexts(sets)], 160, 5, 0)
    assert found.shape == (160, 5)
    np.testing.assert_allclose(found @ found.T, gram([sets], 160, 5), atol=3e-5)


@given(SETS, st.permutations(range(12)))
def test_items_by_other_numbers_have_the_same_factors(sets, order):
    found = leading_factors([contexts(sets)], 12, 12, 3)
    # A context's items stay in the order of their old numbers.
    block = contexts(sets)
    renamed = leading_factors([Contexts(block.starts, np.array(order, np.int32)[block.items])], 12, 12, 3)[order]
    np.testing.assert_allclose(renamed @ renamed.T, found @ found.T, atol=1e-8)


def test_what_no_two_items_tell_apart_has_no_factors():
    assert leading_factors([contexts([{0, 1}] * 5)], 3, 8, 0).shape == (3, 0)
    assert leading_factors([contexts([set(range(5))] * 9)], 5, 8, 0).shape == (5, 0)


def test_groups_of_items_have_one_direction_each():
    found = leading_factors([contexts([{0, 1, 2}, {3, 4, 5}, {6, 7}] * 20)], 9, 8, 0)
    unit = found[:8] / np.linalg.norm(found[:8], axis=1, keepdims=True)
    same = np.equal.outer(np.repeat([0, 1, 2], [3, 3, 2]), np.repeat([0, 1, 2], [3, 3, 2]))
    np.testing.assert_allclose((unit @ unit.T)[same], 1.0, atol=1e-9)
    assert (unit @ unit.T)[~same].max() < 0.0
    assert not found[8].any()


def test_contexts_are_users_and_slates(tmp_path):
    # Two visits of user 0, who consumes item 2 twice; user 1 consumes one item alone.
    log = written(
        tmp_path / "log",
        user=[0, 0, 0, 0, 0, 1, 1],
        item=[2, 3, 2, 1, 4, 0, 3],
        click=[1, 0, 1, 1, 1, 1, 0],
        session=np.array([0, 0, 1, 1, 1, 0, 0]),
        step=np.array([0, 0, 0, 0, 1, 0, 0]),
    )
    consumed, shown = module._consumed(log), module._shown(log)
    assert [np.split(each.items, each.starts[1:-1]) for each in (consumed, shown)] == [
        [pytest.approx([1, 2, 4])],
        [pytest.approx([2, 3]), pytest.approx([1, 2]), pytest.approx([0, 3])],
    ]


def test_of_single_items_a_session_is_what_was_shown_together(tmp_path):
    log = written(tmp_path / "log", [0, 0, 0, 1, 1], [4, 2, 4, 1, 1], [0] * 5, session=np.array([0, 0, 0, 0, 1]))
    assert log.slate_size == 1
    shown = module._shown(log)
    assert (shown.starts.tolist(), shown.items.tolist()) == ([0, 2], [2, 4])
    assert not len(module._consumed(log).items)
    bare = written(tmp_path / "bare", np.arange(5), [4, 2, 4, 1, 1], [1] * 5)
    assert item_factors(bare) is None


def test_of_a_longer_log_a_share_is_read(tmp_path, monkeypatch):
    rng = np.random.default_rng(1)
    log = written(tmp_path / "log", np.repeat(np.arange(60), 8), rng.integers(0, 30, 480), np.ones(480))
    sizes = [len(module._consumed(log).items), len(module._shown(log).items)]
    monkeypatch.setattr(module, "_MOST_ENTRIES", 120)
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 7)
    fewer = [len(module._consumed(log).items), len(module._shown(log).items)]
    assert all(80 < some <= 120 < size for some, size in zip(fewer, sizes, strict=True))


def test_rows_have_unit_length_or_are_zeros(tmp_path):
    rng = np.random.default_rng(2)
    user, item = np.repeat(np.arange(40), 6), rng.integers(0, 30, 240)
    found = item_factors(written(tmp_path / "log", user, item, np.ones(240), num_items=33))
    assert found is not None
    assert (found.shape[0], found.dtype) == (33, np.float32)
    np.testing.assert_allclose(np.linalg.norm(found[:30], axis=1), 1.0, rtol=1e-6)
    assert not found[30:].any()


PROGRAM = """
import hashlib, sys
from offline_data import LoggedDataset
from offline_data.fitting.item_factors import item_factors
print(hashlib.sha256(item_factors(LoggedDataset.open(sys.argv[1])).tobytes()).hexdigest())
"""


def test_the_bytes_are_the_same_whatever_the_threads(tmp_path):
    rng = np.random.default_rng(3)
    items = 20 if numba.config.DISABLE_JIT else 150  # type: ignore[attr-defined]
    written(tmp_path / "log", np.repeat(np.arange(200), 10), rng.integers(0, items, 2000), rng.integers(0, 2, 2000))

    told = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "log")],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "NUMBA_NUM_THREADS": "2"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    }
    assert len(told) == 1
