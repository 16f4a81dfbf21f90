"""What every part of a family promises: one parametrised check for each registry, which a new part inherits."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from agents.families import ENCODERS, OBJECTIVES, POLICIES
from agents.nn.encoders.base import SessionEncoder
from agents.objectives.base import NEEDS, Objective
from agents.policies.base import Policy
from offline_data.behavior.base import ACTION_KINDS, BehaviorPolicy, make_behavior
from offline_data.dial.quality import mixture_spec
from offline_data.families import BEHAVIORS, ESTIMATORS
from offline_data.ope.base import estimate
from offline_data.ope.sessions import LoggedSessions, SessionStatistics
from recenv.dynamics.choice_models.base import ChoiceModel
from recenv.dynamics.kernel_groups import Response, State
from recenv.dynamics.pieces.base import Piece
from recenv.dynamics.user_models.base import UserModel
from recenv.engine.session_batch import SessionBatch, StepOutcome
from recenv.envs.session_env import observation_space
from recenv.errors import InvalidInput
from recenv.families import CHOICE_MODELS, PIECES, USER_MODELS
from recenv.plain_config import field_meanings, from_plain, to_plain
from recenv.registry import Registry
from recenv.session_config import SECTION_PIECES, SessionConfig
from recenv.world import World, make_world
from tests.strategies.worlds import EVERY_PIECE, small_worlds

ROOT = Path(__file__).resolve().parent.parent
REGISTRIES: dict[str, tuple[Registry[Any], type | None]] = {
    "user model": (USER_MODELS, UserModel),
    "choice model": (CHOICE_MODELS, ChoiceModel),
    "piece": (PIECES, Piece),
    "behavior policy": (BEHAVIORS, BehaviorPolicy),
    "objective": (OBJECTIVES, Objective),
    "policy": (POLICIES, Policy),
    "encoder": (ENCODERS, SessionEncoder),
    "estimator": (ESTIMATORS, None),  # a protocol: any class without constructor arguments
}
PARTS = [(kind, name) for kind, (registry, _) in REGISTRIES.items() for name in registry.registered()]
CONFIGURED = [(kind, name) for kind, name in PARTS if hasattr(REGISTRIES[kind][0].get(name), "Config")]
# A part whose defaults alone mean nothing, and options with which it does.
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("behavior policy", "mixture"): {"components": ["expert", "uniform"], "weights": [0.5, 0.5]},
    ("behavior policy", "softmax"): {"weights": {"quality": 1.0, "log_popularity": -0.5}},
}
ESTIMATOR_NEEDS = {"q_value", "state_value"}

every_kind = pytest.mark.parametrize("kind", REGISTRIES)
every_part = pytest.mark.parametrize(("kind", "name"), PARTS)
every_config = pytest.mark.parametrize(("kind", "name"), CONFIGURED)


def part_of(kind: str, name: str) -> Any:
    return REGISTRIES[kind][0].get(name)


def config_of(kind: str, name: str) -> Any:
    return part_of(kind, name).Config(**OPTIONS.get((kind, name), {}))


@pytest.fixture(scope="module")
def tiny() -> World:
    return make_world(SessionConfig().override(num_items=20, slate_size=3, max_steps=4, embedding_dim=3, num_topics=2))


# --- the registries


def test_every_registry_of_the_packages_is_here():
    known = {id(registry) for registry, _ in REGISTRIES.values()}
    found = {
        id(value): f"{name}.{key}"
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in ("recenv", "offline_data", "agents")
        for key, value in vars(module).items()
        if isinstance(value, Registry)
    }
    assert set(found) == known, found


@every_kind
def test_names_are_sorted_and_found(kind):
    registry, base = REGISTRIES[kind]
    names = registry.registered()
    assert names == tuple(sorted(set(names)))
    assert names
    assert registry.kind == kind
    for name in names:
        part = registry.get(name)
        assert inspect.isclass(part)
        assert base is None or issubclass(part, base)
        assert not inspect.isabstract(part)
        assert name == name.lower()
        assert name.isidentifier()


@every_kind
def test_unknown_name_suggests_the_nearest(kind):
    registry, _ = REGISTRIES[kind]
    name = registry.registered()[-1]
    with pytest.raises(InvalidInput, match=f"unknown {kind} '{name}x'; did you mean '{name}'") as refusal:
        registry.get(f"{name}x")
    for known in registry.registered():
        assert known in str(refusal.value)
    with pytest.raises(InvalidInput, match=f"unknown {kind} '%%'; choose one of"):
        registry.get("%%")


@every_kind
def test_a_name_is_given_once(kind):
    registry, _ = REGISTRIES[kind]
    taken = registry.registered()[0]
    before = registry.get(taken)
    with pytest.raises(InvalidInput, match=f"{taken}' is registered twice"):
        registry.register(taken)(object)
    assert registry.get(taken) is before


@every_part
def test_a_part_is_documented_and_has_a_test_file(kind, name):
    part = part_of(kind, name)
    assert "__doc__" in vars(part)
    assert part.__doc__
    file = Path(inspect.getfile(part)).resolve().relative_to(ROOT)
    test = ROOT / "tests" / file.parent / f"test_{file.name}"
    assert test.is_file(), f"{file} registers the {kind} {name!r} and has no test file {test.relative_to(ROOT)}"
    assert ast.parse(Path(test).read_text()).body


# --- configs


@every_config
def test_config_is_a_frozen_documented_dataclass(kind, name):
    config: Any = part_of(kind, name).Config
    assert vars(config)["__dataclass_params__"].frozen
    assert config.__doc__
    assert not config.__doc__.startswith(f"{config.__name__}("), "the docstring is the one that dataclasses make"
    fields = {field.name for field in dataclasses.fields(config)}
    assert fields <= set(field_meanings(config))
    assert set(get_type_hints(config)) >= fields


@every_config
def test_config_is_made_of_defaults_and_plain_values(kind, name):
    config = part_of(kind, name).Config
    for field in dataclasses.fields(config):
        assert field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    made = config_of(kind, name)
    assert made == config_of(kind, name)
    if kind in ("policy", "encoder", "objective"):
        assert from_plain(config, json.loads(json.dumps(to_plain(made)))) == made
    else:
        plain = json.loads(json.dumps(dataclasses.asdict(made)))
        assert dataclasses.asdict(config(**plain)) == dataclasses.asdict(made)
    if (kind, name) in OPTIONS:
        with pytest.raises(InvalidInput):
            config()


@every_config
def test_config_refuses_what_is_no_number(kind, name):
    config = part_of(kind, name).Config
    numbers = [field.name for field in dataclasses.fields(config) if field.type in ("int", "float")]
    for field in numbers:
        for wrong in (float("nan"), "1", None, True):
            with pytest.raises(InvalidInput, match=f"^{field}={wrong!r} is not "):
                config(**{field: wrong})


# --- each family's own


every_user_model = pytest.mark.parametrize("name", USER_MODELS.registered())
CLICK_ALL = {"name": "position_based", "relevance_midpoint": -1e6, "position_decay": 1.0}


def played(world: World, num_sessions: int = 200, num_steps: int = 14) -> Iterator[tuple[SessionBatch, StepOutcome]]:
    """Yield a batch of sessions, and what each step of random slates with repeats gave."""
    batch = SessionBatch(world, num_sessions)
    indices = np.arange(num_sessions)
    batch.start(indices, indices.astype(np.uint64), indices % 3)
    rng = np.random.default_rng(5)
    for _ in range(num_steps):
        slates = rng.integers(world.catalog.num_items, size=(num_sessions, world.config.slate_size))
        yield batch, batch.step(slates)


def copies(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key: values.copy() for key, values in arrays.items()}


def respond(
    world: World, state: State, draws: np.ndarray, clicked: np.ndarray, active: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what a user model writes about the slate 0, 1, 2, ..., and the state that it leaves."""
    count, size = len(draws), world.config.slate_size
    state = copies(state)
    written = {
        "feedback": np.zeros((count, size, world.num_feedback), np.float32),
        "rewards": np.zeros((count, len(world.reward_names)), np.float32),
        "wanted": np.full(clicked.shape, -7.0),
        "benefit": np.full(clicked.shape, -7.0),
        "left": np.ones(count, np.bool_),
        "returned": np.zeros(count, np.bool_),
    }
    slates = np.tile(np.arange(size, dtype=np.int32), (count, 1))
    world.user_model.respond(state, Response(slates, clicked, draws, active, *written.values()))
    return {**written, **state}


