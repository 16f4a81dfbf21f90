from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from agents.policies.files import save_policy
from agents.serving.behavior_adapter import AgentBehavior, AgentConfig
from offline_data.behavior.base import SessionView, make_behavior, pinned_spec
from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.rollout import play_sessions
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.random_streams import derive_seeds
from recenv.session_config import SessionConfig
from recenv.world import make_world

SEEDS = derive_seeds(7, "users", np.arange(30))
DRAWS = derive_seeds(7, "luck", np.arange(30))


@pytest.fixture
def first_view(world) -> SessionView:
    batch = SessionBatch(world, len(SEEDS))
    batch.start(np.arange(len(SEEDS)), SEEDS, np.zeros(len(SEEDS), np.uint64))
    return SessionView.of(batch)


def replayed_views(world, played):
    """Yield the view before each step of each session, and the row of it, by stepping the logged slates again."""
    for session in range(len(SEEDS)):
        batch = SessionBatch(world, 1)
        batch.start(np.array([0]), SEEDS[session : session + 1], np.zeros(1, np.uint64))
        for row in range(*played.offsets[session : session + 2]):
            yield row, SessionView.of(batch)
            batch.step(played.columns["slate"][row : row + 1])


def test_logged_log_probs_are_the_policys(world, build_policy, as_batch):
    actor = build_policy(initial_scale=0.4)
    played = play_sessions(world, AgentBehavior(world, AgentConfig(), actor=actor), SEEDS, DRAWS)
    assert len(played.columns["proto"]) > 100
    assert np.array_equal(
        played.columns["slate"], world.catalog.nearest_items(played.columns["proto"], world.config.slate_size)
    )
    assert not played.columns["component"].any()
    for row, view in replayed_views(world, played):
        distribution = actor.get_dist(as_batch(view.observation))
        proto = torch.from_numpy(played.columns["proto"][row : row + 1])
        assert distribution.log_prob(proto).item() == pytest.approx(
            played.columns["behavior_log_prob"][row], abs=1e-5, rel=1e-5
        )


def test_log_prob_of_any_action_is_that_of_act(world, build_policy, first_view):
    actor = build_policy(initial_scale=0.4)
    behavior = AgentBehavior(world, AgentConfig(), actor=actor)
    draws = np.random.default_rng(0).uniform(size=(len(SEEDS), behavior.num_draws))
    memory = np.zeros((len(SEEDS), 0))
    decision = behavior.act(first_view, draws, memory)
    log_prob, prefix = behavior.log_prob(first_view, decision.action, memory)
    assert prefix is None
    np.testing.assert_allclose(log_prob, decision.log_prob, atol=1e-5)
    assert (behavior.log_prob(first_view, decision.action + 3.0, memory)[0] < log_prob - 10).all()


def test_deterministic_takes_the_mean(world, build_policy, first_view, as_batch):
    actor = build_policy(initial_scale=0.4)
    behavior = AgentBehavior(world, AgentConfig(deterministic=True), actor=actor)
    rng = np.random.default_rng(0)
    first, second = (
        behavior.act(first_view, rng.uniform(size=(len(SEEDS), behavior.num_draws)), np.zeros((len(SEEDS), 0)))
        for _ in range(2)
    )
    assert np.array_equal(first.action, second.action)
    assert not first.log_prob.any()
    mean = actor.get_dist(as_batch(first_view.observation)).mean.detach().numpy()
    np.testing.assert_allclose(first.action, mean, atol=1e-6)


def test_stochastic_draws_have_the_policys_moments(world, build_policy, first_view, as_batch):
    actor = build_policy(initial_scale=0.4)
    behavior = AgentBehavior(world, AgentConfig(), actor=actor)
    one = SessionView(
        {name: np.repeat(values[:1], 4000, axis=0) for name, values in first_view.observation.items()},
        {},
        np.zeros(4000, np.uint64),
    )
    draws = np.random.default_rng(1).uniform(size=(4000, behavior.num_draws))
    action = behavior.act(one, draws, np.zeros((4000, 0))).action
    mean = actor.get_dist(as_batch({k: v[:1] for k, v in one.observation.items()})).mean.detach().numpy()
    # Kolmogorov-Smirnov on each of 4 coordinates: a false alarm in 1 of 10^5, were the seed not fixed.
    for coordinate in range(4):
        result = stats.kstest((action[:, coordinate] - mean[0, coordinate]) / 0.4, "norm")
        assert result.pvalue > 2.5e-6  # type: ignore[attr-defined]
    assert np.abs(np.corrcoef(action.T) - np.eye(4)).max() < 0.1


