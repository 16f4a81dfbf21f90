from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch.nn import functional

from agents.objectives.bc import BcObjective
from agents.objectives.dpo import DpoConfig, DpoObjective, SDpoConfig, SDpoObjective, finite_log_ratio, preference_loss
from agents.testing.losses import preferences
from agents.testing.objective_cases import objective_case
from recenv.errors import InvalidInput
from tests.properties import Claim, every_claim
from tests.reference import regression_reference as reference


def value_and_gradient(loss: Any, problem: Any, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Value [B] and gradient [B, 1 + m] in the log-ratios."""
    ratio, weight, beta = problem
    given = torch.from_numpy(ratio + shift).requires_grad_()
    value = loss(given[:, 0], given[:, 1:], torch.from_numpy(weight), torch.tensor(beta, dtype=torch.float64))
    value.sum().backward()
    assert given.grad is not None
    return value.detach().numpy(), given.grad.numpy()


def check_one_rejected_action_is_dpo(implementation: Any, problem: Any) -> None:
    """For m = 1 the softmax loss is `-log sigma(beta (d_w - d_l))`, value and gradient; without a pair it is zero."""

    def plain(chosen, rejected, weight, beta):
        return weight[:, 0] * -functional.logsigmoid(beta * (chosen - rejected[:, 0]))

    found, expected = value_and_gradient(implementation, problem), value_and_gradient(plain, problem)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-300)


def check_a_common_shift_changes_nothing(implementation: Any, problem: Any) -> None:
    """Adding c(s) to all log-ratios of a row leaves its loss: the reference's normaliser cancels."""
    shifted, expected = value_and_gradient(implementation, problem, 16.0), value_and_gradient(implementation, problem)
    np.testing.assert_array_equal(shifted[0], expected[0])
    np.testing.assert_array_equal(shifted[1], expected[1])


def check_order_and_absent_pairs_do_not_count(implementation: Any, problem: Any) -> None:
    """The loss is symmetric in the rejected actions, and one of weight zero might as well not be there."""
    ratio, weight, beta = problem
    value, gradient = value_and_gradient(implementation, problem)
    turned = value_and_gradient(
        implementation, (ratio[:, [0, *range(ratio.shape[1] - 1, 0, -1)]], weight[:, ::-1].copy(), beta)
    )
    np.testing.assert_allclose(turned[0], value, rtol=1e-9)
    np.testing.assert_array_equal(gradient[:, 1:][weight == 0], 0.0)
    without = value_and_gradient(implementation, (ratio + np.pad(1e4 * (1 - weight), ((0, 0), (1, 0))), weight, beta))
    np.testing.assert_array_equal(without[0], value)
    assert (value[weight.sum(1) == 0] == 0).all()


def check_the_force_is_bounded_and_balanced(implementation: Any, problem: Any) -> None:
    """The chosen action is pulled by at most beta, and just as much as all the rejected ones are pushed; no NaN."""
    value, gradient = value_and_gradient(implementation, problem)
    assert np.isfinite(value).all()
    assert ((gradient[:, 0] <= 0) & (gradient[:, 0] >= -problem[2] * (1 + 1e-12))).all()
    assert (gradient[:, 1:] >= 0).all()
    np.testing.assert_allclose(gradient[:, 1:].sum(1), -gradient[:, 0], rtol=1e-9, atol=1e-300)


def check_equals_the_reference(implementation: Any, problem: Any) -> None:
    """Value and gradient of ratios up to 100 in size are those of the formula written out."""
    ratio, weight, beta = problem
    problem = ratio.clip(-100, 100), weight, beta
    found, expected = value_and_gradient(implementation, problem), reference.preference(*problem)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-9, atol=1e-300)


def hinge(chosen, rejected, weight, beta):
    return (weight * functional.relu(1.0 + beta * (rejected - chosen.unsqueeze(-1)))).sum(1)


def mean_of_pairs(chosen, rejected, weight, beta):
    return (weight * functional.softplus(beta * (rejected - chosen.unsqueeze(-1)))).mean(1)


def of_probabilities(chosen, rejected, weight, beta):
    return functional.softplus((weight * beta * (rejected.exp() - chosen.exp().unsqueeze(-1))).sum(1))


def blind_to_weights(chosen, rejected, weight, beta):
    return preference_loss(chosen, rejected, torch.ones_like(weight), beta)


