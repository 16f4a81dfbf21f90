"""The units of the study that others do not have: what returns are normalised by, and a trial of a setting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from offline_data.dial.quality import Reference, reference_returns
from offline_data.units import Progress
from recenv.world import make_world
from recsession.experiments.learning_units import MethodUnit
from recsession.experiments.sealed_unit import SealedUnit
from recsession.experiments.selection_study.analysis import WAYS
from recsession.experiments.selection_study.protocol import Cell, left_out


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
class MeaningUnit(SealedUnit):
    """Whether the cells of a noise have a meaning, which says what there is to run; see `left_out`."""

    cell: Cell
    """Of the noise, at any fraction."""
    folder: Path
    """Of all of them."""
    name: str
    """Of the world, the noise and the kind of action."""

    @property
    def cost(self) -> int:
        """One."""
        return 1

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return `left_out`, the reason or None."""
        why = left_out(self.cell.world, self.cell.noise, self.cell.kind)
        progress(1)
        return {"left_out": why}


@dataclass(frozen=True)
class TrialUnit(MethodUnit):
    """A method on a log that settings are chosen on, with what its returns are normalised by."""

    reference: ReferenceUnit
    """Of the log's cell."""

    @property
    def needs(self) -> Sequence[SealedUnit]:
        """The log, and the reference."""
        return (self.log, self.reference)


def normalized(unit: TrialUnit) -> float:
    """Return the normalised score of a trial, both ways of acting alike: 0 is the noise of its cell, 1 the expert.

    Args:
        unit: done, and so its reference.
    """
    reference, found = Reference.of(unit.reference.result()), unit.result()
    return fmean(reference.normalized_score(found[way]) for way in WAYS)
