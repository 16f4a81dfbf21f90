"""Every objective in the trainer, with every policy that it declares to fit."""

from __future__ import annotations

import math
import shutil

import pytest
import torch

from agents.families import OBJECTIVES
from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.testing.objective_cases import objective_case
from agents.training.evaluation import roll_out
from agents.training.trainer import TrainerConfig, train
from offline_data.store.columns import LATENT_LABELS
from offline_data.store.dataset import LoggedDataset
from recenv.testing.contract import examples_of
from recenv.world import make_world
from tests.agents.objectives.objective_cases import every_objective, every_other_pair, every_pair
from tests.damage import alter_column

_CLONING_STEPS = 20  # instead of half of the run


class Stop(Exception):
    """Stands for Ctrl-C, or the machine's end."""


def assert_finite(curve):
    for point in curve:
        assert all(value is None or math.isfinite(value) for value in point.values()), point


@pytest.mark.slow
@every_pair
def test_it_ends_better_than_it_began(name, policy):
    """Two hundred steps on a log of which 40 % are the expert's; users see more of what they like."""
    case = objective_case(name, policy)
    world = make_world(case.log.config)
    config = TrainerConfig(200, 256, 1e-3, log_interval=50, policy=case.policy)
    config_class = OBJECTIVES.get(name).Config
    cloning = {"cloning_steps": _CLONING_STEPS} if hasattr(config_class, "cloning_steps") else {}
    objective_config = config_class(**examples_of(OBJECTIVES.get(name))[-1], **cloning)
    run = train(case.log, case.scores, name, objective_config, config, seed=3)
    assert run.stopped is None
    assert_finite(run.curve)
    began = make_policy(SessionSpace.of_log(case.log), case.policy, seed=3).eval()
    before, after = (roll_out(actor, world, 300, 0, deterministic=True) for actor in (began, run.actor))
    gain = after - before  # of the same users
    assert gain.mean() > 2 * gain.std() / math.sqrt(len(gain)), (before.mean(), after.mean())


@every_other_pair
def test_it_takes_steps(name, policy):
    """What the night's pairs do at first."""
    case = objective_case(name, policy)
    run = train(case.log, case.scores, name, config=TrainerConfig(10, 32, log_interval=5, policy=case.policy), seed=3)
    assert run.stopped is None
    assert len(run.curve) > 1
    assert_finite(run.curve)


@every_objective
def test_stopped_and_resumed_is_the_undisturbed_run(name, tmp_path):
    """Where an objective begins with cloning, it has not ended at the checkpoint, and has at the end."""
    case, objective = objective_case(name), OBJECTIVES.get(name).Config
    own = objective(cloning_steps=30) if hasattr(objective, "cloning_steps") else objective()
    config, file = TrainerConfig(45, 32, log_interval=10, checkpoint_interval=10, policy=case.policy), tmp_path / "c"
    undisturbed = train(case.log, case.scores, name, own, config)

    def tick(count):
        raise Stop

    with pytest.raises(Stop):
        train(case.log, case.scores, name, own, config, checkpoint=file, progress=tick)
    resumed = train(case.log, case.scores, name, own, config, checkpoint=file)
    assert resumed.curve == undisturbed.curve
    first, second = (run.actor.state_dict() for run in (resumed, undisturbed))
    assert all(torch.equal(first[key], second[key]) for key in first)


@every_objective
def test_it_does_not_see_the_latent_labels(name, tmp_path):
    case, objective = objective_case(name), OBJECTIVES.get(name).Config
    own = objective(cloning_steps=0) if hasattr(objective, "cloning_steps") else objective()
    config, folder = TrainerConfig(20, 32, log_interval=10, policy=case.policy), tmp_path / "log"
    labels = case.log.open_latent_labels()
    shutil.copytree(case.log.path, folder)
    alter_column(folder, LATENT_LABELS.removesuffix(".npy"), 1 - labels)
    others = LoggedDataset.open(folder)
    assert (others.open_latent_labels() != labels).all()
    expected, found = (train(log, case.scores, name, own, config).actor.state_dict() for log in (case.log, others))
    assert all(torch.equal(found[key], values) for key, values in expected.items())
    (folder / LATENT_LABELS).unlink()
    without = train(others, case.scores, name, own, config).actor.state_dict()
    assert all(torch.equal(without[key], values) for key, values in expected.items())


@pytest.mark.gpu
@every_objective
def test_trains_on_cuda_as_on_the_cpu(name, tmp_path):
    case = objective_case(name)
    config = TrainerConfig(30, 64, log_interval=10, policy=case.policy)
    on_cpu = train(case.log, case.scores, name, config=config)
    on_gpu = train(case.log, case.scores, name, config=config, device="cuda", checkpoint=tmp_path / "c")
    assert next(on_gpu.actor.parameters()).is_cuda
    assert on_gpu.curve[0]["loss"] == pytest.approx(on_cpu.curve[0]["loss"], rel=1e-2, abs=1e-2)
