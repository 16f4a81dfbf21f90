"""The contract of the family, over every registered objective."""

from __future__ import annotations

import copy
import io
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.distributions import Independent, Laplace, Normal

from agents.families import OBJECTIVES
from agents.objectives.base import NEEDS, batch_kl, weighted_log_prob
from agents.objectives.bases.ratios import clipped_surrogate
from recenv.errors import InvalidInput
from tests.agents.objectives.objective_cases import FIRST, Cases, every_objective


@pytest.fixture(scope="module")
def cases(tmp_path_factory) -> Cases:
    return Cases(tmp_path_factory.mktemp("objectives"))


def learns_values(objective) -> bool:
    return "transitions" in objective.needs


def total(objective, out) -> Any:
    return torch.stack([out[name] for name in objective.losses]).sum()


def train(objective, optimizer, batches):
    outputs = []
    for batch in batches:
        out = objective(batch)
        optimizer.zero_grad()
        total(objective, out).backward()
        optimizer.step()
        outputs.append({**out.detach().to_dict(), **objective.after_step(batch)})
    return outputs


def spoil(objective, batch, rows) -> None:
    """Make what a batch holds of some rows, observations apart, such as no log has."""
    for key in set(objective.in_keys) - set(objective.actor_network.in_keys):
        value = batch.get(key)
        if isinstance(value, torch.Tensor):
            value[rows] = -300.0 if value.is_floating_point() else (True if value.dtype == torch.bool else 0)


@every_objective
class TestEveryObjective:
    def test_output_is_differentiable_losses_and_detached_scalars(self, cases, name, policy):
        case = cases.make(name, policy)
        objective = case.objective()
        out = objective(case.batch(objective))
        assert set(out.keys()) == set(objective.out_keys)
        assert "loss_actor" in objective.losses
        assert all(value.shape == () and torch.isfinite(value) for value in out.values())
        assert {key for key in out.keys() if out[key].requires_grad} == set(objective.losses)  # noqa: SIM118
        assert objective.needs <= NEEDS.keys()

    def test_every_parameter_is_trained_by_one_loss(self, cases, name, policy):
        """And no gradient flows into a column of the log."""
        case = cases.make(name, policy)
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
        assert len(set().union(*trained)) == sum(map(len, trained)) == len(parameters) - (name == "td3_bc")  # its scale
        actor = {id(p) for p in objective.actor_network_params.parameters()}
        own = trained[objective.losses.index("loss_actor")]
        assert {id(parameters[i]) for i in own} <= actor
        total(objective, out).backward()
        assert all(value.grad is None for value in floating)
        assert all(buffer.grad is None for buffer in objective.buffers())

    def test_input_is_left_as_it_was(self, cases, name, policy):
        case = cases.make(name, policy)
        objective = case.objective()
        batch = case.batch(objective)
        before = batch.clone()
        objective(batch)
        objective.after_step(batch)
        assert set(batch.keys(True, True)) == set(before.keys(True, True))
        assert (batch.exclude("behavior_log_prob") == before.exclude("behavior_log_prob")).all()

    def test_nested_keys_give_the_same_loss(self, cases, name, policy):
        case = cases.make(name, policy)
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

    def test_padding_is_left_out(self, cases, name, policy):
        case = cases.make(name, policy)
        batch = case.batch(case.objective())
        found = []
        for rows in (slice(0, 40), slice(0, 64)):
            objective = case.objective()
            part = batch[rows].clone()
            spoil(objective, part, slice(40, 64))
            part["collector"] = {"mask": torch.arange(len(part)) < 40}
            out = objective(part)
            total(objective, out).backward()
            gradients = [p.grad for p in objective.parameters() if p.requires_grad]
            found.append([*out.values(), *gradients, *objective.after_step(part).values(), *objective(part).values()])
        if learns_values(objective):  # its own draws are others in another batch
            return
        for one, two in zip(*found, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)

    def test_extremes_stay_numbers(self, cases, name, policy):
        """Scores and rewards of a million, log-probabilities of -1e4, one row."""
        case = cases.make(name, policy)
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

    def test_impossible_actions_are_not_nan(self, cases, name, policy):
        """An infinite loss stops the run with a sentence; NaN could hide."""
        case = cases.make(name, policy)
        objective = case.objective()
        batch = case.rows(objective, np.full(8, int(case.scores.argmax())))
        action = batch[objective.tensor_keys.action]
        action[...] = 1e30 if case.log.action_kind == "proto" else -1
        if case.log.action_kind == "slate":
            action[:, 1] = 0  # not short: an item of no catalogue, then one
        assert objective.log_prob(batch).tolist() == [-torch.inf] * 8
        if not learns_values(objective):
            assert not objective(batch)["loss_actor"].isnan()

    def test_a_resumed_run_is_bitwise_the_same(self, cases, name, policy):
        case = cases.make(name, policy)
        whole = case.objective()
        batches = [case.batch(whole, 32, seed) for seed in range(50)]
        optimizer = torch.optim.Adam([p for p in whole.parameters() if p.requires_grad], lr=1e-2)
        train(whole, optimizer, batches[:27])
        file = io.BytesIO()
        torch.save({"objective": whole.state_dict(), "optimizer": optimizer.state_dict()}, file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)
        resumed = OBJECTIVES.get(name)(case.objective(seed=1).actor_network, config=whole.config)
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

    @pytest.mark.filterwarnings("ignore:.*inline_inbuilt_nn_modules:FutureWarning")  # tensordict 0.14 on torch 2.13
    def test_compiles_as_one_graph_at_any_batch_size(self, cases, name, policy):
        torch._dynamo.reset()
        case = cases.make(name, policy)
        objective = case.objective()
        reference = copy.deepcopy(objective)
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

    def test_bf16_networks_train(self, cases, name, policy):
        case = cases.make(name, policy)
        objective = case.objective(dtype=torch.bfloat16)
        batch = case.batch(objective)
        optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=1e-3)
        for out in train(objective, optimizer, [batch] * 3):
            assert all(torch.isfinite(value) for value in out.values()), out
        assert all(torch.isfinite(p).all() for p in objective.parameters())

    def test_bad_input_is_one_sentence(self, cases, name, policy):
        case = cases.make(name, policy)
        cls, objective = OBJECTIVES.get(name), case.objective()
        with pytest.raises(InvalidInput, match=f"config is a dict; {cls.__name__} takes a {cls.Config.__name__}"):
            cls(objective.actor_network, config={})
        if "score" not in cls.needs:
            return
        batch = case.batch(objective)
        with pytest.raises(InvalidInput, match="call refresh"):
            cls(objective.actor_network)(batch)
        for scores in (torch.tensor([]), torch.tensor([1.0, torch.nan]), torch.ones(2, 1), torch.ones(3).long()):
            with pytest.raises(InvalidInput, match="scores"):
                objective.refresh(scores)
        with pytest.raises(InvalidInput, match=r"score has shape \(64, 1\)"):
            objective(batch.set("score", batch["score"].unsqueeze(-1)))


