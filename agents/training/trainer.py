"""One training loop for every objective: sample, loss, step, `after_step`; checkpoint, resume, metrics, a guard."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.batches.replay import make_replay
from agents.families import ENCODERS, OBJECTIVES, POLICIES
from agents.nn.encoders.pooled import PooledConfig
from agents.nn.item_features import require_choice
from agents.nn.networks import seeded
from agents.nn.session_space import SessionSpace
from agents.objectives.base import Objective
from agents.objectives.bases.draws import DrawsSampler
from agents.policies.base import Policy, make_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.training.checkpoint import restore_checkpoint, save_checkpoint
from agents.training.diagnostics import measure
from agents.training.log_columns import check_needs, make_storage
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_sketch import SessionSketch
from recenv.errors import InvalidInput, require, require_range
from recenv.files.atomic_files import check_output
from recenv.plain_config import to_plain


@dataclass(frozen=True)
class TrainerConfig:
    """The budget, the same for every objective.

    Examples:
        >>> from agents import TrainerConfig
        >>> TrainerConfig(num_steps=100).batch_size
        1024
    """

    num_steps: int = 700
    """Gradient steps."""
    batch_size: int = 1024
    """Rows of a step."""
    learning_rate: float = 4e-3
    """Of Adam; it falls along a cosine."""
    final_rate: float = 0.05
    """The share of the learning rate that is left at the end; 1 keeps it as it is."""
    log_interval: int = 25
    """Steps between two measurements."""
    evaluate_interval: int = 100
    """Steps between two evaluations in the simulator."""
    checkpoint_interval: int = 200
    """Steps between two checkpoints."""
    divergence_bound: float | None = None
    """A surprisal or a score-function norm above it stops the run; None: only one that is not finite does."""
    policy: Any = field(default=None, metadata={"family": POLICIES})
    """The policy, and its options; None for the one of `default_policy`, which the log asks for."""
    item_features: str = "auto"
    """What tells the items of a log that was read in apart: catalog (its embeddings), log (factors of what its users
    consume and its slates show together), both, or auto: catalog where the source gave embeddings, both where the
    import made them of columns, and else log."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "log_interval", "evaluate_interval", "checkpoint_interval"):
            require_range(name, getattr(self, name), 1, 10**9, integer=True)
        require_range("batch_size", self.batch_size, 1, 10**6, integer=True)
        require_range("learning_rate", self.learning_rate, 0.0, 1.0, low_open=True)
        require_range("final_rate", self.final_rate, 0.0, 1.0, low_open=True)
        if self.divergence_bound is not None:
            require_range("divergence_bound", self.divergence_bound, 0.0, low_open=True)
        require_choice(self.item_features)


@dataclass(frozen=True)
class TrainingRun:
    """What a training run leaves.

    Examples:
        >>> import torch
        >>> from agents import TrainerConfig, train
        >>> from offline_data import LogRequest, collect
        >>> log = collect("log", LogRequest(action_kind="proto", num_sessions=8))
        >>> run = train(log, torch.zeros(log.num_rows), "bc", config=TrainerConfig(num_steps=2, batch_size=16))
        >>> run.stopped, len(run.curve)
        (None, 2)
    """

    actor: Policy
    """The trained policy; the last good one if the run was stopped."""
    curve: list[dict[str, Any]]
    """One dict a measurement of the step's batch, with `step`, `loss`, what `measure` says, and what the objective
    reports; `normalized_score` is None where it was not evaluated."""
    stopped: str | None
    """None, or the sentence that says what blew up and when."""
    remarks: list[str]
    """Sentences on what the objective found in the log's scores."""
    findings: dict[str, Any] = field(default_factory=dict)
    """The same as plain values by name, such as the `selection` of kappa="auto"."""


