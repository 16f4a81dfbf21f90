from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.families import OBJECTIVES
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.objectives.awr import AwrConfig
from agents.objectives.bc import BcObjective
from agents.objectives.robust_filter import RobustFilterConfig
from agents.policies.base import make_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.policies.generative import GenerativePolicyConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.training.evaluation import roll_out
from agents.training.log_columns import check_needs
from agents.training.trainer import TrainerConfig, check_device, default_policy, train
from agents.values.critics import CriticConfig, fit_critic, score_rows
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from recenv.errors import InvalidInput
from recenv.plain_config import from_plain, to_plain
from recenv.world import make_world
from tests.agents.training.trainer_cases import NAMES, Stop, assert_same_run, plant, weights

CURVE_KEYS = {
    *("step", "loss", "surprisal_mean", "surprisal_max", "score_function_norm_max", "normalized_score", "entropy"),
    *("far_field_share", "slate_diversity", "kl_from_behavior", "importance_sample_size"),
}


FILTER_KEYS = {"kappa", "retained_mass", "effective_sample_size"}


# --- what a run leaves


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_trains(log, scores, build_trainer_config, name):
    config, evaluations = build_trainer_config(num_steps=45), []

    def evaluate(actor):
        evaluations.append(weights_of(actor))
        return float(len(evaluations))

    def weights_of(actor):
        return torch.cat([p.detach().flatten().clone() for p in actor.parameters()])

    run = train(log, scores, name, config=config, evaluate=evaluate)
    assert run.stopped is None
    assert [point["step"] for point in run.curve] == [0, 10, 20, 30, 40, 44]
    assert [point["normalized_score"] for point in run.curve] == [1.0, None, 2.0, None, 3.0, 4.0]
    for point in run.curve:
        assert point.keys() >= CURVE_KEYS
        assert all(isinstance(point[key], float) and math.isfinite(point[key]) for key in CURVE_KEYS - {"step"} if
                   point[key] is not None)  # fmt: skip
        assert point["surprisal_max"] >= point["surprisal_mean"]
        assert not torch.is_tensor(point["loss"])
    assert not torch.equal(evaluations[0], evaluations[1])
    if name == "robust_filter":
        assert run.curve[-1].keys() == CURVE_KEYS | FILTER_KEYS
    else:
        assert run.curve[-1].keys() == CURVE_KEYS


SLATE_POLICIES = {
    "plackett_luce": PlackettLucePolicyConfig(NetworkConfig((16,))),
    "sampled softmax": PlackettLucePolicyConfig(NetworkConfig((16,)), sampled_above=10, num_sampled=16),
    "generative": GenerativePolicyConfig(NetworkConfig((16,)), width=8, num_layers=1),
}


def halves(slate_log) -> torch.Tensor:
    """Return scores that prefer the first positions' even items: something to learn."""
    return torch.from_numpy((np.asarray(slate_log.rows["slate"])[:, 0] % 2).astype(np.float32))


@pytest.mark.parametrize("policy", SLATE_POLICIES)
@pytest.mark.parametrize("name", NAMES)
def test_every_objective_trains_every_policy_of_slates(slate_log, build_trainer_config, name, policy):
    config = build_trainer_config(num_steps=15, policy=SLATE_POLICIES[policy])
    run = train(slate_log, halves(slate_log), name, config=config)
    assert run.stopped is None
    for point in run.curve:
        assert all(math.isfinite(point[key]) for key in CURVE_KEYS - {"normalized_score"})
    if name == "bc":
        assert run.curve[-1]["loss"] < run.curve[0]["loss"]


@pytest.mark.parametrize("policy", SLATE_POLICIES)
def test_a_resumed_run_draws_what_the_undisturbed_one_draws(slate_log, build_trainer_config, tmp_path, policy):
    """The filter's KL between slate policies is a mean over samples, and a sampled softmax draws at every step."""
    config, file = build_trainer_config(num_steps=45, policy=SLATE_POLICIES[policy]), tmp_path / "checkpoint"
    undisturbed = train(slate_log, halves(slate_log), "robust_filter", config=config)
    done = []

    def tick(steps):
        done.append(steps)
        if sum(done) >= 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(slate_log, halves(slate_log), "robust_filter", config=config, checkpoint=file, progress=tick)
    torch.manual_seed(1234)
    torch.rand(7)
    state = torch.get_rng_state()
    assert_same_run(train(slate_log, halves(slate_log), "robust_filter", config=config, checkpoint=file), undisturbed)
    assert torch.equal(torch.get_rng_state(), state)
    other = train(slate_log, halves(slate_log), "robust_filter", config=config, seed=1)
    assert other.curve != undisturbed.curve


