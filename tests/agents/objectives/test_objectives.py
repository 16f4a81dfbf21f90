"""The contract of the family, over every registered objective."""

from __future__ import annotations

import copy
import io
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.distributions import Independent, Laplace, Normal

from agents.objectives import NEEDS, OBJECTIVES, mean_kl, weighted_log_prob
from recenv.errors import InvalidInput

NAMES = OBJECTIVES.registered()


def train(objective, optimizer, batches):
    outputs = []
    for batch in batches:
        out = objective(batch)
        optimizer.zero_grad()
        out["loss_actor"].backward()
        optimizer.step()
        outputs.append({**out.detach().to_dict(), **objective.after_step(batch)})
    return outputs


def test_the_quickstarts_objectives_are_registered():
    assert {"awr", "bc", "drpo", "signed_pg"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
class TestEveryObjective:
    def make(self, name, actor, batch):
        objective = OBJECTIVES.get(name)(actor)
        objective.refresh(batch["score"])
        return objective

    def test_output_is_one_differentiable_loss_and_detached_scalars(self, name, make_actor, random_batch):
        objective = self.make(name, make_actor(), random_batch)
        out = objective(random_batch)
        assert set(out.keys()) == set(objective.out_keys)
        assert all(value.shape == () for value in out.values())
        assert {key for key in out.keys() if out[key].requires_grad} == {"loss_actor"}  # noqa: SIM118
        assert objective.needs <= NEEDS.keys()

    def test_gradient_reaches_exactly_the_actors_parameters(self, name, make_actor, random_batch):
        actor = make_actor(nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2)))
        objective = self.make(name, actor, random_batch)
        random_batch["score"].requires_grad_()
        objective(random_batch)["loss_actor"].backward()
        assert {id(p) for p in objective.parameters()} == {id(p) for p in actor.parameters()}
        for parameter in actor.parameters():
            assert parameter.grad is not None
            assert parameter.grad.abs().sum() > 0
        assert random_batch["score"].grad is None
        assert all(buffer.grad is None for buffer in objective.buffers())

    def test_input_is_left_as_it_was(self, name, make_actor, random_batch):
        objective = self.make(name, make_actor(), random_batch)
        before = random_batch.clone()
        objective(random_batch)
        objective.after_step(random_batch)
        assert set(random_batch.keys(True, True)) == set(before.keys(True, True))
        assert (random_batch == before).all()

    def test_nested_keys_and_keywords_give_the_same_loss(self, name, make_actor, random_batch):
        objective = self.make(name, make_actor(), random_batch)
        expected = objective(random_batch)["loss_actor"]
        renamed = TensorDict(
            {
                "observation": random_batch["observation"],
                "logged": {"action": random_batch["proto"]},
                "critic": {"out": {"advantage": random_batch["score"]}},
            },
            batch_size=random_batch.batch_size,
        )
        objective.set_keys(action=("logged", "action"), score=("critic", "out", "advantage"))
        assert ("logged", "action") in objective.in_keys
        assert objective(renamed)["loss_actor"] == expected

    def test_padding_is_left_out(self, name, make_actor, random_batch):
        objective = self.make(name, make_actor(), random_batch)
        expected = objective(random_batch[:40].clone())["loss_actor"]
        random_batch["proto"][40:] = torch.nan
        random_batch["collector"] = {"mask": torch.arange(64) < 40}
        torch.testing.assert_close(objective(random_batch)["loss_actor"], expected)

    def test_extremes_stay_numbers(self, name, make_actor, make_batch):
        """Scores of 1e6, log-probabilities below -1e4, and one element."""
        score = torch.tensor([1e6, -1e6, 0.0, 1.0])
        action = torch.tensor([[150.0, 0.0], [0.0, -150.0], [100.0, 100.0], [0.0, 0.0]])
        for size in (4, 1):
            actor = make_actor()
            objective = self.make(name, actor, make_batch(action, score))
            batch = make_batch(action[:size], score[:size])
            assert objective.log_prob(batch)[0] < -1e4
            optimizer = torch.optim.SGD(objective.parameters(), lr=0.0)
            for out in train(objective, optimizer, [batch] * 10):
                assert all(torch.isfinite(value) for value in out.values()), out
            assert all(torch.isfinite(p.grad).all() for p in actor.parameters())

    def test_impossible_actions_are_not_nan(self, name, make_actor, make_batch):
        batch = make_batch(torch.full((8, 2), 1e30), torch.arange(8.0))
        objective = self.make(name, make_actor(), batch)
        assert objective.log_prob(batch).tolist() == [-torch.inf] * 8
        best = objective(batch[-2:])  # of positive advantage and retained: an infinite or a bounded loss
        assert not best["loss_actor"].isnan()

    def test_a_resumed_run_is_bitwise_the_same(self, name, make_actor, random_batch):
        batches = [random_batch[torch.randperm(64)[:32]] for _ in range(90)]
        config = OBJECTIVES.get(name).Config()
        whole = OBJECTIVES.get(name)(make_actor(), config=config)
        whole.refresh(random_batch["score"])
        optimizer = torch.optim.Adam(whole.parameters(), lr=1e-2)
        train(whole, optimizer, batches[:47])
        file = io.BytesIO()
        torch.save({"objective": whole.state_dict(), "optimizer": optimizer.state_dict()}, file)
        file.seek(0)
        saved = torch.load(file, weights_only=True)

        actor = make_actor()
        resumed = OBJECTIVES.get(name)(actor, config=config)
        other = torch.optim.Adam(resumed.parameters(), lr=1e-2)
        resumed.load_state_dict(saved["objective"])
        other.load_state_dict(saved["optimizer"])
        expected, found = train(whole, optimizer, batches[47:]), train(resumed, other, batches[47:])
        for one, two in zip(expected, found, strict=True):
            assert all(torch.equal(one[key], two[key]) for key in one)
        for one, two in zip(whole.parameters(), actor.parameters(), strict=True):
            assert torch.equal(one, two)

    @pytest.mark.filterwarnings("ignore:.*inline_inbuilt_nn_modules:FutureWarning")  # tensordict 0.14 on torch 2.13
    def test_compiles_as_one_graph_at_any_batch_size(self, name, make_actor, random_batch):
        torch._dynamo.reset()
        objective = self.make(name, make_actor(nn.Linear(3, 2)), random_batch)
        reference = copy.deepcopy(objective)
        compiled = torch.compile(objective, fullgraph=True, backend="eager")
        for size in (64, 32, 7):
            batch = random_batch[:size]
            for key, value in reference(batch).items():
                torch.testing.assert_close(compiled(batch)[key], value)
            compiled(batch)["loss_actor"].backward()
            reference(batch)["loss_actor"].backward()
            for one, two in zip(objective.parameters(), reference.parameters(), strict=True):
                torch.testing.assert_close(one.grad, two.grad)
            objective.after_step(batch)
            reference.after_step(batch)

    def test_bad_input_is_one_sentence(self, name, make_actor, random_batch):
        cls = OBJECTIVES.get(name)
        with pytest.raises(InvalidInput, match=f"config is a dict; {cls.__name__} takes a {cls.Config.__name__}"):
            cls(make_actor(), config={})
        if "score" not in cls.needs:
            return
        objective = cls(make_actor())
        with pytest.raises(InvalidInput, match="call refresh"):
            objective(random_batch)
        for scores in (torch.tensor([]), torch.tensor([1.0, torch.nan]), torch.ones(2, 1), torch.ones(3).long()):
            with pytest.raises(InvalidInput, match="scores"):
                objective.refresh(scores)
        objective.refresh(random_batch["score"])
        with pytest.raises(InvalidInput, match=r"score has shape \(64, 1\)"):
            objective(random_batch.set("score", random_batch["score"].unsqueeze(-1)))


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
    return mean_kl(acting(reference), acting(policy), TensorDict({}, [count])).item()


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