def check_device(device: str) -> str:
    """Return `device`, "cpu" or "cuda[:i]", if it is there.

    Raises:
        InvalidInput: for another name, or CUDA where there is none.
    """
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise InvalidInput(f"device={device!r} is not a device; choose cpu or cuda") from error
    require(kind in ("cpu", "cuda"), f"device={device!r} is not supported; choose cpu or cuda")
    require(
        kind == "cpu" or torch.cuda.is_available(),
        f"device={device!r} needs CUDA, which this machine or this build of torch has not; choose cpu",
    )
    count = torch.cuda.device_count() if kind == "cuda" else 0
    index = torch.device(device).index or 0
    require(kind == "cpu" or index < count, f"device={device!r} is not there; choose cuda:0 to cuda:{count - 1}")
    return device


def train(
    dataset: LoggedDataset,
    scores: Tensor,
    objective_name: str | type[Objective],
    objective_config: Any = None,
    config: TrainerConfig | None = None,
    *,
    advantages: Tensor | None = None,
    seed: int = 0,
    device: str = "cpu",
    checkpoint: Path | None = None,
    evaluate: Callable[[Policy], float | Mapping[str, float]] | None = None,
    progress: Callable[[int], object] | None = None,
) -> TrainingRun:
    """Train a fresh policy on a log with a registered objective, or go on from a checkpoint of the same call.

    Args:
        dataset: the log.
        scores: [N] float32, Q - V of every row, the same for every objective.
        objective_name: of a registered objective, MODULE:CLASS, or the class itself.
        objective_config: None for its defaults.
        config: None for the defaults; one without a policy has that of `default_policy`.
        advantages: [N] what every row really earned, more than was to be expected, as `judge_log` gives them; an
            objective that chooses how much of the log to keep reads them. None: it takes the scores at their word.
        seed: of the weights, the batches and what the policy draws.
        device: of the policy.
        checkpoint: file to write to and to go on from; None keeps nothing.
        evaluate: gives the policy's normalised score, for the curve, or other numbers of it by name.
        progress: called with the number of steps done since the last call.

    Raises:
        InvalidInput: for an unknown objective, a config of another one, a log without what the objective needs, of
            another kind of action than the policy's, or that has changed or contradicts itself, or a checkpoint of
            another call or that is damaged.
    """
    if checkpoint is not None:
        check_output(checkpoint)
    objective_class = OBJECTIVES.resolve(objective_name)
    objective_name = OBJECTIVES.name_of(objective_class)
    check_needs(objective_name, objective_class, dataset, objective_config)
    dataset.verify(again=False)
    config = config or TrainerConfig()
    if config.policy is None:
        config = replace(config, policy=default_policy(dataset, objective_class))
    check_policy(config.policy, dataset)
    check_encoder(objective_name, objective_class, config.policy)
    actor = make_policy(SessionSpace.of_log(dataset, config.item_features, seed=seed), config.policy, seed=seed)
    actor.to(device)
    untrained = _norms(actor)
    with seeded(seed):  # networks of values
        objective = objective_class(actor, config=objective_config).to(device)
    optimizer = torch.optim.Adam([p for p in objective.parameters() if p.requires_grad], lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, config.num_steps, config.final_rate * config.learning_rate
    )
    if scores.dtype == torch.float64:
        scores = scores.float()  # as the batches hold them: what is a tie there is one here
    outcomes = ()
    if advantages is not None and "outcomes" in objective.needs:
        outcomes = advantages.detach().cpu().numpy(), np.asarray(dataset.rows["session_id"])
    objective.refresh(scores.to(device), *outcomes)
    storage = make_storage(objective, dataset, scores, seed=seed)
    actor.learned_from = SessionSketch.of_log(dataset)
    rng = _RunRng(seed, device)
    digest = hashlib.sha256(scores.detach().cpu().contiguous().numpy().data).hexdigest()
    call = repr(
        (objective_name, objective.config, to_plain(config), seed, dataset.manifest["schema"], digest, rng.kind)
    )
    parts = {"objective": objective, "optimizer": optimizer, "schedule": schedule}
    start, curve = restore_checkpoint(checkpoint, call, parts, rng, config.num_steps)
    draws = objective.draws(config.num_steps, config.batch_size)
    size, sampler = (config.batch_size, None) if draws is None else (draws.batch_size, DrawsSampler(draws, start))
    replay = make_replay(storage, size, rng.batches, sampler)
    if progress and start:
        progress(start)
    told, stopped, kept = start, None, copy.deepcopy(actor.state_dict())
    with rng:
        for step in range(start, config.num_steps):
            batch = replay.sample().to(device)
            last = step == config.num_steps - 1
            measured = step % config.log_interval == 0 or last
            point: dict[str, Any] = {}
            if measured:
                with rng.apart():
                    point = {"step": step, **measure(objective, batch), "normalized_score": None}
            losses = objective(batch)
            loss = _total(losses, objective_name)
            if measured:
                point["loss"] = float(loss.detach())
                point |= {key: float(value) for key, value in losses.items() if key not in objective.losses}
                stopped = _blown_up(point, step, config.divergence_bound)
                if stopped:
                    break
                kept = copy.deepcopy(actor.state_dict())
                if evaluate and (step % config.evaluate_interval == 0 or last):
                    with rng.apart():
                        found = evaluate(actor.eval())
                    point |= found if isinstance(found, Mapping) else {"normalized_score": found}
                    actor.train()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            reported = objective.after_step(batch)
            if measured:
                curve.append({**point, **{key: float(value) for key, value in reported.items()}})
            if progress and ((step + 1) % 25 == 0 or last):
                progress(step + 1 - told)
                told = step + 1
            if (step + 1) % config.checkpoint_interval == 0 or last:
                # Also without a checkpoint file, so that a run stops at the same step with and without one.
                with rng.apart():
                    stopped = _unfit(objective, batch, step, config.divergence_bound)
                if stopped:
                    break
                kept = copy.deepcopy(actor.state_dict())
                if checkpoint and not last:
                    save_checkpoint(checkpoint, call, parts, rng, step + 1, curve)
    if stopped:
        actor.load_state_dict(kept)
    cloning, remarks = getattr(objective.config, "cloning_steps", 0), list(objective.remarks)
    if cloning >= config.num_steps:
        remarks.append(f"all {config.num_steps} steps were behavior cloning; lower cloning_steps={cloning}")
    if not stopped and _norms(actor) == untrained:
        remarks.append("no step moved the policy: no row weighs anything, as where all score alike; take another score")
    return TrainingRun(actor.eval(), curve, stopped, remarks, dict(objective.findings))


