"""What every objective promises."""

from __future__ import annotations

import copy
import io
from typing import Any, Final

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tensordict import TensorDict
from torch import nn

from agents import NEEDS, OBJECTIVES, Objective
from agents.testing.objective_cases import gaussian_actor, objective_case
from agents.testing.policy_cases import compiling
from recenv.errors import InvalidInput
from recenv.testing.contract import Contract, quick

check_objective: Final = Contract("check_objective", OBJECTIVES)
"""The contract of objectives."""


def learns_values(objective: Objective) -> bool:
    """Say whether an objective has critics of its own."""
    return "transitions" in objective.needs


def total(objective: Objective, out: TensorDict) -> torch.Tensor:
    """Return the sum of the losses."""
    return torch.stack([out[name] for name in objective.losses]).sum()


def train(objective: Objective, optimizer: torch.optim.Optimizer, batches: list[TensorDict]) -> list[dict[str, Any]]:
    """Take a step on each batch, and return what was logged."""
    outputs = []
    for batch in batches:
        out = objective(batch)
        optimizer.zero_grad()
        total(objective, out).backward()
        optimizer.step()
        outputs.append({**out.detach().to_dict(), **objective.after_step(batch)})
    return outputs


def spoil(objective: Objective, batch: TensorDict, rows: slice) -> None:
    """Make what a batch holds of some rows, observations apart, such as no log has."""
    for key in set(objective.in_keys) - set(objective.actor_network.in_keys):
        value = batch.get(key)
        if isinstance(value, torch.Tensor):
            value[rows] = -300.0 if value.is_floating_point() else (True if value.dtype == torch.bool else 0)


@check_objective.promise
def says_what_it_needs_of_what_there_is(part: Any) -> None:
    """`needs` are of `NEEDS`, and of mass and density at most one."""
    assert isinstance(part.needs, frozenset)
    assert part.needs <= NEEDS.keys(), f"{sorted(part.needs - NEEDS.keys())} are none of {sorted(NEEDS)}"
    assert not {"mass", "density"} <= part.needs


@check_objective.promise
def output_is_differentiable_losses_and_detached_scalars(part: Any) -> None:
    """It returns finite scalars by its `out_keys`, and gradients flow through its `losses` alone."""
    case = objective_case(part)
    objective = case.objective()
    out = objective(case.batch(objective))
    assert set(out.keys()) == set(objective.out_keys)
    assert "loss_actor" in objective.losses
    assert all(value.shape == () and torch.isfinite(value) for value in out.values())
    assert {key for key in out.keys() if out[key].requires_grad} == set(objective.losses)  # noqa: SIM118
    assert objective.needs <= NEEDS.keys()


@check_objective.promise
def every_parameter_is_trained_by_one_loss(part: Any) -> None:
    """Every parameter is trained by one of its losses, the actor by `loss_actor`; no gradient flows into the log."""
    case = objective_case(part)
    objective = case.objective()
    batch = case.batch(objective, 200)
    columns = [batch.get(getattr(objective.tensor_keys, f)) for need in objective.needs for f in NEEDS[need]]
    floating = [c for c in columns if isinstance(c, torch.Tensor) and c.is_floating_point()]
    for value in floating:
        value.requires_grad_()
    parameters = [p for p in objective.parameters() if p.requires_grad]
    out = objective(batch)
    trained = []
    for loss in objective.losses:
        found = torch.autograd.grad(out[loss], parameters, retain_graph=True, allow_unused=True)
        trained.append({i for i, grad in enumerate(found) if grad is not None and grad.abs().sum() > 0})
    assert len(set().union(*trained)) == sum(map(len, trained)) == len(parameters) - (not part.trains_scale)
    actor = {id(p) for p in objective.actor_network_params.parameters()}
    own = trained[objective.losses.index("loss_actor")]
    assert {id(parameters[i]) for i in own} <= actor
    total(objective, out).backward()
    assert all(value.grad is None for value in floating)
    assert all(buffer.grad is None for buffer in objective.buffers())


@check_objective.promise
def input_is_left_as_it_was(part: Any) -> None:
    """Neither the loss nor `after_step` writes into the batch."""
    case = objective_case(part)
    objective = case.objective()
    batch = case.batch(objective)
    before = batch.clone()
    objective(batch)
    objective.after_step(batch)
    assert set(batch.keys(True, True)) == set(before.keys(True, True))
    assert (batch.exclude("behavior_log_prob") == before.exclude("behavior_log_prob")).all()


