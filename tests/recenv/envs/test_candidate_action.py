"""Masks of slates, places among the candidates, and slates of one item: what they show, and what is refused."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from recenv import (
    CandidateAction,
    FlatObservation,
    InvalidInput,
    RecSessionVectorEnv,
    SingleItemAction,
    VectorCandidateAction,
    VectorSingleItemAction,
)
from recenv.envs.flat_features import FlatFeatures
from recenv.envs.slate_views import CandidatePlaces
from tests.recenv.envs.wrapper_cases import OFFERS, WRAPPERS, plain, single, vector

pytestmark = pytest.mark.kernels


def on_offer(observation: dict[str, np.ndarray]) -> list[int]:
    """Return the item at each place, -1 for none."""
    if "candidates" in observation:
        return observation["candidates"].tolist()
    if "available" in observation:
        return [item if there else -1 for item, there in enumerate(observation["available"])]
    return list(range(40))


def items_at(places: list[int], offers: list[int]) -> list[int]:
    """Return the slate by hand: a place that is taken or empty gives way to the next free one, round the end."""
    free = {place for place, item in enumerate(offers) if item >= 0}
    slate = []
    for place in places:
        if free:
            while place not in free:
                place = (place + 1) % len(offers)
            free.remove(place)
        slate.append(max(offers[place], 0))
    return slate


# --- masks of the environments themselves


@pytest.mark.parametrize("offer", OFFERS)
def test_masks_of_slates_are_the_items_on_offer(offer: str):
    env, many = gymnasium.make("RecSession-v0", **single(**OFFERS[offer]).config.to_dict()), vector(3, **OFFERS[offer])
    observation, _ = env.reset(seed=1)
    observations, _ = many.reset(seed=1)
    for _ in range(3):
        mask = env.get_wrapper_attr("action_masks")()
        assert (mask.dtype, mask.shape) == (np.bool_, (4 * 40,))
        allowed = [item for item in on_offer(observation) if item >= 0]
        for part in mask.reshape(4, 40):
            assert np.flatnonzero(part).tolist() == allowed
        masks = many.action_masks()
        assert masks.shape == (3, 160)
        np.testing.assert_array_equal(masks[0], mask)
        for b in range(3):
            allowed = [
                item for item in on_offer({name: values[b] for name, values in observations.items()}) if item >= 0
            ]
            assert np.flatnonzero(masks[b, :40]).tolist() == allowed
        observation = env.step(np.arange(4))[0]
        observations = many.step(np.tile(np.arange(4), (3, 1)))[0]


def test_masks_are_there_in_every_vector_environment():
    world = OFFERS["candidates"]
    theirs, ours = SyncVectorEnv([lambda: single(**world)] * 3), vector(3, **world)
    theirs.reset(seed=4)
    ours.reset(seed=4)
    np.testing.assert_array_equal(np.stack(theirs.call("action_masks")), ours.action_masks())


@pytest.mark.parametrize("make", [single, lambda **options: vector(2, **options)])
def test_masks_before_the_first_reset_are_refused(make: Any):
    with pytest.raises(InvalidInput, match=r"action_masks\(\) was called before reset\(\); call reset\(\) first"):
        make(num_candidates=7).action_masks()


def test_masks_that_fit_into_no_memory_are_refused():
    env = RecSessionVectorEnv(2, num_items=1000, slate_size=1000, history_length=1)
    env.reset(seed=0)
    env.num_envs = 10**9  # as so many sessions would have
    with pytest.raises(InvalidInput, match="masks of 1,000,000,000 times 1,000,000 takes"):
        env.action_masks()


# --- places


@pytest.mark.parametrize("offer", OFFERS)
def test_places_show_their_items_or_the_next_free_ones(offer: str):
    env = CandidateAction(single(**OFFERS[offer]))
    bare: Any = single(**OFFERS[offer])
    num_places = 7 if offer == "candidates" else 40
    assert env.action_space == gymnasium.spaces.MultiDiscrete([num_places] * 4)
    rng = np.random.default_rng(0)
    moved = 0
    for seed in range(6):
        observation, info = env.reset(seed=seed)
        bare.reset(seed=seed)
        for _ in range(5):
            offers = on_offer(observation)
            mask = info["action_mask"]
            assert (mask.dtype, mask.shape) == (np.bool_, (4, num_places))
            assert mask.tolist() == [[item >= 0 for item in offers]] * 4
            np.testing.assert_array_equal(env.action_masks(), mask.reshape(-1))
            # Few places, so that they meet.
            places = rng.integers(num_places - 3, num_places, size=4)
            slate = items_at(places.tolist(), offers)
            moved += slate != [offers[place] for place in places]
            observation, *outcome, info = env.step(places)
            expected, *their_outcome, their_info = bare.step(slate)
            assert plain((observation, outcome)) == plain((expected, their_outcome))
            assert plain({name: info[name] for name in their_info}) == plain(their_info)
            assert info["shown"].all()
            if outcome[1] or outcome[2]:
                break
    assert moved > 10


def test_places_by_hand():
    env = CandidateAction(single(num_candidates=7))
    observation, _ = env.reset(seed=0)
    offers = observation["candidates"]
    twin = single(num_candidates=7)
    twin.reset(seed=0)
    # Place 6 is taken by the first position; past the last place comes the first.
    assert plain(env.step([6, 6, 6, 0])[0]) == plain(twin.step(offers[[6, 0, 1, 2]])[0])


def test_fewer_items_than_positions_leave_positions_empty():
    class Offering(gymnasium.Wrapper):
        def reset(self, **options: Any) -> Any:
            observation, info = self.env.reset(**options)
            return {**observation, "candidates": np.where(np.arange(7) < 2, observation["candidates"], -1)}, info

    env = CandidateAction(Offering(single(num_candidates=7)))
    _, info = env.reset(seed=0)
    assert info["action_mask"].sum(axis=1).tolist() == [2] * 4
    assert env.step([5, 5, 5, 5])[4]["shown"].tolist() == [True, True, False, False]


def test_each_session_of_a_batch_has_its_own_free_places():
    view = CandidatePlaces(vector(3, num_candidates=7))
    offers = np.array([[9, 8, 7, 6, 5, 4, 3], [1, 2, 3, 4, -1, -1, -1], [30, -1, 31, -1, 32, -1, 33]], np.int32)
    slates = view.slates(np.array([[6, 6, 6, 6], [5, 0, 3, 3], [1, 1, 1, 1]]), {"candidates": offers})
    assert slates.tolist() == [[3, 9, 8, 7], [1, 2, 4, 3], [31, 32, 33, 30]]


@pytest.mark.parametrize(
    ("action", "message"),
    [
        ([0, 0, 0, 7], "action holds place 7 at slate position 3; places lie in [0, 6]"),
        ([-1, 0, 0, 0], "action holds place -1 at slate position 0; places lie in [0, 6]"),
        (np.zeros(3, int), "action has shape (3,) and dtype int64; pass integer places of shape (4,)"),
        (np.zeros(4), "action has shape (4,) and dtype float64; pass integer places of shape (4,)"),
        ([[0], [0, 1]], "action is ragged; pass integer places of shape (4,)"),
        (np.array([None] * 4), "action has shape (4,) and dtype object; pass integer places of shape (4,)"),
        (np.full(4, 2**64 - 1, np.uint64), "action holds place 18446744073709551615 at slate position 0; places lie"),
    ],
)
def test_bad_places_are_refused_and_move_nothing(action: Any, message: str):
    env, twin = (CandidateAction(single(num_candidates=7)) for _ in range(2))
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.step(action)
    assert str(caught.value).startswith(message)
    assert plain(env.step([0] * 4)) == plain(twin.step([0] * 4))


def test_an_untrained_policy_of_places_fills_every_position():
    """Drawn apart from one another from the masks, as MaskablePPO does: ids of 20 of 1,000 items repeat themselves."""
    rng = np.random.default_rng(0)
    shares = {}
    for name, wrap in {"ids": lambda env: env, "places": VectorCandidateAction}.items():
        env: Any = wrap(RecSessionVectorEnv(32, num_candidates=20, max_steps=7))
        env.reset(seed=0)
        shown = []
        for _ in range(10):
            allowed = env.action_masks().reshape(32, 10, -1)
            keys = np.where(allowed, rng.random(allowed.shape), -1.0)
            infos = env.step(keys.argmax(axis=2))[4]
            shown.append(infos["shown"][infos["_shown"]] if "shown" in infos else np.empty((0, 10)))
        shares[name] = float(np.concatenate(shown).mean())
    # Of ten draws among twenty 1 - (19/20)^10 of twenty differ, .803 a position; 1e-9 that it is off by .02.
    assert shares["ids"] == pytest.approx(2 * (1 - 0.95**10), abs=0.02)
    assert shares["places"] == 1.0


# --- slates of one item


def test_an_integer_shows_its_item():
    env = SingleItemAction(single(slate_size=1))
    bare: Any = single(slate_size=1)
    assert env.action_space == gymnasium.spaces.Discrete(40)
    assert plain(env.reset(seed=3)) == plain(bare.reset(seed=3))
    for item in (7, np.int64(3), np.array(39), np.uint8(0)):
        assert plain(env.step(item)) == plain(bare.step([int(item)]))
    assert env.get_wrapper_attr("action_masks")().all()


@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_many_integers_show_their_items(mode: AutoresetMode):
    make = lambda env: SingleItemAction(CandidateAction(env))  # noqa: E731
    world = {"slate_size": 1, "num_candidates": 7, "max_steps": 4, "budget": 1e4}
    theirs = SyncVectorEnv([lambda: make(single(**world))] * 3, autoreset_mode=mode)
    ours = VectorSingleItemAction(VectorCandidateAction(vector(3, mode, **world)))
    assert ours.single_action_space == theirs.single_action_space == gymnasium.spaces.Discrete(7)
    assert ours.action_space == theirs.action_space
    ours.action_space.seed(0)
    assert plain(ours.reset(seed=2)) == plain(theirs.reset(seed=2))
    for _ in range(4):
        actions = ours.action_space.sample()
        observation, *outcome = ours.step(actions)
        expected, *their_outcome = theirs.step(actions)
        assert plain(observation) == plain(expected)
        assert plain(outcome[3]) == plain(their_outcome[3])


@pytest.mark.parametrize("item", [1.0, [1], True, None, np.array([1]), "1"])
def test_what_is_no_integer_is_refused(item: Any):
    env = SingleItemAction(single(slate_size=1))
    env.reset(seed=0)
    with pytest.raises(InvalidInput, match=r"pass one integer$"):
        env.step(item)
    with pytest.raises(InvalidInput, match=r"^action holds item id 40; ids lie in \[0, 39\]"):
        env.step(40)
    many = VectorSingleItemAction(vector(2, slate_size=1))
    many.reset(seed=0)
    with pytest.raises(InvalidInput, match=r"pass one integer a session, shape \(2,\)$"):
        many.step(item)


# --- what a policy of places sees


def test_flat_features_hold_the_embeddings_of_the_candidates():
    env = single(num_candidates=7, freshness={"horizon": 200.0})
    plain_features, features = FlatObservation(env), FlatObservation(env, candidates=True)
    observation, _ = features.reset(seed=0)
    bare, _ = env.reset(seed=0)
    width = plain_features.observation_space.shape[0]  # type: ignore[index]
    np.testing.assert_array_equal(observation[:width], plain_features.reset(seed=0)[0])
    np.testing.assert_array_equal(observation[width:].reshape(7, 6), env.world.catalog.embeddings[bare["candidates"]])
    assert features.observation_space.contains(observation)
    layout = FlatFeatures.of(env, candidates=True).layout
    assert layout["candidate_embeddings"] == (width, width + 7 * 6)


@pytest.mark.parametrize("name", ["places", "semantic"])
@pytest.mark.parametrize("offer", OFFERS)
def test_wrapped_masks_before_the_first_reset_are_refused(name: str, offer: str):
    one, many, options = WRAPPERS[name]
    for env in (one(single(**OFFERS[offer]), **options), many(vector(2, **OFFERS[offer]), **options)):
        with pytest.raises(InvalidInput, match=r"action_masks\(\) was called before reset\(\); call reset\(\) first"):
            env.action_masks()
        env.reset(seed=0)
        assert env.action_masks().any()