def test_sessions_do_not_depend_on_who_they_are_played_with(world, build_policy):
    behavior = AgentBehavior(world, AgentConfig(), actor=build_policy())
    whole = play_sessions(world, behavior, SEEDS, DRAWS)
    part = play_sessions(world, behavior, SEEDS[4:6], DRAWS[4:6])
    rows = slice(whole.offsets[4], whole.offsets[6])
    # The engine is exact; a matrix product of another height may round differently.
    np.testing.assert_allclose(part.columns["proto"], whole.columns["proto"][rows], atol=1e-5)
    np.testing.assert_allclose(part.columns["reward"], whole.columns["reward"][rows], atol=1e-5)


# --- by a spec


@pytest.fixture
def file(build_policy, tmp_path):
    save_policy(tmp_path / "policy", build_policy(initial_scale=0.4))
    return tmp_path / "policy"


def spec_of(file, **options) -> dict[str, Any]:
    plain = {"name": "agents.serving.behavior_adapter:AgentBehavior", "policy": str(file), **options}
    return json.loads(json.dumps(plain))


def sha256(file) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_spec_makes_the_policy_of_the_file(world, build_policy, file):
    made = make_behavior(world, spec_of(file, deterministic=False), "proto")
    assert made.config == AgentConfig(str(file), False, sha256(file))
    whole = play_sessions(world, made, SEEDS, DRAWS)
    expected = play_sessions(
        world, AgentBehavior(world, AgentConfig(), actor=build_policy(initial_scale=0.4)), SEEDS, DRAWS
    )
    for name, values in expected.columns.items():
        np.testing.assert_array_equal(whole.columns[name], values, err_msg=name)


@pytest.mark.parametrize("mixing", ["step", "session"])
def test_it_can_be_a_component_with_the_exact_density_of_the_mixture(world, file, mixing):
    components = [spec_of(file), {"name": "clickbait", "proto_scale": 0.5}]
    mixture = {"name": "mixture", "components": components, "weights": [0.4, 0.6], "mixing": mixing}
    played = play_sessions(world, make_behavior(world, mixture, "proto"), SEEDS, DRAWS)
    assert set(played.columns["component"].tolist()) == {0, 1}
    parts = [make_behavior(world, component, "proto") for component in components]
    weights = np.log([0.4, 0.6])
    for row, view in replayed_views(world, played):
        if mixing == "step" or row in played.offsets:
            weights = np.log([0.4, 0.6])
        proto = played.columns["proto"][row : row + 1]
        each = np.array([part.log_prob(view, proto, np.zeros((1, 0)))[0][0] for part in parts])
        expected = np.logaddexp.reduce(weights + each)
        # The network's answer to one session may round otherwise than to many.
        assert played.columns["behavior_log_prob"][row] == pytest.approx(expected, abs=1e-4, rel=1e-4)
        weights = weights + each - expected


def test_a_pinned_spec_holds_the_checksum_wherever_the_policy_stands(config, file):
    pinned = {**spec_of(file), "deterministic": False, "sha256": sha256(file)}
    assert pinned_spec(config, spec_of(file)) == pinned_spec(config, pinned) == pinned
    greedy = {"name": "epsilon_greedy", "base": spec_of(file), "epsilon": 0.2}
    mixture = {"name": "mixture", "components": ("uniform", spec_of(file), greedy), "weights": [0.5, 0.2, 0.3]}
    found = pinned_spec(config, mixture)
    assert found == {**mixture, "components": ["uniform", pinned, {**greedy, "base": pinned}]}
    assert json.loads(json.dumps(found)) == found
    for spec in ("uniform", {"name": "softmax", "weights": {"quality": 1.0}}):
        assert pinned_spec(config, spec) == spec


