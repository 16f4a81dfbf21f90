"""Minari datasets whose actions are items or slates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from offline_data.families import READERS
from offline_data.interop.readers.base import LogReader, Progress
from offline_data.store.dataset import LoggedDataset


@READERS.register("minari")
@dataclass(frozen=True, kw_only=True)
class MinariReader(LogReader):
    """Read a Minari dataset whose actions are items or slates; one that `recsession export` wrote comes back whole."""

    items: Path | None = None
    """Table of the items, by item_id, the number of the item as an action; of what `recsession export`
    wrote none, whose items come back with it."""

    unit: ClassVar[str] = "episode"

    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """See `import_minari`; `path` is the folder of the dataset, or the id of a local one."""
        # Minari and h5py come with an extra of their own.
        from offline_data.interop.minari_import import import_minari

        return import_minari(self.path, out, items=self.items, options=self.options, progress=progress)