CLAIMS = [
    Claim(check_one_rejected_action_is_dpo, preferences(1), preference_loss, mutant=hinge),
    Claim(check_a_common_shift_changes_nothing, preferences(), preference_loss, mutant=of_probabilities),
    Claim(check_order_and_absent_pairs_do_not_count, preferences(), preference_loss, mutant=blind_to_weights),
    Claim(check_the_force_is_bounded_and_balanced, preferences(), preference_loss, mutant=hinge),
    Claim(check_equals_the_reference, preferences(), preference_loss, mutant=mean_of_pairs),
]


@every_claim(CLAIMS)
def test_theory_holds(claim):
    claim.holds()


@every_claim(CLAIMS)
def test_a_wrong_implementation_is_noticed(claim):
    claim.catches_the_mutant()


def test_impossible_actions_have_a_finite_ratio_and_no_gradient():
    log_prob = torch.tensor([-torch.inf, -torch.inf, -2.0, -1e4], requires_grad=True)
    ratio = finite_log_ratio(log_prob, torch.tensor([-torch.inf, -3.0, -torch.inf, -1.0]))
    assert ratio.isfinite().all()
    assert ratio[0] == 0
    assert ratio[1] < -1e30
    assert ratio[2] > 1e30
    assert ratio[3] == -9999
    ratio.sum().backward()
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == [0.0, 0.0, 1.0, 1.0]


# --- the objective


@pytest.fixture
def pairs_batch(random_batch) -> TensorDict:
    """A batch with three rejected actions a row; some rows have fewer, the first none."""
    generator = torch.Generator().manual_seed(1)
    rejected = torch.randn(64, 3, 2, generator=generator)
    weight = (torch.rand(64, 3, generator=generator) < 0.7).float()
    weight[0] = 0.0
    return random_batch.set("rejected", rejected).set("pair_weight", weight)


def first_pairs(batch: TensorDict) -> TensorDict:
    return batch.clone().set("rejected", batch["rejected"][:, :1]).set("pair_weight", batch["pair_weight"][:, :1])


def adam_steps(objective: Any, batch: TensorDict, count: int, rate: float = 1e-2) -> list[float]:
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=rate)
    losses = []
    for _ in range(count):
        optimizer.zero_grad()
        loss = objective(batch)["loss_actor"]
        loss.backward()
        optimizer.step()
        objective.after_step(batch)
        losses.append(loss.item())
    return losses


def test_value_and_gradient_equal_the_reference(make_actor, pairs_batch):
    actor, batch = make_actor().double(), pairs_batch.double()
    objective = SDpoObjective(actor, config=SDpoConfig(beta=0.5, cloning_steps=0)).double()
    bias = actor.module[0].module.mean.bias
    with torch.no_grad():
        bias.copy_(torch.tensor([0.3, -0.2]))  # the reference stays at zero
    out = objective(batch)
    action = np.concatenate([batch["proto"].numpy()[:, None], batch["rejected"].numpy()], axis=1)
    mean, weight = bias.detach().numpy(), batch["pair_weight"].numpy()
    ratio = reference.normal_log_prob(action, mean) - reference.normal_log_prob(action, np.zeros(2))
    loss, gradient = reference.preference(ratio, weight, 0.5)
    assert out["loss_actor"].item() == pytest.approx(loss.mean(), rel=1e-9)
    right = (ratio[:, 1:] < ratio[:, :1]) * weight
    assert out["preference_accuracy"].item() == pytest.approx(right.sum() / weight.sum())
    out["loss_actor"].backward()
    expected = reference.mean_gradient(gradient, action, mean)
    np.testing.assert_allclose(bias.grad, expected, rtol=1e-9)


def test_dpo_is_s_dpo_with_one_rejected_action(make_actor, pairs_batch):
    batch = first_pairs(pairs_batch)
    dpo, s_dpo = DpoObjective(make_actor()), SDpoObjective(make_actor(), config=SDpoConfig(num_rejected=1))
    assert adam_steps(dpo, batch, 20) == adam_steps(s_dpo, batch, 20)


def test_warm_up_is_cloning_and_leaves_its_policy_as_the_reference(make_actor, pairs_batch):
    actor, cloned = make_actor(), make_actor()
    objective = SDpoObjective(actor, config=SDpoConfig(cloning_steps=10))
    assert adam_steps(objective, pairs_batch, 10) == adam_steps(BcObjective(cloned), pairs_batch, 10)
    for one, two in zip(actor.parameters(), cloned.parameters(), strict=True):
        assert torch.equal(one, two)
    # Every ratio is 1: the loss is log(1 + number of pairs).
    expected = pairs_batch["pair_weight"].sum(1).log1p().mean()
    assert objective(pairs_batch)["loss_actor"].item() == pytest.approx(expected.item(), rel=1e-5)
    before = [p.clone() for p in cloned.parameters()]
    adam_steps(objective, pairs_batch, 5)
    kept = objective.target_actor_network_params.values(True, True)
    assert sorted(p.sum().item() for p in kept) == sorted(p.sum().item() for p in before)
    assert not torch.equal(next(actor.parameters()), before[0])


