"""What a policy may be called by: a file, or a class of the caller's own."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import pytest

from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.files import save_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.serving.behavior_adapter import AgentBehavior
from agents.training.evaluation import roll_out
from offline_data.behavior.base import make_behavior
from offline_data.behavior.uniform import UniformPolicy
from offline_data.collection.rollout import play_sessions
from offline_data.dial.quality import evaluate_returns
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world
from recsession.policy_names import find_policy

WORLD = make_world(SessionConfig())


def test_the_expert_of_the_world_is_a_policy_and_where_there_is_none_a_return_is_told_all_the_same(run):
    small = ("--set", "num_items=30", "slate_size=3", "max_steps=6")
    told = [
        run("evaluate", "--policy", policy, "--num-sessions", 20, *small, "user_model=boredom_cascade")
        for policy in ("world_expert", "diversified")
    ]
    assert told[0] == told[1]
    assert "diversified = 1" in told[0][1]
    shopper = "user_model=tests.outside_parts.window_shopper:WindowShopper"
    code, out, err = run("evaluate", "--policy", "uniform", "--num-sessions", 20, *small, shopper)
    assert (code, err) == (0, "")
    first, second = out.splitlines()
    assert first.startswith("session return")
    assert second.startswith(
        "normalised score    none: the user model WindowShopper names no expert, and no score has a"
    )
    code, out, _ = run("evaluate", "--policy", "uniform", "--num-sessions", 20, *small, shopper, "--expert", "expert")
    assert code == 0
    assert "expert = 1" in out


OWN_POLICIES = """
import numpy as np
from offline_data.behavior.base import BehaviorPolicy
from offline_data.behavior.uniform import UniformPolicy
from recenv.errors import InvalidInput

NOT_A_CLASS = 3

class FirstItems:
    def act(self, observation):
        count = len(observation["profile"])
        assert set(observation) == {"profile", "history_items", "history_feedback", "clock"}
        return np.tile(np.arange(10), (count, 1))

class Subclass(UniformPolicy):
    pass

class NoAct:
    pass

class ActIsNoMethod:
    act = 3

class NeedsArguments:
    def __init__(self, path):
        self.path = path

class NoConfig(BehaviorPolicy):
    num_draws = 0
    def act(self, view, draws, memory): ...
    def log_prob(self, view, action, memory): ...

class Abstract(BehaviorPolicy):
    pass

class TooShort:
    def act(self, observation):
        return np.zeros((len(observation["profile"]), 9), int)

class Floats:
    def act(self, observation):
        return np.zeros((len(observation["profile"]), 10))

class OutOfCatalogue:
    def act(self, observation):
        return np.full((len(observation["profile"]), 10), 1000)
