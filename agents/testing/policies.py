"""What every policy promises, in every kind of world."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from agents import OBJECTIVES, POLICIES, SessionSpace, make_policy
from agents.testing.policy_cases import (
    ROWS,
    SPACES,
    WORLDS,
    PolicyCase,
    compiling,
    perturb,
    policy_case,
    policy_config,
    world_of,
)
from offline_data.behavior.base import ACTION_KINDS
from recenv.errors import InvalidInput
from recenv.testing.contract import Contract
from recenv.world import make_world

check_policy: Final = Contract("check_policy", POLICIES)
"""The contract of policies; their configs take a `network`."""

# Changes of a world, and how a policy says what it was made for, and what the other has.
MISFITS: Final = (
    ({"history_length": 6}, "history_length=5", "6"),
    ({"num_items": 41}, "num_items=40", "41"),
    ({"num_candidates": 30}, r"observed=\(.*'clock'\)", r"\(.*'clock', 'candidates'\)"),
    ({"freshness": {"horizon": 60.0}}, r"observed=\(.*'clock'\)", r"\(.*, 'calendar', 'available'\)"),
    ({"user_model": "boredom_cascade", "embedding_dim": 4}, "user_model='interest_evolution'", "'boredom_cascade'"),
    ({"slate_size": 4}, "slate_size=3", "4"),
    ({"world_seed": 1}, "other items than those of", ""),
)


def every_space(part: Any) -> Iterator[tuple[str]]:
    """Yield each of `SPACES`."""
    return ((where,) for where in SPACES)


def every_world(part: Any) -> Iterator[tuple[str]]:
    """Yield each of `WORLDS`."""
    return ((where,) for where in WORLDS)


def coordinate_gradient(case: PolicyCase, parameter: str) -> Tensor:
    """Return the norm of the gradient of the log-probabilities in what the head writes, [B].

    Args:
        case: the policy and its actions.
        parameter: one of the distribution's.
    """
    written = case.policy.module[0](case.batch.copy())
    values = written[parameter].detach().requires_grad_()
    written[parameter] = values
    case.policy.module[-1].get_dist(written).log_prob(case.action).sum().backward()
    assert values.grad is not None
    return values.grad.flatten(1).norm(dim=1)


@check_policy.promise
def says_what_it_acts_by(part: Any) -> None:
    """It names its config, and the kind of action that it has."""
    assert isinstance(part.Config.name, str)
    assert part.action_kind in ACTION_KINDS


# --- what a distribution is asked


@check_policy.promise_each(every_space)
def shapes_and_dtypes(part: Any, where: str) -> None:
    """Samples, modes, log-probabilities, entropies and norms have their shapes and dtypes, and are finite."""
    case = policy_case(part, where)
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


@check_policy.promise_each(every_space)
def entropy_is_the_mean_surprise_of_samples_and_of_what_is_played(part: Any, where: str) -> None:
    """The entropy is the mean of -log_prob over samples, and over what `play` plays."""
    # Two sessions, a thousand times each; a false alarm, at five standard errors, once in about 1e6.
    case = policy_case(part, where)
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


@check_policy.promise_each(every_space)
def score_function_norm_is_that_of_the_gradient(part: Any, where: str) -> None:
    """`score_function_norm` is the norm of `log_prob`'s gradient in the coordinates that the class names."""
    case = policy_case(part, where)
    if part.score_coordinates is None:
        pytest.skip("it names no score_coordinates, in which its score_function_norm could be checked")
    expected = coordinate_gradient(case, part.score_coordinates)
    torch.testing.assert_close(case.distribution().score_function_norm(case.action), expected, rtol=1e-4, atol=1e-5)
    assert (expected > 0).all()


@check_policy.promise_each(every_space)
def bfloat16_is_close_to_float32(part: Any, where: str) -> None:
    """In bfloat16 it answers in float32, nearly the same, with finite gradients."""
    case = policy_case(part, where)
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


