"""The study of how many rows to keep; what is compared stands in `recsession.experiments.selection_study.protocol`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from offline_data.dial.quality import Reference
from recenv.session_config import SessionConfig
from recsession.experiments.learning_task import Method
from recsession.experiments.learning_units import ChosenMethodUnit, LogUnit, MethodUnit
from recsession.experiments.reproduce.base import Study
from recsession.experiments.sealed_unit import SealedUnit, with_needs
from recsession.experiments.selection_study.analysis import AIM, LOST, WAYS, WORDS, cell_words, lead, summary
from recsession.experiments.selection_study.protocol import (
    FEW,
    OURS,
    Cell,
    SelectionProtocol,
    settings,
)
from recsession.experiments.selection_study.units import MeaningUnit, ReferenceUnit, TrialUnit, normalized
from recsession.families import STUDIES

if TYPE_CHECKING:
    from offline_data.describe.pages import Section

_SMALL = SelectionProtocol(
    experiments=("proto",), methods=(OURS, "awr", "filter_told"), fractions=(0.1, 0.02), noises=("clickbait", "stale")
)


@STUDIES.register("selection")
class SelectionStudy(Study):
    """How many rows to keep: kappa=auto with ten visits against every rival, told nothing, in every kind of log.

    Five noises, seven good fractions, proto-actions and slates in the default world, the contextual bandit, and the
    other user models at 5 %. A rival that has settings has four, caps and floors among them, chosen by normalised
    scores on the seed 100, which is not reported, in cells of every world of the experiment; ours has one. The small
    form is four cells and two rivals; the full form is to be run in sittings, an experiment each: `--experiments proto`
    (ten seeds), `proto_more`, `slates`, `bandit`, `models` (three).
    """

    Config = SelectionProtocol
    forms: Mapping[str, Any] = {"small": _SMALL, "full": SelectionProtocol()}
    num_seeds: Mapping[str, int] = {"small": 3, "full": 10}
    title = "How many rows to keep"

    def development_seeds(self) -> Sequence[int]:
        """Return the one of the protocol."""
        return (self.config.development_seed,)

    def worlds(self) -> Mapping[str, SessionConfig]:
        """Return the worlds of the cells."""
        cells = [cell for experiment in self.config.experiments for cell in self.config.cells(experiment)]
        return {cell.world: cell.config for cell in cells}

    def first_units(self) -> list[SealedUnit]:
        """Return what says which cells have a meaning."""
        return with_needs(self._meaning(cell) for name in self.config.experiments for cell in self.config.cells(name))

    def units(self) -> list[SealedUnit]:
        """Return the work of the experiments that are asked for."""
        found: list[SealedUnit] = []
        for experiment in self.config.experiments:
            for cell, methods in self._methods(experiment).items():
                found += [self._reference(cell), *(unit for units in methods.values() for unit in units)]
        return with_needs(found)

    def numbers(self) -> dict[str, Any]:
        """Return by experiment `cells` (scores by way, method, seed), `left_out`, `chosen` settings and `summary`."""
        return {experiment: self._numbers(experiment) for experiment in self.config.experiments}

    @classmethod
    def verdict(cls, numbers: Mapping[str, Any]) -> Sequence[str]:
        """Return what the numbers say; see `Study.verdict`."""
        return [sentence for name, found in numbers.items() for sentence in _sentences(name, found)]

    @classmethod
    def sections(cls, numbers: Mapping[str, Any]) -> Sequence[Section]:
        """Return the page's tables; see `Study.sections`."""
        from recsession.experiments.selection_study.figures import sections

        return sections(numbers)

    # --- the work

    def _cells(self, experiment: str) -> list[Cell]:
        return [cell for cell, why in self._meanings(experiment).items() if why is None]

    def _meanings(self, experiment: str) -> dict[Cell, str | None]:
        """Return why each cell is left out; None where it is not."""
        return {cell: self._meaning(cell).result()["left_out"] for cell in self.config.cells(experiment)}

    def _meaning(self, cell: Cell) -> MeaningUnit:
        return MeaningUnit(cell, self.folder / "meanings", _at_any_fraction(cell))

    def _reference(self, cell: Cell) -> ReferenceUnit:
        return ReferenceUnit(
            cell, self.config.num_reference_sessions, self.folder / "references", _at_any_fraction(cell)
        )

    def _methods(self, experiment: str) -> dict[Cell, dict[str, Sequence[MethodUnit]]]:
        """Return the units of every cell by method, one a seed."""
        cells = self._cells(experiment)
        seeds = self.seeds if experiment == "proto" else self.seeds[:FEW]
        names = self.config.compared(experiment)
        return {cell: {name: self._units(cells, cell, name, seeds) for name in names} for cell in cells}

    def _units(self, cells: list[Cell], cell: Cell, name: str, seeds: Sequence[int]) -> Sequence[MethodUnit]:
        logs = [self._log(cell, seed) for seed in seeds]
        of_cell = settings(name, cell.fraction)
        first = next(iter(of_cell.values()))
        if len(of_cell) == 1:
            return [MethodUnit(log, first, name) for log in logs]
        chosen_on = self.config.development_cells(cells, cell.kind)
        tried = {
            label: tuple(
                self._trial(each, f"{name}-{place}", settings(name, each.fraction)[label]) for each in chosen_on
            )
            for place, label in enumerate(of_cell)
        }
        return [ChosenMethodUnit(log, first, name, of_cell, tried, normalized) for log in logs]

    def _trial(self, cell: Cell, name: str, method: Method) -> TrialUnit:
        return TrialUnit(self._log(cell, self.config.development_seed), method, name, self._reference(cell))

    def _log(self, cell: Cell, seed: int) -> LogUnit:
        return LogUnit(self.config.task(cell), self.folder / cell.key / f"seed-{seed}", seed)

    # --- the numbers

    def _numbers(self, experiment: str) -> dict[str, Any]:
        cells: dict[str, Any] = {}
        chosen: dict[str, str] = {}
        for cell, methods in self._methods(experiment).items():
            reference = Reference.of(self._reference(cell).result())
            results = {name: [unit.result() for unit in units] for name, units in methods.items()}
            cells[cell.key] = {
                way: {
                    name: [round(reference.normalized_score(run[way]), 4) for run in runs]
                    for name, runs in results.items()
                }
                for way in WAYS
            }
            ours = [run["last"].get("kappa", 1.0) for run in results.get(OURS, [])]
            cells[cell.key]["kappa"] = fmean(ours) if ours else 1.0
            for name, runs in results.items():
                if "chosen" in runs[0]:
                    before = chosen.get(name, "").split("; ") if name in chosen else []
                    chosen[name] = "; ".join(dict.fromkeys([*before, runs[0]["chosen"]]))
        out = {cell.key: why for cell, why in self._meanings(experiment).items() if why is not None}
        return {"cells": cells, "left_out": out, "chosen": chosen, "summary": summary(cells)}


