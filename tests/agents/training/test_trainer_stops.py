"""Training that is stopped goes on as if it had not been; what blows up is stopped and leaves its last good policy."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from agents.nn.networks import NetworkConfig
from agents.objectives.awr import AwrConfig
from agents.objectives.bc import BcObjective
from agents.policies.gaussian import GaussianPolicyConfig
from agents.training.evaluation import roll_out
from agents.training.trainer import train
from recenv.errors import InvalidInput
from tests.agents.training.trainer_cases import NAMES, Stop, assert_same_run, plant, weights

# --- stop and go on


@pytest.mark.parametrize("name", NAMES)
def test_stopped_and_resumed_is_the_undisturbed_run(log, scores, build_trainer_config, tmp_path, name):
    config, file = build_trainer_config(num_steps=130, checkpoint_interval=30), tmp_path / "checkpoint"
    undisturbed = train(log, scores, name, config=config, evaluate=lambda actor: 0.5)
    # Before any checkpoint, between two, and twice in a row from the same one.
    for stop_after in (25, 50, 75, 75, 125):
        done = []

        def tick(count, done=done, stop_after=stop_after):
            done.append(count)
            if sum(done) >= stop_after:
                raise Stop

        with pytest.raises(Stop):
            train(log, scores, name, config=config, checkpoint=file, evaluate=lambda actor: 0.5, progress=tick)
        assert file.exists() == (stop_after > 30)
        assert [path.name for path in tmp_path.iterdir()] in ([], ["checkpoint"])
    resumed = train(log, scores, name, config=config, checkpoint=file, evaluate=lambda actor: 0.5)
    assert_same_run(resumed, undisturbed)


def test_stopped_by_the_evaluation_it_goes_on_as_well(log, scores, build_trainer_config, tmp_path):
    config, file = build_trainer_config(num_steps=60, checkpoint_interval=7), tmp_path / "checkpoint"
    undisturbed = train(log, scores, "robust_filter", config=config, evaluate=lambda actor: 0.5)
    calls = []

    def failing(actor):
        calls.append(actor)
        if len(calls) == 3:
            raise Stop
        return 0.5

    with pytest.raises(Stop):
        train(log, scores, "robust_filter", config=config, checkpoint=file, evaluate=failing)
    assert_same_run(train(log, scores, "robust_filter", config=config, checkpoint=file, evaluate=failing), undisturbed)


def test_finished_run_can_be_asked_for_again(log, scores, build_trainer_config, tmp_path):
    config, file = build_trainer_config(num_steps=50), tmp_path / "checkpoint"
    first = train(log, scores, "robust_filter", config=config, checkpoint=file)
    assert_same_run(train(log, scores, "robust_filter", config=config, checkpoint=file), first)


def test_checkpoint_of_another_call_is_refused(log, make_log, scores, build_trainer_config, tmp_path):
    config, file = build_trainer_config(num_steps=30), tmp_path / "checkpoint"
    train(log, scores, "awr", AwrConfig(), config, checkpoint=file)
    before = file.read_bytes()
    other_log = make_log("uniform", 60)
    other_scores = torch.zeros(other_log.num_rows)
    others = {
        "objective": lambda: train(log, scores, "bc", None, config, checkpoint=file),
        "objective's config": lambda: train(log, scores, "awr", AwrConfig(temperature=2.0), config, checkpoint=file),
        "budget": lambda: train(
            log, scores, "awr", AwrConfig(), dataclasses.replace(config, num_steps=31), checkpoint=file
        ),
        "seed": lambda: train(log, scores, "awr", AwrConfig(), config, seed=1, checkpoint=file),
        "scores": lambda: train(log, scores * 2, "awr", AwrConfig(), config, checkpoint=file),
        "log": lambda: train(other_log, other_scores, "awr", AwrConfig(), config, checkpoint=file),
    }
    for what, call in others.items():
        with pytest.raises(InvalidInput, match="is a checkpoint of another run; remove it to start over"):
            call()
        assert file.read_bytes() == before, what


# --- the guard


def assert_stopped_and_finite(run, sentence):
    assert run.stopped is not None
    assert run.stopped.startswith(sentence)
    assert run.stopped.endswith("; training stopped and the last good policy was kept")
    assert all(value.isfinite().all() for value in weights(run).values())
    for point in run.curve:
        assert math.isfinite(point["loss"])
        assert math.isfinite(point["surprisal_max"])


@pytest.mark.parametrize(
    ("step", "sentence", "kept_from"),
    [
        (0, "loss became nan at step 10", 0),
        (9, "loss became nan at step 10", 0),
        (10, "a weight became non-finite at step 14", 10),
        (14, "a weight became non-finite at step 14", 10),
        (15, "loss became nan at step 20", 15),
        (22, "a weight became non-finite at step 22", 22),  # the last step: nothing would measure it any more
    ],
)
def test_guard_keeps_the_last_finite_policy(
    log, scores, build_trainer_config, monkeypatch, tmp_path, step, sentence, kept_from
):
    class Poisoned(BcObjective):
        def after_step(self, tensordict):
            if self._num_steps == step:
                next(iter(self.actor_network_params.parameters())).data.fill_(torch.nan)
            return super().after_step(tensordict)

    plant(monkeypatch, "poisoned", Poisoned)
    config, states = build_trainer_config(num_steps=23, checkpoint_interval=15), {}
    watched = dataclasses.replace(config, log_interval=1, evaluate_interval=1)
    train(log, scores, "bc", config=watched, evaluate=lambda actor: states.setdefault(len(states), clone(actor)) and 0)
    run = train(log, scores, "poisoned", config=config)
    assert_stopped_and_finite(run, sentence)
    # The weights before the step of the last point that was still finite, or of the last checkpoint.
    for name, value in weights(run).items():
        torch.testing.assert_close(value, states[kept_from][name], msg=lambda m, n=name: f"{n}: {m}")
    with_file = train(log, scores, "poisoned", config=config, checkpoint=tmp_path / "c")
    assert_same_run(with_file, run)
    resumed = train(log, scores, "poisoned", config=config, checkpoint=tmp_path / "c")
    assert_same_run(resumed, run)


def clone(actor) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in actor.state_dict().items()}


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_guard_stops_at_a_loss_that_is_not_finite(log, scores, build_trainer_config, monkeypatch, value):
    class Planted(BcObjective):
        def terms(self, tensordict):
            terms = super().terms(tensordict)
            return {"loss_actor": terms["loss_actor"] + (value if self._num_steps >= 20 else 0.0)}

    plant(monkeypatch, "planted", Planted)
    evaluated = []
    run = train(
        log, scores, "planted", config=build_trainer_config(), evaluate=lambda actor: evaluated.append(actor) or 0.0
    )
    assert_stopped_and_finite(run, f"loss became {value} at step 20")
    assert [point["step"] for point in run.curve] == [0, 10]
    assert len(evaluated) == 1  # a policy that has blown up is not rolled out


def test_guard_stops_a_real_divergence(log, world, build_trainer_config):
    """Signed policy gradient on a deep network at the largest learning rate overflows float32 in a few steps."""
    scores = torch.randn(log.num_rows, generator=torch.Generator().manual_seed(0)).exp()
    deep = GaussianPolicyConfig(NetworkConfig((64,) * 16))
    config = build_trainer_config(num_steps=100, learning_rate=1.0, log_interval=20, policy=deep)

    def evaluate(actor):
        return float(roll_out(actor, world, 10, 0, deterministic=True).mean())

    run = train(log, scores, "signed_pg", config=config, evaluate=evaluate)
    assert run.stopped is not None
    assert_stopped_and_finite(run, run.stopped.split(";")[0])
    assert math.isfinite(evaluate(run.actor))