@every_user_model
def test_user_model_makes_a_world(name):
    model = USER_MODELS.get(name)
    assert model.Config.name == name
    world = make_world(SessionConfig().override(user_model=name, num_items=20, slate_size=3))
    assert isinstance(world.user_model, model)
    assert SessionConfig.from_json(world.config.to_json()) == world.config
    assert world.user_model.feedback_names[0] == "click"
    assert world.user_model.reward_weights.shape == (len(world.user_model.reward_names),)
    assert world.reward_weights.shape == (len(world.reward_names),) == (len(set(world.reward_names)),)
    assert -1 <= model.watch_channel < len(model.feedback_names)
    assert model.watch_channel != 0
    assert -1 <= model.minutes_reward < len(model.reward_names)


@every_user_model
def test_user_model_brings_the_world_that_it_says(name):
    model = USER_MODELS.get(name)
    config = SessionConfig().override(user_model=name)
    assert set(model.defaults) <= {field.name for field in dataclasses.fields(SessionConfig)} - {"user_model"}
    for key, value in model.defaults.items():
        assert getattr(config, key) is not None
        assert config.override(**{key: value}) == config
    off = set(SECTION_PIECES) - set(model.defaults)
    assert not any(config.piece_configs()[name] for name in off)
    assert set(model.requires) <= set(model.defaults)
    for section in model.requires:
        with pytest.raises(InvalidInput, match=f"^{section}=None, and user_model '{name}' needs that piece"):
            config.override(**{section: None})


