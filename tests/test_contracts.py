"""What every part of a family promises: one parametrised check for each registry, which a new part inherits."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import sys
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from agents.objectives import OBJECTIVES, Objective
from offline_data.behavior import ACTION_KINDS, BEHAVIORS, BehaviorPolicy, make_behavior
from offline_data.collection import mixture_spec
from offline_data.ope import ESTIMATORS, LoggedSessions, SessionStatistics, estimate
from recenv.errors import InvalidInput
from recenv.registry import Registry
from recenv.session_batch import World, make_world
from recenv.session_config import SessionConfig
from recenv.user_models import USER_MODELS, UserModel

ROOT = Path(__file__).resolve().parent.parent
REGISTRIES: dict[str, tuple[Registry[Any], type | None]] = {
    "user model": (USER_MODELS, UserModel),
    "behavior policy": (BEHAVIORS, BehaviorPolicy),
    "objective": (OBJECTIVES, Objective),
    "estimator": (ESTIMATORS, None),  # a protocol: any class without constructor arguments
}
PARTS = [(kind, name) for kind, (registry, _) in REGISTRIES.items() for name in registry.registered()]
CONFIGURED = [(kind, name) for kind, name in PARTS if hasattr(REGISTRIES[kind][0].get(name), "Config")]
# A part whose defaults alone mean nothing, and options with which it does.
OPTIONS: dict[tuple[str, str], dict[str, Any]] = {
    ("behavior policy", "mixture"): {"components": ["expert", "uniform"], "weights": [0.5, 0.5]},
}
OBJECTIVE_NEEDS = {"mass", "density", "groups", "propensities", "reward_vector", "score"}
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
    with pytest.raises(KeyError, match=f"{taken}' is registered twice"):
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


def documented_fields(config: type) -> set[str]:
    """Return the fields that a config class says something about: under `Attributes:`, or in a string below them."""
    found = set()
    for base in config.__mro__[:-1]:
        lines = [line.strip() for line in inspect.cleandoc(base.__doc__ or "").splitlines()]
        attributes = lines[lines.index("Attributes:") + 1 :] if "Attributes:" in lines else []
        found |= {line.partition(":")[0] for line in attributes if line.partition(":")[2].strip()}
        body = ast.parse(inspect.cleandoc(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
                found.add(field.target.id)
    return found


def test_documentation_rule_can_fail():
    @dataclasses.dataclass
    class Half:
        """Half documented.

        Attributes:
            said: something.
            empty:
        """

        said: int = 0
        empty: int = 0
        unsaid: int = 0
        below: int = 0
        """Said here."""

    assert documented_fields(Half) == {"said", "below"}


@every_config
def test_config_is_a_frozen_documented_dataclass(kind, name):
    config: Any = part_of(kind, name).Config
    assert vars(config)["__dataclass_params__"].frozen
    assert config.__doc__
    assert not config.__doc__.startswith(f"{config.__name__}("), "the docstring is the one that dataclasses make"
    fields = {field.name for field in dataclasses.fields(config)}
    assert fields <= documented_fields(config)
    assert set(get_type_hints(config)) >= fields


@every_config
def test_config_is_made_of_defaults_and_plain_values(kind, name):
    config = part_of(kind, name).Config
    for field in dataclasses.fields(config):
        assert field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    made = config_of(kind, name)
    assert made == config_of(kind, name)
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


@pytest.mark.parametrize("name", USER_MODELS.registered())
def test_user_model_makes_a_world(name):
    model = USER_MODELS.get(name)
    assert model.Config.name == name
    world = make_world(SessionConfig().override(user_model=name, num_items=20, slate_size=3))
    assert isinstance(world.user_model, model)
    assert SessionConfig.from_json(world.config.to_json()) == world.config
    assert world.user_model.feedback_names[0] == "click"
    assert world.user_model.reward_weights.shape == (len(world.user_model.reward_names),)


@pytest.mark.parametrize("kind", ACTION_KINDS)
@pytest.mark.parametrize("name", BEHAVIORS.registered())
def test_behavior_policy_is_made_from_a_json_able_spec(tiny, name, kind):
    options = OPTIONS.get(("behavior policy", name), {})
    policy = make_behavior(tiny, json.loads(json.dumps({"name": name, **options})), kind)
    assert isinstance(policy, BEHAVIORS.get(name))
    assert policy.action_kind == kind
    assert isinstance(policy.config, BEHAVIORS.get(name).Config)
    assert policy.num_draws >= 1
    with pytest.raises(InvalidInput, match="unknown behavior option 'tempratur'"):
        make_behavior(tiny, {"name": name, **options, "tempratur": 1.0}, kind)


@pytest.mark.parametrize("name", sorted(set(BEHAVIORS.registered()) - {"mixture", "expert"}))
def test_every_behavior_policy_can_be_the_noise(tiny, name):
    policy = make_behavior(tiny, mixture_spec(0.3, name))
    assert policy.config.weights == [0.3, 0.7]


@pytest.mark.parametrize("name", OBJECTIVES.registered())
def test_objective_says_what_it_needs_from_what_there_is(name):
    objective = OBJECTIVES.get(name)
    assert isinstance(objective.needs, frozenset)
    assert objective.needs <= OBJECTIVE_NEEDS
    assert not {"mass", "density"} <= objective.needs
    assert "refresh" in vars(objective) or "score" in objective.needs


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
