"""What every reader of a log of others is: its options as a frozen dataclass, and `read`, which writes a dataset."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from offline_data.interop.import_options import ImportOptions
from offline_data.store.dataset import LoggedDataset

Progress = Callable[[int], object]


@dataclass(frozen=True, kw_only=True)
class LogReader(ABC):
    """A reader of one format; a subclass is a frozen dataclass whose further fields are the format's own options.

    Examples:
        >>> from pathlib import Path
        >>> from offline_data import READERS, LogReader
        >>> reader = READERS.get("movielens")(path=Path("ml-1m"))
        >>> isinstance(reader, LogReader), reader.unit
        (True, 'row')
    """

    path: Path
    """What to read."""
    options: ImportOptions = field(default_factory=ImportOptions)
    """What every reader takes."""

    unit: ClassVar[str] = "row"
    """What its progress counts."""

    @classmethod
    def write_example(cls, folder: Path) -> Mapping[str, Any] | None:
        """Write a small source of the format, for the contract of readers, and return the options that read it.

        Args:
            folder: empty.

        Returns:
            `path` and what else the class needs; None where there is no example, and nothing is read in the contract.
        """
        return None

    @abstractmethod
    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """Read `path`, write the dataset, and return it.

        Args:
            out: the dataset's folder, which is not there yet.
            progress: called with the number of `unit` read since the last call.

        Raises:
            InvalidInput: for what cannot be read; the message names file, row and remedy.
        """
