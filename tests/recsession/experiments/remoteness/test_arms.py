from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from agents.objectives.taper import TaperConfig, taper_loss
from recenv.errors import InvalidInput
from recsession.experiments.remoteness.arms import CUT, POSITIVE_ONLY, SHAPES, Arm, Arms, MatchedTapers
from recsession.experiments.remoteness.learning import Budget, learn
from recsession.experiments.remoteness.network import StackedNetwork
from recsession.experiments.remoteness.tasks import TASKS, Look

BORDER = 4.0
TAPERS = MatchedTapers({shape: TaperConfig(shape=shape, threshold=2.0, width=1.0, rate=0.5) for shape in SHAPES})


@pytest.fixture
def look() -> Look:
    """Two contexts of four good and three bad actions; D is 1 and 9, or near and far."""
    far = torch.tensor([[[1.0, 9.0, 16.0], [1.0, 4.0, 1.0]]])
    return Look(torch.zeros(1, 2, 7), far, far.sqrt())


def multipliers(look: Look, arm: Arm) -> torch.Tensor:
    return Arms([arm], BORDER, TAPERS).multipliers(look)[0]


def test_interventions_worked_by_hand(look):
    """Near ones push with 1, 1, 2, 1: 1.25 in the mean; far ones with 3 and 4."""
    expected: Any = {
        "none": [[1, 1, 1], [1, 1, 1]],
        "without_near": [[0, 1, 1], [0, 0, 0]],
        "without_far": [[1, 0, 0], [1, 1, 1]],
        "far_capped": [[1, 1.25 / 3, 1.25 / 4], [1, 1, 1]],
        "far_cut": [[1, CUT * 1.25 / 3, CUT * 1.25 / 4], [1, 1, 1]],
        "hard": [[1, 0, 0], [1, 0, 1]],
        "exponential": [[1, math.exp(-3.5), math.exp(-7)], [1, math.exp(-1), 1]],
    }
    for rule, values in expected.items():
        torch.testing.assert_close(multipliers(look, Arm(1.0, rule=rule)), torch.tensor(values, dtype=torch.float32))


def test_one_alpha_leaves_the_same_push_in_sum(look):
    for rule in ("without_far", "far_capped", *SHAPES):
        selective, even = (multipliers(look, Arm(1.0, rule=rule, even=even)) for even in (False, True))
        assert len(even.unique()) == 1
        torch.testing.assert_close((even * look.force[0]).sum(), (selective * look.force[0]).sum())
    local = multipliers(look, Arm(1.0, "local", "exponential", even=True))
    torch.testing.assert_close(local, torch.ones(2, 3))  # both local ones are within the threshold


def test_positives_weigh_one_and_negatives_their_strength(look):
    advantage = Arms([Arm(0.6), Arm(0.6, "local"), POSITIVE_ONLY], BORDER).advantages(
        Look(*(value.expand(3, -1, -1) for value in (look.log_prob, look.remoteness, look.force)))
    )
    assert (advantage[..., :4] == 0.25).all()
    torch.testing.assert_close(advantage[0, :, 4:], torch.full((2, 3), -0.2))
    torch.testing.assert_close(advantage[1, :, 4:], torch.tensor([-0.6, 0.0, 0.0]).expand(2, -1))
    assert (advantage[2, :, 4:] == 0).all()