@every_user_model
def test_user_model_starts_what_its_layout_says(name):
    world = make_world(small_worlds()[name])
    model, layout = world.user_model, world.user_model.state_layout()
    assert layout["interest"] == ((world.catalog.embedding_dim,), np.float32)
    assert not set(layout) & set(world.pieces.state_layout())
    state = model.start(np.random.default_rng(0).uniform(size=(50, model.num_initial_draws())))
    assert {key: (values.shape, values.dtype) for key, values in state.items()} == {
        key: ((50, *shape), np.dtype(dtype)) for key, (shape, dtype) in layout.items()
    }
    for key, values in state.items():
        assert np.isfinite(values).all(), key
    # Every draw counts, and each user's own alone.
    assert len(np.unique(state["interest"], axis=0)) > 1


@every_user_model
def test_user_model_tells_an_oracle_what_an_item_is_worth(name):
    world = make_world(small_worlds()[name])
    model, num_items = world.user_model, world.catalog.num_items
    *_, (batch, _) = played(world)
    worth = model.worth(batch.state)
    assert (worth.shape, worth.dtype) == ((200, world.catalog.embedding_dim), np.float32)
    for values, dtype in ((model.item_utility, np.float32), (model.item_worth, np.float64)):
        assert (values.shape, values.dtype) == ((num_items,), dtype)
        assert np.isfinite(values).all()
    assert np.isfinite(worth).all()
    assert isinstance(model.affinity_weight, float)
    assert worth.any() or model.item_worth.any()
    np.testing.assert_array_equal(model.worth({key: values[7:9] for key, values in batch.state.items()}), worth[7:9])


