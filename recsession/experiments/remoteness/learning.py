"""Training of all arms of one world, seed and kind of policy side by side, and how each of them ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import nn

from agents.nn.tensor_files import load_tensors, save_tensors
from agents.objectives.signed_pg import signed_pg_loss
from recenv.errors import require
from recsession.experiments.remoteness.arms import POSITIVE_ONLY, Arm, Arms, MatchedTapers
from recsession.experiments.remoteness.tasks import TASKS, Look, Task, World

COLLAPSE = 0.45
"""A policy has collapsed that earns less than this share of what positives alone do, in its last evaluations."""
LAST = 3
_REMEDY: Final = "remove it to start over"


@dataclass(frozen=True)
class Budget:
    """How long is trained, and how.

    The sources give none. That of the authors' public code is Adam, 256 contexts a batch and a start on positives
    alone; so are we, and step sizes and numbers of steps are near to theirs.
    """

    start_steps: int = 2000
    """On positives alone; all arms go on from there."""
    steps: int = 4000
    """Of every arm."""
    start_learning_rate: float = 1e-3
    """Adam's, at the start."""
    learning_rate: float = 5e-4
    """Adam's, of every arm."""
    batch_size: int = 256
    """Contexts a step; each comes with all its logged actions."""
    evaluations: int = 10
    """Of every arm, evenly spread over its steps."""


def learn(
    world: World,
    learned: bool,
    arms: Sequence[Arm],
    seed: int,
    budget: Budget,
    share: float,
    progress: Callable[[int], object] = lambda _: None,
    checkpoint: Path | None = None,
) -> dict[str, Any]:
    """Train the arms and return their ends, plain values.

    The start is found anew each time: it is one arm, and short beside all of them.

    Args:
        world: "cu1" or "du1".
        learned: whether the scale or concentration is learned.
        arms: what is compared; all see the same batches.
        seed: of world, first weights and batches.
        budget: see there.
        share: of the local negatives' push that each matched taper leaves at the start.
        progress: called with 1 after each evaluation.
        checkpoint: file to go on from, which every evaluation of the arms writes; None keeps none.

    Raises:
        InvalidInput: if the checkpoint is damaged or of another call.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums whatever else runs
    try:
        task = TASKS[world](seed, learned)
        batches = torch.Generator().manual_seed(seed + 2**20)
        alone = Arms([POSITIVE_ONLY], task.far)
        _train(task, alone, budget.start_steps, budget.start_learning_rate, budget, batches, progress)
        tapers = MatchedTapers.of(task, share)
        start = {name: float(values[0]) for name, values in task.judge().items()}
        compared = Arms(arms, task.far, tapers)
        retained = _retained(task, compared, len(arms))
        task.network.spread(len(arms))
        call = repr((world, learned, [arm.name for arm in arms], seed, budget, share))
        kept = None if checkpoint is None else _Checkpoint(checkpoint, call)
        history = _train(task, compared, budget.steps, budget.learning_rate, budget, batches, progress, kept)
    finally:
        torch.set_num_threads(threads)
    ends = [_end(history, place, start) for place in range(len(arms))]
    found = {arm.name: {**end, **left} for arm, end, left in zip(arms, ends, retained, strict=True)}
    return {"start": start, "rates": {name: taper.rate for name, taper in tapers.tapers.items()}, "arms": found}


def _train(
    task: Task,
    arms: Arms,
    steps: int,
    learning_rate: float,
    budget: Budget,
    batches: torch.Generator,
    progress: Callable[[int], object],
    checkpoint: _Checkpoint | None = None,
) -> list[Mapping[str, np.ndarray]]:
    """Return what `Task.judge` says at each evaluation."""
    optimizer = torch.optim.Adam(task.network.parameters(), lr=learning_rate)
    due = {round(steps * (i + 1) / budget.evaluations) for i in range(budget.evaluations)}
    done, history = (0, []) if checkpoint is None else checkpoint.restore(task.network, optimizer, batches)
    if history:
        progress(len(history))
    for step in range(done + 1, steps + 1):
        look = task.look(torch.randint(0, task.num_contexts, (budget.batch_size,), generator=batches))
        loss = signed_pg_loss(look.log_prob, arms.advantages(look)).mean(1).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step in due:
            history.append(task.judge())
            if checkpoint is not None and step < steps:
                checkpoint.save(task.network, optimizer, batches, step, history)
            progress(1)
    return history


@dataclass(frozen=True)
class _Checkpoint:
    """Where a training of arms stands, in a sealed file."""

    path: Path
    call: str
    """What the training depends on."""

    def save(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        batches: torch.Generator,
        step: int,
        history: Sequence[Mapping[str, np.ndarray]],
    ) -> None:
        """Write it."""
        told = [{name: torch.from_numpy(np.asarray(values)) for name, values in each.items()} for each in history]
        state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "batches": batches.get_state()}
        save_tensors(self.path, "checkpoint", {"call": self.call, "step": step, "history": told, **state})

    def restore(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, batches: torch.Generator
    ) -> tuple[int, list[Mapping[str, np.ndarray]]]:
        """Put a training where the file says, if there is one, and return the steps that are done and the history."""
        if not self.path.exists():
            return 0, []
        state = load_tensors(self.path, "checkpoint", _REMEDY)
        require(state.get("call") == self.call, f"{self.path} is a checkpoint of another run; {_REMEDY}")
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        batches.set_state(state["batches"])
        return state["step"], [{name: values.numpy() for name, values in each.items()} for each in state["history"]]


@torch.no_grad()
def _retained(task: Task, arms: Arms, num_arms: int) -> list[dict[str, float]]:
    """Return which share of the negatives' push each arm leaves at the start: of the local ones, and of the others."""
    look = task.look(torch.arange(task.num_contexts))
    same = Look(*(values.expand(num_arms, -1, -1) for values in (look.log_prob, look.remoteness, look.force)))
    kept, whole = ((weight * same.force).sum(1) for weight in (arms.multipliers(same), torch.ones_like(same.force)))
    shares = zip(kept[:, 0] / whole[:, 0], kept[:, 1:].sum(1) / whole[:, 1:].sum(1), strict=True)
    return [{"kept_local": float(local), "kept_others": float(others)} for local, others in shares]


def _end(history: Sequence[Mapping[str, np.ndarray]], place: int, start: Mapping[str, float]) -> dict[str, Any]:
    """Return how an arm ends: the last evaluation that is a number, whether and how it failed, and its way there."""
    told = [i for i, each in enumerate(history) if all(np.isfinite(values[place]) for values in each.values())]
    last = {name: float(values[place]) for name, values in history[told[-1]].items()} if told else dict(start)
    last.pop("at_boundary")
    late = [history[i]["reward"][place] for i in told[-LAST:]]
    rewards = [float(each["reward"][place]) for each in history]
    return {
        **last,
        "collapsed": bool(late) and bool(max(late) < COLLAPSE * start["reward"]),
        "at_boundary": any(bool(each["at_boundary"][place]) for each in history),
        "left_the_numbers": len(told) < len(history),
        "curve": [round(value, 5) if np.isfinite(value) else None for value in rewards],
    }