@pytest.mark.parametrize("world", TASKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_arm_learns_from_the_registered_tapers_loss(world, shape):
    task = TASKS[world](100, learned=True)
    look = task.look(torch.arange(32))
    tapers = MatchedTapers.of(task, 0.75)
    arms = Arms([Arm(0.5, rule=shape)], task.far, tapers)
    found = -(arms.advantages(look) * look.log_prob)
    far = torch.cat([torch.zeros_like(look.log_prob[..., :4]), look.remoteness], -1)
    whole = Arms([Arm(0.5)], task.far).advantages(look)
    taper = tapers.tapers[shape]
    scalars = {name: getattr(taper, name) for name in ("threshold", "width", "rate", "alpha")}
    torch.testing.assert_close(found, taper_loss(look.log_prob, far, whole, shape, **scalars))


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("world", TASKS)
def test_a_look_is_the_policys_own(world, learned):
    task: Any = TASKS[world](100, learned)
    look = task.look(torch.arange(40))
    out = {name: value.detach().double().numpy() for name, value in task.network(task.contexts[:40]).items()}
    actions = task.actions[:40].double().numpy()
    if world == "cu1":
        scale = np.exp(out["log_scale"][0]) if learned else np.full((40, 1), 0.6)
        assert scale == pytest.approx(0.6)
        square = ((actions - out["mean"][0][:, None]) ** 2).sum(-1) / scale**2
        log_prob = -0.5 * square - 2 * np.log(scale) - math.log(2 * math.pi)
        far, force = square[:, 4:] / 2, np.sqrt(square[:, 4:]) / scale
    else:
        direction = out["direction"][0] / np.linalg.norm(out["direction"][0], axis=-1, keepdims=True)
        kappa = np.log1p(np.exp(out["concentration"][0])) + 0.05 if learned else 8.0
        assert kappa == pytest.approx(8.0)
        logits = kappa * direction @ task.embedding.double().numpy().T
        probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        log_prob = np.log(np.take_along_axis(probs, actions.astype(int), 1))
        far = -log_prob[:, 4:]
        force = np.array(
            [[np.linalg.norm(np.eye(64)[int(a)] - p) for a in row[4:]] for row, p in zip(actions, probs, strict=True)]
        )
    np.testing.assert_allclose(look.log_prob.detach()[0], log_prob, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(look.remoteness[0], far, rtol=1e-4)
    np.testing.assert_allclose(look.force[0], force, rtol=1e-4)
    assert not look.remoteness.requires_grad
    assert not look.force.requires_grad


@pytest.mark.parametrize("world", TASKS)
def test_matched_tapers_keep_the_share_of_the_local_push(world):
    task = TASKS[world](100, learned=False)
    tapers = MatchedTapers.of(task, 0.6)
    look = task.look(torch.arange(task.num_contexts))
    far, force = look.remoteness[0, :, 0], look.force[0, :, 0].detach()
    for shape in SHAPES:
        kept = float((tapers.weight(shape, far) * force).sum() / force.sum())
        assert kept == pytest.approx(0.6, abs=2e-3)


def test_arms_side_by_side_are_arms_alone():
    """The stack of networks shares nothing: an arm beside one that explodes learns what it learns alone."""
    budget = Budget(start_steps=20, steps=30, evaluations=2, batch_size=64)
    arms = [Arm(0.4, "local"), Arm(50.0), Arm(1.0, rule="exponential")]
    together = learn("cu1", False, arms, 100, budget, 0.75)["arms"]
    for arm in (arms[0], arms[2]):
        alone = learn("cu1", False, [arm], 100, budget, 0.75)["arms"][arm.name]
        assert alone["reward"] == pytest.approx(together[arm.name]["reward"], rel=1e-4)
    assert together["q/p 50 all"]["shift"] < -0.5


@pytest.mark.parametrize(("world", "learned"), [("cu1", True), ("du1", False)])
def test_stopped_among_the_arms_it_goes_on_where_it_was(world, learned, tmp_path):
    class Stop(Exception):
        pass

    budget, ticks = Budget(start_steps=4, steps=9, evaluations=3, batch_size=16), []
    arms = [Arm(0.4, "local"), Arm(1.0, rule="hard")]
    call = partial(learn, world, learned, arms, budget=budget, share=0.75)

    def stop(done: int) -> None:
        ticks.append(done)
        if len(ticks) == 5:  # three of the start, two of the arms
            raise Stop

    with pytest.raises(Stop):
        call(seed=100, progress=stop, checkpoint=tmp_path / "checkpoint")
    ticks.clear()
    resumed = call(seed=100, progress=ticks.append, checkpoint=tmp_path / "checkpoint")
    assert resumed == call(seed=100)
    assert ticks == [1, 1, 1, 2, 1]
    with pytest.raises(InvalidInput, match=r"checkpoint is a checkpoint of another run; remove it to start over"):
        call(seed=101, checkpoint=tmp_path / "checkpoint")
    (tmp_path / "checkpoint").write_bytes((tmp_path / "checkpoint").read_bytes()[:-200])
    with pytest.raises(InvalidInput, match="remove it to start over"):
        call(seed=100, checkpoint=tmp_path / "checkpoint")


def test_a_stack_begins_as_torchs_linear_layers_do():
    network = StackedNetwork({"mean": (2, None), "log": (1, -0.5)}, torch.relu, torch.Generator().manual_seed(0))
    out = network(torch.randn(7, 6))
    assert out["mean"].shape == (1, 7, 2)
    assert (out["log"] == -0.5).all()
    for name, fan_in in (("layer_0", 6), ("layer_1", 64), ("mean", 64)):
        values = torch.cat([getattr(network, f"{name}_{part}").flatten() for part in ("weight", "bias")])
        assert values.abs().max() <= fan_in**-0.5
        assert values.abs().max() > 0.9 * fan_in**-0.5
    network.spread(3)
    assert network(torch.randn(7, 6))["mean"].shape == (3, 7, 2)
