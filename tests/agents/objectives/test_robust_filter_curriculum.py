"""The robust filter's curriculum, its switches and kappa=auto."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from agents.objectives.robust_filter import (
    RobustFilterConfig,
    gradient_noise,
)
from agents.robust.density_cap import dual_threshold
from recenv.errors import InvalidInput
from tests.agents.objectives.robust_filter_cases import make_robust_filter, run

# --- the curriculum


def test_gradient_noise_worked_by_hand():
    first, second = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert gradient_noise(first, second).item() == 1.0  # (2 / 4) / (1/4 + 1/4)
    assert gradient_noise(first, first).item() == 0.0
    assert gradient_noise(3 * first, first).item() == 0.25  # (4 / 4) / 4
    assert gradient_noise(first, -first).item() == torch.inf


def half_noise(objective, batch, size: int) -> float:
    """The noise of the filtered loss on the first two runs of `size` rows."""
    parameters = [p for p in objective.actor_network_params.parameters() if p.requires_grad]
    halves = []
    for half in (batch[:size], batch[size : 2 * size]):
        loss = -(objective.weight(half) * objective.log_prob(half)).mean()
        halves.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters)]))
    return gradient_noise(*halves).item()


def test_measured_noise_is_that_of_the_filtered_loss_on_two_halves(make_actor, random_batch):
    actor = make_actor(nn.Linear(3, 2))
    objective = make_robust_filter(actor, random_batch["score"], kappa=0.3, measure_interval=2, noise_smoothing=0.75)
    objective.stage.fill_(1)  # kappa = 0.7
    parameters = list(actor.parameters())

    objective.noise_bound = 0.0
    first = half_noise(objective, random_batch, 32)
    assert objective.after_step(random_batch)["gradient_noise"].item() == 0.0  # not yet
    assert objective.after_step(random_batch)["gradient_noise"].item() == pytest.approx(first, rel=1e-4)
    with torch.no_grad():
        actor.module[0].module.mean.bias += 0.5
    second = half_noise(objective, random_batch, 32)
    objective.after_step(random_batch)
    smoothed = 0.75 * first + 0.25 * second
    assert objective.after_step(random_batch)["gradient_noise"].item() == pytest.approx(smoothed, rel=1e-4)
    assert all(parameter.grad is None for parameter in parameters)


def test_of_an_odd_number_of_rows_the_last_is_in_neither_half(make_actor, random_batch):
    objective = make_robust_filter(make_actor(nn.Linear(3, 2)), random_batch["score"], kappa=0.3, measure_interval=1)
    batch = random_batch[:31].clone()
    batch["proto"][30] = 50.0
    expected = half_noise(objective, batch, 15)
    assert objective.after_step(batch)["gradient_noise"].item() == pytest.approx(expected, rel=1e-4)


def test_noise_of_one_stage_is_not_smoothed_into_the_next(make_actor, random_batch):
    """Each stage has a loss of its own: what the last one's noise was says nothing of it."""
    config = {"kappa": 0.3, "measure_interval": 1, "noise_smoothing": 0.75, "noise_bound": 1e9}
    objective = make_robust_filter(make_actor(nn.Linear(3, 2)), random_batch["score"], **config)
    for stage in range(4):
        assert int(objective.stage) == stage
        expected = half_noise(objective, random_batch, 32)
        assert objective.after_step(random_batch)["gradient_noise"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("noise_bound", "wait"), [(1e9, 2), (0.0, 6)])  # calm: each measurement; else patience x 2
