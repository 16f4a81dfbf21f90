"""Which items a step may show: candidates, uniform subsets and a pure function of their address, and new items."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recenv import Catalog, InvalidInput, RecSessionEnv, SessionConfig
from recenv.dynamics.candidates import ItemSupply
from recenv.dynamics.pieces.freshness import Freshness, FreshnessConfig
from recenv.engine.session_batch import SessionBatch
from recenv.random_streams import CANDIDATES, USER, uniforms
from recenv.world import make_world
from tests.reference import pieces_reference as reference
from tests.strategies.worlds import small_worlds

pytestmark = pytest.mark.kernels

INTERPRETED = numba.config.DISABLE_JIT  # type: ignore[attr-defined]
SETS = 6_000 if INTERPRETED else 120_000


def items_of(ages: Any) -> Catalog:
    ages = np.asarray(ages, np.float64)
    return Catalog.from_arrays(np.ones((len(ages), 2)), age=ages)


def supply_of(num_items: int, num_candidates: int | None, ages: Any = None, horizon: float | None = None) -> ItemSupply:
    ages = np.zeros(num_items) if ages is None else ages
    freshness = None if horizon is None else Freshness(FreshnessConfig(horizon), items_of(ages))
    return ItemSupply(num_items, freshness, num_candidates, 1)


def drawn(supply: ItemSupply, count: int, day: Any = None, **address: Any) -> np.ndarray:
    """Return the candidates of `count` addresses, [count, C]: seeds 0, 1, ... unless said otherwise."""
    address = {"seeds": np.arange(count), "episodes": np.zeros(count), "steps": np.zeros(count), **address}
    seeds, episodes, steps = (np.broadcast_to(address[key], count).astype(np.uint64) for key in address)
    days = None if day is None else np.broadcast_to(np.float32(day), count).copy()
    assert supply.num_candidates is not None
    out = np.full((count, supply.num_candidates), -7, np.int32)
    supply.draw(seeds, episodes, steps, days, out)
    return out


def calendar(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


# --- subsets


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**63 - 1))
def test_candidates_are_distinct_items_in_increasing_order(num_items: int, num_candidates: int, seed: int):
    rows = drawn(supply_of(num_items, min(num_candidates, num_items)), 5, seeds=np.arange(5) + seed // 2)
    for row in rows:
        assert row.tolist() == sorted(set(row.tolist()))
        assert row[0] >= 0
        assert row[-1] < num_items


def test_all_items_are_the_candidates_where_there_are_as_many():
    np.testing.assert_array_equal(drawn(supply_of(9, 9), 50), np.tile(np.arange(9), (50, 1)))


@pytest.mark.parametrize(("num_items", "num_candidates"), [(5, 2), (6, 3), (7, 6), (8, 1)])
def test_subsets_are_uniform(num_items: int, num_candidates: int):
    # Pearson's statistic over all subsets; the bound is its 1 - 1e-6 quantile (Wilson and Hilferty): in four
    # cases a false alarm at a new seed with probability 4e-6.
    rows = drawn(supply_of(num_items, num_candidates), SETS)
    subsets = {subset: n for n, subset in enumerate(itertools.combinations(range(num_items), num_candidates))}
    counts = np.zeros(len(subsets))
    np.add.at(counts, [subsets[tuple(row)] for row in rows.tolist()], 1)
    expected = SETS / len(subsets)
    statistic = ((counts - expected) ** 2).sum() / expected
    freedom = len(subsets) - 1
    shrink = 2.0 / (9.0 * freedom)
    assert statistic < freedom * (1.0 - shrink + 4.7534 * math.sqrt(shrink)) ** 3


def test_a_large_catalogue_offers_each_item_alike():
    # 10,000 items in ten equal parts, each part's share within 5.2 standard deviations: a false alarm below 2e-6.
    count = 200 if INTERPRETED else 4000
    parts = np.bincount(drawn(supply_of(10_000, 20), count).reshape(-1) // 1000, minlength=10)
    total = count * 20
    assert (np.abs(parts - total / 10) < 5.2 * math.sqrt(total * 0.1 * 0.9)).all()


def test_candidates_are_a_pure_function_of_seed_episode_and_step():
    supply, rng = supply_of(30, 6), np.random.default_rng(1)
    seeds = rng.integers(2**63, size=64, dtype=np.uint64)
    episodes, steps = rng.integers(2**32, size=64), rng.integers(2**32, size=64)
    whole = drawn(supply, 64, seeds=seeds, episodes=episodes, steps=steps)
    indices = rng.permutation(64)[:7]
    part = drawn(supply, 7, seeds=seeds[indices], episodes=episodes[indices], steps=steps[indices])
    np.testing.assert_array_equal(part, whole[indices])
    for key in ("seeds", "episodes", "steps"):
        address = {"seeds": seeds, "episodes": episodes, "steps": steps}
        address[key] = address[key] ^ address[key].dtype.type(1)
        assert (drawn(supply, 64, **address) != whole).any(axis=1).mean() > 0.9, key


def test_draws_come_from_a_stream_of_their_own():
    # One candidate of N: Floyd's algorithm takes floor(N u).
    address = (np.arange(50, dtype=np.uint64), np.full(50, 3), np.full(50, 4))
    rows = drawn(supply_of(1000, 1), 50, episodes=3, steps=4)
    expected = (uniforms(address[0], CANDIDATES, *address[1:], 1) * 1000).astype(int)
    np.testing.assert_array_equal(rows, expected)
    assert (rows != (uniforms(address[0], USER, *address[1:], 1) * 1000).astype(int)).any()


# --- items that appear


@given(st.lists(st.integers(0, 40), min_size=3, max_size=10), st.integers(1, 20), st.floats(0.0, 25.0, width=32))
def test_items_are_there_once_they_have_appeared(ages: list[int], horizon: int, day: float):
    ages[0] = horizon  # there from the first day
    supply = supply_of(len(ages), len(ages), ages, float(horizon))
    old = [reference.days_old(age, horizon, day) for age in ages]
    there = [n for n, days in enumerate(old) if days >= 0.0]
    np.testing.assert_array_equal(supply.available(calendar(day))[0], [days >= 0.0 for days in old])
    (row,) = drawn(supply, 1, day)
    assert row.tolist() == there + [-1] * (len(ages) - len(there))
    few = supply_of(len(ages), 2, ages, float(horizon))
    for row in drawn(few, 20, day):
        kept = row[row >= 0].tolist()
        assert len(kept) == min(2, len(there))
        assert row.tolist() == sorted(set(kept)) + [-1] * (2 - len(kept))
        assert set(kept) <= set(there)


def test_subsets_of_what_is_there_are_uniform():
    # As above; items 1, 3 and 4 of five are there.
    supply = supply_of(5, 2, [0.0, 10.0, 2.0, 10.0, 10.0], 10.0)
    rows = drawn(supply, SETS // 4, 1.0)
    names, counts = np.unique(rows, axis=0, return_counts=True)
    np.testing.assert_array_equal(names, [[1, 3], [1, 4], [3, 4]])
    expected = SETS / 4 / 3
    # Two degrees of freedom: P(statistic > x) = exp(-x / 2), a false alarm with probability 1e-6.
    assert ((counts - expected) ** 2).sum() / expected < 2.0 * math.log(1e6)


def test_too_few_items_on_the_first_day_are_refused():
    with pytest.raises(InvalidInput) as caught:
        ItemSupply(3, Freshness(FreshnessConfig(10.0), items_of([5.0, 4.0, 10.0])), None, 2)
    assert str(caught.value) == (
        "horizon=10.0 leaves 1 items on the first day, fewer than slate_size=2; lower the horizon, or give items ages "
        "of at least the horizon"
    )


# --- positions that the step may not show


def test_hidden_positions_by_hand():
    items = np.array([[4, 1, -1, 0], [4, 1, 2, 0]], np.int32)
    shown = items >= 0
    offered = np.array([[0, 4, -1], [1, 2, -1]], np.int32)
    supply_of(5, 3).hide(items, shown, offered, None)
    np.testing.assert_array_equal(items, [[4, -1, -1, 0], [-1, 1, 2, -1]])
    np.testing.assert_array_equal(shown, items >= 0)
    items = np.array([[4, 1, -1, 0], [4, 1, 2, 0]], np.int32)
    shown = items >= 0
    # Of ages 0, 5, 10, 10, 10 on the days 2 and 5 of ten.
    supply_of(5, None, [0.0, 5.0, 10.0, 10.0, 10.0], 10.0).hide(items, shown, None, calendar(2.0, 5.0))
    np.testing.assert_array_equal(items, [[4, -1, -1, -1], [4, 1, 2, -1]])
    np.testing.assert_array_equal(shown, items >= 0)


@pytest.mark.parametrize("name", ["every piece", "items that appear"])
def test_sessions_show_what_the_observation_offers_and_no_other(name: str):
    world = make_world(small_worlds()[name])
    count, num_items = (10 if INTERPRETED else 100), world.catalog.num_items
    batch = SessionBatch(world, count)
    batch.start(np.arange(count), np.arange(count, dtype=np.uint64), np.zeros(count))
    rng = np.random.default_rng(2)
    hidden = padded = 0
    for _ in range(8):
        observation, day = batch.observe(), batch.state["day"].copy()
        there = world.supply.available(day).astype(bool)
        offered = np.zeros((count, num_items), np.bool_)
        if world.config.num_candidates is None:
            assert observation["available"].dtype == np.int8
            np.testing.assert_array_equal(observation["available"], there)
            offered = there
        else:
            for b, row in enumerate(observation["candidates"]):
                offered[b, row[row >= 0]] = True
            assert (there | ~offered).all()
            padded += (observation["candidates"] < 0).any(axis=1).sum()
        slates = np.array([rng.permutation(num_items)[:4] for _ in range(count)])
        # A session that has ended shows nothing.
        expected = np.take_along_axis(offered, slates, axis=1) & batch.active[:, None]
        outcome = batch.step(slates)
        np.testing.assert_array_equal(outcome.shown, expected)
        assert not outcome.feedback[~expected].any()
        hidden += (~expected).sum()
    assert hidden
    assert padded or world.config.num_candidates is None


def test_a_session_of_candidates_tells_them_and_draws_anew_each_step():
    config = SessionConfig().override(num_items=50, num_candidates=6, slate_size=3, max_steps=5)
    env = RecSessionEnv(config)
    observation, _ = env.reset(seed=9)
    supply = env.world.supply
    for step in range(5):
        expected = drawn(supply, 1, seeds=9, steps=step)[0]
        np.testing.assert_array_equal(observation["candidates"], expected)
        observation, *_, info = env.step(expected[:3])
        assert info["shown"].all()
    # The next episode has others.
    assert (env.reset()[0]["candidates"] == drawn(supply, 1, seeds=9, episodes=1)[0]).all()


def test_without_candidates_and_days_everything_may_be_shown():
    supply = supply_of(5, None)
    assert not supply.limited
    assert supply_of(5, 3).limited
    assert supply_of(5, None, np.full(5, 20.0), 10.0).limited
    assert set(RecSessionEnv().reset(seed=0)[0]) == {"profile", "history_items", "history_feedback", "clock"}