@pytest.mark.parametrize("name", OBJECTIVES.registered())
def test_an_actor_of_others_is_taken_or_refused_with_a_sentence(name, make_actor):
    """TorchRL's own actors do where an objective learns no values, for which it would have to know the sessions."""
    cls = OBJECTIVES.get(name)
    if {"transitions", "mass", "prefix_propensities"} & cls.needs or cls.conditions:
        if "mass" not in cls.needs or "transitions" in cls.needs:
            with pytest.raises(InvalidInput):
                cls(make_actor(nn.Linear(3, 2)))
    else:
        assert cls(make_actor(nn.Linear(3, 2))).tensor_keys.action == "proto"


@pytest.mark.parametrize("lengths", [3, 1])
def test_ratio_of_a_slate_is_of_its_items_or_of_the_whole(cases, lengths):
    """GSPO takes the ratio per item; SAGE does, unless its switch says that of the whole."""
    case = cases.make("sage", "plackett_luce")
    off = {"decouple": False, "boost": False, "entropy_penalty": False, "sequence_ratio": lengths == 3}
    objective = case.objective(**off)
    batch = case.batch(objective)
    log_ratio = (objective.log_prob(batch) - batch["behavior_log_prob"].float()) / lengths
    spread = batch["group_return_std"] + objective.config.std_offset
    advantage = (batch["session_return"] - batch["group_return_mean"]) / spread
    clip = (torch.tensor(bound) for bound in (0.8, 1.27, 3.0))
    expected = clipped_surrogate(log_ratio, advantage, *clip).mean()
    torch.testing.assert_close(objective(batch)["loss_actor"], expected)
    if lengths == 3:
        grouped = cases.make("gspo", "plackett_luce").objective(seed=0)
        torch.testing.assert_close(grouped(batch)["loss_actor"], expected)


@pytest.mark.parametrize("name", [name for name, _ in FIRST if hasattr(OBJECTIVES.get(name).Config, "cloning_steps")])
def test_warm_up_is_cloning_of_whole_actions(cases, name):
    """Then the objective itself: for the same weights another loss."""
    case = cases.make(name, "plackett_luce")
    objective = case.objective(cloning_steps=2)
    batch = case.batch(objective)
    for _ in range(2):
        torch.testing.assert_close(objective(batch)["loss_actor"], -objective.log_prob(batch).mean())
        objective.after_step(batch)
    assert (objective(batch)["loss_actor"] + objective.log_prob(batch).mean()).abs() > 1e-3


def test_weight_of_zero_silences_an_impossible_action():
    log_prob = torch.tensor([-torch.inf, -2.0], requires_grad=True)
    product = weighted_log_prob(torch.tensor([0.0, 3.0]), log_prob)
    assert product.tolist() == [0.0, -6.0]
    product.sum().backward()
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == [0.0, 3.0]


def acting(distribution) -> Any:
    """Stand in for `Objective.acting` with an actor that answers everything with one distribution."""

    class Actor:
        def get_dist(self, tensordict):
            return distribution

    return lambda: nullcontext(Actor())


def kl(reference, policy, count):
    return batch_kl(acting(reference), acting(policy), TensorDict({}, [count])).mean().item()


def test_kl_is_exact_for_normals():
    reference = Independent(Normal(torch.zeros(2, 3), 1.0), 1)
    policy = Independent(Normal(torch.full((2, 3), 2.0), 1.0), 1)
    assert kl(reference, policy, 2) == pytest.approx(6.0)  # 3 dimensions, 2^2 / 2 each


def test_kl_of_an_unknown_pair_is_sampled():
    """Laplace against Normal in one dimension is 0.0724; 320,000 samples have a standard error below 0.001."""
    torch.manual_seed(0)
    size = torch.zeros(320_000, 1)
    reference, policy = Independent(Laplace(size, 1.0), 1), Independent(Normal(size, 2.0**0.5), 1)
    exact = -1 - torch.log(torch.tensor(2.0)) + 0.5 * torch.log(torch.tensor(4 * torch.pi)) + 0.5
    assert kl(reference, policy, 320_000) == pytest.approx(exact.item(), abs=0.005)
    few = Independent(Laplace(size[:4], 1.0), 1), Independent(Normal(size[:4], 2.0**0.5), 1)
    assert kl(*few, 4) == pytest.approx(exact.item(), abs=0.1)  # a thousand samples all the same