def test_a_file_that_is_another_policy_now_is_refused(world, config, build_policy, file):
    pinned = pinned_spec(config, spec_of(file))
    make_behavior(world, pinned, "proto")
    save_policy(file, build_policy(seed=1))
    with pytest.raises(
        InvalidInput, match=f"{file} has sha256={sha256(file)}, and the spec says {pinned['sha256']}; it"
    ):
        make_behavior(world, pinned, "proto")


def test_a_log_says_whose_it_is_and_does_not_go_on_with_another(config, build_policy, file, tmp_path):
    request = LogRequest(config, spec_of(file), "proto", 20)
    log = collect(tmp_path / "log", request)
    assert log.manifest["source"]["request"]["behavior"] == pinned_spec(config, spec_of(file))
    assert collect(tmp_path / "log", request).manifest == log.manifest
    save_policy(file, build_policy(seed=1))
    with pytest.raises(InvalidInput, match=r"holds a dataset of another request \(behavior\.sha256 "):
        collect(tmp_path / "log", request)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"deterministic": True},
            "deterministic=True gives the actions of .*policy no probability, which a log holds; set",
        ),
        ({"deterministic": 0}, "deterministic=0 is not a bool; use true or false"),
        ({"policy": ""}, "AgentBehavior has no policy; give it policy=FILE, one that `recsession train` wrote"),
        ({"policy": "nowhere/policy"}, "policy file nowhere/policy does not exist; train one with `recsession train`"),
        ({"polcy": "policy"}, "unknown behavior policy option 'polcy'; did you mean 'policy'?"),
    ],
)
def test_a_wrong_spec_is_refused(world, file, options, message):
    with pytest.raises(InvalidInput, match=message):
        make_behavior(world, spec_of(file, **options), "proto")


def test_slates_are_refused(world, file):
    with pytest.raises(InvalidInput, match=r"policy .*policy has no slate actions; pass action_kind='proto'"):
        make_behavior(world, spec_of(file), "slate")
    assert make_behavior(world, spec_of(file), None).action_kind == "proto"


def test_a_file_of_something_else_is_refused(world, tmp_path):
    (tmp_path / "policy").write_text("{}")
    with pytest.raises(InvalidInput, match="policy is not a policy file"):
        make_behavior(world, spec_of(tmp_path / "policy"), "proto")


@pytest.mark.parametrize(
    ("changes", "name", "theirs"),
    [
        ({"num_items": 40}, "num_items=50", "40"),
        ({"embedding_dim": 5}, "embedding_dim=4", "5"),
        ({"history_length": 6}, "history_length=5", "6"),
        ({"max_steps": 3}, "max_steps=8", "3"),
        ({"user_model": "boredom_cascade"}, "user_model='interest_evolution'", "'boredom_cascade'"),
    ],
)
def test_a_policy_of_another_world_is_refused_by_what_differs(config, file, changes, name, theirs):
    other = make_world(config.override(**changes))
    with pytest.raises(
        InvalidInput,
        match=f"policy {file} was made for {name}, and this world has {theirs}; (use a log|set max_s)",
    ):
        make_behavior(other, spec_of(file), "proto")


@pytest.mark.parametrize("changes", [{"world_seed": 1}, {"topic_spread": 0.1}, None])
def test_a_policy_of_other_items_is_refused(config, file, changes):
    items = Catalog.from_arrays(np.random.default_rng(0).normal(size=(50, 4)))
    world = make_world(config, items) if changes is None else make_world(config.override(**changes))
    with pytest.raises(InvalidInput, match=f"policy {file} was made for other items than those of this world; train"):
        make_behavior(world, spec_of(file), "proto")


def test_what_a_policy_does_not_read_may_differ(config: SessionConfig, file):
    other = make_world(config.override(slate_size=2, no_click_utility=0.0))
    played = play_sessions(other, make_behavior(other, spec_of(file), "proto"), SEEDS, DRAWS)
    assert np.isfinite(played.columns["behavior_log_prob"]).all()
