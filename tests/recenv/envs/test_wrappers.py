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

from recenv import (
    Catalog,
    FlatObservation,
    HistoryTokens,
    InvalidInput,
    ProtoAction,
    RecSessionEnv,
    RecSessionVectorEnv,
    SemanticIdAction,
    VectorFlatObservation,
    VectorHistoryTokens,
    VectorProtoAction,
    VectorSemanticIdAction,
)
from recenv.item_codes.semantic_ids import SemanticIds
from tests.strategies.worlds import SMALL

pytestmark = pytest.mark.kernels

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
    "nearest": (SemanticIdAction, VectorSemanticIdAction, {"invalid": "nearest", **CODES}),
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
    rng = np.random.default_rng(1)
    (observation, infos), (expected, their_infos) = ours.reset(seed=20), theirs.reset(seed=20)
    ended = 0
    for _ in range(30):
        assert plain(observation) == plain(expected)
        assert ours.observation_space.contains(observation)
        assert ("action_mask" in infos) == ("action_mask" in their_infos) == (name in ("semantic", "nearest"))
        if "action_mask" in infos:
            there = their_infos["_action_mask"]
            np.testing.assert_array_equal(infos["action_mask"][there], their_infos["action_mask"][there])
        actions = ours.action_space.sample()
        if name == "nearest":
            actions = rng.integers(ours.action_space.nvec)
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
            "VectorHistoryTokens cannot wrap env=<VectorHistoryTokens, RecSessionVectorEnv(num_envs=2)>: "
            "FlatObservation makes features of the history, and HistoryTokens tokens; use one of them, once",
        ),
        (
            lambda: FlatObservation(HistoryTokens(single())),
            "FlatObservation cannot wrap env=<HistoryTokens<RecSessionEnv instance>>: FlatObservation makes features",
        ),
        (
            lambda: HistoryTokens(gymnasium.wrappers.TimeLimit(FlatObservation(single()), 5)),
            "HistoryTokens cannot wrap env=<TimeLimit<FlatObservation<RecSessionEnv instance>>>: FlatObservation makes",
        ),
        (
            lambda: ProtoAction(ProtoAction(single())),
            "ProtoAction cannot wrap env=<ProtoAction<RecSessionEnv instance>>: ProtoAction makes a slate of a point, "
            "and SemanticIdAction of codes; use one of them, once",
        ),
        (
            lambda: SemanticIdAction(FlatObservation(ProtoAction(single()))),
            "SemanticIdAction cannot wrap env=<FlatObservation<ProtoAction<RecSessionEnv instance>>>: ProtoAction",
        ),
        (
            lambda: VectorProtoAction(VectorSemanticIdAction(vector(2))),
            "VectorProtoAction cannot wrap env=<VectorSemanticIdAction, RecSessionVectorEnv(num_envs=2)>: ProtoAction",
        ),
        (
            lambda: SemanticIdAction(single(), invalid="nearst"),
            "unknown invalid 'nearst'; did you mean 'nearest'? choose one of: nearest, raise",
        ),
        (
            lambda: VectorSemanticIdAction(vector(2), invalid="hide"),
            "unknown invalid 'hide'; choose one of: nearest, raise",
        ),
        *(
            (
                lambda own=own: own(vector(2)),  # type: ignore[arg-type]
                f"{own.__name__} takes a single environment and env=RecSessionVectorEnv(num_envs=2) is a vector one; "
                f"use Vector{own.__name__}",
            )
            for own in (ProtoAction, SemanticIdAction, FlatObservation, HistoryTokens)
        ),
        *(
            (
                lambda own=own: own(single()),  # type: ignore[arg-type]
                f"{own.__name__} takes a vector environment and env=<RecSessionEnv instance> is a single one; use "
                f"{own.__name__.removeprefix('Vector')}",
            )
            for own in (VectorProtoAction, VectorSemanticIdAction, VectorFlatObservation, VectorHistoryTokens)
        ),
        (lambda: ProtoAction("RecSession-v0"), "ProtoAction takes a single environment, not a str; pass a RecSession"),  # type: ignore[arg-type]
    ],
)
def test_bad_wrappings_are_refused_in_one_line(make: Any, message: str):
    with pytest.raises(InvalidInput) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