@every_user_model
@pytest.mark.parametrize("choice", ["multinomial_logit", "exponential_cascade", "position_based", "all", None])
@pytest.mark.parametrize("pieces", [{}, EVERY_PIECE], ids=["own pieces", "every piece"])
def test_user_model_answers_within_its_promises(name, choice, pieces):
    config = small_worlds()[name].override(**pieces)
    if choice is not None:
        config = config.override(choice=CLICK_ALL if choice == "all" else choice)
    world = make_world(config)
    space = observation_space(world)
    answered = np.zeros(world.num_feedback, np.bool_)
    for batch, outcome in played(world):
        feedback, vector = outcome.feedback, outcome.reward_vector
        assert ((feedback >= 0.0) & (feedback <= 1.0)).all()
        clicked = feedback[:, :, 0] == 1.0
        assert (clicked | (feedback[:, :, 0] == 0.0)).all()
        assert not feedback[~clicked].any()
        assert not (clicked & ~outcome.shown).any()
        assert np.isfinite(vector).all()
        np.testing.assert_allclose(outcome.reward, vector.astype(np.float64) @ world.reward_weights, atol=1e-9)
        for key, values in batch.state.items():
            assert np.isfinite(values).all(), key
        observation = batch.observe()
        for b in (0, 17, 111):
            assert {key: values[b] for key, values in observation.items()} in space
        answered |= feedback.any(axis=(0, 1))
    assert answered[0]


@every_user_model
def test_user_model_leaves_alone_who_is_not_there(name):
    world = make_world(small_worlds()[name].override(choice=CLICK_ALL))
    *_, (batch, _) = played(world, 30, 3)
    model, rng = world.user_model, np.random.default_rng(6)
    draws = rng.uniform(size=(30, model.num_response_draws()))
    clicked = np.tile(np.arange(4, dtype=np.int16), (30, 1))
    active = rng.uniform(size=30) < 0.5
    written = respond(world, batch.state, draws, clicked, active)
    for key in ("feedback", "rewards", "left"):
        assert not written[key][~active].any(), key
    for key, values in batch.state.items():
        np.testing.assert_array_equal(written[key][~active], values[~active])
    assert (written["feedback"][active][:, :, 0] == 1.0).all()
    assert np.isfinite(written["wanted"][active]).all()
    assert (written["wanted"][active] >= 0.0).all()
    assert np.isfinite(written["benefit"][active]).all()
    assert (written["benefit"][active] != -7.0).all()
    # The pieces' arrays are only read.
    for key in world.pieces.state_layout():
        np.testing.assert_array_equal(written[key], batch.state[key])


@every_user_model
def test_user_model_takes_no_more_draws_than_it_says(name):
    world = make_world(small_worlds()[name].override(choice=CLICK_ALL))
    model, rng = world.user_model, np.random.default_rng(7)
    start = rng.uniform(size=(40, model.num_initial_draws()))
    *_, (batch, _) = played(world, 40, 2)
    draws = rng.uniform(size=(40, model.num_response_draws() + 3))
    clicked = np.tile(np.arange(4, dtype=np.int16), (40, 1))
    everyone = np.ones(40, np.bool_)
    answers = []
    for tail in (0.25, np.nan):
        draws[:, model.num_response_draws() :] = tail
        answers.append(respond(world, batch.state, draws, clicked, everyone))
    # And alone, where the last of them is the last of the array.
    exact = draws[:, : model.num_response_draws()].copy()
    alone = [
        respond(
            world,
            {key: values[b : b + 1] for key, values in batch.state.items()},
            exact[b : b + 1],
            clicked[:1],
            everyone[:1],
        )
        for b in range(40)
    ]
    answers.append({key: np.concatenate([answer[key] for answer in alone]) for key in answers[0]})
    for key, values in answers[0].items():
        assert values.tobytes() == answers[1][key].tobytes() == answers[2][key].tobytes(), key
    begun = model.start(start)
    for b in (0, 23):
        for key, values in model.start(start[b : b + 1]).items():
            assert values.tobytes() == begun[key][b : b + 1].tobytes(), key


@every_user_model
def test_user_model_resumes_the_users_who_return_alone(name):
    world = make_world(small_worlds()[name])
    *_, (batch, _) = played(world, 60, 8)
    returned = np.arange(60) % 2 == 0
    after = copies(batch.state)
    world.user_model.resume(after, returned)
    for key, values in batch.state.items():
        np.testing.assert_array_equal(after[key][~returned], values[~returned])
        assert np.isfinite(after[key]).all()


