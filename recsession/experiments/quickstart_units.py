"""The pieces of the quickstart, each a pure function of it that leaves one JSON file in its seed's folder.

They are `prepare` (log, critic, scores, second log), `ceiling` (cloning on good data only) and one for each method,
which needs what was prepared and logs what its policy does. Training goes on from its last checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from agents.objectives.bc import BcConfig
from agents.policies.base import Policy
from agents.policies.files import save_policy
from agents.robust.density_cap import dual_threshold
from agents.training.diagnostics import filter_precision
from agents.training.evaluation import off_policy_sessions
from offline_data.behavior.base import WORLD_EXPERT
from offline_data.dial.quality import Reference, mixture_spec
from offline_data.ope.estimate import estimate
from offline_data.store.dataset import LoggedDataset
from offline_data.units import Progress
from recenv.statistics import Interval
from recsession.experiments.comparison import Comparison
from recsession.experiments.learning_task import Method, TaskLog
from recsession.experiments.sealed_unit import SealedUnit

PREPARE: Final = "prepare"
CEILING: Final = "ceiling"
# What judges by which log, by the log's name in a report.
MIXED: Final = "mixed"
OWN: Final = "own"
ESTIMATORS: Final = {MIXED: ("snips", "dr"), OWN: ("pdsnips",)}
# One root seed a log: a seed's logs share no sessions with each other or with another seed's, but for the policies' own
# logs, which are of the same users. Seeds are below 2**31.
_ROOTS: Final = {"log": 0, "judge-log": 1, "good-log": 2, "own-log": 3 * 2**31}
_AGENT: Final = "agents.serving.behavior_adapter:AgentBehavior"


@dataclass(frozen=True)
class QuickstartUnit(SealedUnit):
    """One piece of the work of one seed."""

    comparison: Comparison
    """What is compared."""
    reference: Reference
    """What scores are normalised by."""
    folder: Path
    """The seed's folder."""
    seed: int
    """Of log, critic, policies and evaluations."""
    name: str
    """`PREPARE`, `CEILING` or a method's name."""

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        return f"seed {self.seed} {self.name}"

    @property
    def cost(self) -> int:
        """Gradient steps, beside which all else is quick."""
        if self.name == PREPARE:
            return self.comparison.critic.num_steps
        judge = 0 if self.name == CEILING else self.comparison.judge.num_steps
        return self.comparison.trainer.num_steps + judge

    @property
    def needs(self) -> tuple[QuickstartUnit, ...]:
        """What must be done before."""
        return () if self.name in (PREPARE, CEILING) else (replace(self, name=PREPARE),)

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Do the work and return the result."""
        work = {PREPARE: self._prepare, CEILING: self._ceiling}.get(self.name, self._learn_and_judge)
        return work(progress)

    def _log(self, name: str, folder: str | None = None, **changes: Any) -> TaskLog:
        """Return one of the seed's logs: of the comparison's task, but for changes."""
        task = replace(self.comparison.task, **changes)
        return TaskLog(task, self.folder, self.seed, 3 * self.seed + _ROOTS[name], folder or name)

    def _judge_log(self) -> LoggedDataset:
        # Half of the sessions are the expert's. It explores more widely than the first log: an estimator can weigh only
        # what a log has tried, and a policy sampled around a learned mean goes further astray than the expert does.
        behavior = mixture_spec(0.5, self.comparison.noise, mixing="session", proto_scale=0.2)
        return self._log("judge-log", behavior=behavior, num_sessions=self.comparison.num_judge_sessions).open()

    def _own_log(self) -> LoggedDataset:
        # What runs today, and now and then a uniform step: no session is far from what the policy does.
        base = {"name": _AGENT, "policy": str(self._policy)}
        behavior = {"name": "epsilon_greedy", "base": base, "epsilon": self.comparison.exploration}
        sessions = self.comparison.num_judge_sessions
        return self._log("own-log", f"{self.name}-log", behavior=behavior, num_sessions=sessions).open()

    @property
    def _policy(self) -> Path:
        return self.folder / f"{self.name}.policy"

    def _prepare(self, progress: Progress) -> dict[str, Any]:
        log = self._log("log")
        dataset = log.open()
        self._judge_log()
        scores = log.scores(progress)
        good = dataset.open_latent_labels() == 0
        values = scores.double().numpy()
        edges = np.linspace(values.min(), values.max(), 81)
        return {
            "histogram": {
                "edges": edges.tolist(),
                "good": np.histogram(values[good], edges)[0].tolist(),
                "noise": np.histogram(values[~good], edges)[0].tolist(),
                "threshold": float(dual_threshold(scores, self.comparison.good_fraction)[0]),
            },
        }

    def _ceiling(self, progress: Progress) -> dict[str, Any]:
        # The expert's sessions are longer: a quarter of the sessions gives about as many rows.
        sessions = max(self.comparison.num_sessions // 4, 10)
        log = self._log("good-log", behavior=WORLD_EXPERT, num_sessions=sessions)
        cloning, unread = Method("bc", BcConfig()), torch.zeros(log.open().num_rows)
        run = log.train(cloning, self.folder / "ceiling.checkpoint", scores=unread, progress=progress)
        return self._act(run.actor)[0]

    def _act(self, actor: Policy) -> tuple[dict[str, float], np.ndarray]:
        """Return the normalised scores of acting by the mean and sampled, and the returns of the sampled sessions."""
        log = self._log("log")
        best = log.returns(actor, deterministic=True, role="evaluation")
        sampled = log.returns(actor, deterministic=False, role="truth")
        scores = {
            "normalized_score": self.reference.normalized_score(float(best.mean())),
            "normalized_score_sampled": self.reference.normalized_score(float(sampled.mean())),
        }
        return scores, sampled

    def _learn_and_judge(self, progress: Progress) -> dict[str, Any]:
        method, log = self.comparison.methods[self.name], self._log("log")
        quick = max(self.comparison.num_evaluation_sessions // 8, 10)

        def quick_score(actor: Any) -> float:
            returns = log.returns(actor, deterministic=True, count=quick, role="curve")
            return self.reference.normalized_score(float(returns.mean()))

        checkpoint = self.folder / f"{self.name}.checkpoint"
        run = log.train(method, checkpoint, evaluate=quick_score, progress=progress)
        save_policy(self._policy, run.actor)
        scores, sampled = self._act(run.actor)
        truth, kappa = Interval.of(sampled), method.kappa
        good, log_scores = log.open().open_latent_labels() == 0, log.scores()
        return {
            **scores,
            "filter_precision": None if kappa is None else filter_precision(log_scores.double().numpy(), good, kappa),
            "max_surprisal": max(point["surprisal_max"] for point in run.curve),
            "max_score_function_norm": max(point["score_function_norm_max"] for point in run.curve),
            "stopped": run.stopped,
            "curve": run.curve,
            "ope": self._estimates(run.actor, progress),
            "truth": {"value": truth.mean, "low": truth.low, "high": truth.high},
        }

    def _estimates(self, actor: Policy, progress: Progress) -> list[dict[str, Any]]:
        """Return a policy's value by both logs, and beside it what each log has earned itself."""
        found = []
        for log, dataset in ((MIXED, self._judge_log()), (OWN, self._own_log())):
            sessions = off_policy_sessions(
                actor,
                dataset,
                estimators=ESTIMATORS[log],
                config=self.comparison.judge,
                seed=self.seed,
                device=self.comparison.device,
                progress=progress,
            )
            earned = sessions.logged_return().mean
            answers = [estimate(name, sessions, seed=self.seed) for name in ESTIMATORS[log]]
            found += [{"log": log, "logged": earned, **answer.as_dict()} for answer in answers]
        return found