"""


@pytest.fixture
def own_module(tmp_path, monkeypatch) -> Iterator[str]:
    """Name of a module of the caller's own in the working directory."""
    (tmp_path / "own_policies.py").write_text(OWN_POLICIES)
    (tmp_path / "broken_policies.py").write_text("def act(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # what the command line does with the working directory
    yield "own_policies"
    for name in ("own_policies", "broken_policies"):
        sys.modules.pop(name, None)


def test_file_gives_the_policy_and_its_world(build_policy, config, tmp_path, monkeypatch):
    actor = build_policy(initial_scale=0.5)
    save_policy(tmp_path / "policy", actor)
    save_policy(tmp_path / "a:b", actor)
    for name in (str(tmp_path / "policy"), str(tmp_path / "a:b")):
        policy, world = find_policy(name, WORLD, {})
        assert isinstance(policy, AgentBehavior)
        assert policy.action_kind == "proto"
        assert policy.config.deterministic
        assert world.config == config
    sampled, world = find_policy(str(tmp_path / "policy"), WORLD, {}, deterministic=False)
    expected = roll_out(actor, world, 20, 4, deterministic=False)
    assert np.array_equal(evaluate_returns(world, sampled, 20, 4, "evaluation"), expected)
    monkeypatch.chdir(tmp_path)
    assert isinstance(find_policy("policy", WORLD, {})[0], AgentBehavior)


def test_callers_own_class_acts_in_the_default_world(own_module):
    policy, world = find_policy(f"{own_module}:FirstItems", WORLD, {})
    assert world.config == SessionConfig()
    assert policy.action_kind == "slate"
    returns = evaluate_returns(world, policy, 30, 0, "evaluation")
    assert np.array_equal(evaluate_returns(world, policy, 30, 0, "evaluation"), returns)
    # What it shows is the first ten items, to everybody.
    seeds = np.arange(3, dtype=np.uint64)
    played = play_sessions(world, policy, seeds, seeds)
    assert (played.columns["slate"] == np.arange(10)).all()
    assert np.isnan(played.columns["behavior_log_prob"]).all()
    with pytest.raises(InvalidInput, match="has no log-probability; it can be rolled out, not weighted"):
        policy.log_prob(None, None, None)  # type: ignore[arg-type]


def test_behavior_policy_subclass_is_taken_as_it_is(own_module):
    for name in (f"{own_module}:Subclass", "offline_data.behavior.uniform:UniformPolicy"):
        policy, world = find_policy(name, WORLD, {})
        assert isinstance(policy, UniformPolicy)
        assert policy.action_kind == "slate"
        expected = evaluate_returns(world, make_behavior(world, "uniform"), 20, 0, "evaluation")
        assert np.array_equal(evaluate_returns(world, policy, 20, 0, "evaluation"), expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "unknown policy 'missing'; did you mean .* or pass a JSON spec, a policy file or MODULE:CLASS"),
        ("own_policies:Missing", "there is no class of that name; pass MODULE:CLASS"),
        ("own_policies:", "there is no class of that name; pass MODULE:CLASS"),
        ("own_policies:NOT_A_CLASS", "there is no class of that name"),
        (
            "no_such_module:Policy",
            r"cannot import 'no_such_module' \(ModuleNotFoundError: No module named 'no_such_module'\)",
        ),
        (":Policy", r"cannot import '' \(ValueError: Empty module name\)"),
        (".relative:Policy", r"cannot import '.relative'"),
        ("broken_policies:Policy", r"cannot import 'broken_policies' \(SyntaxError: invalid syntax"),
        ("own_policies:NoAct", r"has no method act\(observation\); give it one that returns integer slates"),
        ("own_policies:ActIsNoMethod", r"has no method act\(observation\)"),
        ("own_policies:NeedsArguments", r"cannot be made .*'path'.*; give the class a constructor without arguments"),
        ("own_policies:NoConfig", r"cannot be made .*Config.*; give the class a constructor without arguments"),
        ("own_policies:Abstract", r"cannot be made \("),
    ],
)
def test_what_is_no_policy_is_refused_in_one_line(own_module, name, message):
    with pytest.raises(InvalidInput, match=message) as refusal:
        find_policy(name, WORLD, {})
    assert name in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("TooShort", r"action has shape \(5, 9\); pass integer item ids of shape \(5, 10\)"),
        ("Floats", "action has dtype float64"),
        ("OutOfCatalogue", r"action holds item id 1000; ids lie in \[0, 999\]"),
    ],
)
def test_wrong_slates_of_a_callers_policy_are_refused(own_module, name, message):
    policy, world = find_policy(f"{own_module}:{name}", WORLD, {})
    with pytest.raises(InvalidInput, match=message):
        evaluate_returns(world, policy, 5, 0, "evaluation")


def test_default_policy_fits_the_default_world(tmp_path):
    save_policy(
        tmp_path / "policy", make_policy(SessionSpace.of_world(make_world(SessionConfig())), GaussianPolicyConfig())
    )
    policy, world = find_policy(str(tmp_path / "policy"), WORLD, {})
    assert world is make_world(SessionConfig())
    assert evaluate_returns(world, policy, 5, 0, "evaluation").shape == (5,)
