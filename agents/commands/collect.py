"""`recsession collect`: log sessions to a folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from agents.commands import SetWords, given_world
from offline_data.collection import LogRequest, collect, mixture_spec
from recenv.errors import require


@dataclass(frozen=True)
class Collect:
    """Log sessions of a mixture of expert and noise to a folder; run it again to go on after a stop.

    Attributes:
        out: folder of the dataset.
        num_sessions: sessions to log.
        good_fraction: weight of the expert, in [0, 1]; the rest is noise.
        noise: behavior policy of the rest: clickbait, uniform, or any registered name.
        mixing: draw who acts at every step, or once a session.
        action_kind: log slates, or proto-actions over embedding space.
        seed: root seed of users and behavior.
        group_size: sessions that share a user under different behavior seeds.
        config: JSON file of a session config, or what `recsession fit` writes, in place of the default world.
        set: options of the world as NAME=VALUE, for example `--set slate_size=5 choice.no_click_utility=1`; `recsession
            options` lists them.
    """

    out: Path
    num_sessions: int = 1000
    good_fraction: float = 0.1
    noise: str = "clickbait"
    mixing: Literal["step", "session"] = "step"
    action_kind: Literal["slate", "proto"] = "proto"
    seed: int = 0
    group_size: int = 1
    config: Path | None = None
    set: SetWords = ()

    def run(self) -> None:
        """Collect and say what was written."""
        config, items = given_world(self.config, self.set)
        require(
            items is None,
            f"--config {self.config} brings items of its own, and a log holds synthetic ones; pass another config",
        )
        request = LogRequest(
            config=config,
            behavior=mixture_spec(self.good_fraction, self.noise, self.mixing),
            action_kind=self.action_kind,
            num_sessions=self.num_sessions,
            dataset_seed=self.seed,
            group_size=self.group_size,
        )
        with tqdm(total=self.num_sessions, unit="session", delay=0.1) as bar:
            dataset = collect(self.out, request, progress=bar.update)
        print(f"{self.out}: {dataset.num_sessions:,} sessions, {dataset.num_rows:,} steps")
        print(f"look at it with `recsession inspect {self.out}`")