def _norms(actor: Policy) -> list[float]:
    """Return the norm of each of a policy's weights: equal ones are of the same weights, but by a rare chance."""
    return [float(weight.detach().double().norm()) for weight in actor.parameters()]


def _total(losses: Mapping[Any, Tensor], objective: str) -> Tensor:
    """Return the sum of an objective's losses, each a number."""
    values = {str(key): value for key, value in losses.items() if str(key).startswith("loss_")}
    shapes = {key: tuple(value.shape) for key, value in values.items()}
    require(
        bool(values) and not any(shapes.values()),
        f"the objective {objective} returns {shapes or 'no loss_...'}; give at least one loss, each of shape ()",
    )
    return torch.stack([*values.values()]).sum()


def default_policy(dataset: LoggedDataset, objective: type[Objective] = Objective) -> Any:
    """Return the config of the policy that a log's kind of action asks for: of slates `plackett_luce`.

    Args:
        dataset: the log.
        objective: what is to train it, which may set what only some encoders read.
    """
    policy = GaussianPolicyConfig() if dataset.action_kind == "proto" else PlackettLucePolicyConfig()
    return replace(policy, network=replace(policy.network, encoder=default_encoder(objective)))


def default_encoder(objective: type[Objective]) -> Any:
    """Return the config of the encoder that an objective asks for: `pooled`, where it reads all that is set."""
    usual = PooledConfig.name if not objective.conditions else fitting_encoders(objective)[0]
    return ENCODERS.get(usual).Config()


