"""Ten policies on a line: from the one that runs towards one that has learned, and the other way.

Both ends are trained from the same weights with the same batches, one by cloning and one by AWR on the same log, so
that the networks between them are policies too. How far one lies from the policy that runs is measured in nats: half
the variance of the logarithm of a session's weight, which to second order is the divergence of their sessions. Of
lognormal weights the effective sample size of n sessions is n exp(-2 d), so that near and far mean the same in every
world.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import torch

from agents.objectives.awr import AwrConfig
from agents.policies.base import Policy
from agents.policies.files import load_policy, save_policy
from agents.training.evaluation import policy_columns, roll_out
from agents.training.trainer import train
from agents.values.scores.base import judge_log
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from offline_data.store.dataset import LoggedDataset
from offline_data.units import Progress
from recenv.statistics import Interval
from recenv.world import make_world
from recsession.experiments.estimator_study.protocol import AGENT, BANDIT, EstimatorProtocol, Task
from recsession.experiments.sealed_unit import SealedUnit

_PILOT: Final = 400
_STEPS: Final = np.geomspace(2.0**-9, 2.0**2, 23)


def on_the_line(running: Policy, learned: Policy, share: float) -> Policy:
    """Return the policy whose weights lie a share of the way from one that runs to one that has learned.

    Args:
        running: where the share is 0.
        learned: where it is 1; of the same shapes.
        share: of the way, which may be below 0 or above 1.
    """
    found = deepcopy(running)
    with torch.no_grad():
        for own, start, end in zip(found.parameters(), running.parameters(), learned.parameters(), strict=True):
            own.copy_(start + share * (end - start))
    return found


def distances(running: Policy, others: Sequence[Policy], log: LoggedDataset) -> np.ndarray:
    """Return how far policies are from the one that runs, in nats a session, see the module.

    Args:
        running: that logged.
        others: the policies.
        log: by `running`.
    """
    starts = np.asarray(log.offsets)[:-1]
    own = policy_columns(running, log, estimators=("snips",))["target_log_prob"]
    found = []
    for other in others:
        ratio = policy_columns(other, log, estimators=("snips",))["target_log_prob"] - own
        found.append(0.5 * float(np.add.reduceat(ratio, starts).var()))
    return np.array(found)


@dataclass(frozen=True)
class FamilyUnit(SealedUnit):
    """The policies of a task, and what they are worth."""

    task: Task
    """Where they act."""
    protocol: EstimatorProtocol
    """Budgets."""
    folder: Path
    """Of the task: `running` and a file for each policy."""
    name: str = "family"
    """Of the result."""

    @property
    def cost(self) -> int:
        """Gradient steps."""
        return 2 * self.protocol.trainer.num_steps + self.protocol.critic.num_steps

    @property
    def running(self) -> Path:
        """The file of the policy that runs."""
        return self.folder / "running"

    def file(self, index: int) -> Path:
        """Return the file of a policy."""
        return self.folder / f"policy-{index}"

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Train both ends, place the policies, and return for each its `distance`, `direction` and `truth`."""
        protocol, seed = self.protocol, self.protocol.family_seed
        self.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.folder, prefix="learning-") as folder:
            running, learned = self._ends(Path(folder), progress)
            save_policy(self.running, running)
            pilot = self._collect(Path(folder) / "pilot", _PILOT, self._alone())
            policies, told = [], []
            for sign, wanted in ((1.0, protocol.distances), (-1.0, protocol.back)):
                line = distances(running, [on_the_line(running, learned, sign * step) for step in _STEPS], pilot)
                rising = np.maximum.accumulate(np.maximum(line, 1e-9))
                shares = np.exp(np.interp(np.log(wanted), np.log(rising), np.log(_STEPS)))
                placed = [on_the_line(running, learned, sign * float(share)) for share in shares]
                policies += placed
                found = distances(running, placed, pilot)
                told += [{"direction": int(sign), "distance": float(f"{each:.3g}")} for each in found]
        world = make_world(self.task.config)
        many = protocol.bandit_truth_sessions if self.task.model == BANDIT else protocol.num_truth_sessions
        for index, (policy, each) in enumerate(zip(policies, told, strict=True)):
            save_policy(self.file(index), policy)
            returns = roll_out(policy, world, many, seed, deterministic=False, role="truth")
            each["truth"] = Interval.of(returns).as_dict()
        returns = roll_out(running, world, many, seed, deterministic=False, role="truth")
        return {"policies": told, "running": Interval.of(returns).as_dict()}

    def policies(self) -> list[Policy]:
        """Return the policies, in order, once they are placed."""
        return [load_policy(self.file(index)) for index in range(len(self.result()["policies"]))]

    def _alone(self) -> dict[str, Any]:
        return {"name": AGENT, "policy": str(self.running)}

    def _collect(self, folder: Path, count: int, behavior: Any) -> LoggedDataset:
        return collect(folder, LogRequest(self.task.config, behavior, self.task.kind, count, self.protocol.family_seed))

    def _ends(self, folder: Path, progress: Progress) -> tuple[Policy, Policy]:
        """Return a clone of a poor log's policy, and what AWR learns from the same log."""
        protocol, seed = self.protocol, self.protocol.family_seed
        log = self._collect(folder / "log", protocol.num_learning_sessions, mixture_spec(0.3, "uniform"))
        scores = judge_log("q_minus_v", log, protocol.critic, seed=seed, progress=progress).scores
        budget = protocol.training(self.task.kind)
        ends = [
            train(log, scores, name, config, budget, seed=seed, progress=progress).actor.eval()
            for name, config in (("bc", None), ("awr", AwrConfig(temperature=0.3)))
        ]
        return ends[0], ends[1]
