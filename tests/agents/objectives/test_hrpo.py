from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torch.distributions import Distribution
from torchrl.modules import ProbabilisticActor

from agents.objectives.awr import awr_loss
from agents.objectives.hrpo import HrpoConfig, HrpoObjective, prefix_paths, prefix_utility
from agents.testing.objective_cases import objective_case
from recenv.errors import InvalidInput
from tests.reference import prefix_credit_reference as reference

CODES = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
DEEP = [code for code in itertools.product(range(2), range(3), range(2)) if code != (1, 2, 1)]


# --- what a prefix is worth


@pytest.mark.parametrize("codes", [CODES, DEEP, [(item,) for item in range(7)]], ids=["two", "three", "one"])
@pytest.mark.parametrize("some", [False, True])
def test_utility_of_a_prefix_is_the_mean_of_all_its_completions(codes, some):
    """Each completion that is on offer and not shown yet, by enumeration; empty positions take nothing away."""
    rng, count = np.random.default_rng(0), len(codes)
    paths = prefix_paths(torch.tensor(codes))
    for _ in range(30):
        utility = rng.normal(size=count)
        offered = sorted(rng.permutation(count)[: count - 2].tolist()) if some else list(range(count))
        slate = rng.permutation(offered)[:4].tolist()
        table = torch.tensor([[slate[0], -1, *slate[1:]]])
        mask = torch.tensor([[item in offered for item in range(count)]]) if some else None
        found = prefix_utility(torch.from_numpy(utility)[None], paths, table, mask)[0, [0, 2, 3, 4]]
        left, lengths = list(offered), range(len(codes[0]) + 1)
        for k, item in enumerate(slate):
            expected = [reference.prefix_utility(utility, codes, codes[item][:length], left) for length in lengths]
            np.testing.assert_allclose(found[k].numpy(), expected, rtol=1e-12, atol=1e-12)
            left.remove(item)


@pytest.mark.parametrize("policy", ["plackett_luce", "generative"])
def test_credits_add_up(policy):
    """Over an item to u less the mean of what else could stand there, over a slate to z less what chance would have."""
    case = objective_case("hrpo", policy)
    objective = case.objective()
    batch = case.batch(objective)
    slate, observation = batch["slate"].long(), batch["observation"]
    with torch.no_grad():
        everything = objective.utility_network(observation)
        own = everything[:, 1:].gather(1, slate)
        rest = objective.standardized_score(batch) - everything[:, 0] - own.sum(1)
        credit = objective.credit(observation, slate, rest)
    without = credit - (rest / credit[0].numel())[:, None, None]
    left, chance = torch.ones_like(everything[:, 1:]), everything[:, 0].clone()
    for k in range(slate.shape[1]):
        mean = (everything[:, 1:] * left).sum(1) / left.sum(1)
        torch.testing.assert_close(without[:, k].sum(1), own[:, k] - mean, rtol=1e-4, atol=1e-5)
        left.scatter_(1, slate[:, k : k + 1], 0.0)
        chance += mean
    torch.testing.assert_close(credit.sum((1, 2)), objective.standardized_score(batch) - chance, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["plackett_luce", "generative"])
def test_without_utilities_it_is_awr_of_the_whole_slate(policy):
    case = objective_case("hrpo", policy)
    objective = case.objective(temperature=0.7, weight_cap=3.0)
    batch = case.batch(objective)
    for parameter in objective.utility_network.parameters():
        parameter.data.zero_()
    advantage = objective.standardized_score(batch)
    expected = awr_loss(objective.log_prob(batch), advantage, torch.tensor(0.7), torch.tensor(3.0)).mean()
    torch.testing.assert_close(objective(batch)["loss_actor"], expected, rtol=1e-4, atol=1e-5)


# --- 200 steps