def check_policy(config: Any, dataset: LoggedDataset) -> None:
    """Refuse a log whose actions are not the policy's.

    Args:
        config: of the policy.
        dataset: what it is to learn from.

    Raises:
        InvalidInput: naming the policies that fit.
    """
    kind = POLICIES.part_of(config).action_kind
    fitting = [name for name in POLICIES.registered() if POLICIES.get(name).action_kind == dataset.action_kind]
    remedy = f", or collect with --action-kind {kind}" if dataset.has_world else ""
    require(
        kind == dataset.action_kind,
        f"policy {POLICIES.name_of(type(config))!r} learns from {kind} actions, and {dataset.path} is a log of "
        f"{dataset.action_kind} actions; choose {' or '.join(fitting)}{remedy}",
    )


def fitting_encoders(objective: type[Objective]) -> tuple[str, ...]:
    """Return the names of the encoders that are conditioned on all that an objective sets."""
    return tuple(n for n in ENCODERS.registered() if set(objective.conditions) <= set(ENCODERS.get(n).conditions))


def check_encoder(name: str, objective: type[Objective], config: Any) -> None:
    """Refuse a policy whose encoder does not read what an objective sets.

    Args:
        name: of the objective.
        objective: its class.
        config: of the policy.

    Raises:
        InvalidInput: naming the encoders that fit.
    """
    encoder = ENCODERS.part_of(config.network.encoder)
    require(
        set(objective.conditions) <= set(encoder.conditions),
        f"objective {name!r} conditions the policy on {', '.join(objective.conditions)}, which the encoder "
        f"{ENCODERS.name_of(encoder)!r} does not read; choose {' or '.join(fitting_encoders(objective))}",
    )


class _RunRng:
    """Where a run's randomness comes from: its own stream for batches, and torch's global ones, lent while it runs."""

    def __init__(self, seed: int, device: str) -> None:
        self.batches = torch.Generator().manual_seed(seed)
        self.kind = torch.device(device).type
        self._devices = [torch.device(device)] if self.kind == "cuda" else []
        with self.apart():
            torch.manual_seed(seed)
            self._states = self._global()

    def __enter__(self) -> None:
        self._loan = self.apart()
        self._loan.__enter__()
        torch.set_rng_state(self._states[0])
        for device, state in zip(self._devices, self._states[1:], strict=True):
            torch.cuda.set_rng_state(state, device)

    def __exit__(self, *error: object) -> None:
        self._loan.__exit__(*error)

    def apart(self) -> Any:
        """Return a context in which drawing leaves torch's global streams as they are."""
        return torch.random.fork_rng(devices=self._devices)

    def state(self) -> dict[str, Any]:
        """Return the streams' present states."""
        return {"batches": self.batches.get_state(), "global": self._global()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up the streams of a checkpoint; before the run begins."""
        self.batches.set_state(state["batches"])
        self._states = state["global"]

    def _global(self) -> list[Tensor]:
        return [torch.get_rng_state(), *(torch.cuda.get_rng_state(device) for device in self._devices)]


def _unfit(objective: Objective, batch: TensorDictBase, step: int, bound: float | None) -> str | None:
    """Return why the weights after a step are not to be kept, or None."""
    if not all(bool(torch.isfinite(weight).all()) for weight in objective.parameters()):
        return _sentence("a weight", "non-finite", step)
    return _blown_up(measure(objective, batch), step, bound)


def _blown_up(point: dict[str, Any], step: int, bound: float | None) -> str | None:
    for name in ("loss", "surprisal_max", "score_function_norm_max"):
        if name not in point:
            continue
        if not math.isfinite(point[name]) or (bound is not None and name != "loss" and point[name] > bound):
            return _sentence(name, point[name], step)
    return None


def _sentence(what: str, value: object, step: int) -> str:
    return f"{what} became {value} at step {step}; training stopped and the last good policy was kept"
