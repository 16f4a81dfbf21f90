"""Units of work that many studies are made of: a log with its scores, a method on it, the best setting of a grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor

from agents.families import SCORES
from agents.training.trainer import TrainingRun
from offline_data.units import Progress
from recsession.experiments.learning_task import LearningTask, Method, TaskLog
from recsession.experiments.sealed_unit import SealedUnit


@dataclass(frozen=True)
class LogUnit(SealedUnit):
    """A task's log at a seed and the scores of its rows, which all methods on it share."""

    task: LearningTask
    """What is logged."""
    folder: Path
    """The log's own: no other task or seed has it."""
    seed: int
    """Of the log, the critic, and what is learned from them."""
    name: str = "log"
    """Of the result."""

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        return f"{self.folder.parent.name} {self.folder.name} {self.name}"

    @property
    def cost(self) -> int:
        """The critic's gradient steps, where the score fits one."""
        return self.task.critic.num_steps if self._fits_critic else 1

    @property
    def _fits_critic(self) -> bool:
        return SCORES.resolve(self.task.score).critic_fields is None

    @property
    def files(self) -> TaskLog:
        """The log and its scores."""
        return TaskLog(self.task, self.folder, self.seed, self.seed)

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return `num_rows`, the rows' mean `reward`, and mean and spread of the scores."""
        scores = self.files.scores(progress if self._fits_critic else None).double()
        if not self._fits_critic:
            progress(1)
        dataset = self.files.open()
        return {
            "num_rows": dataset.num_rows,
            "reward": float(dataset.reward().mean()),
            "score_mean": float(scores.mean()),
            "score_std": float(scores.std(correction=0)),
        }


@dataclass(frozen=True)
class MethodUnit(SealedUnit):
    """A method on a log: its policy's mean return in both ways of acting."""

    log: LogUnit
    """What it learns from."""
    method: Method
    """Which one."""
    name: str
    """Of the result: the method's, and its setting's where it has several."""

    @property
    def folder(self) -> Path:  # type: ignore[override]
        """The log's."""
        return self.log.folder

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        return f"{self.folder.parent.name} {self.folder.name} {self.name}"

    @property
    def cost(self) -> int:
        """Gradient steps."""
        return self.log.task.trainer.num_steps

    @property
    def needs(self) -> Sequence[SealedUnit]:
        """The log."""
        return (self.log,)

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return the mean return `by_mean` and `sampled`, `stopped`, and what the last step's measurement says."""
        return self.learned(self.method, progress)

    def learned(self, method: Method, progress: Progress) -> dict[str, Any]:
        """Train by a method, judge, and return what `measure` does.

        Args:
            method: which one.
            progress: see `measure`.
        """
        checkpoint = self.folder / f"{self.name}.checkpoint"
        run = self.log.files.train(method, checkpoint, scores=self.training_scores(), progress=progress)
        result = {**self.judged(run), "stopped": run.stopped, "last": {**run.curve[-1]} if run.curve else {}}
        checkpoint.unlink(missing_ok=True)
        return result

    def training_scores(self) -> Tensor | None:
        """Return the scores that the method learns from, [N]; None for those of the log."""
        return None

    def judged(self, run: TrainingRun) -> dict[str, float]:
        """Return the mean return of a policy in both ways of acting."""
        returns = self.log.files.returns
        return {
            "by_mean": float(returns(run.actor, deterministic=True, role="evaluation").mean()),
            "sampled": float(returns(run.actor, deterministic=False, role="evaluation").mean()),
        }


def by_mean(unit: MethodUnit) -> float:
    """Return the mean return of a unit's policy, acting by its mean: what settings are chosen by in one world.

    Args:
        unit: done.
    """
    return unit.result()["by_mean"]


@dataclass(frozen=True)
class ChosenMethodUnit(MethodUnit):
    """A method on a log with the setting that did best on the logs that settings are chosen on.

    `method` is the setting that is taken where there is nothing to choose from.
    """

    settings: Mapping[str, Method]
    """By label, as they are for this log."""
    tried: Mapping[str, tuple[MethodUnit, ...]]
    """By label, the units of a setting on the logs that settings are chosen on, the same logs for each."""
    score: Callable[[Any], float] = by_mean
    """A function of a module: what of a unit is to be high in the mean. Where the logs' worlds differ it has to be
    normalised, or the world with the largest returns decides alone."""

    @property
    def needs(self) -> Sequence[SealedUnit]:
        """The log, and what was tried."""
        return (self.log, *(unit for units in self.tried.values() for unit in units))

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return what `MethodUnit` does, the label `chosen`, and each setting's mean, `grid`."""
        means = {label: fmean(self.score(unit) for unit in units) for label, units in self.tried.items()}
        chosen = max(means, key=means.__getitem__, default=None)
        method = self.method if chosen is None else self.settings[chosen]
        return {**self.learned(method, progress), "chosen": chosen, "grid": means}
