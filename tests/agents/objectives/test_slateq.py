from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.modules import ProbabilisticActor

from agents.distributions.plackett_luce import PlackettLuce
from agents.nn.session_space import SessionSpace
from agents.objectives.slateq import (
    SlateqConfig,
    SlateqObjective,
    best_slate,
    choice_loss,
    clicked_share,
    item_td_loss,
    slate_value,
)
from agents.policies.base import make_policy
from agents.testing.policy_cases import policy_config, policy_log
from agents.training.log_columns import make_storage
from recenv.errors import InvalidInput
from tests.properties import Claim, every_claim
from tests.reference import value_objectives_reference as reference
from tests.strategies.losses import ItemValues, item_values

ENOUGH = 10  # rounds that end the search on six items


def found_slate(implementation, problem, num_rounds=ENOUGH):
    choice, value = (torch.from_numpy(values).unsqueeze(0) for values in (problem.choice, problem.value))
    columns, best = implementation(choice, value, problem.slate_size, num_rounds)
    return columns[0].tolist(), best.item()


def check_best_slate_is_the_optimum(implementation, problem):
    """Of all slates of K offered items, none has a larger Q(s, A), which is that of the slate found."""
    slate, best = found_slate(implementation, problem)
    expected, _ = reference.best_slate(problem.choice, problem.value, problem.slate_size)
    assert len(set(slate)) == problem.slate_size
    assert np.isfinite(problem.choice[1:][slate]).all()
    np.testing.assert_allclose(best, expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(reference.slate_value(problem.choice, problem.value, tuple(slate)), best, atol=1e-9)


def check_rounds_never_lose(implementation, problem):
    """From the second slate on, each is at least as good as the one before."""
    values = [found_slate(implementation, problem, rounds)[1] for rounds in (1, 2, 3, ENOUGH)]
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(values))


def check_first_round_is_the_top_k_slate(implementation, problem):
    """It has the K largest v_i (Q_i - Q_none), in falling order."""
    slate, _ = found_slate(implementation, problem, 1)
    gain = np.exp(problem.choice[1:]) * (problem.value[1:] - problem.value[0])
    offered = gain[np.isfinite(problem.choice[1:])]
    np.testing.assert_allclose(gain[slate], np.sort(offered)[::-1][: problem.slate_size], rtol=1e-9, atol=1e-300)


def check_shift_of_values(implementation, problem):
    """Q + c has the same best value, plus c; log v + c is the same choice."""
    _, best = found_slate(implementation, problem)
    moved = ItemValues(problem.choice - 2.0, problem.value + 4.0, problem.slate_size)
    np.testing.assert_allclose(found_slate(implementation, moved)[1], best + 4.0, rtol=1e-9, atol=1e-9)


def check_rounds_never_lose_in_float32(implementation, problem):
    """Nor where one v is all of the rest's sum in float32: the value rises exactly, and its end is the optimum."""
    choice, value = (torch.from_numpy(values).float().unsqueeze(0) for values in (problem.choice, problem.value))
    arrays = choice[0].double().numpy(), value[0].double().numpy()
    worths = []
    for rounds in (1, 2, 3, ENOUGH):
        columns, best = implementation(choice, value, problem.slate_size, rounds)
        assert best.dtype == torch.float32
        worths.append(reference.slate_value(*arrays, tuple(columns[0].tolist())))
        np.testing.assert_allclose(best.item(), worths[-1], rtol=1e-5, atol=1e-5)
    assert all(later >= earlier - 1e-12 for earlier, later in itertools.pairwise(worths))
    np.testing.assert_allclose(worths[-1], reference.best_slate(*arrays, problem.slate_size)[0], atol=1e-9)


def by_chance_times_value(choice, value, slate_size, num_rounds):
    """Forgets that another item takes chances away from the rest."""
    return best_slate(choice, value, slate_size, 1)


def by_chance(choice, value, slate_size, num_rounds):
    columns = choice[..., 1:].topk(slate_size, dim=-1).indices
    taken = torch.cat([torch.zeros_like(columns[..., :1]), 1 + columns], dim=-1)
    return columns, slate_value(choice.gather(-1, taken), value.gather(-1, taken))


def second_by_chance(choice, value, slate_size, num_rounds):
    return (by_chance if num_rounds == 2 else best_slate)(choice, value, slate_size, num_rounds)


def without_none(choice, value, slate_size, num_rounds):
    return best_slate(choice.clone().index_fill_(-1, torch.tensor([0]), 0.0), value, slate_size, num_rounds)


