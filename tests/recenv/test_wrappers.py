"""Wrappers: what they do by hand, the same for one session and many however they reset, specs, pickles, refusals."""

from __future__ import annotations

import json
import pickle
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FilterObservation

from recenv import Catalog, InvalidInput, RecSessionEnv, RecSessionVectorEnv
from recenv.semantic_ids import SemanticIdConfig, SemanticIds
from recenv.session_views import SemanticIdSpace
from recenv.wrappers import (
    FlatObservation,
    HistoryTokens,
    ProtoAction,
    SemanticIdAction,
    VectorFlatObservation,
    VectorHistoryTokens,
    VectorProtoAction,
    VectorSemanticIdAction,
)

pytestmark = pytest.mark.kernels

SMALL: dict[str, Any] = {
    "num_items": 40,
    "embedding_dim": 6,
    "num_topics": 5,
    "slate_size": 4,
    "max_steps": 9,
    "history_length": 3,
    "budget": 14.0,
    "no_click_utility": 0.5,
}
CODES: dict[str, Any] = {"num_codebooks": 2, "codebook_size": 4}
OFFERS: dict[str, dict[str, Any]] = {
    "all": {},
    "candidates": {"num_candidates": 7},
    "available": {"freshness": {"horizon": 200.0}},
}
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]
# Single wrapper, vector wrapper, and their options.
WRAPPERS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "proto": (ProtoAction, VectorProtoAction, {}),
    "semantic": (SemanticIdAction, VectorSemanticIdAction, CODES),
    "pooled": (FlatObservation, VectorFlatObservation, {}),
    "embedded": (FlatObservation, VectorFlatObservation, {"history": "embedded"}),
    "item tokens": (HistoryTokens, VectorHistoryTokens, {}),
    "semantic tokens": (HistoryTokens, VectorHistoryTokens, {"tokens": "semantic", **CODES}),
}


def single(**options: Any) -> RecSessionEnv:
    return RecSessionEnv(**{**SMALL, **options})


def vector(num_envs: int, mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any) -> RecSessionVectorEnv:
    return RecSessionVectorEnv(num_envs, autoreset_mode=mode, **{**SMALL, **options})


def plain(value: Any) -> Any:
    """Return nested values as something that compares to the bit."""
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, tuple) or (isinstance(value, np.ndarray) and value.dtype == object):
        return [plain(inner) for inner in value]
    return None if value is None else (np.asarray(value).dtype.str, np.shape(value), np.asarray(value).tobytes())


def test_module_of_the_wrappers_says_how_they_are_put_together():
    env = FlatObservation(ProtoAction(gymnasium.make("RecSession-v0", **SMALL)))
    observation, _ = env.reset(seed=0)
    assert observation.shape == env.observation_space.shape
    assert env.action_space.shape == (6,)
    assert env.step(env.action_space.sample())[4]["shown"].all()


