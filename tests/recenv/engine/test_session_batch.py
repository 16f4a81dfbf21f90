"""The engine: bitwise the same in any batch, bookkeeping against plain Python, ends, repeats, and refused actions."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import recenv.engine.session_batch
from recenv import SessionConfig
from recenv.world import World, make_world
from tests.recenv.engine.session_cases import (
    INTERPRETED,
    NUM_STEPS,
    SMALL,
    arrays_of,
    assert_same_bits,
    begin,
    everything,
    random_slates,
)
from tests.strategies.worlds import small_worlds

pytestmark = pytest.mark.kernels


# --- a session does not feel the batch


@pytest.mark.parametrize("odd", [False, True], ids=["small world", "odd dimension"])
def test_sessions_are_bitwise_the_same_in_a_batch_of_any_size_at_any_place(odd: bool):
    world = make_world(SMALL.override(embedding_dim=7, slate_size=3) if odd else SMALL)
    count = 64 if INTERPRETED else 4096
    rng = np.random.default_rng(2)
    seeds, episodes = rng.integers(2**63, size=count, dtype=np.uint64), rng.integers(2**32, size=count)
    slates = random_slates(count, world.config.slate_size)
    whole = everything(begin(world, seeds, episodes), slates)
    ends = [whole[name].any(axis=0) for name in ("terminated", "truncated")]
    assert all(0 < end.sum() < count for end in ends)
    sizes = [1, 1, 7, 64] if INTERPRETED else [1] * 20 + [7] * 5 + [64] * 3 + [4096]
    for size in sizes:
        indices = rng.permutation(count)[:size]
        part = everything(begin(world, seeds[indices], episodes[indices]), slates[:, indices])
        assert_same_bits(part, {name: values[:, indices] for name, values in whole.items()})


@pytest.mark.parametrize("name", small_worlds())
def test_sessions_of_every_world_feel_neither_place_nor_size_nor_threads_nor_pickling(name: str, monkeypatch):
    world = make_world(small_worlds()[name])
    sizes = (1, 7, 12) if INTERPRETED else (1, 7, 64, 4096)
    rng = np.random.default_rng(3)
    seeds, episodes = rng.integers(2**63, size=sizes[-1], dtype=np.uint64), rng.integers(2**32, size=sizes[-1])
    slates = np.random.default_rng(4).integers(60, size=(14, sizes[-1], 4))
    whole = everything(begin(world, seeds, episodes), slates)
    assert whole["feedback"][:, :, :, 0].any()
    for size in sizes:
        # Three blocks or fewer, so that two threads have something to share.
        monkeypatch.setattr(recenv.engine.session_batch, "BLOCK_SIZE", -(-size // 3))
        indices = rng.permutation(sizes[-1])[:size]
        expected = {name: values[:, indices] for name, values in whole.items()}
        for num_threads in (1, 2):
            batch = begin(world, seeds[indices], episodes[indices], num_threads)
            first = everything(batch, slates[:5, indices])
            again = pickle.loads(pickle.dumps(batch))
            assert again.num_threads == num_threads
            rest = everything(again, slates[5:, indices])
            parts = {name: np.concatenate([first[name], rest[name]]) for name in first}
            assert_same_bits(parts, expected)
            batch.close()
            again.close()


def test_threads_share_blocks_and_pass_on_an_error(world: World, monkeypatch):
    monkeypatch.setattr(recenv.engine.session_batch, "BLOCK_SIZE", 2)
    batch = begin(world, range(6), num_threads=3)
    names = set()
    original = type(world.user_model).respond
    everybody = threading.Barrier(3, timeout=30)

    def respond(self, *arrays):
        # Only three threads at once pass.
        everybody.wait()
        names.add(threading.current_thread().name)
        original(self, *arrays)

    monkeypatch.setattr(type(world.user_model), "respond", respond)
    batch.step(random_slates(6)[0])
    assert len(names) == 3
    assert threading.current_thread().name in names
    caller = threading.current_thread()
    for guilty in ("the caller", "another"):

        def fail(*_: Any, guilty: str = guilty) -> None:
            everybody.wait()
            if (threading.current_thread() is caller) == (guilty == "the caller"):
                raise ZeroDivisionError(guilty)

        monkeypatch.setattr(type(world.user_model), "respond", fail)
        with pytest.raises(ZeroDivisionError, match=guilty):
            batch.step(random_slates(6)[0])
    batch.close()
    batch.close()


def test_a_session_started_among_running_ones_is_the_same(world: World):
    slates = random_slates(4)
    batch = begin(world, [1, 2, 3, 4])
    for slate in slates[:3]:
        batch.step(slate)
    batch.start(np.array([2]), np.array([77], np.uint64), np.array([5], np.uint64))
    late = everything(batch, slates)
    alone = everything(begin(world, [77], [5]), slates[:, 2:3])
    assert_same_bits({name: values[:, 2:3] for name, values in late.items()}, alone)
    # And the others went on as if nothing had happened.
    undisturbed = everything(begin(world, [1, 2, 4]), np.concatenate([slates[:3], slates])[:, [0, 1, 3]])
    assert_same_bits({name: v[:, [0, 1, 3]] for name, v in late.items()}, {n: v[3:] for n, v in undisturbed.items()})


def test_seeds_and_episodes_give_different_sessions(world: World):
    starts = begin(world, [1, 1, 2, 2], [0, 1, 0, 1]).observe()["profile"]
    assert len(np.unique(starts, axis=0)) == 4
    batch = begin(world, [1, 2**63 + 1])
    assert (batch.observe()["profile"][0] != batch.observe()["profile"][1]).any()


def test_worlds_are_shared_and_reset_changes_nothing_in_them(world: World):
    assert make_world(SMALL) is make_world(SessionConfig.from_json(SMALL.to_json()))
    before = {name: values.tobytes() for name, values in world.catalog.arrays().items()}
    everything(begin(world, range(20)), random_slates(20))
    assert {name: values.tobytes() for name, values in world.catalog.arrays().items()} == before


def test_taken_sessions_go_on_like_the_ones_they_were_copied_from(world: World):
    slates = random_slates(6)
    batch = begin(world, range(6))
    batch.step(slates[0])
    mask = np.array([True, False, False, True, True, False])
    by_mask, by_index = batch.take(mask), batch.take(np.array([4, 0]))
    assert (by_mask.num_sessions, by_index.num_sessions) == (3, 2)
    from_mask, from_index = everything(by_mask, slates[1:, mask]), everything(by_index, slates[1:, [4, 0]])
    # The copies moved; the originals are where they were.
    whole = everything(batch, slates[1:])
    assert_same_bits(from_mask, {name: values[:, mask] for name, values in whole.items()})
    assert_same_bits(from_index, {name: values[:, [4, 0]] for name, values in whole.items()})


# --- bookkeeping


def lanes_of(recorded: dict[str, np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
    for b in range(recorded["reward"].shape[1]):
        yield {name: values[:, b] for name, values in recorded.items()}


def test_history_clock_and_reward_follow_from_the_feedback(world: World):
    count = 40
    slates = random_slates(count)
    recorded = everything(begin(world, range(count)), slates)
    weights = {"click": 0.5, "watch_minutes": 1.0, "like": -2.0}
    assert tuple(weights) == world.user_model.reward_names
    longest = 0
    for b, index in enumerate(lanes_of(recorded)):
        consumed: list[tuple[int, list[float]]] = []
        steps, ended = 0, False
        for t in range(NUM_STEPS):
            if not ended:
                steps += 1
                for k in np.flatnonzero(index["feedback"][t, :, 0]):
                    consumed.append((slates[t, b, k], index["feedback"][t, k, 1:].tolist()))
                assert index["reward_vector"][t, 0] == index["feedback"][t, :, 0].sum()
                expected = sum(w * float(r) for w, r in zip(weights.values(), index["reward_vector"][t], strict=True))
                assert index["reward"][t] == pytest.approx(expected, abs=1e-12)
            padded = [(-1, [0.0, 0.0])] * 3 + consumed
            assert index["history_items"][t].tolist() == [item for item, _ in padded[-3:]]
            assert index["history_feedback"][t].tolist() == [answer for _, answer in padded[-3:]]
            clock = [min(1.0, steps / 9), min(1.0, len(consumed) / 9)]
            np.testing.assert_allclose(index["clock"][t], clock, rtol=1e-6)
            ended = ended or index["terminated"][t] or index["truncated"][t]
        longest = max(longest, len(consumed))
    assert longest > 3  # the history was filled and shifted


def test_a_session_ends_once_and_then_stays_as_it_is_with_zeros(world: World):
    recorded = everything(begin(world, range(60)), random_slates(60))
    both = recorded["terminated"] & recorded["truncated"]
    assert not both.any()
    ends = recorded["terminated"] | recorded["truncated"]
    np.testing.assert_array_equal(ends.sum(axis=0), 1)
    left_last = 0
    for index in lanes_of(recorded):
        end = int(np.flatnonzero(index["terminated"] | index["truncated"])[0])
        assert index["truncated"][end] == (end == 8 and index["budget"][end] > 0.0)
        assert index["terminated"][end] == (index["budget"][end] <= 0.0)
        assert (index["budget"][:end] > 0.0).all()
        left_last += bool(end == 8 and index["terminated"][end])
        for t in range(end + 1, NUM_STEPS):
            for name in ("feedback", "reward_vector", "reward", "terminated", "truncated"):
                assert not index[name][t].any(), name
            for name in ("interest", "satiation", "budget", "profile", "history_items", "history_feedback", "clock"):
                np.testing.assert_array_equal(index[name][t], index[name][end])
    # A user who leaves at the very last step terminates; the time limit does not count then.
    assert left_last > 0


def test_clock_stays_in_its_space_with_several_clicks_a_step(world: World):
    batch = begin(world, range(3))
    batch.history.num_consumed[:] = [0, 6, 100]
    np.testing.assert_allclose(batch.observe()["clock"][:, 1], [0.0, 6 / 9, 1.0])


def test_max_steps_of_one():
    batch = begin(make_world(SMALL.override(max_steps=1)), range(30))
    outcome = batch.step(random_slates(30)[0])
    assert (outcome.terminated ^ outcome.truncated).all()
    assert outcome.truncated.any()
    np.testing.assert_array_equal(batch.observe()["clock"][:, 0], 1.0)


def test_repeated_items_are_shown_at_their_first_position_only(world: World):
    rows = [[5, 5, 5, 5], [1, 2, 1, 2], [3, 2, 1, 0], [7, 8, 9, 7]]
    shown = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]
    slates = np.repeat(np.array(rows), 50, axis=0)
    batch = begin(world, range(200))
    outcome = batch.step(slates)
    np.testing.assert_array_equal(outcome.shown, np.repeat(np.array(shown, bool), 50, axis=0))
    clicked = outcome.feedback[:, :, 0] > 0
    assert not (clicked & ~outcome.shown).any()
    assert not outcome.feedback[~outcome.shown].any()
    assert all(clicked[50 * i : 50 * (i + 1)].any() for i in range(4))


def test_a_repeated_item_answers_as_if_its_copies_were_not_there():
    # One position of a four-slate that repeats its item is a slate of one.
    four, one = make_world(SMALL), make_world(SMALL.override(slate_size=1))
    outcome, single = (begin(w, range(100)).step(np.full((100, w.config.slate_size), 6)) for w in (four, one))
    np.testing.assert_array_equal(outcome.feedback[:, :1], single.feedback)
    np.testing.assert_array_equal(outcome.reward, single.reward)
    assert single.feedback.any()


def test_arrays_that_were_returned_are_the_callers_own(world: World):
    slates = random_slates(5)
    expected = everything(begin(world, range(5)), slates)
    batch = begin(world, range(5))
    rows = []
    for slate in slates:
        outcome = arrays_of(batch.step(slate))
        observation = batch.observe()
        state = {name: values.copy() for name, values in batch.state.items()}
        rows.append({name: values.copy() for name, values in {**outcome, **observation, **state}.items()})
        for values in [*outcome.values(), *observation.values()]:
            values[:] = 1
        slate[:] = 0
    assert_same_bits({name: np.stack([row[name] for row in rows]) for name in rows[0]}, expected)


def test_sessions_of_the_default_world():
    # Written down: world_hash covers the options, not the equations and the draws.
    count = 4
    batch = begin(make_world(SessionConfig()), range(count), 1)
    clicks, total = [], np.zeros(count)
    for t in range(12):
        outcome = batch.step((np.arange(10) * 97 + 31 * t + np.arange(count)[:, None]) % 1000)
        clicks.append(np.where(outcome.feedback[:, :, 0].any(axis=1), outcome.feedback[:, :, 0].argmax(axis=1), -1))
        total += outcome.reward
    assert np.array(clicks).T.tolist() == [
        [6, 7, -1, 5, -1, -1, -1, -1, 7, 0, 8, 3],
        [0, 0, 1, 6, 3, 2, 6, -1, 3, 0, -1, -1],
        [-1, 5, 3, -1, 3, -1, 1, -1, 4, 4, -1, 4],
        [3, 9, 5, 6, 5, -1, 8, -1, 4, -1, -1, -1],
    ]
    np.testing.assert_allclose(total, [25.136357, 30.848282, 31.428249, 29.614588], rtol=1e-5)
    np.testing.assert_allclose(batch.state["budget"], [4.5221338, -0.9297056, 5.4746394, -0.6783876], rtol=1e-4)