@check_objective.promise
def nested_keys_give_the_same_loss(part: Any) -> None:
    """Nested keys give the same loss."""
    case = objective_case(part)
    objective = case.objective()
    batch = case.batch(objective)
    torch.manual_seed(0)
    expected = objective(batch)
    fields = {"action", *(field for need in objective.needs for field in NEEDS[need])}
    old = {field: getattr(objective.tensor_keys, field) for field in fields}
    renamed = batch.exclude(*old.values())
    for field, key in old.items():
        renamed["other", field] = batch[key]
    objective.set_keys(**{field: ("other", field) for field in fields})
    assert {("other", field) for field in fields} <= set(objective.in_keys)
    torch.manual_seed(0)
    found = objective(renamed)
    for key in objective.out_keys:
        torch.testing.assert_close(found[key], expected[key])


@check_objective.promise
def padding_is_left_out(part: Any) -> None:
    """What TorchRL's validity mask leaves out changes neither losses nor gradients."""
    case = objective_case(part)
    batch = case.batch(case.objective())
    found = []
    for rows in (slice(0, 40), slice(0, 64)):
        objective = case.objective()
        some: Any = batch[rows].clone()
        spoil(objective, some, slice(40, 64))
        some["collector"] = {"mask": torch.arange(len(some)) < 40}
        out = objective(some)
        total(objective, out).backward()
        gradients = [p.grad for p in objective.parameters() if p.requires_grad]
        found.append([*out.values(), *gradients, *objective.after_step(some).values(), *objective(some).values()])
    if learns_values(objective):  # its own draws are others in another batch
        return
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


@check_objective.promise
def extremes_stay_numbers(part: Any) -> None:
    """Scores and rewards of a million, log-probabilities of -1e4 and batches of one row give numbers."""
    case = objective_case(part)
    for size in (6, 1):
        objective = case.objective()
        batch = case.batch(objective, size)
        scale = torch.tensor([1e6, -1e6, 0.0, 1.0, 1e6, -1e6])[:size]
        for key in set(objective.in_keys) - set(objective.actor_network.in_keys):
            value = batch.get(key)
            if isinstance(value, torch.Tensor) and value.is_floating_point() and key != "session_rank":
                if "log_prob" in str(key):
                    batch[key] = torch.where(scale > 0, -1e4, value.movedim(0, -1)).movedim(-1, 0)
                elif key != objective.tensor_keys.action and key != objective.tensor_keys.rejected:
                    batch[key] = scale.reshape(-1, *[1] * (value.ndim - 1)).expand_as(value).clone()
        if case.log.action_kind == "proto":
            batch[objective.tensor_keys.action][::2] = 40.0
            assert objective.log_prob(batch)[0] < -1e4
        objective.refresh(case.scores)
        optimizer = torch.optim.SGD(objective.parameters(), lr=0.0)
        for out in train(objective, optimizer, [batch] * 10):
            assert all(torch.isfinite(value) for value in out.values()), out
        for parameter in objective.parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@check_objective.promise
def impossible_actions_are_not_nan(part: Any) -> None:
    """An impossible action may make the loss infinite, which stops a run, but never NaN, which could hide."""
    case = objective_case(part)
    objective = case.objective()
    batch = case.rows(objective, np.full(8, int(case.scores.argmax())))
    action: Any = batch[objective.tensor_keys.action]
    twice = torch.arange(action.shape[-1]) % (action.shape[-1] - 1)  # the last item is the first again
    action[...] = 1e30 if case.log.action_kind == "proto" else twice.to(action.dtype)
    assert objective.log_prob(batch).tolist() == [-torch.inf] * 8
    if not learns_values(objective):
        assert not objective(batch)["loss_actor"].isnan()