CLAIMS = [
    Claim(check_best_slate_is_the_optimum, item_values(), best_slate, by_chance_times_value),
    Claim(check_rounds_never_lose, item_values(), best_slate, second_by_chance),
    Claim(check_rounds_never_lose_in_float32, item_values(reach=60.0), best_slate, second_by_chance),
    Claim(check_first_round_is_the_top_k_slate, item_values(), best_slate, by_chance),
    Claim(check_shift_of_values, item_values(), best_slate, without_none),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


@pytest.mark.parametrize(
    ("choice", "value", "column", "worth"),
    [
        ([0.0, -804.0, -805.0, -806.0, -790.0], [0.0, 9.0, 8.0, 7.0, -1.0], 0, 0.0),  # none is likelier by far
        ([-200.0, -190.0, -195.0, 0.0], [0.0, 1.0, 5.0, -3.0], 1, 5.0 / (1.0 + math.exp(-5.0))),  # a bad item is
        ([2.68, -6.35, -4.42, 26.02], [-0.497, 0.858, -0.436, 0.48], 2, 0.48),  # the best is: L is its Q in float32
        # A middling item is: L is its Q in float64 too.
        ([-30.0, -30.0, 7.0, -30.0, -30.0, -30.0, -30.0], [-8.0, -8.0, -5.0, -8.0, -8.0, -8.0, 0.0], 5, -4.0),
    ],
)
def test_items_are_told_apart_beside_what_is_likelier_by_far(choice, value, column, worth):
    columns, best = best_slate(torch.tensor([choice]), torch.tensor([value]), 1, 4)
    assert columns.tolist() == [[column]]
    assert best.item() == pytest.approx(worth)


def test_short_offers_end_in_empty_positions():
    choice = torch.tensor([[0.0, 0.0, -torch.inf, 1.0], [0.0, -torch.inf, -torch.inf, -torch.inf]])
    columns, best = best_slate(choice, torch.tensor([[0.0, 1.0, 9.0, 2.0], [5.0, 1.0, 1.0, 1.0]]), 3, 4)
    assert columns[0].tolist() == [2, 0, -1]
    weights = torch.tensor([0.0, 0.0, 1.0]).exp()
    torch.testing.assert_close(best[0], (weights * torch.tensor([0.0, 1.0, 2.0])).sum() / weights.sum())
    assert best[1] == 5.0


def test_copies_were_not_shown_and_clicks_share():
    slate = torch.tensor([[3, 1, 3], [2, 2, 2], [0, 1, 2], [0, 1, 2]])
    click = torch.tensor([[0, 0, 1], [1, 0, 0], [1, 0, 1], [0, 0, 0]]) > 0
    shown, share = clicked_share(click, slate)
    assert shown.int().tolist() == [[1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert share.tolist() == [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.5, 0.0, 0.5], [1.0, 0.0, 0.0, 0.0]]


def test_losses_worked_by_hand():
    """v = 1, 1, 2 of none and two items: the second is chosen with probability 1/2."""
    choice = torch.tensor([[0.0, 0.0, math.log(2.0), -torch.inf]], requires_grad=True)
    share = torch.tensor([[0.0, 0.0, 1.0, 0.0]])
    loss = choice_loss(choice, share)
    torch.testing.assert_close(loss, torch.tensor([math.log(2.0)]))
    (slope,) = torch.autograd.grad(loss.sum(), choice)
    torch.testing.assert_close(slope, torch.tensor([[0.25, 0.25, -0.5, 0.0]]))
    value = torch.tensor([[[1.0, 2.0, 3.0, 9.0]], [[0.0, 0.0, 5.0, 9.0]]])
    torch.testing.assert_close(slate_value(choice, value[0]), torch.tensor([2.25]))
    assert item_td_loss(value, share, torch.tensor([4.0])).tolist() == [2.0]


class LinearItems(nn.Module):
    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.from_numpy(weights.copy()))

    def forward(self, observation: Any, items: torch.Tensor | None = None) -> torch.Tensor:
        values = observation["features"] @ self.weights.T
        return values if items is None else values.gather(-1, torch.nn.functional.pad(items + 1, (1, 0)))


@pytest.mark.parametrize("seed", range(3))
def test_values_and_gradients_are_the_references(seed):
    rng = np.random.default_rng(seed)
    count, num_items, size, width = 7, 5, 2, 3
    state, next_state = rng.normal(size=(2, count, width))
    slate = np.stack([rng.permutation(num_items)[:size] for _ in range(count)])
    click = np.zeros((count, size), np.bool_)
    click[np.arange(4), rng.integers(size, size=4)] = True
    reward, done = 3.0 * rng.normal(size=count), np.arange(count) % 3 == 0
    q, slow = rng.normal(size=(2, 2, 1 + num_items, width))
    choice, logits = rng.normal(size=(1 + num_items, width)), rng.normal(size=(num_items, width))
    actor = ProbabilisticActor(
        TensorDictModule(nn.Linear(width, num_items, bias=False).double(), [("observation", "features")], ["logits"]),
        in_keys=["logits"],
        out_keys=["slate"],
        distribution_class=PlackettLuce,
        distribution_kwargs={"slate_size": size},
    )
    linear: Any = actor.module
    linear[0].module.weight.data.copy_(torch.from_numpy(logits))
    objective = SlateqObjective(
        actor,
        config=SlateqConfig(discount=0.9, num_rounds=ENOUGH),
        qvalue_network=[LinearItems(weights) for weights in q],
        choice_network=LinearItems(choice),
    )
    objective.set_keys(action="slate")
    values = objective.values
    for index, weights in enumerate(slow):
        values.target_qvalue_network_params.data["networks", str(index), "weights"].copy_(torch.from_numpy(weights))
    arrays = {"slate": slate, "feedback": click[..., None].astype(float)}
    batch = TensorDict({name: torch.from_numpy(array) for name, array in arrays.items()}, [count])
    batch["observation", "features"] = torch.from_numpy(state)
    batch["next", "observation", "features"] = torch.from_numpy(next_state)
    batch["next", "reward"], batch["next", "done"] = (torch.from_numpy(x)[:, None] for x in (reward, done))
    order = objective.best(batch["observation"], size)[0].numpy()
    scaled = reward / np.sqrt((reward**2).mean())
    expected = reference.slateq(state, slate, click, scaled, done, next_state, q, slow, choice, logits, 0.9, order)
    members = [values.qvalue_network_params["networks", str(index), "weights"] for index in range(2)]
    own = {
        "loss_actor": [objective.actor_network_params["module", "0", "module", "weight"]],
        "loss_qvalue": members,
        "loss_choice": [objective.choice_network.weights],
    }
    everything = [p for p in objective.parameters() if p.requires_grad]
    assert {id(p) for p in everything} == {id(p) for group in own.values() for p in group}
    out = objective(batch)
    for name, (value, gradient) in expected.items():
        np.testing.assert_allclose(out[name].item(), value, rtol=1e-9, err_msg=name)
        found = torch.autograd.grad(out[name], everything, retain_graph=True, materialize_grads=True, allow_unused=True)
        rows = gradient if gradient.ndim == 3 else gradient[None]
        wanted = {id(p): row for p, row in zip(own[name], rows, strict=True)}
        for parameter, slope in zip(everything, found, strict=True):
            zero = np.zeros(parameter.shape)
            np.testing.assert_allclose(slope.numpy(), wanted.get(id(parameter), zero), rtol=1e-9, atol=1e-12)


def test_an_actor_without_a_space_needs_networks():
    actor = ProbabilisticActor(
        TensorDictModule(nn.Linear(2, 3), ["observation"], ["logits"]),
        in_keys=["logits"],
        out_keys=["slate"],
        distribution_class=PlackettLuce,
        distribution_kwargs={"slate_size": 2},
    )
    with pytest.raises(InvalidInput, match=r"pass qvalue_network=, modules that are called with \(observation, items"):
        SlateqObjective(actor)


@pytest.mark.parametrize(("field", "value"), [("num_rounds", 0), ("item_width", 0), ("discount", 1.5)])
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        SlateqConfig(**{field: value})


@pytest.mark.parametrize("where", ["plain", "candidates", "appearing"])
def test_the_policy_is_taught_what_the_step_offers(where):
    log = policy_log(where, "slate")
    policy = make_policy(SessionSpace.of_log(log), policy_config("plackett_luce"))
    torch.manual_seed(0)
    objective = SlateqObjective(policy)
    batch = make_storage(objective, log, torch.zeros(log.num_rows)).get(slice(0, 40))
    slate, value = objective.best(batch["observation"], 3)
    items = torch.arange(log.num_items).expand(40, -1)
    if where == "candidates":
        allowed = (batch["observation", "candidates"].unsqueeze(-1) == items.unsqueeze(1)).any(dim=1)
        assert (batch["observation", "candidates"] < 0).any()
    else:
        allowed = batch["observation", "available"] > 0 if where == "appearing" else torch.ones_like(items).bool()
    assert allowed.gather(1, slate).all()
    assert value.isfinite().all()
    losses = objective(batch)
    assert all(losses[name].isfinite() for name in objective.losses)
