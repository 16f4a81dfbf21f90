"""Batches of a caller's own items, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import recenv.engine.session_batch
from recenv import Catalog, InvalidInput
from recenv.world import World, make_world
from tests.recenv.engine.session_cases import SMALL, assert_same_bits, begin, everything, random_slates

pytestmark = pytest.mark.kernels


# --- worlds of own items


def test_own_items_take_the_place_of_synthetic_ones():
    items = Catalog.from_arrays(np.eye(5), quality=np.arange(5.0))
    world = make_world(SMALL, items)
    assert world.catalog is items
    assert (world.config.catalog.num_items, world.config.catalog.embedding_dim) == (5, 5)
    assert begin(world, range(3)).step(np.full((3, 4), 4)).shown[:, 0].all()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (Catalog.from_arrays(np.eye(3)), "slate_size=4 exceeds num_items=3; lower slate_size or raise num_items"),
        (np.eye(5), "is not a Catalog; build one with Catalog.from_arrays(...), or pass the path of its file"),
    ],
)
def test_bad_own_items_are_refused(items: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        make_world(SMALL, items)
    assert str(caught.value).endswith(message)


# --- actions


def test_a_refused_action_moves_nothing(world: World):
    slates = random_slates(3)
    batch = begin(world, range(3))
    with pytest.raises(InvalidInput):
        batch.step(slates[0] + 40)
    assert_same_bits(everything(batch, slates), everything(begin(world, range(3)), slates))


def test_a_fork_begins_threads_of_its_own(world: World, monkeypatch):
    monkeypatch.setattr(recenv.engine.session_batch, "BLOCK_SIZE", 2)
    batch = begin(world, range(6), num_threads=2)
    batch.step(random_slates(6)[0])
    before = batch._pool
    assert before is not None
    # A child finds the pool of its parent, whose threads it does not have.
    monkeypatch.setattr(recenv.engine.session_batch.os, "getpid", lambda: -1)
    batch.step(random_slates(6)[1])
    assert batch._pool is not before
    before.shutdown()
    batch.close()
