"""The study of estimators; what is compared stands in `recsession.experiments.estimator_study.protocol`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from recenv.session_config import SessionConfig
from recsession.experiments.estimator_study.analysis import Truths, add_near, better, by_distance, judge
from recsession.experiments.estimator_study.families import FamilyUnit
from recsession.experiments.estimator_study.protocol import SMALL, Cell, EstimatorProtocol, Task
from recsession.experiments.estimator_study.units import JudgedLogUnit
from recsession.experiments.estimator_study.verdict import sentences
from recsession.experiments.reproduce.base import Study
from recsession.experiments.sealed_unit import SealedUnit, with_needs
from recsession.families import STUDIES

if TYPE_CHECKING:
    from offline_data.describe.pages import Section


@STUDIES.register("estimators")
class EstimatorStudy(Study):
    """Which estimator when: every estimator's word on ten policies, judged by the simulator's truth.

    Proto-actions and slates; every user model; sessions of 3, 10 and 50 steps; logs of a policy that runs, a tenth of
    it at random by step or by session, and of the quality dial; 1,000 to a million sessions. The ten policies lie on a
    line from the one that runs, from .03 to 10 nats a session away, and on both sides of it. Told is how far off each
    estimator is, whether it ranks and chooses well, and whether trusted, doubtful and untrusted intervals hold the
    truth. The small form has two user models and the kinds of logs, one log of each; the full form three of each.
    """

    Config = EstimatorProtocol
    forms: Mapping[str, Any] = {"small": SMALL, "full": EstimatorProtocol()}
    num_seeds: Mapping[str, int] = {"small": 1, "full": 3}
    title = "Which estimator when"

    def development_seeds(self) -> Sequence[int]:
        """Return that of the log that the policies learned from."""
        return (self.config.family_seed,)

    def worlds(self) -> Mapping[str, SessionConfig]:
        """Return the worlds of the cells, by user model and length."""
        tasks = [cell.task for cell in self.config.cells()]
        return {f"{task.model}, {task.max_steps} steps": task.config for task in tasks}

    def units(self) -> list[SealedUnit]:
        """Return the logs to be judged by, seed by seed, and the policies before them."""
        cells = self.config.cells()
        return with_needs(
            self._log(cell, seed) for seed in self.seeds for cell in cells if seed in self._seeds_of(cell)
        )

    def numbers(self) -> dict[str, Any]:
        """Return `tasks`, the policies' truth and distance, `cells`, what `judge` says of each estimator, and `near`.

        The last is, by estimator and distance, how many answers of all cells are trusted, hold, and there are.
        """
        cells = self.config.cells()
        tasks = {cell.task.key: self._family(cell.task).result() for cell in cells}
        near: dict[str, dict[str, list[int]]] = {}
        return {"tasks": tasks, "cells": {cell.key: self._cell(cell, near) for cell in cells}, "near": near}

    def _seeds_of(self, cell: Cell) -> Sequence[int]:
        return self.seeds if cell.num_sessions <= self.config.replicate_sessions else self.seeds[:1]

    def _family(self, task: Task) -> FamilyUnit:
        return FamilyUnit(task, self.config, self.folder / task.key)

    def _log(self, cell: Cell, seed: int) -> JudgedLogUnit:
        return JudgedLogUnit(cell, self._family(cell.task), self.config, seed, self.folder / cell.key)

    def _cell(self, cell: Cell, near: dict[str, dict[str, list[int]]]) -> dict[str, Any]:
        family = self._family(cell.task).result()
        truths, away = Truths.of(family), (*self.config.distances, *self.config.back)
        results = [self._log(cell, seed).result() for seed in self._seeds_of(cell)]
        logged = sum(result["logged"] for result in results) / len(results)
        estimators = {}
        for name in sorted(results[0]["answers"]):
            answers = [result["answers"][name] for result in results]
            estimators[name] = {**judge(answers, truths), "called": better(answers, truths, logged)}
            add_near(near.setdefault(name, {}), by_distance(answers, truths, away))
        shape = {"model": cell.task.model, "kind": cell.task.kind, "steps": cell.task.max_steps}
        logs = {"logged": cell.logged, "mixing": cell.mixing, "sessions": cell.num_sessions, "logs": len(results)}
        told = {
            "chosen": [result["chosen"] for result in results],
            "spread": float(f"{truths.spread:.4g}"),
            "return": float(f"{logged:.5g}"),
        }
        return {**shape, **logs, **told, "estimators": estimators}

    @classmethod
    def verdict(cls, numbers: Mapping[str, Any]) -> Sequence[str]:
        """Return what the numbers say; see `Study.verdict`."""
        return sentences(numbers)

    @classmethod
    def sections(cls, numbers: Mapping[str, Any]) -> Sequence[Section]:
        """Return the page's tables and figures; see `Study.sections`."""
        from recsession.experiments.estimator_study.figures import sections

        return sections(numbers)