def test_kappa_falls_by_the_rule_and_never_rises(make_actor, random_batch, noise_bound, wait):
    config = {"kappa": 0.3, "measure_interval": 2, "patience": 3, "noise_bound": noise_bound}
    objective = make_robust_filter(make_actor(), random_batch["score"], **config)
    expected = [1.0, 0.7, 0.49, 0.343, 0.3, 0.3, 0.3]
    for step in range(1, 6 * wait + 1):
        kappa = objective.after_step(random_batch)["kappa"].item()
        assert kappa == pytest.approx(expected[step // wait])
        if kappa < 1:
            tau, tie_fraction = dual_threshold(random_batch["score"], kappa)
            stage = int(objective.stage)
            assert (objective.taus[stage], objective.tie_fractions[stage]) == (tau, tie_fraction)
        assert objective.weight(random_batch).sum().item() == pytest.approx(64, rel=1e-5)


def test_a_batch_without_retained_actions_counts_towards_patience_only(make_actor, make_batch):
    scores = torch.arange(100.0)
    config = {"kappa": 0.2, "decay": 0.5, "measure_interval": 1, "patience": 2, "noise_bound": 0.5}
    objective = make_robust_filter(make_actor(), scores, **config)
    objective.stage.fill_(1)
    worthless = make_batch(torch.ones(4, 2), scores[:4])
    assert objective.after_step(worthless)["gradient_noise"].item() == 1000.0
    assert int(objective.stage) == 1
    assert objective.after_step(worthless)["kappa"].item() == 0.25
    assert torch.isfinite(objective(worthless)["loss_actor"])
    assert objective(worthless)["effective_sample_size"].item() == 0.0


# --- the switches


def test_each_switch_changes_what_is_logged(make_actor, random_batch):
    def logged(**switches):
        objective = make_robust_filter(
            make_actor(), random_batch["score"], kappa=0.2, patience=1, measure_interval=4, **switches
        )
        return run(objective, random_batch, 40)

    everything = logged()
    assert everything[0]["kappa"] == 1.0
    assert everything[-1]["kappa"] == pytest.approx(0.2)
    assert everything[-1]["retained_mass"] == pytest.approx(0.2, abs=1 / 64)
    assert everything[-1]["kl"] > 0
    assert everything[-1]["gradient_noise"] > 0
    assert len({step["epsilon"] for step in everything}) > 1

    for step in logged(filter=False):
        assert (step["kappa"], step["retained_mass"], step["effective_sample_size"]) == (1.0, 1.0, 64.0)
    for step in logged(curriculum=False):
        assert (step["kappa"], step["gradient_noise"]) == (0.2, 0.0)
    free = logged(trust_region=False)
    assert {(step["epsilon"], step["kl"]) for step in free} == {(0.2, 0.0)}
    assert free[-1]["loss_actor"] != everything[-1]["loss_actor"]


def test_epsilon_is_a_buffer_to_schedule(make_actor, random_batch):
    objective = make_robust_filter(make_actor(), random_batch["score"])
    objective.epsilon = 0.35
    assert objective(random_batch)["epsilon"].item() == pytest.approx(0.35)
    assert objective.state_dict()["epsilon"].item() == pytest.approx(0.35)


# --- the config


def test_stages_of_kappa():
    assert RobustFilterConfig(kappa=0.4).kappas() == pytest.approx([1.0, 0.7, 0.49, 0.4])
    assert RobustFilterConfig(kappa=1.0).kappas() == [1.0]
    assert RobustFilterConfig(kappa=0.4, curriculum=False).kappas() == [0.4]
    assert RobustFilterConfig(kappa=0.4, filter=False).kappas() == [1.0]
    assert len(RobustFilterConfig(kappa=0.02).kappas()) == 12
    assert RobustFilterConfig(kappa="auto", curriculum=False).kappas(1e-9) == [3e-4]  # no share is below that
    assert RobustFilterConfig(kappa="auto", curriculum=False).kappas(4e-4) == [4e-4]
    assert len(RobustFilterConfig(kappa="auto").kappas()) == 24  # stages enough for the least


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *[("kappa", value) for value in (0.0, 1.5, float("nan"))],
        *[("decay", value) for value in (0.0, 1.0)],
        *[("epsilon", value) for value in (0.001, 9.0)],
        *[(field, 0.0) for field in ("epsilon_min", "kl_target")],
        *[(field, 0) for field in ("measure_interval", "patience", "reference_interval")],
        ("noise_smoothing", 1.0),
        ("noise_bound", -1.0),
        ("epsilon_max", 0.01),
        ("reference_interval", 2.5),
    ],
)
def test_config_refuses(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value!r}"):
        RobustFilterConfig(**{field: value})


def test_padding_counts_in_nothing_that_is_measured(make_actor, random_batch):
    """Every other row: its action is far, its score the best."""
    measured = []
    for padded in (False, True):
        torch.manual_seed(0)
        objective = make_robust_filter(
            make_actor(), random_batch["score"], kappa=0.5, measure_interval=1, reference_interval=1
        )
        batch = random_batch.clone()
        if padded:
            other = batch.clone()
            other["proto"] += 300.0
            both: Any = torch.stack([batch, other], 1)
            batch = both.flatten()
            batch["collector"] = {"mask": torch.arange(128) % 2 == 0}
        out = objective(batch)
        measured.append({**out.detach().to_dict(), **objective.after_step(batch)})
    for name, value in measured[0].items():
        torch.testing.assert_close(measured[1][name], value, msg=name)