@check_policy.promise_each(every_space)
def uniforms_fix_what_is_played_and_all_agree_on_its_probability(part: Any, where: str) -> None:
    """Uniforms fix what is played, of offered items; `play`, `judge` and `log_prob` agree on its probability."""
    case = policy_case(part, where)
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


@check_policy.promise_each(every_space)
def best_is_the_mode(part: Any, where: str) -> None:
    """`best` is the distribution's mode, and what the actor writes when nothing explores."""
    case = policy_case(part, where)
    best = case.policy.best(case.batch)
    np.testing.assert_array_equal(best, case.distribution().mode.detach().numpy())
    assert best.dtype == (np.int32 if case.policy.action_kind == "slate" else np.float32)
    # What the actor writes when nothing explores.
    np.testing.assert_array_equal(case.policy(case.batch.copy())[case.policy.action_kind].detach().numpy(), best)


@check_policy.promise_each(every_space)
def logged_actions_are_judged_as_by_the_distribution(part: Any, where: str) -> None:
    """`judge` says of logged actions what `log_prob` says."""
    case = policy_case(part, where)
    with torch.no_grad():
        expected = case.distribution().log_prob(case.action).numpy()
    found, _ = case.policy.judge(case.batch, case.action.numpy())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@check_policy.promise_each(every_space)
def an_empty_position_counts_nothing(part: Any, where: str) -> None:
    """A slate with -1 in some positions, as read-in logs have it, is as probable as its items before others."""
    case = policy_case(part, where)
    if case.policy.action_kind != "slate":
        pytest.skip("its actions are no slates, and have no positions")
    played = case.policy.play(case.batch, case.uniforms())
    assert played.prefix_log_prob is not None
    none, first, second = np.zeros(ROWS), played.prefix_log_prob[:, 0], played.prefix_log_prob[:, 1]
    a, b, empty = played.action[:, 0], played.action[:, 1], np.full(ROWS, -1, np.int32)
    for slate, expected in (
        ((a, empty, empty), (first, first, first)),
        ((empty, a, empty), (none, first, first)),
        ((a, empty, b), (first, first, second)),
        ((empty, a, b), (none, first, second)),
    ):
        action = np.stack(slate, axis=1)
        judged, prefix = case.policy.judge(case.batch, action)
        np.testing.assert_allclose(prefix, np.stack(expected, axis=1), atol=1e-5, rtol=0)
        np.testing.assert_array_equal(judged, prefix[:, -1])
        with torch.no_grad():
            found = case.distribution().log_prob(torch.from_numpy(action)).numpy()
        np.testing.assert_allclose(found, judged, rtol=1e-5, atol=1e-5)


# --- in objectives


@check_policy.promise_each(every_space)
def nested_keys(part: Any, where: str) -> None:
    """With nested keys it answers the same, writes where it is told, and an objective finds its action."""
    case = policy_case(part, where)
    keys = {"observation_key": ("agents", "seen"), "action_key": ("agents", "chosen")}
    nested = policy_case(part, where, **keys).policy
    batch = TensorDict({"agents": {"seen": case.batch["observation"], "chosen": case.action}}, [ROWS])
    assert nested.action_key == ("agents", "chosen")
    assert all(key[:2] == ("agents", "seen") for key in nested.in_keys)
    before = batch.clone()
    expected = case.distribution().log_prob(case.action)
    assert torch.equal(nested.get_dist(batch).log_prob(case.action), expected)
    objective = OBJECTIVES.get("bc")(nested)
    assert ("agents", "chosen") in objective.in_keys
    assert torch.equal(objective.log_prob(batch), expected)
    torch.testing.assert_close(objective(batch)["loss_actor"], -expected.mean())
    assert set(batch.keys(True, True)) == set(before.keys(True, True))
    assert (batch == before).all()
    written = nested(batch.select(("agents", "seen")))
    assert torch.equal(written["agents", "chosen"], case.distribution().mode)


