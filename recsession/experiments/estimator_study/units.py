"""A log of a cell, and what every estimator says by it of the ten policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np

from agents.policies.base import Policy
from agents.training.evaluation import log_sessions, policy_columns, usual_estimators
from agents.training.item_sessions import sessions_of_items, target_prefixes
from offline_data.collection.collection import LogRequest, collect
from offline_data.families import ESTIMATORS
from offline_data.ope.answers import Answer, answers_of, logged_answer
from offline_data.ope.differences import paired_difference
from offline_data.ope.selection import choose
from offline_data.ope.sessions import FEATURE_COLUMNS, LoggedSessions
from offline_data.store.dataset import LoggedDataset
from offline_data.units import Progress
from recenv.errors import InvalidInput
from recsession.experiments.estimator_study.families import FamilyUnit
from recsession.experiments.estimator_study.protocol import Cell, EstimatorProtocol
from recsession.experiments.sealed_unit import SealedUnit
from recsession.policy_tables import AUTO

BY_ITEM: Final = ("pdis", "pdsnips")
"""Estimators whose weights of slates differ by item."""
ITEM: Final = " by item"
"""What their names end in then."""


@dataclass(frozen=True)
class JudgedLogUnit(SealedUnit):
    """What the estimators say by one log."""

    cell: Cell
    """Of which the log is one."""
    family: FamilyUnit
    """The policies."""
    protocol: EstimatorProtocol
    """Budgets."""
    seed: int
    """Of the log and of the fitted Q."""
    folder: Path
    """Of the cell."""

    @property
    def name(self) -> str:
        """Of the result."""
        return f"seed-{self.seed}"

    @property
    def needs(self) -> Sequence[SealedUnit]:
        """The policies."""
        return (self.family,)

    @property
    def estimators(self) -> tuple[str, ...]:
        """Which are asked for, by how many sessions there are."""
        size, protocol = self.cell.num_sessions, self.protocol
        allowed = {"behavior_log_prob"}
        if size <= protocol.model_sessions:
            allowed |= {"q_value", "state_value"}
        if size <= protocol.feature_sessions:
            allowed |= set(FEATURE_COLUMNS)
        return tuple(name for name in usual_estimators() if ESTIMATORS.get(name).needs <= allowed)

    @property
    def cost(self) -> int:
        """Gradient steps of the fitted Q, or one for each policy without."""
        fits = "dm" in self.estimators
        count = len(self.protocol.distances) + len(self.protocol.back)
        return count * (self.protocol.fitted_q.num_steps if fits else 1)

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return the log's mean return, and by estimator what it says of each policy, None where it is refused.

        An answer is `[value, low, high, grade, better]`: the ends are None without an interval, the grade is its first
        letter, and better says whether the interval of its difference to the log's own return lies above 0. `auto` has
        those of the estimator that is `chosen`.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.folder, prefix=f"{self.name}-") as folder:
            behavior = self.cell.behavior(self.family.running, self.protocol.exploring)
            request = LogRequest(
                self.cell.task.config, behavior, self.cell.task.kind, self.cell.num_sessions, self.seed
            )
            log = collect(Path(folder) / "log", request)
            told: dict[str, list[Any]] = {}
            by_step, own = [], None
            for policy in self.family.policies():
                sessions = self._sessions(policy, log, progress)
                own = logged_answer(sessions).influence if own is None else own
                by_step.append(answers_of(sessions, self.estimators, 0.0))
                for name, answer in {**by_step[-1], **self._by_item(policy, log, sessions)}.items():
                    told.setdefault(name, []).append(_plain(answer, own))
            assert own is not None
            chosen = choose(by_step)
            auto = [None] * len(by_step) if chosen.estimator is None else told[chosen.estimator]
            return {"logged": float(own.mean()), "answers": {**told, AUTO: auto}, "chosen": chosen.estimator}

    def _sessions(self, policy: Policy, log: LoggedDataset, progress: Progress) -> LoggedSessions:
        fits = "dm" in self.estimators
        columns = policy_columns(
            policy,
            log,
            estimators=self.estimators,
            config=self.protocol.fitted_q,
            seed=self.seed,
            progress=progress if fits else None,
        )
        if not fits:
            progress(1)
        return log_sessions(log, columns, discount=1.0)

    def _by_item(
        self, policy: Policy, log: LoggedDataset, sessions: LoggedSessions
    ) -> dict[str, Answer | InvalidInput]:
        """Return what is said by items of slates, where a slate has several."""
        if self.cell.task.kind == "proto" or self.cell.task.config.slate_size == 1:
            return {}
        items = sessions_of_items(sessions, log, target_prefixes(policy, log))
        return {name + ITEM: answer for name, answer in answers_of(items, BY_ITEM, 0.0).items()}


def _plain(answer: Answer | InvalidInput, own: np.ndarray) -> list[Any] | None:
    if isinstance(answer, InvalidInput):
        return None
    found = answer.estimate
    better = found.ends is not None and paired_difference(answer.influence, own).is_better
    numbers = [None if each is None else float(f"{each:.7g}") for each in (found.value, found.low, found.high)]
    return [*numbers, found.verdict.grade[0], better]