class TreeSlates(Distribution):
    """What `reference.TreePolicy` is, for tensors: logits [B, G + N]."""

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape[:1], torch.Size([2]), validate_args=False)

    def token_log_prob(self, slate: Tensor) -> Tensor:
        group = torch.tensor([code[0] for code in CODES])
        found, left = [], torch.ones(len(slate), len(CODES), dtype=torch.bool)
        for item in slate.unbind(1):
            some = torch.stack([(left & (group == g)).any(1) for g in range(3)], dim=1)
            first = self.logits[:, :3].masked_fill(~some, -torch.inf).log_softmax(1)
            inside = left & (group == group[item].unsqueeze(1))
            second = self.logits[:, 3:].masked_fill(~inside, -torch.inf).log_softmax(1)
            both = (first.gather(1, group[item].unsqueeze(1)), second.gather(1, item.unsqueeze(1)))
            found.append(torch.cat(both, dim=1))
            left = left.scatter(1, item.unsqueeze(1), False)
        return torch.stack(found, dim=1)

    def log_prob(self, value: Tensor) -> Tensor:
        return self.token_log_prob(value).sum((1, 2))


class LinearUtility(nn.Module):
    def __init__(self, weight: np.ndarray) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(weight.copy()))

    def forward(self, observation: Any, items: Tensor | None = None) -> Tensor:
        values = observation["features"] @ self.weight.T
        if items is None:
            return values
        return torch.cat([values[:, :1], values[:, 1:].gather(1, items.clamp_min(0))], dim=1)


@pytest.mark.parametrize(("temperature", "cap"), [(0.3, 50.0), (1.0, 2.0)])
def test_two_hundred_steps_are_the_references(temperature, cap):
    """Losses, weights and utilities, on batches of one row, with ties, all alike, and of any numbers."""
    rng = np.random.default_rng(0)
    policy = reference.TreePolicy(0.5 * rng.normal(size=(9, 3)), CODES)
    theirs = reference.Hrpo(policy, 0.3 * rng.normal(size=(7, 3)), rng.normal(size=500), temperature, cap)
    layer = nn.Linear(3, 9, bias=False, dtype=torch.float64)
    layer.weight.data.copy_(torch.from_numpy(policy.weight))
    module = TensorDictModule(layer, in_keys=[("observation", "features")], out_keys=["logits"])
    actor: Any = ProbabilisticActor(module, in_keys=["logits"], out_keys=["slate"], distribution_class=TreeSlates)
    actor.space, actor.ids = SimpleNamespace(num_items=6, offer=None), SimpleNamespace(codes=np.array(CODES))
    ours: Any = HrpoObjective(actor, config=HrpoConfig(temperature, cap), utility_network=LinearUtility(theirs.utility))
    ours.set_keys(action="slate")
    ours.refresh(torch.from_numpy(theirs.scores))
    optimizer = torch.optim.SGD(ours.parameters(), 1e-3)
    for number in range(200):
        count = 1 if number % 5 == 0 else int(rng.integers(2, 9))
        state, score = rng.normal(size=(count, 3)), rng.choice(theirs.scores, count)
        if number % 5 == 1:
            score = np.round(score)
        elif number % 5 == 2:
            state, score = np.repeat(state[:1], count, axis=0), np.full(count, score[0])
        slates = [rng.permutation(6)[:2].tolist() for _ in range(count)]
        columns = {"slate": torch.tensor(slates), "score": torch.from_numpy(score)}
        out = ours(TensorDict({"observation": {"features": torch.from_numpy(state)}, **columns}, [count]))
        optimizer.zero_grad()
        (out["loss_actor"] + out["loss_utility"]).backward()
        optimizer.step()
        for name, value in theirs.step(state, slates, score, 1e-3).items():
            np.testing.assert_allclose(out[name].item(), value, rtol=1e-8, err_msg=f"step {number}: {name}")
        np.testing.assert_allclose(layer.weight.detach().numpy(), theirs.policy.weight, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(ours.utility_network.weight.detach().numpy(), theirs.utility, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("field", "value"), [("temperature", 0.0), ("weight_cap", 0.0), ("item_width", 0)])
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        HrpoConfig(**{field: value})