def test_without_a_choice_the_log_chooses_the_policy(log, slate_log):
    assert default_policy(log) == GaussianPolicyConfig()
    assert default_policy(slate_log) == PlackettLucePolicyConfig()


@pytest.mark.parametrize("name", ["bc", "robust_filter", "decision_transformer"])
def test_a_budget_can_be_said_without_a_policy(log, slate_log, name):
    """It is the log's actions that choose the policy, and the objective that chooses what reads the observation."""
    budget = TrainerConfig(num_steps=2, batch_size=16)
    for given in (log, slate_log):
        policy = default_policy(given, OBJECTIVES.get(name))
        run = train(given, torch.zeros(given.num_rows), name, config=budget)
        assert run.actor.config == policy
        assert_same_run(run, train(given, torch.zeros(given.num_rows), name, config=replace(budget, policy=policy)))
    assert from_plain(TrainerConfig, to_plain(budget)) == budget


def test_cloning_lowers_its_loss_and_says_what_it_is(log, scores, build_trainer_config):
    run = train(log, scores, "bc", config=build_trainer_config(num_steps=200, batch_size=128, learning_rate=1e-2))
    first, last = run.curve[0], run.curve[-1]
    assert last["loss"] < 0.6 * first["loss"]
    # Cloning's loss is the mean surprisal of the very batch that was measured.
    for point in run.curve:
        assert point["loss"] == pytest.approx(point["surprisal_mean"], rel=1e-6)


def test_scores_reach_the_objective(log, scores, build_trainer_config):
    for name, same in (("bc", True), ("awr", False), ("signed_pg", False), ("robust_filter", False)):
        config = build_trainer_config(num_steps=12)
        forward, backward = (train(log, signed, name, config=config) for signed in (scores, -scores))
        assert (forward.curve == backward.curve) == same


def test_objective_config_reaches_the_objective(log, scores, build_trainer_config):
    config = build_trainer_config(num_steps=12)
    runs = [train(log, scores, "awr", AwrConfig(temperature=t), config) for t in (0.5, 2.0)]
    assert runs[0].curve != runs[1].curve
    assert train(log, scores, "awr", None, config).curve == train(log, scores, "awr", AwrConfig(), config).curve


