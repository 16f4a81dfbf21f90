"""Slates by semantic IDs: what a code shows, masks and samples, codes that name no item, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec

from recenv import (
    HistoryTokens,
    InvalidInput,
    SemanticIdAction,
    VectorHistoryTokens,
    VectorSemanticIdAction,
)
from recenv.envs.semantic_id_space import SemanticIdSpace
from recenv.item_codes.semantic_ids import SemanticIdConfig, SemanticIds
from tests.recenv.envs.wrapper_cases import CODES, OFFERS, plain, single, vector
from tests.strategies.worlds import SMALL

pytestmark = pytest.mark.kernels


def test_a_code_shows_the_item_that_it_names():
    env, bare = SemanticIdAction(single(), **CODES), single()
    assert plain(env.reset(seed=3)[0]) == plain(bare.reset(seed=3)[0])
    # In ten slates every item is shown.
    for slate in np.random.default_rng(0).permutation(40).reshape(10, 4):
        observation, *outcome, info = env.step(env.ids.codes[slate].reshape(-1))
        expected, *their_outcome, their_info = bare.step(slate)
        assert plain(observation) == plain(expected)
        assert outcome == their_outcome
        assert plain({name: info[name] for name in their_info}) == plain(their_info)
        if outcome[1] or outcome[2]:
            env.reset()
            bare.reset()


def test_codes_are_those_of_the_catalogue_and_may_be_handed_over():
    ids = SemanticIds.fit(single().world.catalog, SemanticIdConfig(**CODES))
    for env in (SemanticIdAction(single(), **CODES), SemanticIdAction(single(), ids)):
        np.testing.assert_array_equal(env.ids.codes, ids.codes)
        assert env.action_space == gymnasium.spaces.MultiDiscrete(list(ids.level_sizes) * 4)
    made = gymnasium.make("RecSession-v0", **SMALL)
    given = SemanticIdAction(made, ids)
    assert given.ids is ids
    assert HistoryTokens(made, "semantic", ids).ids is VectorHistoryTokens(vector(2), "semantic", ids).ids is ids
    # Handed over or fitted, the spec says how to fit them.
    assert given.spec is not None
    assert given.spec.to_json() == SemanticIdAction(gymnasium.make("RecSession-v0", **SMALL), **CODES).spec.to_json()  # type: ignore[union-attr]


def tokens_by_level(mask: np.ndarray, ids: SemanticIds, position: int) -> list[set[int]]:
    """Return the allowed tokens of each level at a position, by the layout that `MultiDiscrete` gives a flat mask."""
    nvec = list(ids.level_sizes) * 4
    parts = np.split(mask, np.cumsum(nvec)[:-1])
    own = parts[position * len(ids.level_sizes) : (position + 1) * len(ids.level_sizes)]
    return [set(np.flatnonzero(part).tolist()) for part in own]


@pytest.mark.parametrize("offer", OFFERS)
def test_action_mask_allows_the_tokens_of_the_items_on_offer(offer: str):
    env = SemanticIdAction(single(**OFFERS[offer]), **CODES)
    env.action_space.seed(0)
    observation, info = env.reset(seed=1)
    masks = set()
    for _ in range(5):
        allowed = np.arange(40)
        if offer == "candidates":
            allowed = observation["candidates"][observation["candidates"] >= 0]
        elif offer == "available":
            allowed = np.flatnonzero(observation["available"])
        mask = info["action_mask"]
        assert (mask.dtype, mask.shape) == (np.bool_, (4 * sum(env.ids.level_sizes),))
        expected = [set(column.tolist()) for column in env.ids.codes[allowed].T]
        for position in range(4):
            assert tokens_by_level(mask, env.ids, position) == expected
        np.testing.assert_array_equal(env.action_masks(), mask)
        masks.add(mask.tobytes())
        observation, *_, info = env.step(env.action_space.sample())
    assert (len(masks) > 1) == (offer == "candidates")
    # Which is exact at the first level, as the tree says of all items.
    if offer == "all":
        root = env.ids.tree.next_tokens(np.empty((1, 0), int))[0]
        assert tokens_by_level(mask, env.ids, 0)[0] == set(np.flatnonzero(root).tolist())


def test_space_of_codes_samples_what_it_contains_and_every_item():
    env = SemanticIdAction(single(), **CODES)
    space = env.action_space
    assert isinstance(space, SemanticIdSpace)
    space.seed(0)
    samples = np.stack([space.sample() for _ in range(200)])
    items = env.ids.tree.items(samples.reshape(200, 4, 3))
    assert set(items.reshape(-1).tolist()) == set(range(40))
    assert all(space.contains(sample) for sample in samples)
    assert np.unique(items[:, 0]).size > 20
    absent = samples[0].copy()
    absent[:3] = np.argwhere(~code_exists(env.ids))[0]
    assert gymnasium.spaces.MultiDiscrete(space.nvec).contains(absent)
    assert not space.contains(absent)
    assert not space.contains(samples[0][:-1])
    # Gymnasium's own masks have the layout of info["action_mask"].
    mask = env.reset(seed=0)[1]["action_mask"]
    parts = tuple(part.astype(np.int8) for part in np.split(mask, np.cumsum(space.nvec)[:-1]))
    drawn = np.stack([space.sample(parts) for _ in range(50)])
    for column, part in zip(drawn.T, parts, strict=True):
        assert part[column].all()
    # Codes that name items, whatever tokens a mask leaves: of the items that it allows, or that it allows longest.
    codes = env.ids.codes
    offsets = np.cumsum([0, *env.ids.level_sizes[:-1]])
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 0.6, 0.9):
        for _ in range(20):
            masks = rng.random((4, sum(env.ids.level_sizes))) < share
            drawn = space.sample(masks.reshape(-1))
            assert space.contains(drawn)
            for code, allowed in zip(drawn.reshape(4, 3), masks, strict=True):
                lengths = [[*allowed[row + offsets], False].index(False) for row in codes]
                assert [*allowed[code + offsets], False].index(False) == max(lengths)
    assert VectorSemanticIdAction(vector(2), env.ids).action_space.sample(np.tile(mask, (2, 1))).shape == (2, 12)
    with pytest.raises(InvalidInput, match=r"^mask holds 3 values; pass one for each of the \d+ tokens"):
        space.sample(np.ones(3, np.bool_))


def code_exists(ids: SemanticIds) -> np.ndarray:
    exists = np.zeros(ids.level_sizes, np.bool_)
    exists[tuple(ids.codes.T)] = True
    return exists


@pytest.mark.parametrize("num_envs", [None, 3])
def test_codes_that_name_no_item_are_refused_and_move_nothing(num_envs: int | None):
    ids = SemanticIds.fit(single().world.catalog, SemanticIdConfig(**CODES))
    items = np.arange(12).reshape(3, 4)
    good, bad = ids.codes[items].reshape(3, 12).copy(), ids.codes[items].reshape(3, 12).copy()
    code = np.argwhere(~code_exists(ids) & code_exists(ids).any(axis=(1, 2), keepdims=True))[0]
    bad[0, 6:9] = code
    prefixes = [code[:length].tolist() for length in range(3)]
    counts = [int(ids.tree.next_tokens(np.array([prefix], int).reshape(1, -1)).sum()) for prefix in prefixes]
    level = [tuple(prefix) in {tuple(c[: len(prefix)]) for c in ids.codes.tolist()} for prefix in prefixes].count(
        True
    ) - 1
    if num_envs is None:
        env, twin, good, bad = SemanticIdAction(single(), ids), SemanticIdAction(single(), ids), good[0], bad[0]
    else:
        env, twin = (VectorSemanticIdAction(vector(3), ids) for _ in range(2))
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.step(bad)
    assert str(caught.value) == (
        f"action holds code {code.tolist()} at slate position 2, which names no item: after {prefixes[level]} token "
        f"{code[level]} is not one of the {counts[level]} valid ones; choose from ids.tree.next_tokens(prefixes), "
        "level by level, or wrap with invalid='nearest'"
    )
    assert plain(env.step(good)[0]) == plain(twin.step(good)[0])


def nearest_item(ids: SemanticIds, code: np.ndarray, offered: np.ndarray) -> int:
    """Return what `invalid="nearest"` shows, by narrowing the items on offer token after token."""
    left = np.sort(offered)
    for level, token in enumerate(code):
        tokens = ids.codes[left, level]
        if level < len(code) - 1:
            book = ids.codebooks[level].astype(np.float64)
            gaps = ((book[tokens] - book[token]) ** 2).sum(axis=1)
        else:
            gaps = np.abs(tokens - token).astype(np.float64)
        gaps[tokens == token] = -1.0
        left = left[tokens == tokens[gaps == gaps.min()].min()]
    (item,) = left
    return int(item)


@pytest.mark.parametrize("offer", OFFERS)
def test_tokens_drawn_one_by_one_from_the_mask_show_the_nearest_items_on_offer(offer: str):
    env, bare = SemanticIdAction(single(**OFFERS[offer]), invalid="nearest", **CODES), single(**OFFERS[offer])
    rng = np.random.default_rng(0)
    none = limited = 0
    for seed in range(20):
        (observation, info), _ = env.reset(seed=seed), bare.reset(seed=seed)
        ended = False
        while not ended:
            offered = np.arange(40)
            if offer == "candidates":
                offered = observation["candidates"]
            elif offer == "available":
                offered = np.flatnonzero(observation["available"])
            parts = np.split(info["action_mask"], np.cumsum(env.action_space.nvec)[:-1])  # type: ignore[attr-defined]
            action = np.array([rng.choice(np.flatnonzero(part)) for part in parts])
            assert env.action_space.contains(action)
            codes = action.reshape(4, 3)
            slate = [nearest_item(env.ids, code, offered) for code in codes]
            named = env.ids.tree.items(codes)
            none += int((named < 0).sum())
            limited += int(((named >= 0) & (named != slate)).sum())
            observation, _, terminated, truncated, info = env.step(action)
            expected = bare.step(np.array(slate))
            assert plain(observation) == plain(expected[0])
            first = [item not in slate[:k] for k, item in enumerate(slate)]
            assert info["shown"].tolist() == expected[4]["shown"].tolist() == first
            ended = terminated or truncated
    assert none > 100
    assert (limited > 0) == (offer != "all")


def test_codes_that_name_items_are_taken_as_they_are():
    ids = SemanticIds.fit(single().world.catalog, SemanticIdConfig(**CODES))
    np.testing.assert_array_equal(ids.nearest_items(ids.codes[None])[0], np.arange(40))
    # An offer of nothing limits nothing.
    nothing = np.zeros((1, 40), np.bool_)
    np.testing.assert_array_equal(ids.nearest_items(ids.codes[None], available=nothing)[0], np.arange(40))
    candidates = np.full((1, 3), -1, np.int32)
    np.testing.assert_array_equal(ids.nearest_items(ids.codes[None], candidates=candidates)[0], np.arange(40))


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.full(12, 99), "action holds token 99 at level 0 of slate position 0; tokens of that level lie in [0, 3]"),
        (np.eye(12, dtype=int)[4] * -1, "action holds token -1 at level 1 of slate position 1; tokens of that level"),
    ],
)
def test_tokens_outside_their_level_are_refused_even_where_the_nearest_is_taken(action: np.ndarray, message: str):
    env = SemanticIdAction(single(), invalid="nearest", **CODES)
    env.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.step(action)
    assert str(caught.value).startswith(message)


TOKENS = "pass integer tokens of shape (12,)"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(4, int), f"action has shape (4,) and dtype int64; {TOKENS}"),
        (np.zeros(12), f"action has shape (12,) and dtype float64; {TOKENS}"),
        (np.full(12, 99), "action holds code [99, 99, 99] at slate position 0, which names no item: after [] token 99"),
        (np.full(12, -1), "action holds code [-1, -1, -1] at slate position 0, which names no item: after [] token -1"),
    ],
)
def test_bad_tokens_are_refused(action: np.ndarray, message: str):
    env = SemanticIdAction(single(), **CODES)
    env.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.step(action)
    assert str(caught.value).startswith(message)


def test_codes_of_ones_own_act_and_come_back_with_the_spec():
    codes = np.stack(np.unravel_index(np.random.default_rng(0).permutation(40), (5, 8)), axis=1)
    env = SemanticIdAction(gymnasium.make("RecSession-v0", **SMALL), codes=codes)
    bare: Any = gymnasium.make("RecSession-v0", **SMALL)
    assert env.action_space.shape == (4 * 2,)
    assert env.spec is not None
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    tokens = HistoryTokens(gymnasium.make("RecSession-v0", **SMALL), "semantic", codes=codes)
    assert tokens.num_tokens == 1 + 5 + 8
    many = VectorSemanticIdAction(vector(2), SemanticIds.fit(env.unwrapped.world.catalog, env.ids.config))  # type: ignore[attr-defined]
    env.reset(seed=1)
    again.reset(seed=1)
    bare.reset(seed=1)
    many.reset(seed=1)
    for slate in (np.arange(4), np.array([39, 7, 20, 3])):
        action = codes[slate].reshape(-1)
        expected = plain(bare.step(slate)[0])
        assert plain(env.step(action)[0]) == plain(again.step(action)[0]) == expected
        observations = many.step(np.tile(action, (2, 1)))[0]
        assert plain({name: values[0] for name, values in observations.items()}) == expected
    with pytest.raises(InvalidInput, match=r"^codes has 40 rows for 30 items; give one code an item"):
        SemanticIdAction(single(num_items=30), codes=codes)