# --- every wrapper


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("name", WRAPPERS)
def test_checker_finds_nothing_with_warnings_as_errors(name: str, offer: str):
    wrapper, _, options = WRAPPERS[name]
    env = wrapper(gymnasium.make("RecSession-v0", **SMALL, **OFFERS[offer]), **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version")
        check_env(env)


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WRAPPERS)
def test_vector_form_equals_gymnasiums_vector_environment_of_single_ones(name: str, mode: AutoresetMode, offer: str):
    wrapper, vector_wrapper, options = WRAPPERS[name]
    ours = vector_wrapper(vector(4, mode, **OFFERS[offer]), **options)
    theirs = SyncVectorEnv([lambda: wrapper(single(**OFFERS[offer]), **options)] * 4, autoreset_mode=mode)
    assert ours.autoreset_mode is ours.metadata["autoreset_mode"] is mode
    for space in ("single_observation_space", "observation_space", "single_action_space", "action_space"):
        assert getattr(ours, space) == getattr(theirs, space)
    ours.action_space.seed(1)
    (observation, infos), (expected, their_infos) = ours.reset(seed=20), theirs.reset(seed=20)
    ended = 0
    for _ in range(30):
        assert plain(observation) == plain(expected)
        assert ours.observation_space.contains(observation)
        assert ("action_mask" in infos) == ("action_mask" in their_infos) == (name == "semantic")
        if name == "semantic":
            there = their_infos["_action_mask"]
            np.testing.assert_array_equal(infos["action_mask"][there], their_infos["action_mask"][there])
        actions = ours.action_space.sample()
        observation, *outcome, infos = ours.step(actions)
        expected, *their_outcome, their_infos = theirs.step(actions)
        assert plain(outcome[0]) == plain(their_outcome[0])
        done = np.logical_or(outcome[1], outcome[2])
        np.testing.assert_array_equal(done, np.logical_or(their_outcome[1], their_outcome[2]))
        ended += int(done.sum())
        assert ("final_obs" in infos) == (mode is AutoresetMode.SAME_STEP and bool(done.any()))
        if "final_obs" in infos:
            assert plain(infos["final_obs"]) == plain(their_infos["final_obs"])
            assert all(o is None or ours.single_observation_space.contains(o) for o in infos["final_obs"])
        if mode is AutoresetMode.DISABLED and done.any():
            observation, infos = ours.reset(options={"reset_mask": done.copy()})
            expected, their_infos = theirs.reset(options={"reset_mask": done.copy()})
    assert ended > 4
    theirs.close()


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("name", WRAPPERS)
def test_what_a_caller_does_to_what_it_got_changes_nothing(name: str, offer: str):
    wrapper, vector_wrapper, options = WRAPPERS[name]
    world = {**OFFERS[offer], "budget": 1e4}
    singles = [wrapper(single(**world), **options) for _ in range(2)]
    vectors = [vector_wrapper(vector(2, **world), **options) for _ in range(2)]
    for env, twin in (singles, vectors):
        env.action_space.seed(2)
        outcome, expected = env.reset(seed=1), twin.reset(seed=1)
        for _ in range(3):
            assert plain(outcome[0]) == plain(expected[0])
            assert plain(outcome[-1]) == plain(expected[-1])
            observation, infos = outcome[0], outcome[-1]
            for values in [
                *(observation.values() if isinstance(observation, dict) else [observation]),
                *infos.values(),
            ]:
                values[...] = 1
            action = env.action_space.sample()
            outcome, expected = env.step(action.copy()), twin.step(action)


@pytest.mark.parametrize("name", WRAPPERS)
def test_spec_survives_json_and_makes_the_same_environment(name: str):
    wrapper, _, options = WRAPPERS[name]
    env = wrapper(gymnasium.make("RecSession-v0", **SMALL), **options)
    assert env.spec is not None
    again = gymnasium.make(EnvSpec.from_json(env.spec.to_json()))
    assert isinstance(again, wrapper)
    assert again.spec is not None
    assert json.loads(again.spec.to_json()) == json.loads(env.spec.to_json())
    env.action_space.seed(3)
    assert plain(again.reset(seed=5)) == plain(env.reset(seed=5))
    action = env.action_space.sample()
    assert plain(again.step(action)[0]) == plain(env.step(action)[0])


@pytest.mark.parametrize("offer", OFFERS)
@pytest.mark.parametrize("name", WRAPPERS)
def test_pickled_wrappers_go_on_where_they_were(name: str, offer: str):
    wrapper, vector_wrapper, options = WRAPPERS[name]
    world = {**OFFERS[offer], "budget": 1e4}
    for env in (wrapper(single(**world), **options), vector_wrapper(vector(3, **world), **options)):
        env.action_space.seed(4)
        env.reset(seed=6)
        env.step(env.action_space.sample())
        again = pickle.loads(pickle.dumps(env))
        for _ in range(3):
            action = env.action_space.sample()
            assert plain(again.action_space.sample()) == plain(action)
            for actual, expected in zip(again.step(action), env.step(action), strict=True):
                assert plain(actual) == plain(expected)


def test_step_before_reset_is_the_environments_to_refuse():
    for env in (ProtoAction(single()), SemanticIdAction(single(), **CODES), VectorProtoAction(vector(2))):
        with pytest.raises(InvalidInput, match=r"call reset\(\) first"):
            env.step(env.action_space.sample())


# --- proto-actions


def test_a_proto_action_shows_its_nearest_items():
    env, bare = ProtoAction(single()), single()
    assert env.action_space == gymnasium.spaces.Box(-1.0, 1.0, (6,), np.float32)
    assert plain(env.reset(seed=3)) == plain(bare.reset(seed=3))
    for proto in np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32):
        scores = bare.world.catalog.embeddings @ proto
        slate = np.argsort(-scores, kind="stable")[:4]
        assert plain(env.step(proto)) == plain(bare.step(slate))