def test_seed_fixes_the_run_and_the_global_generator_is_left_alone(log, scores, build_trainer_config):
    config = build_trainer_config(num_steps=12)
    state = torch.get_rng_state()
    first, second, other = (train(log, scores, "robust_filter", config=config, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert_same_run(first, second)
    assert first.curve != other.curve
    torch.manual_seed(77)
    assert_same_run(train(log, scores, "robust_filter", config=config, seed=1), first)


def test_training_begins_at_the_seeds_policy(log, world, scores, build_trainer_config):
    config = build_trainer_config(num_steps=1, learning_rate=1e-12)
    for seed in (0, 3):
        start = make_policy(SessionSpace.of_world(world), config.policy, seed=seed).state_dict()
        for name, value in weights(train(log, scores, "bc", config=config, seed=seed)).items():
            torch.testing.assert_close(value, start[name])


def test_learning_rate_falls_to_a_twentieth(log, scores, build_trainer_config, monkeypatch):
    rates = []

    class Watched(torch.optim.Adam):
        def step(self, *args, **kwargs):
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    monkeypatch.setattr(torch.optim, "Adam", Watched)
    train(log, scores, "bc", config=build_trainer_config(num_steps=40, learning_rate=0.01))
    assert rates[0] == 0.01
    assert len(rates) == 40
    assert all(a > b for a, b in itertools.pairwise(rates))
    assert rates[20] == pytest.approx((0.01 + 0.0005) / 2)
    assert rates[-1] == pytest.approx(0.0005, rel=0.05)


def test_progress_counts_every_step_once(log, scores, build_trainer_config, tmp_path):
    config, ticks = build_trainer_config(num_steps=60), []

    def tick(count):
        ticks.append(count)
        if len(ticks) == 2:
            raise Stop

    with pytest.raises(Stop):
        train(log, scores, "bc", config=config, checkpoint=tmp_path / "c", progress=tick)
    assert ticks == [25, 25]
    again: list[int] = []
    train(log, scores, "bc", config=config, checkpoint=tmp_path / "c", progress=again.append)
    assert again[0] == 40  # what the checkpoint spared
    assert sum(again) == 60
    whole: list[int] = []
    train(log, scores, "bc", config=config, progress=whole.append)
    assert whole == [25, 25, 10]


# --- refusals


def test_a_log_of_the_other_kind_is_refused_and_told_what_would_fit(log, slate_log, build_trainer_config):
    with pytest.raises(
        InvalidInput,
        match=r"policy 'gaussian' learns from proto actions, and .* is a log of slate actions; choose generative or "
        "plackett_luce, or collect with --action-kind proto",
    ):
        train(slate_log, torch.zeros(slate_log.num_rows), "bc", config=build_trainer_config())
    config = build_trainer_config(policy=PlackettLucePolicyConfig(NetworkConfig((16,))))
    with pytest.raises(InvalidInput, match=r"'plackett_luce' learns from slate actions.* choose gaussian, or collect"):
        train(log, torch.zeros(log.num_rows), "bc", config=config)


def test_needs_are_compared_with_what_the_log_gives(log, slate_log):
    class Grouped(BcObjective):
        needs = frozenset({"groups", "score"})

    class Dense(BcObjective):
        needs = frozenset({"density"})

    with pytest.raises(
        InvalidInput,
        match=r"'grouped' needs groups of sessions of one user, which .* proto actions, .* collect with --group-size 8"
        r"; or choose an objective that fits it: .*\bbc\b",
    ):
        check_needs("grouped", Grouped, log)
    with pytest.raises(
        InvalidInput, match=r"'dense' needs proto-actions, .* slate actions, .*: collect with --action-kind p"
    ):
        check_needs("dense", Dense, slate_log)
    check_needs("dense", Dense, log)


def test_wrong_objectives_and_scores_are_refused(log, scores, build_trainer_config):
    config = build_trainer_config(num_steps=2)
    with pytest.raises(InvalidInput, match=r"unknown objective 'drop'; did you mean 'drpo'\?"):
        train(log, scores, "drop", config=config)
    with pytest.raises(InvalidInput, match="config is a BcConfig; AwrObjective takes a AwrConfig"):
        train(log, scores, "awr", OBJECTIVES.get("bc").Config(), config)
    with pytest.raises(InvalidInput, match=r"'score' has shape \(3,\); the log has"):
        train(log, scores[:3], "awr", config=config)
    with pytest.raises(InvalidInput, match="NaN or infinite"):
        train(log, scores * torch.inf, "awr", config=config)


def test_devices(monkeypatch):
    assert check_device("cpu") == "cpu"
    for name in ("meta", "mps"):
        with pytest.raises(InvalidInput, match=f"device='{name}' is not supported; choose cpu or cuda"):
            check_device(name)
    for name in ("gpu", "cuda:x", ""):
        with pytest.raises(InvalidInput, match=f"device='{name}' is not a device; choose cpu or cuda"):
            check_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("cuda", "cuda:1"):
        with pytest.raises(InvalidInput, match=f"device='{name}' needs CUDA, which .*; choose cpu"):
            check_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [check_device(name) for name in ("cuda", "cuda:1")] == ["cuda", "cuda:1"]
    with pytest.raises(InvalidInput, match="device='cuda:2' is not there; choose cuda:0 to cuda:1"):
        check_device("cuda:2")


@pytest.mark.parametrize(
    ("field", "value"),
    [(name, 0) for name in ("num_steps", "batch_size", "log_interval", "evaluate_interval", "checkpoint_interval")]
    + [("num_steps", 2.0), ("learning_rate", 0.0), ("learning_rate", 2.0), ("learning_rate", math.nan)],
)
def test_config_out_of_range_is_refused(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value} is "):
        TrainerConfig(**{field: value})


@pytest.mark.gpu
def test_trains_on_cuda_as_on_the_cpu(log, scores, build_trainer_config, tmp_path):
    config = build_trainer_config(num_steps=30)
    for name in NAMES:
        on_cpu = train(log, scores, name, config=config)
        on_gpu = train(log, scores, name, config=config, device="cuda", checkpoint=tmp_path / name)
        assert next(on_gpu.actor.parameters()).is_cuda
        assert on_gpu.curve[-1]["loss"] == pytest.approx(on_cpu.curve[-1]["loss"], rel=1e-2, abs=1e-2)
    assert check_device("cuda:0") == "cuda:0"


def test_a_log_of_days_and_candidates_trains(config, build_trainer_config, tmp_path):
    pieces = {"num_candidates": 8, "freshness": {"horizon": 200.0}, "leave_hazard": {"hazard": 0.2}}
    config = config.override(**pieces, retention={"max_sessions": 3})
    log = collect(tmp_path / "log", LogRequest(config, mixture_spec(0.5, "clickbait"), "proto", 60, 5))
    assert log.rows["session_number"].max() == 2
    scores = score_rows(fit_critic(log, CriticConfig(NetworkConfig((16,)), num_rounds=2, steps_per_round=30)), log)
    run = train(log, scores, "awr", config=build_trainer_config())
    assert run.stopped is None
    returns = roll_out(run.actor, make_world(config), 20, 0, deterministic=True)
    assert np.isfinite(returns).all()
    assert returns.mean() > 0.0


def test_a_policy_that_is_not_told_what_is_wanted_is_refused(log, scores, build_trainer_config):
    with pytest.raises(InvalidInput, match=r"conditions the policy on wanted, which the encoder 'pooled' .* decision"):
        train(log, scores, "decision_transformer", config=build_trainer_config())


def test_a_bound_on_surprisal_stops_the_run(log, scores, build_trainer_config):
    run = train(log, scores, "bc", config=build_trainer_config(divergence_bound=1e-3))
    assert run.stopped is not None
    assert re.match(r"surprisal_max became [\d.]+ at step 0; training stopped", run.stopped)
    assert run.curve == []


def test_what_a_checkpoint_keeps_is_a_policy_that_has_not_blown_up(
    log, scores, build_trainer_config, monkeypatch, tmp_path
):
    """The weights leap in the very step before a checkpoint, with a measurement due right after it."""

    class Leaping(BcObjective):
        def after_step(self, tensordict):
            reported = super().after_step(tensordict)
            if self._num_steps == 30:
                with torch.no_grad():
                    for parameter in self.actor_network_params.parameters():
                        parameter.add_(50.0)
            return reported

    plant(monkeypatch, "leaping", Leaping)
    config = build_trainer_config(num_steps=60, checkpoint_interval=10, divergence_bound=1e4)
    run = train(log, scores, "leaping", config=config, checkpoint=tmp_path / "c")
    assert run.stopped is not None
    assert " at step 29; " in run.stopped
    before = train(log, scores, "bc", config=build_trainer_config(num_steps=60, divergence_bound=1e4))
    assert max(weight.abs().max().item() for weight in weights(run).values()) < 40.0
    assert run.curve == before.curve[: len(run.curve)]
    again = train(log, scores, "leaping", config=config, checkpoint=tmp_path / "c")  # from the checkpoint of step 20
    assert again.stopped == run.stopped


def test_scores_of_doubles_learn_as_their_floats(log, scores, build_trainer_config):
    tied = torch.where(scores > scores.median(), 0.9, 0.1).double()
    config = build_trainer_config(num_steps=20)
    runs = [
        train(log, values, "robust_filter", RobustFilterConfig(kappa=0.1), config) for values in (tied, tied.float())
    ]
    assert_same_run(*runs)
    assert runs[0].curve[-1]["retained_mass"] > 0


@pytest.mark.parametrize(("name", "moves"), [("drpo", False), ("awr", True), ("bc", True)])
def test_a_policy_that_no_step_moved_is_told(log, build_trainer_config, tmp_path, name, moves):
    """Where all score alike nothing is above the least that DRPO keeps; also of a run that has been gone on with."""
    config = build_trainer_config(num_steps=4, checkpoint_interval=2)
    again = [train(log, torch.zeros(log.num_rows), name, config=config, checkpoint=tmp_path / "c") for _ in range(2)]
    assert all(any("no step moved the policy" in remark for remark in run.remarks) != moves for run in again)
