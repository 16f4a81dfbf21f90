"""`recsession split`: a logged dataset in two parts, one to learn from and one to judge by."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

import tyro

from offline_data.store.dataset import LoggedDataset
from offline_data.store.log_split import SplitBy, split_log
from recenv.errors import require_range
from recsession.inputs import refuse_given
from recsession.lines import say


@dataclass(frozen=True)
class Split:
    """Split a logged dataset in two: train on one part, and judge by the other what was learned.

    An estimate from the sessions that a policy learned from flatters it. Both parts are whole datasets of the same
    items and max_steps; those of a simulated log stay of its world. Sessions of one group stay together.
    """

    log: tyro.conf.Positional[Path]
    """Folder of a logged dataset."""
    by: SplitBy = "session"
    """session: at random. user: at random, all sessions of a user in one part. time: those that begin earlier are for
    training, later ones judge."""
    share: float = 0.5
    """Of the sessions, or users, that are for training; above 0 and below 1."""
    out: Path | None = None
    """Folder of the parts, in which they are called train and judge; by default the log's own with -split behind it."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        require_range("share", self.share, 0.0, 1.0, low_open=True, high_open=True)
        require_range("seed", self.seed, 0, 2**63 - 1, integer=True)
        if self.by == "time":
            refuse_given(self, ("seed",), "--by time draws nothing")

    def run(self) -> None:
        """Split and say how to go on."""
        parts = split_log(LoggedDataset.open(self.log), self.out, by=self.by, share=self.share, seed=self.seed)
        for part in (parts.train, parts.judge):
            say(f"{part.path}: {part.num_sessions:,} sessions, {part.num_rows:,} steps")
        train, judge = (shlex.quote(str(part.path)) for part in (parts.train, parts.judge))
        say(f"train with `recsession train OBJECTIVE --log {train} --out RUN`")
        say(f"judge with `recsession ope --log {judge} --policy RUN/policy`")
