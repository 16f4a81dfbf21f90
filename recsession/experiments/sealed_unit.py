"""A unit of work that measures something and leaves it as one sealed JSON file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from offline_data.store.sealed_files import read_sealed_json, write_sealed_json
from offline_data.units import Progress


class SealedUnit(ABC):
    """A pure function of its fields, whose result is `NAME.json` in its folder; see `offline_data.units`.

    A subclass is a frozen dataclass with the fields `folder` and `name`, and gives `cost` and `measure`.
    """

    folder: Path
    name: str

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        return f"{self.folder.name} {self.name}"

    @property
    @abstractmethod
    def cost(self) -> int:
        """The sum of what `measure` tells `progress`: gradient steps, beside which all else is quick."""

    @property
    def needs(self) -> Sequence[SealedUnit]:
        """What must be done before; all stand before it in a list of units."""
        return ()

    @abstractmethod
    def measure(self, progress: Progress) -> dict[str, Any]:
        """Return the result, of plain values.

        Args:
            progress: to be called with the steps done since the last call.
        """

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
        """Measure, and write the result file."""
        write_sealed_json(self.result_file, self.measure(progress))


def with_needs(units: Iterable[SealedUnit]) -> list[SealedUnit]:
    """Return units and all that they need, each once, and after what it needs.

    Args:
        units: two with the same result file are one.
    """
    found: dict[Path, SealedUnit] = {}
    for unit in units:
        if unit.result_file not in found:
            found |= {need.result_file: need for need in with_needs(unit.needs) if need.result_file not in found}
            found[unit.result_file] = unit
    return list(found.values())
