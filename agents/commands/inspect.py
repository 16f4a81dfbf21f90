"""`recsession inspect`: say what is in a logged dataset."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from offline_data.dataset import LoggedDataset
from offline_data.quality import Interval


@dataclass(frozen=True)
class Inspect:
    """Say what is in a logged dataset, and compare its bytes with their checksums.

    Attributes:
        dataset: folder that `recsession collect` wrote.
    """

    dataset: tyro.conf.Positional[Path]

    def run(self) -> None:
        """Verify and print."""
        log = LoggedDataset.open(self.dataset)
        log.verify()
        returns, lengths = log.session_returns(), np.diff(log.offsets)
        propensity = np.asarray(log.rows["behavior_log_prob"])
        slates = np.asarray(log.rows["slate"])
        rows: list[tuple[str, str]] = [
            ("sessions, steps", f"{log.num_sessions:,}, {log.num_rows:,}"),
            ("world hash", log.manifest["world_hash"]),
            ("user model", log.config.user_model.name),
            ("slate, catalogue", f"{log.config.slate_size:,} of {log.config.catalog.num_items:,} items a step"),
            ("behavior", json.dumps(log.manifest["behavior"])),
            ("action kind", log.action_kind),
            ("session return", f"{Interval.of(returns)}, from {returns.min():.2f} to {returns.max():.2f}"),
            ("session length", f"{Interval.of(lengths)}, from {lengths.min()} to {lengths.max()}"),
            ("ended by", f"user {log.rows['terminated'].sum():,}, time {log.rows['truncated'].sum():,}"),
            ("clicks a step", f"{log.rows['feedback'][:, :, 0].sum() / log.num_rows:.3f}"),
            ("behavior log-prob", f"from {propensity.min():.2f} to {propensity.max():.2f} nats"),
            ("catalogue shown", f"{len(np.unique(slates)):,} of {log.config.catalog.num_items:,} items"),
            ("integrity", f"{len(log.manifest['schema'])} files as the manifest says"),
        ]
        for name, value in rows:
            print(f"{name:<20}{value}")
