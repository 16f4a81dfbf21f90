"""A reader of JSON Lines: one object a shown item, as many a service logs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from offline_data import Ids, Interactions, LoggedDataset, LogReader, Progress, import_interactions
from recenv import InvalidInput


@dataclass(frozen=True, kw_only=True)
class JsonLinesReader(LogReader):
    """Read lines of `{"user": ..., "item": ..., "time": seconds, "clicked": true}`, one a shown item."""

    clicked: str = "clicked"
    """Which entry of an object says that the item was clicked."""

    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """See `LogReader.read`; sessions are cut where a user was away for `options.session_gap` minutes."""
        lines = self.path.read_text().splitlines()
        entries = []
        for number, line in enumerate(lines, start=1):
            try:
                entry = json.loads(line)
                entries.append((entry["user"], entry["item"], float(entry["time"]), bool(entry[self.clicked])))
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidInput(
                    f"{self.path}: line {number} is no shown item ({error!r}); mend or drop it"
                ) from error
        if progress:
            progress(len(entries))
        user, item, time, clicked = (np.array(column) for column in zip(*entries, strict=True))
        log = Interactions(
            files=[(self.path, len(entries))],
            user=Ids.of(user),
            item=Ids.of(item),
            feedback={"click": clicked.astype(np.float64)},
            timestamp=time.astype(np.float64),
        )
        return import_interactions(out, log, "json_lines", options=self.options, lacking=["the items' embeddings"])

    @classmethod
    def write_example(cls, folder: Path) -> Mapping[str, Any]:
        """Write an hour of two users, for the contract of readers."""
        rows = [
            {"user": "ada" if n % 3 else "bob", "item": f"item {n % 5}", "time": 60.0 * n, "clicked": n % 2 == 0}
            for n in range(60)
        ]
        path = folder / "log.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows))
        return {"path": path}