def test_preferences_are_learned(make_actor, make_batch):
    """The chosen actions lie right of the rejected ones, and both are equally common in the log."""
    generator = torch.Generator().manual_seed(0)
    action = torch.randn(256, 2, generator=generator)
    better = action[:, 0] > 0
    batch = make_batch(action, better.float())
    rejected = torch.where(better[:, None], action.roll(1, 0) - torch.tensor([3.0, 0.0]), action)
    batch["rejected"], batch["pair_weight"] = rejected.unsqueeze(1), better.float().unsqueeze(1)
    actor = make_actor()
    objective = DpoObjective(actor, config=DpoConfig(cloning_steps=100))
    adam_steps(objective, batch, 100, 0.05)
    cloned = actor.module[0].module.mean.bias.detach().clone()
    adam_steps(objective, batch, 100, 0.05)
    assert actor.module[0].module.mean.bias[0] > cloned[0] + 0.5
    assert objective(batch)["preference_accuracy"] > 0.95


def test_an_action_that_is_not_on_offer_is_no_preference(make_actor, pairs_batch):
    """Density zero stands for an item that the step does not show."""
    batch = first_pairs(pairs_batch)
    objective = DpoObjective(make_actor(), config=DpoConfig(cloning_steps=0))
    batch["pair_weight"][:, 0] = (torch.arange(64) < 32).float()
    expected = objective(batch)["loss_actor"]
    batch["pair_weight"][:] = 1.0
    batch["rejected"][32:] = 1e30
    torch.testing.assert_close(objective(batch)["loss_actor"], expected)


def test_an_action_is_not_preferred_to_itself(make_actor, pairs_batch):
    """A twin of the logged action is no pair, neither in the loss nor in the accuracy, however it is weighted."""
    objective = SDpoObjective(make_actor(), config=SDpoConfig(cloning_steps=0))
    with torch.no_grad():
        objective.actor_network_params.flatten_keys()["module.0.module.mean.bias"].data.fill_(0.5)
    without, twins = pairs_batch.clone(), pairs_batch.clone()
    without["pair_weight"][:, 1] = 0.0
    twins["pair_weight"][:, 1] = 1.0
    twins["rejected"][:, 1] = twins["proto"]
    assert (without["pair_weight"].sum(1) == 0).any()
    for name, value in objective(without).items():
        torch.testing.assert_close(objective(twins)[name], value)


def test_one_item_that_differs_makes_a_pair():
    case = objective_case("dpo", "plackett_luce")
    objective = case.objective(cloning_steps=0)
    batch = case.batch(objective, 8)
    batch["pair_weight"][:] = 1.0
    batch["rejected"][:, 0] = batch["slate"]
    assert objective(batch)["loss_actor"] == 0.0
    others = batch["slate"][:, :1] + 1
    batch["rejected"][:, 0, 0] = (
        torch.where((others == batch["slate"]).any(1, keepdim=True), others + 1, others)[:, 0] % 40
    )
    assert objective(batch)["loss_actor"] > 0.1


def test_pairs_of_padding_are_none(make_actor, pairs_batch):
    """The loss of padding is masked; that its pairs do not count in the accuracy either is seen on pairs of its own."""
    objective = SDpoObjective(make_actor(), config=SDpoConfig(cloning_steps=0))
    with torch.no_grad():
        objective.actor_network_params.flatten_keys()["module.0.module.mean.bias"].data.fill_(0.5)
    expected = objective(pairs_batch[:40])
    padded = pairs_batch.clone()
    padded["pair_weight"][40:] = 1.0
    assert objective(padded)["preference_accuracy"] != expected["preference_accuracy"]
    padded["collector", "mask"] = torch.arange(64) < 40
    for name, value in expected.items():
        torch.testing.assert_close(objective(padded)[name], value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: DpoConfig(beta=0.0), "beta=0.0"),
        (lambda: DpoConfig(cloning_steps=-1), "cloning_steps=-1"),
        (lambda: SDpoConfig(num_rejected=0), "num_rejected=0"),
        (lambda: SDpoConfig(beta=float("nan")), "beta=nan"),
    ],
)
def test_config_refuses(config, message):
    with pytest.raises(InvalidInput, match=message):
        config()