@every_user_model
@pytest.mark.parametrize("pieces", [{}, EVERY_PIECE], ids=["own pieces", "every piece"])
def test_user_model_passes_gymnasiums_checker(name, pieces):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("RecSession-v0", config=small_worlds()[name].override(**pieces, expose_user_state=True))
        check_env(env.unwrapped)


@pytest.mark.parametrize("kind", ACTION_KINDS)
@pytest.mark.parametrize("name", BEHAVIORS.registered())
def test_behavior_policy_is_made_from_a_json_able_spec(tiny, name, kind):
    options, kinds = OPTIONS.get(("behavior policy", name), {}), BEHAVIORS.get(name).action_kinds
    spec = json.loads(json.dumps({"name": name, **options}))
    if kind not in kinds:
        with pytest.raises(InvalidInput, match=f"has no {kind} actions; pass action_kind='{kinds[0]}'"):
            make_behavior(tiny, spec, kind)
        return
    policy = make_behavior(tiny, spec, kind)
    assert isinstance(policy, BEHAVIORS.get(name))
    assert policy.action_kind == kind
    assert isinstance(policy.config, BEHAVIORS.get(name).Config)
    assert policy.num_draws >= 1
    with pytest.raises(InvalidInput, match="unknown behavior policy option 'tempratur'"):
        make_behavior(tiny, {"name": name, **options, "tempratur": 1.0}, kind)


@pytest.mark.parametrize("name", sorted(set(BEHAVIORS.registered()) - {"mixture", "expert"}))
def test_every_behavior_policy_can_be_the_noise(tiny, name):
    noise = {"name": name, **OPTIONS.get(("behavior policy", name), {})}
    policy = make_behavior(tiny, mixture_spec(0.3, noise), BEHAVIORS.get(name).action_kinds[0])
    assert policy.config.weights == [0.3, 0.7]


@pytest.mark.parametrize("name", OBJECTIVES.registered())
def test_objective_says_what_it_needs_from_what_there_is(name):
    objective = OBJECTIVES.get(name)
    assert isinstance(objective.needs, frozenset)
    assert objective.needs <= NEEDS.keys()
    assert not {"mass", "density"} <= objective.needs


@pytest.mark.parametrize("name", ESTIMATORS.registered())
def test_estimator_needs_no_more_than_it_says(name):
    estimator = ESTIMATORS.get(name)
    assert estimator.needs <= ESTIMATOR_NEEDS
    assert list(inspect.signature(estimator).parameters) == []
    rng = np.random.default_rng(0)
    behavior = rng.normal(size=7)
    columns: dict[str, Any] = {column: rng.normal(size=7) for column in estimator.needs}
    given: dict[str, Any] = {"offsets": np.array([0, 3, 4, 7]), "reward": rng.normal(size=7)}
    given |= {"behavior_log_prob": behavior, "target_log_prob": behavior + 0.1, "discount": 0.9}
    sessions = LoggedSessions(**given, **columns)
    statistics = estimator()(sessions)
    assert isinstance(statistics, SessionStatistics)
    assert statistics.numerator.shape == statistics.denominator.shape
    assert len(statistics.numerator) == len(statistics.weights) == 3
    answer = estimate(name, sessions, num_bootstrap=10)
    assert answer.estimator == name
    assert np.isfinite([answer.value, answer.low, answer.high]).all()
    for column in estimator.needs:
        with pytest.raises(InvalidInput, match=f"{column}=None, but this estimator needs a model"):
            estimator()(dataclasses.replace(sessions, **{column: None}))


@pytest.mark.parametrize("kind", ["policy", "encoder"])
def test_networks_part_has_its_name_in_its_config(kind):
    registry = REGISTRIES[kind][0]
    for name in registry.registered():
        assert registry.get(name).Config.name == name


@pytest.mark.parametrize("name", POLICIES.registered())
def test_policy_says_what_it_acts_by(name):
    assert POLICIES.get(name).action_kind in ACTION_KINDS
