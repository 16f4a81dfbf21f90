"""What is learned from which log: any world, behavior, score and policy, and any objective with its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agents.families import SCORES
from agents.policies.base import Policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.training.evaluation import roll_out
from agents.training.trainer import TrainerConfig, TrainingRun, train
from agents.values.critics import CriticConfig
from agents.values.score_files import kept_judgement
from agents.values.scores.base import Judgement, judge_log
from offline_data.behavior.base import ActionKind
from offline_data.collection.collection import LogRequest, collect
from offline_data.store.dataset import LoggedDataset
from offline_data.units import Progress
from recenv.errors import require_range
from recenv.session_config import SessionConfig
from recenv.world import World, make_world


@dataclass(frozen=True)
class Method:
    """One learner of a comparison, which gives it a name of its own."""

    objective: str
    """The registered objective's name."""
    config: Any
    """The objective's hyper-parameters."""
    in_score_units: tuple[str, ...] = ()
    """Fields of the config that are given in units of the score, and that the objective reads in its standard
    deviations: they are divided by that of the log."""
    trainer: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the task's trainer that are others for this method."""

    @property
    def kappa(self) -> float | None:
        """The share of the log that the method's hard filter retains; None if it has no filter, or sizes it itself."""
        kappa = getattr(self.config, "kappa", None)
        return None if kappa == "auto" else kappa

    def config_for(self, scores: torch.Tensor) -> Any:
        """Return the config, with what is in units of the score in standard deviations of these, [N]."""
        spread = float(scores.double().std(correction=0)) or 1.0
        return replace(self.config, **{name: getattr(self.config, name) / spread for name in self.in_score_units})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; what is left at its default is left out, but for the objective's own."""
        further = {name: getattr(self, name) for name in ("in_score_units", "trainer") if getattr(self, name)}
        return {"objective": self.objective, "config": asdict(self.config), **further}


@dataclass(frozen=True)
class LearningTask:
    """A log, how its rows are scored, and the budget of all who learn from it."""

    behavior: Any
    """Who made the log: a behavior policy's name or spec."""
    config: SessionConfig = field(default_factory=SessionConfig)
    """The world."""
    action_kind: ActionKind = "proto"
    """What is logged, and what the policies do."""
    num_sessions: int = 20_000
    """Sessions of the log."""
    score: str = "q_minus_v"
    """The registered score of its rows, one for all methods."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """The critic of the score, where it reads one; fitted once for all methods."""
    trainer: TrainerConfig = field(default_factory=lambda: TrainerConfig(policy=GaussianPolicyConfig()))
    """Training budget and policy, the same for every method."""
    num_evaluation_sessions: int = 2_000
    """Simulated sessions that a policy's return is measured on, in each way of acting."""
    judged_in: SessionConfig | None = None
    """The world that policies are judged in, of the same items and users, such as one without noise; None: that one."""
    device: str = "cpu"
    """cpu or cuda."""

    def __post_init__(self) -> None:
        for name in ("num_sessions", "num_evaluation_sessions"):
            require_range(name, getattr(self, name), 10, 10**9, integer=True)
        SCORES.resolve(self.score)

    @property
    def judge(self) -> World:
        """The world that policies are judged in."""
        return make_world(self.judged_in or self.config)


@dataclass(frozen=True)
class TaskLog:
    """The log of a task at a seed, in a folder, with its scores; found on first use, and then read."""

    task: LearningTask
    """What is logged."""
    folder: Path
    """Where it lies."""
    seed: int
    """Of the scores, the policies' weights and batches, and the evaluations."""
    dataset_seed: int
    """Of the log's sessions."""
    name: str = "log"
    """Of the log's own folder in that one."""

    def open(self) -> LoggedDataset:
        """Return the log, collected if need be."""
        task = self.task
        request = LogRequest(
            config=task.config,
            behavior=task.behavior,
            action_kind=task.action_kind,
            num_sessions=task.num_sessions,
            dataset_seed=self.dataset_seed,
        )
        return collect(self.folder / self.name, request)

    def scores(self, progress: Progress | None = None) -> torch.Tensor:
        """Return the score of every row, [N] float32.

        Args:
            progress: called with the critic's gradient steps since the last call.
        """
        return self.judgement(progress).scores

    def judgement(self, progress: Progress | None = None) -> Judgement:
        """Return the score of every row, and what the row earned.

        Args:
            progress: called with the critic's gradient steps since the last call.
        """
        dataset, task = self.open(), self.task
        settings = {"seed": self.seed, "device": task.device, "progress": progress}
        judge = partial(judge_log, task.score, dataset, task.critic, **settings)
        return kept_judgement(self.folder, dataset.num_rows, judge)

    def train(
        self,
        method: Method,
        checkpoint: Path | None,
        *,
        scores: torch.Tensor | None = None,
        evaluate: Callable[[Policy], float | Mapping[str, float]] | None = None,
        progress: Progress | None = None,
    ) -> TrainingRun:
        """Train a policy by a method, or go on from its checkpoint.

        Args:
            method: which one.
            checkpoint: file of an unfinished training; None keeps none.
            scores: [N] of the rows, which nothing is known to have earned; None for those of the task.
            evaluate: see `agents.train`.
            progress: see there.
        """
        judged, task = self.judgement() if scores is None else Judgement(scores, None), self.task
        return train(
            self.open(),
            judged.scores,
            method.objective,
            method.config_for(judged.scores),
            replace(task.trainer, **method.trainer),
            advantages=judged.advantages,
            seed=self.seed,
            device=task.device,
            checkpoint=checkpoint,
            evaluate=evaluate,
            progress=progress,
        )

    def returns(self, actor: Policy, *, deterministic: bool, count: int | None = None, role: str) -> np.ndarray:
        """Return the session returns of a policy where the task judges it, [count] float64.

        Args:
            actor: the policy.
            deterministic: act by the most probable action; otherwise sample.
            count: sessions; None for the task's.
            role: keeps different evaluations from sharing users.
        """
        count = count or self.task.num_evaluation_sessions
        return roll_out(actor, self.task.judge, count, self.seed, deterministic=deterministic, role=role)