@pytest.mark.parametrize("offer", ["candidates", "available"])
def test_a_proto_action_shows_the_nearest_of_the_items_on_offer(offer: str):
    env, bare = ProtoAction(single(**OFFERS[offer])), single(**OFFERS[offer])
    limited = 0
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        bare.reset(seed=seed)
        for proto in np.random.default_rng(seed).normal(size=(6, 6)).astype(np.float32):
            allowed = observation["candidates"] if offer == "candidates" else np.flatnonzero(observation["available"])
            scores = bare.world.catalog.embeddings @ proto
            slate = allowed[np.argsort(-scores[allowed], kind="stable")[:4]]
            limited += int((slate != np.argsort(-scores, kind="stable")[:4]).any())
            observation, _, terminated, truncated, info = env.step(proto)
            assert plain((observation, info)) == plain((lambda o: (o[0], o[4]))(bare.step(slate)))
            assert info["shown"].all()
            if terminated or truncated:
                break
    assert limited > 5


def test_fewer_items_on_offer_than_positions_leave_positions_empty():
    class Offering(gymnasium.Wrapper):
        """Offers items 8 and 3 only."""

        def __init__(self, env: gymnasium.Env) -> None:
            super().__init__(env)
            inner = dict(env.observation_space.spaces)  # type: ignore[attr-defined]
            self.observation_space = gymnasium.spaces.Dict(
                {**inner, "candidates": gymnasium.spaces.Box(-1, 39, (3,), np.int32)}
            )

        def reset(self, **options: Any) -> Any:
            observation, info = self.env.reset(**options)
            return {**observation, "candidates": np.array([8, -1, 3], np.int32)}, info

    env = ProtoAction(Offering(single()))
    env.reset(seed=0)
    assert env.step(np.ones(6))[4]["shown"].tolist() == [True, True, False, False]


PROTO = "pass a proto-action of shape (6,)"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(5), f"action has shape (5,) and dtype float64; {PROTO}"),
        (np.zeros((1, 6)), f"action has shape (1, 6) and dtype float64; {PROTO}"),
        (np.array(["a"] * 6), f"action has shape (6,) and dtype <U1; {PROTO}"),
        ([[0.0], [0.0, 1.0]], f"action is ragged; {PROTO}"),
        (
            np.full(6, np.nan),
            "proto-action holds a non-finite value; pass finite numbers (a policy that gives none has",
        ),
    ],
)
def test_bad_proto_actions_are_refused_and_move_nothing(action: Any, message: str):
    env, twin = ProtoAction(single()), ProtoAction(single())
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.step(action)
    assert str(caught.value).startswith(message)
    assert plain(env.step(np.ones(6))) == plain(twin.step(np.ones(6)))


# --- semantic-ID actions


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
        "level by level"
    )
    assert plain(env.step(good)[0]) == plain(twin.step(good)[0])


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


# --- observations


def observed(seed: int = 1, num_steps: int = 6) -> list[dict[str, np.ndarray]]:
    """Return the bare environment's observations of some steps, of which some have a history."""
    env = single(max_steps=50, budget=1e4)
    found = [env.reset(seed=seed)[0]]
    for slate in np.random.default_rng(seed).integers(40, size=(num_steps, 4)):
        found.append(env.step(slate)[0])
    consumed = [int((o["history_items"] >= 0).sum()) for o in found]
    assert set(consumed) == {0, 1, 2, 3}
    return found


def test_pooled_features_are_numbers_means_and_the_share_of_history():
    env = FlatObservation(single())
    embeddings = single().world.catalog.embeddings.astype(np.float64)
    assert env.observation_space.shape == (2 + 6 + 6 + 2 + 1,)
    for observation in observed():
        items, feedback = observation["history_items"], observation["history_feedback"]
        there = items >= 0
        means = np.zeros(8)
        if there.any():
            means = np.concatenate([embeddings[items[there]].mean(axis=0), feedback[there].mean(axis=0)])
        flat = env.observation(observation)
        assert flat.dtype == np.float32
        np.testing.assert_array_equal(flat[:8], [*observation["clock"], *observation["profile"]])
        np.testing.assert_allclose(flat[8:16], means, atol=1e-6)
        assert flat[16] == np.float32(there.sum() / 3)