def _at_any_fraction(cell: Cell) -> str:
    return f"{cell.world}-{cell.noise}-{cell.kind}"


def _sentences(name: str, found: Mapping[str, Any]) -> list[str]:
    told = found["summary"]
    if OURS not in told or len(told) < 2:
        return [f"{name}: {len(found['cells'])} cells, and nothing to compare."]
    said = []
    for way, words in WORDS.items():
        rival = min((each for each in told if each != OURS), key=lambda each: told[each][way]["mean"])
        ours, other = told[OURS][way], told[rival][way]
        held = "is" if ours["mean"] <= AIM else "is not"
        leads = {key: lead(cell[way], OURS) for key, cell in sorted(found["cells"].items())}
        called = cell_words(leads)
        lost = [called[key] for key in ours["lost"]]
        won = [called[key] for key, each in leads.items() if each["low"] > 0.0]
        behind = [f"{called[key]} ({', '.join(each['best'])})" for key, each in leads.items() if each["high"] < 0.0]
        said += [
            f"{name}, {words}: over {len(leads)} cells the regret of ours to the best of a cell is {ours['mean']:.3f}, "
            f"which {held} at most {AIM:g}; that of the best rival, {rival}, is {other['mean']:.3f}.",
            f"Against the best rival of each cell, by intervals: above it in {_named(won)}; below it in "
            f"{_named(behind)}; lost, below the best by more than {LOST:g}: {_named(lost)}.",
        ]
    return said


def _named(cells: Sequence[str]) -> str:
    return f"{len(cells)}{': ' if cells else ''}{', '.join(cells)}"
