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
    CandidateAction,
    Catalog,
    FlatObservation,
    HistoryTokens,
    InvalidInput,
    ProtoAction,
    SemanticIdAction,
    SingleItemAction,
    VectorFlatObservation,
    VectorHistoryTokens,
    VectorProtoAction,
    VectorSemanticIdAction,
    VectorSingleItemAction,
)
from recenv.item_codes.semantic_ids import SemanticIds
from tests.recenv.envs.wrapper_cases import CODES, MODES, OFFERS, WRAPPERS, plain, single, vector
from tests.strategies.worlds import SMALL

pytestmark = pytest.mark.kernels


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
        assert ("action_mask" in infos) == ("action_mask" in their_infos) == (name in ("places", "semantic", "nearest"))
        assert plain(infos) == plain(their_infos)
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
            lambda: SemanticIdAction(single(), SemanticIds.fit(single(world_seed=5).world.catalog)),
            "ids of type SemanticIds are not the codes of these 40 items; pass what SemanticIds.fit(catalog, config)",
        ),
        (
            lambda: HistoryTokens(single(), "semantic", SemanticIds.fit(single(world_seed=5).world.catalog)),
            "ids of type SemanticIds are not the codes of these 40 items; pass what SemanticIds.fit(catalog, config)",
        ),
        (
            lambda: SemanticIdAction(single(), SemanticIds.fit(single().world.catalog), seed=1),
            "options seed were given beside ids, which have their own; leave one of the two out",
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
            "CandidateAction of places among the candidates, and SemanticIdAction of codes; use one of them, once",
        ),
        (
            lambda: CandidateAction(SingleItemAction(single(slate_size=1))),
            "CandidateAction cannot wrap env=<SingleItemAction<RecSessionEnv instance>>: SingleItemAction makes the "
            "slate of one item an integer, outside what else changes actions; use one of them, once",
        ),
        (
            lambda: SingleItemAction(single()),
            "env=<RecSessionEnv instance> acts by MultiDiscrete of shape (4,), not by one integer; pass slate_size=1, "
            "and no wrapper inside but CandidateAction",
        ),
        (
            lambda: VectorSingleItemAction(VectorProtoAction(vector(2, slate_size=1))),
            "env=<VectorProtoAction, RecSessionVectorEnv(num_envs=2)> acts by Box of shape (6,), not by one integer; ",
        ),
        (
            lambda: FlatObservation(single(), candidates=True),
            "candidates=True, and no observation is named 'candidates'; make the world with num_candidates=C, put",
        ),
        (lambda: FlatObservation(single(), candidates="all"), "candidates='all' is not a bool; use True or False"),  # type: ignore[arg-type]
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