def test_embedded_features_are_numbers_embeddings_and_feedback():
    env = FlatObservation(single(), history="embedded")
    embeddings = single().world.catalog.embeddings
    for observation in observed():
        rows = [embeddings[item] if item >= 0 else np.zeros(6) for item in observation["history_items"]]
        expected = [*observation["clock"], *observation["profile"], *np.ravel(rows)]
        expected += np.ravel(observation["history_feedback"]).tolist()
        np.testing.assert_array_equal(env.observation(observation), np.array(expected, np.float32))


@pytest.mark.parametrize("history", ["pooled", "embedded"])
def test_features_have_finite_bounds_and_leave_ids_out(history: str):
    plain_space = FlatObservation(single(), history).observation_space
    assert isinstance(plain_space, gymnasium.spaces.Box)
    assert plain_space.is_bounded()
    assert (np.abs([plain_space.low, plain_space.high]) <= 1.0).all()
    assert FlatObservation(single(num_candidates=7), history).observation_space == plain_space


def test_item_tokens_are_ids_plus_one_and_zero_is_padding():
    env = HistoryTokens(single())
    assert (env.num_tokens, env.ids) == (41, None)
    for observation in observed():
        tokens = env.observation(observation)
        assert set(tokens) == {"profile", "history_tokens", "history_feedback", "clock"}
        assert tokens["history_tokens"].dtype == np.int32
        assert tokens["history_tokens"].tolist() == [item + 1 for item in observation["history_items"].tolist()]
        assert plain(tokens["profile"]) == plain(observation["profile"])


def test_semantic_tokens_have_numbers_of_their_own_at_each_level():
    env = HistoryTokens(single(), "semantic", **CODES)
    assert env.ids is not None
    sizes = env.ids.level_sizes
    assert env.num_tokens == 1 + sum(sizes)
    for observation in observed():
        expected = []
        for item in observation["history_items"].tolist():
            code = [-1, -1, -1] if item < 0 else env.ids.codes[item].tolist()
            expected += [0 if item < 0 else 1 + sum(sizes[:level]) + token for level, token in enumerate(code)]
        tokens = env.observation(observation)["history_tokens"]
        assert tokens.dtype == np.int32
        assert tokens.tolist() == expected


# --- what is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FlatObservation(single(), "flat"), "unknown history 'flat'; "),
        (lambda: HistoryTokens(single(), "item"), "unknown tokens 'item'; did you mean 'items'? choose one of: items,"),
        (
            lambda: HistoryTokens(single(), codebook_size=4),
            "tokens='items' takes no ids and no options of theirs; leave",
        ),
        (
            lambda: SemanticIdAction(single(), codebooks=4),
            "unknown semantic ID option 'codebooks'; did you mean 'num_co",
        ),
        (
            lambda: SemanticIdAction(single(), codebook_size=0),
            "codebook_size=0 is outside [1, 65536]; set codebook_size",
        ),
        (
            lambda: SemanticIdAction(single(), SemanticIds.fit(Catalog.from_arrays(np.eye(6)))),
            "ids of type SemanticIds are not the codes of these 40 items; pass what SemanticIds.fit(catalog, config)",
        ),
        (
            lambda: SemanticIdAction(single(), SemanticIds.fit(single().world.catalog), seed=1),
            "options={'seed': 1} were given beside ids, which have their own; leave one of the two out",
        ),
        (lambda: ProtoAction(gymnasium.make("CartPole-v1")), "env=<TimeLimit<OrderEnforcing<PassiveEnvChecker<Cart"),
        (
            lambda: VectorProtoAction(SyncVectorEnv([single])),
            "env=SyncVectorEnv(num_envs=1) has no catalogue; pass a R",
        ),
        (
            lambda: ProtoAction(FlatObservation(single(num_candidates=7))),
            "env=<FlatObservation<RecSessionEnv instance>> has no observation 'candidates'; put this wrapper",
        ),
        (
            lambda: VectorSemanticIdAction(VectorFlatObservation(vector(2, **OFFERS["available"]))),
            "env=<VectorFlatObservation, RecSessionVectorEnv(num_envs=2)> has no observation 'available'; put this",
        ),
        (
            lambda: FlatObservation(FilterObservation(single(), ["profile"])),
            "env=<FilterObservation<RecSessionEnv instance>> has no observation 'history_items'; put this wrapper",
        ),
        (
            lambda: VectorHistoryTokens(VectorHistoryTokens(vector(2))),
            "env=<VectorHistoryTokens, RecSessionVectorEnv(num_envs=2)> has no observation 'history_items'; put this",
        ),
    ],
)
def test_bad_wrappings_are_refused_in_one_line(make: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
