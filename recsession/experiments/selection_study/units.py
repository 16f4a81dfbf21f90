"""The units of the study that others do not have: what returns are normalised by, and a method with tuned settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from offline_data.dial.quality import reference_returns
from offline_data.units import Progress
from recenv.world import make_world
from recsession.experiments.learning_task import Method
from recsession.experiments.learning_units import MethodUnit
from recsession.experiments.sealed_unit import SealedUnit
from recsession.experiments.selection_study.protocol import Cell


@dataclass(frozen=True)
class ReferenceUnit(SealedUnit):
    """The returns of the expert and of a noise."""

    cell: Cell
    """Of the noise, at any fraction."""
    num_sessions: int
    """Of each."""
    folder: Path
    """Of all references."""
    name: str
    """Of the world, the noise and the kind of action."""

    @property
    def cost(self) -> int:
        """One."""
        return 1

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return both returns with their intervals, as `Reference.as_dict` does."""
        world = make_world(self.cell.config)
        found = reference_returns(world, self.cell.noise, self.cell.kind, num_sessions=self.num_sessions)
        progress(1)
        return found.as_dict()


@dataclass(frozen=True)
class TunedUnit(MethodUnit):
    """A method on a log with the setting that did best on the logs of the development seed, both ways of acting alike.

    `method` is the setting that is taken where there is nothing to choose from.
    """

    settings: Mapping[str, Method]
    """By label, as they are for this log."""
    tried: Mapping[str, tuple[MethodUnit, ...]]
    """By label, the units on the development logs, the same logs for each."""

    @property
    def needs(self) -> Sequence[SealedUnit]:
        """The log, and what was tried."""
        return (self.log, *(unit for units in self.tried.values() for unit in units))

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return what `MethodUnit` does, the label `chosen`, and each setting's mean, `grid`."""
        means = {
            label: fmean(unit.result()[way] for unit in units for way in ("by_mean", "sampled"))
            for label, units in self.tried.items()
        }
        chosen = max(means, key=means.__getitem__)
        return {**self.learned(self.settings[chosen], progress), "chosen": chosen, "grid": means}
