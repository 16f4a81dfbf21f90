"""The pieces of a comparison, each a pure function of it that leaves one JSON file in its seed's folder.

They are `prepare` (log, critic, scores, second log), `ceiling` (cloning on good data only) and one for each method,
which needs what was prepared. Training goes on from its last checkpoint.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from agents.policies.files import save_policy
from agents.robust.density_cap import dual_threshold
from agents.training.diagnostics import filter_precision
from agents.training.evaluation import off_policy_sessions, roll_out
from agents.training.trainer import train
from agents.values.critics import fit_critic, score_rows
from agents.values.score_files import load_scores, save_scores
from offline_data.behavior.base import WORLD_EXPERT
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import Reference, mixture_spec
from offline_data.ope.base import estimate
from offline_data.store.dataset import LoggedDataset
from offline_data.store.sealed_files import read_sealed_json, write_sealed_json
from offline_data.units import Progress
from recenv.session_config import SessionConfig
from recenv.statistics import Interval
from recenv.world import make_world
from recsession.experiments.comparison import Comparison

PREPARE: Final = "prepare"
CEILING: Final = "ceiling"
ESTIMATORS: Final = ("snips", "dr")
# One root seed a log: a seed's three logs share no sessions with each other or with another seed's.
_ROOTS: Final = {"log": 0, "judge-log": 1, "good-log": 2}


@dataclass(frozen=True)
class LearningUnit:
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
    def needs(self) -> tuple[LearningUnit, ...]:
        """What must be done before."""
        return () if self.name in (PREPARE, CEILING) else (replace(self, name=PREPARE),)

    @property
    def result_file(self) -> Path:
        """The file that says that it is done."""
        return self.folder / f"{self.name}.json"

    def is_done(self) -> bool:
        """Return whether the result is there."""
        return self.result_file.exists()

    def result(self) -> dict[str, Any]:
        """Return the result.

        Raises:
            InvalidInput: if its file is damaged.
        """
        return read_sealed_json(self.result_file, "remove it, and run the same command again to find it anew")

    def run(self, progress: Progress) -> None:
        """Do the work and write the result file."""
        work = {PREPARE: self._prepare, CEILING: self._ceiling}.get(self.name, self._learn_and_judge)
        write_sealed_json(self.result_file, work(progress))

    @property
    def _settings(self) -> dict[str, Any]:
        return {"seed": self.seed, "device": self.comparison.device}

    def _log(self, name: str, behavior: Any, num_sessions: int) -> LoggedDataset:
        root = 3 * self.seed + _ROOTS[name]
        request = LogRequest(behavior=behavior, action_kind="proto", num_sessions=num_sessions, dataset_seed=root)
        return collect(self.folder / name, request)

    def _learning_log(self) -> LoggedDataset:
        behavior = mixture_spec(self.comparison.good_fraction, self.comparison.noise)
        return self._log("log", behavior, self.comparison.num_sessions)

    def _judge_log(self) -> LoggedDataset:
        # Half of the sessions are the expert's. It explores more widely than the first log: an estimator can weigh only
        # what a log has tried, and a policy sampled around a learned mean goes further astray than the expert does.
        behavior = mixture_spec(0.5, self.comparison.noise, mixing="session", proto_scale=0.2)
        return self._log("judge-log", behavior, self.comparison.num_judge_sessions)

    def _prepare(self, progress: Progress) -> dict[str, Any]:
        dataset = self._learning_log()
        self._judge_log()
        critic = fit_critic(dataset, self.comparison.critic, **self._settings, progress=progress)
        scores = score_rows(critic, dataset, self.comparison.device)
        save_scores(self.folder / "scores.npy", scores)
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
        dataset = self._log("good-log", WORLD_EXPERT, sessions)
        run = train(
            dataset,
            torch.zeros(dataset.num_rows),
            "bc",
            config=self.comparison.trainer,
            **self._settings,
            checkpoint=self.folder / "ceiling.checkpoint",
            progress=progress,
        )
        return self._act(run.actor)[0]

    def _act(self, actor: Any) -> tuple[dict[str, float], np.ndarray]:
        """Return the normalised scores of acting by the mean and sampled, and the returns of the sampled sessions."""
        world, count = make_world(SessionConfig()), self.comparison.num_evaluation_sessions
        best = roll_out(actor, world, count, self.seed, deterministic=True)
        sampled = roll_out(actor, world, count, self.seed, deterministic=False, role="truth")
        scores = {
            "normalized_score": self.reference.normalized_score(float(best.mean())),
            "normalized_score_sampled": self.reference.normalized_score(float(sampled.mean())),
        }
        return scores, sampled

    def _learn_and_judge(self, progress: Progress) -> dict[str, Any]:
        method, dataset = self.comparison.methods[self.name], self._learning_log()
        log_scores, world = load_scores(self.folder / "scores.npy", dataset.num_rows), dataset.world

        def quick_score(actor: Any) -> float:
            count = max(self.comparison.num_evaluation_sessions // 8, 10)
            returns = roll_out(actor, world, count, self.seed, deterministic=True, role="curve")
            return self.reference.normalized_score(float(returns.mean()))

        run = train(
            dataset,
            log_scores,
            method.objective,
            method.config,
            self.comparison.trainer,
            **self._settings,
            checkpoint=self.folder / f"{self.name}.checkpoint",
            evaluate=quick_score,
            progress=progress,
        )
        save_policy(self.folder / f"{self.name}.policy", run.actor)
        scores, sampled = self._act(run.actor)
        sessions = off_policy_sessions(
            run.actor, self._judge_log(), config=self.comparison.judge, **self._settings, progress=progress
        )
        truth, kappa = Interval.of(sampled), method.kappa
        good = dataset.open_latent_labels() == 0
        return {
            **scores,
            "filter_precision": None if kappa is None else filter_precision(log_scores.double().numpy(), good, kappa),
            "max_surprisal": max(point["surprisal_max"] for point in run.curve),
            "max_score_function_norm": max(point["score_function_norm_max"] for point in run.curve),
            "stopped": run.stopped,
            "curve": run.curve,
            "ope": [estimate(name, sessions, seed=self.seed).as_dict() for name in ESTIMATORS],
            "truth": {"value": truth.mean, "low": truth.low, "high": truth.high},
        }