@check_policy.promise_each(every_space)
def objective_of_a_logs_batch_reaches_every_parameter(part: Any, where: str) -> None:
    """Cloning gives every trained parameter a finite gradient, and leaves the batch as it was."""
    case = policy_case(part, where)
    before = case.batch.clone()
    objective = OBJECTIVES.get("bc")(case.policy)
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


@check_policy.promise_each(every_space)
def divergence_from_a_copy_of_the_parameters(part: Any, where: str) -> None:
    """KL from a copy of the parameters is zero, until they move."""
    case = policy_case(part, where)
    objective = OBJECTIVES.get("bc")(case.policy, create_reference=True)
    torch.manual_seed(0)
    assert objective.reference_kl(case.batch).abs() < 1e-6
    perturb(case.policy, 0.1, seed=5)
    assert objective.reference_kl(case.batch) > 1e-3
    objective.target_actor_network_params.data.update_(objective.actor_network_params.data)
    assert objective.reference_kl(case.batch).abs() < 1e-6


@check_policy.promise
def a_copy_is_independent(part: Any) -> None:
    """A deep copy answers the same, moves alone, and shares no state with the original."""
    case = policy_case(part, "candidates")
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


@check_policy.promise_each(every_world)
def loss_compiles_as_one_graph(part: Any, where: str) -> None:
    """The cloning loss compiles as one graph, to the same value."""
    case = policy_case(part, where)
    objective = OBJECTIVES.get("bc")(case.policy)
    with compiling():
        compiled = torch.compile(lambda batch: objective(batch)["loss_actor"], fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(case.batch), objective(case.batch)["loss_actor"])


# --- made, and met by other spaces


@check_policy.promise
def seed_gives_the_weights_and_leaves_the_global_generator(part: Any) -> None:
    """A seed fixes the initial weights, and the global generator is left as it was."""
    space = SessionSpace.of_world(world_of("plain"))
    torch.manual_seed(99)
    expected = torch.rand(3)
    torch.manual_seed(99)
    first, second, other = (make_policy(space, policy_config(part), seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


@check_policy.promise
def a_policy_says_what_it_was_made_for(part: Any) -> None:
    """It says its space, config, device and kind of action."""
    space, config = SessionSpace.of_world(world_of("plain")), policy_config(part)
    policy = make_policy(space, config)
    assert (policy.space, policy.config) == (space, config)
    assert policy.device == torch.device("cpu")
    assert policy.action_key == policy.action_kind


@check_policy.promise_each(lambda part: MISFITS)
def what_does_not_fit_is_refused_by_what_differs(part: Any, changes: dict[str, Any], own: str, theirs: str) -> None:
    """Sessions that it would misread are refused by what differs."""
    policy = make_policy(SessionSpace.of_world(world_of("plain")), policy_config(part))
    other = SessionSpace.of_world(make_world(world_of("plain").config.override(**changes)))
    policy.require_fits(policy.space, "policy p", "log l")
    if changes == {"slate_size": 4} and policy.action_kind == "proto":
        policy.require_fits(other, "policy p", "log l")
        return
    message = f"^policy p was made for {own}, and log l has {theirs}; use a log and a world of the policy's own, or "
    message = message if theirs else f"^policy p was made for {own} log l; train a policy on these$"
    with pytest.raises(InvalidInput, match=message):
        policy.require_fits(other, "policy p", "log l")


@check_policy.promise
def an_imported_log_and_a_world_do_not_fit(part: Any) -> None:
    """A policy of an imported log refuses a world."""
    policy = policy_case(part, "imported").policy
    with pytest.raises(
        InvalidInput, match="was made for user_model='none, an imported log', and w has 'interest_evolution'"
    ):
        policy.require_fits(SessionSpace.of_world(world_of("plain")), "p", "w")