@check_objective.promise
def a_resumed_run_is_bitwise_the_same(part: Any) -> None:
    """A run that is resumed from its state is, bit by bit, the undisturbed one."""
    case = objective_case(part)
    whole = case.objective()
    batches = [case.batch(whole, 32, seed) for seed in range(50)]
    optimizer = torch.optim.Adam([p for p in whole.parameters() if p.requires_grad], lr=1e-2)
    train(whole, optimizer, batches[:27])
    file = io.BytesIO()
    torch.save({"objective": whole.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = part(case.objective(seed=1).actor_network, config=whole.config)
    other = torch.optim.Adam([p for p in resumed.parameters() if p.requires_grad], lr=1e-2)
    resumed.load_state_dict(saved["objective"])
    other.load_state_dict(saved["optimizer"])
    torch.manual_seed(0)
    expected = train(whole, optimizer, batches[27:])
    torch.manual_seed(0)
    found = train(resumed, other, batches[27:])
    for one, two in zip(expected, found, strict=True):
        assert all(torch.equal(one[key], two[key]) for key in one)
    for one, two in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


@check_objective.promise
def compiles_as_one_graph_at_any_batch_size(part: Any) -> None:
    """It compiles as one graph, with the same losses and gradients at any batch size."""
    case = objective_case(part)
    objective = case.objective()
    reference = copy.deepcopy(objective)
    with compiling():
        compiled = torch.compile(objective, fullgraph=True, backend="eager")
        whole = case.batch(objective)
        for size in (64, 32, 7):
            batch = whole[:size]
            torch.manual_seed(0)
            expected = reference(batch)
            torch.manual_seed(0)
            found = compiled(batch)
            for key in objective.out_keys:
                torch.testing.assert_close(found[key], expected[key])
            total(objective, found).backward()
            total(objective, expected).backward()
            for one, two in zip(objective.parameters(), reference.parameters(), strict=True):
                torch.testing.assert_close(one.grad, two.grad, rtol=1e-4, atol=1e-6)
            objective.after_step(batch)
            reference.after_step(batch)


@check_objective.promise
def bf16_networks_train(part: Any) -> None:
    """A policy in bfloat16 trains, and stays finite."""
    case = objective_case(part)
    objective = case.objective(dtype=torch.bfloat16)
    batch = case.batch(objective)
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-3)
    for out in train(objective, optimizer, [batch] * 3):
        assert all(torch.isfinite(value) for value in out.values()), out
    assert all(torch.isfinite(p).all() for p in objective.parameters())


@check_objective.promise
def bad_input_is_one_sentence(part: Any) -> None:
    """A config of another kind and scores that are none are refused with a sentence."""
    case = objective_case(part)
    objective = case.objective()
    with pytest.raises(InvalidInput, match=f"config is a dict; {part.__name__} takes a {part.Config.__name__}"):
        part(objective.actor_network, config={})
    if "score" not in part.needs:
        return
    batch = case.batch(objective)
    with pytest.raises(InvalidInput, match="call refresh"):
        part(objective.actor_network)(batch)
    for scores in (torch.tensor([]), torch.tensor([1.0, torch.nan]), torch.ones(2, 1), torch.ones(3).long()):
        with pytest.raises(InvalidInput, match="scores"):
            objective.refresh(scores)
    with pytest.raises(InvalidInput, match=r"score has shape \(64, 1\)"):
        objective(batch.set("score", batch["score"].unsqueeze(-1)))


@check_objective.promise
def an_actor_of_others_is_taken_or_refused(part: Any) -> None:
    """TorchRL's own actors do, or are refused with a sentence where it has to know the sessions."""
    if {"transitions", "mass", "prefix_propensities"} & part.needs or part.conditions:
        if "mass" not in part.needs or "transitions" in part.needs:
            with pytest.raises(InvalidInput):
                part(gaussian_actor(nn.Linear(3, 2)))
    else:
        assert part(gaussian_actor(nn.Linear(3, 2))).tensor_keys.action == "proto"


@check_objective.promise
def warm_up_is_cloning_of_whole_actions(part: Any) -> None:
    """Where its config has `cloning_steps`, these clone; then, for the same weights, the loss is another."""
    if not hasattr(part.Config, "cloning_steps"):
        pytest.skip("its config has no cloning_steps")
    case = objective_case(part, "plackett_luce")
    objective = case.objective(cloning_steps=2)
    batch = case.batch(objective)
    for _ in range(2):
        torch.testing.assert_close(objective(batch)["loss_actor"], -objective.log_prob(batch).mean())
        objective.after_step(batch)
    assert (objective(batch)["loss_actor"] + objective.log_prob(batch).mean()).abs() > 1e-3


@check_objective.promise
def no_log_makes_nan(part: Any) -> None:
    """Property: scores, rewards and propensities of any size, tied or not, give losses that are no NaN."""
    case = objective_case(part)
    objective = case.objective()
    rows = case.batch(objective, 8)

    @quick()
    @given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 1e-3, 1.0, 1e3, 1e6]), st.booleans())
    def run(seed: int, reach: float, tied: bool) -> None:
        batch, rng = rows.clone(), np.random.default_rng(seed)
        for field in (field for need in sorted(part.needs) for field in NEEDS[need]):
            key = getattr(objective.tensor_keys, field)
            value = batch.get(key)
            if not isinstance(value, torch.Tensor) or not value.is_floating_point():
                continue
            drawn = rng.normal(size=(1 if tied else len(value), *value.shape[1:]))
            if "log_prob" in field:
                drawn = -reach * np.abs(drawn)
            elif field.endswith("_std"):
                drawn = reach * np.abs(drawn)
            elif field not in ("session_rank", "pair_weight", "rejected"):
                drawn = reach * drawn
            else:
                continue
            batch[key] = torch.as_tensor(np.broadcast_to(drawn, value.shape).copy(), dtype=value.dtype)
        out = objective(batch)
        assert not any(value.isnan() for value in out.values()), dict(out.items())

    run()
