"""What every registered policy promises, in every kind of world; a new one inherits these tests."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from agents.nn.session_space import SessionSpace
from agents.objectives.bc import BcObjective
from agents.objectives.drpo import DrpoConfig, DrpoObjective
from agents.policies.base import make_policy
from recenv.errors import InvalidInput
from recenv.world import make_world
from tests.agents.policies.policy_cases import (
    ROWS,
    Cases,
    config_of,
    every_case,
    every_policy,
    every_world,
    perturb,
    world_of,
)


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Cases:
    return Cases(tmp_path_factory.mktemp("logs"))


# --- what a distribution is asked


@every_case
def test_shapes_and_dtypes(cases, name, where):
    case = cases.make(name, where)
    distribution, shape = case.distribution(), case.action.shape[1:]
    dtype = torch.int64 if case.policy.action_kind == "slate" else torch.float32
    torch.manual_seed(0)
    for size in ((), (1,), (2, 3)):
        drawn = distribution.sample(torch.Size(size))
        assert (drawn.shape, drawn.dtype) == ((*size, ROWS, *shape), dtype)
        assert not drawn.requires_grad
        values = distribution.log_prob(drawn)
        assert (values.shape, values.dtype) == ((*size, ROWS), torch.float32)
        assert values.isfinite().all()
        assert distribution.score_function_norm(drawn).shape == (*size, ROWS)
    mode, entropy = distribution.mode, distribution.entropy()
    assert (mode.shape, mode.dtype) == ((ROWS, *shape), dtype)
    assert torch.equal(mode, case.distribution().mode)
    assert (entropy.shape, entropy.dtype) == ((ROWS,), torch.float32)
    assert entropy.isfinite().all()
    for values in (distribution.log_prob(case.action), distribution.score_function_norm(case.action)):
        assert (values.shape, values.dtype) == ((ROWS,), torch.float32)
        assert values.isfinite().all()
    assert distribution.log_prob(case.action).requires_grad
    assert len({tuple(row) for row in mode.tolist()}) > 1, "the policy does not look"


@every_case
def test_entropy_is_the_mean_surprise_of_samples_and_of_what_is_played(cases, name, where):
    # Two sessions, a thousand times each; a false alarm, at five standard errors, once in about 1e6.
    case = cases.make(name, where)
    batch = case.batch[torch.arange(2).repeat_interleave(1000)]
    torch.manual_seed(0)
    with torch.no_grad():
        distribution = case.policy.get_dist(batch)
        surprise = -distribution.log_prob(distribution.sample()).view(2, 1000)
        entropy = distribution.entropy().view(2, 1000)
    uniforms = np.random.default_rng(0).uniform(1e-9, 1.0, (2000, case.policy.num_draws))
    played = -torch.from_numpy(case.policy.play(batch, uniforms).log_prob).view(2, 1000)
    for other in (entropy, played):
        error = ((surprise.var(1) + other.var(1)) / 1000).sqrt()
        assert ((surprise.mean(1) - other.mean(1)).abs() < 5 * error + 1e-5).all()


def mean_gradient(case: Any) -> Tensor:
    return parameter_gradient(case, "loc")


def parameter_gradient(case: Any, parameter: str) -> Tensor:
    """Return the norm of the gradient in what the head writes, [B]."""
    written = case.policy.module[0](case.batch.copy())
    values = written[parameter].detach().requires_grad_()
    written[parameter] = values
    case.policy.module[-1].get_dist(written).log_prob(case.action).sum().backward()
    assert values.grad is not None
    return values.grad.flatten(1).norm(dim=1)


def token_gradient(case: Any) -> Tensor:
    """Return the norm of the gradient in the logits of all tokens, [B]."""
    found: list[Tensor] = []

    def keep(module: Any, inputs: Any, output: Tensor) -> None:
        output.retain_grad()
        found.append(output)

    hooks = [head.register_forward_hook(keep) for head in case.policy.head.decoder.heads]
    case.distribution().log_prob(case.action).sum().backward()
    for hook in hooks:
        hook.remove()
    grads = [logits.grad.flatten(1).square().sum(1) for logits in found if logits.grad is not None]
    assert len(grads) == len(found) == len(hooks)
    return torch.stack(grads).sum(0).sqrt()


# The coordinates of each policy's distribution, which its `score_function_norm` names; a new policy says its own.
COORDINATES = {
    "gaussian": mean_gradient,
    "plackett_luce": lambda case: parameter_gradient(case, "logits"),
    "generative": token_gradient,
}


@every_case
def test_score_function_norm_is_that_of_the_gradient(cases, name, where):
    case = cases.make(name, where)
    expected = COORDINATES[name](case)
    torch.testing.assert_close(case.distribution().score_function_norm(case.action), expected, rtol=1e-4, atol=1e-5)
    assert (expected > 0).all()


@every_case
def test_bfloat16_is_close_to_float32(cases, name, where):
    case = cases.make(name, where)
    expected = case.distribution().log_prob(case.action)
    half = copy.deepcopy(case.policy).to(torch.bfloat16)
    distribution = half.get_dist(case.batch)
    found = distribution.log_prob(case.action)
    assert found.dtype == torch.float32
    assert not torch.equal(found, expected)
    # Measured: up to 2.8 % (gaussian, of actions many scales off), 0.6 % (generative), 0.5 % (plackett_luce).
    torch.testing.assert_close(found, expected, atol=0.3, rtol=0.03)
    action_dtype = torch.int64 if half.action_kind == "slate" else torch.float32
    assert distribution.mode.dtype == distribution.sample().dtype == action_dtype
    for values in (distribution.entropy(), distribution.score_function_norm(case.action)):
        assert values.dtype == torch.float32
        assert values.isfinite().all()
    found.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in half.parameters())


# --- as plain arrays


@every_case
def test_uniforms_fix_what_is_played_and_all_agree_on_its_probability(cases, name, where):
    case = cases.make(name, where)
    policy, batch = case.policy, case.batch
    first, again = (policy.play(batch, case.uniforms()) for _ in range(2))
    other = policy.play(batch, case.uniforms(1))
    slates = policy.action_kind == "slate"
    assert first.action.dtype == (np.int32 if slates else np.float32)
    assert first.log_prob.dtype == np.float64
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (first.action != other.action).any()
    judged, prefix = policy.judge(batch, first.action)
    assert judged.dtype == np.float64
    np.testing.assert_allclose(judged, first.log_prob, atol=1e-5, rtol=0)
    with torch.no_grad():
        expected = case.distribution().log_prob(torch.from_numpy(first.action)).numpy()
    np.testing.assert_allclose(first.log_prob, expected, rtol=1e-5, atol=1e-5)
    if not slates:
        assert first.prefix_log_prob is None
        assert prefix is None
        return
    assert first.prefix_log_prob is not None
    assert first.prefix_log_prob.dtype == prefix.dtype == np.float64
    assert first.prefix_log_prob.shape == first.action.shape
    np.testing.assert_allclose(prefix, first.prefix_log_prob, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(first.prefix_log_prob[:, -1], first.log_prob)
    assert (np.diff(first.prefix_log_prob, axis=1, prepend=0.0) <= 1e-9).all()
    offer = policy.space.offer
    if where == "candidates":
        assert (batch["observation", "candidates"] < 0).any(), "no padding is met"
    for row, slate in enumerate(first.action.tolist()):
        assert len(set(slate)) == 3
        if offer == "candidates":
            assert set(slate) <= set(batch["observation", offer][row].tolist())
        elif offer == "available":
            assert batch["observation", offer][row, slate].all()


@every_case
def test_best_is_the_mode(cases, name, where):
    case = cases.make(name, where)
    best = case.policy.best(case.batch)
    np.testing.assert_array_equal(best, case.distribution().mode.detach().numpy())
    assert best.dtype == (np.int32 if case.policy.action_kind == "slate" else np.float32)
    # What the actor writes when nothing explores.
    np.testing.assert_array_equal(case.policy(case.batch.copy())[case.policy.action_kind].detach().numpy(), best)


@every_case
def test_logged_actions_are_judged_as_by_the_distribution(cases, name, where):
    case = cases.make(name, where)
    with torch.no_grad():
        expected = case.distribution().log_prob(case.action).numpy()
    found, _ = case.policy.judge(case.batch, case.action.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


# --- in objectives


@every_case
def test_nested_keys(cases, name, where):
    case = cases.make(name, where)
    keys = {"observation_key": ("agents", "seen"), "action_key": ("agents", "chosen")}
    nested = cases.make(name, where, **keys).policy
    batch = TensorDict({"agents": {"seen": case.batch["observation"], "chosen": case.action}}, [ROWS])
    assert nested.action_key == ("agents", "chosen")
    assert all(key[:2] == ("agents", "seen") for key in nested.in_keys)
    before = batch.clone()
    expected = case.distribution().log_prob(case.action)
    assert torch.equal(nested.get_dist(batch).log_prob(case.action), expected)
    objective = BcObjective(nested)
    assert ("agents", "chosen") in objective.in_keys
    assert torch.equal(objective.log_prob(batch), expected)
    torch.testing.assert_close(objective(batch)["loss_actor"], -expected.mean())
    assert set(batch.keys(True, True)) == set(before.keys(True, True))
    assert (batch == before).all()
    written = nested(batch.select(("agents", "seen")))
    assert torch.equal(written["agents", "chosen"], case.distribution().mode)


@every_case
def test_objective_of_a_logs_batch_reaches_every_parameter(cases, name, where):
    case = cases.make(name, where)
    before = case.batch.clone()
    objective = BcObjective(case.policy)
    loss = objective(case.batch)["loss_actor"]
    torch.testing.assert_close(loss, -case.distribution().log_prob(case.action).mean())
    loss.backward()
    assert set(case.batch.keys(True, True)) == set(before.keys(True, True))
    assert (case.batch == before).all()
    trainable = {key: p for key, p in case.policy.named_parameters() if p.requires_grad}
    assert {id(p) for p in objective.parameters()} == {id(p) for p in case.policy.parameters()}
    assert trainable
    for key, parameter in trainable.items():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@every_case
def test_divergence_from_a_copy_of_the_parameters(cases, name, where):
    case = cases.make(name, where)
    objective = DrpoObjective(case.policy, config=DrpoConfig())
    torch.manual_seed(0)
    assert objective.reference_kl(case.batch).abs() < 1e-6
    perturb(case.policy, 0.1, seed=5)
    assert objective.reference_kl(case.batch) > 1e-3
    objective.target_actor_network_params.data.update_(objective.actor_network_params.data)
    assert objective.reference_kl(case.batch).abs() < 1e-6


@every_policy
def test_a_copy_is_independent(cases, name):
    case = cases.make(name, "candidates")
    batch, twin = case.batch, copy.deepcopy(case.policy)
    expected = case.distribution().log_prob(case.action)
    assert torch.equal(twin.get_dist(batch).log_prob(case.action), expected)
    perturb(twin, 0.1, seed=5)
    assert torch.equal(case.distribution().log_prob(case.action), expected)
    changed = twin.get_dist(batch).log_prob(case.action)
    assert not torch.allclose(changed, expected)
    # What the copy answers by is all its own: the original with the same weights says the same.
    case.policy.load_state_dict(twin.state_dict())
    assert torch.equal(case.distribution().log_prob(case.action), changed)


@every_world
@pytest.mark.filterwarnings("ignore:.*inline_inbuilt_nn_modules:FutureWarning")  # tensordict 0.14 on torch 2.13
def test_loss_compiles_as_one_graph(cases, name, where):
    case = cases.make(name, where)
    torch._dynamo.reset()
    objective = BcObjective(case.policy)
    compiled = torch.compile(lambda batch: objective(batch)["loss_actor"], fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(case.batch), objective(case.batch)["loss_actor"])


# --- made, and met by other spaces


@every_policy
def test_seed_gives_the_weights_and_leaves_the_global_generator(name):
    space = SessionSpace.of_world(world_of("plain"))
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    first, second, other = (make_policy(space, config_of(name), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@every_policy
def test_a_policy_says_what_it_was_made_for(name):
    space, config = SessionSpace.of_world(world_of("plain")), config_of(name)
    policy = make_policy(space, config)
    assert (policy.space, policy.config) == (space, config)
    assert policy.device == torch.device("cpu")
    assert policy.action_key == policy.action_kind


@every_policy
@pytest.mark.parametrize(
    ("changes", "own", "theirs"),
    [
        ({"history_length": 6}, "history_length=5", "6"),
        ({"num_items": 41}, "num_items=40", "41"),
        ({"num_candidates": 30}, r"observed=\(.*'clock'\)", r"\(.*'clock', 'candidates'\)"),
        ({"freshness": {"horizon": 60.0}}, r"observed=\(.*'clock'\)", r"\(.*, 'calendar', 'available'\)"),
        ({"user_model": "boredom_cascade", "embedding_dim": 4}, "user_model='interest_evolution'", "'boredom_cascade'"),
        ({"slate_size": 4}, "slate_size=3", "4"),
        ({"world_seed": 1}, "other items than those of", None),
    ],
)
def test_what_does_not_fit_is_refused_by_what_differs(name, changes, own, theirs):
    policy = make_policy(SessionSpace.of_world(world_of("plain")), config_of(name))
    other = SessionSpace.of_world(make_world(world_of("plain").config.override(**changes)))
    policy.require_fits(policy.space, "policy p", "log l")
    if changes == {"slate_size": 4} and policy.action_kind == "proto":
        policy.require_fits(other, "policy p", "log l")
        return
    message = f"^policy p was made for {own}, and log l has {theirs}; use a log and a world of the policy's own, or "
    message = message if theirs else f"^policy p was made for {own} log l; train a policy on these$"
    with pytest.raises(InvalidInput, match=message):
        policy.require_fits(other, "policy p", "log l")


@every_policy
def test_an_imported_log_and_a_world_do_not_fit(cases, name):
    policy = cases.make(name, "imported").policy
    with pytest.raises(
        InvalidInput, match="was made for user_model='none, an imported log', and w has 'interest_evolution'"
    ):
        policy.require_fits(SessionSpace.of_world(world_of("plain")), "p", "w")
