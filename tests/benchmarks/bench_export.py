"""Speed of writing a log for others: one table, printed and never asserted; `tox -e bench`.

Slate 10, 1,000 items, d = 16, uniform slates. Minari's own DataCollector wraps the environment and plays the first
sessions of the log anew, with the log's own slates: the same steps, the simulator's part of the time inside. It records
no infos (of our environment it cannot); the export writes them. The contenders take turns, round by round; a ratio is
the median of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import gymnasium
import minari
import numpy as np

from offline_data.collection.collection import LogRequest, collect
from offline_data.interop.minari import export_minari
from offline_data.interop.minari_import import import_minari
from offline_data.interop.parquet import export_parquet
from offline_data.store.dataset import LoggedDataset
from recenv import SessionConfig

COLLECTED_SESSIONS = 100
DATASET_ID = "recsession/bench-v0"


@dataclass
class Contender:
    """Something that writes a log to a folder, of how many steps, and the seconds a step took in each round."""

    write: Callable[[Path], object]
    num_steps: int
    seconds: list[float] = field(default_factory=list)

    def run_round(self, folder: Path) -> None:
        place = folder / "round"
        place.mkdir()
        start = time.perf_counter()
        self.write(place)
        self.seconds.append((time.perf_counter() - start) / self.num_steps)
        shutil.rmtree(place)

    @property
    def rate(self) -> float:
        return 1.0 / statistics.median(self.seconds)

    def times_faster(self, other: Contender) -> float:
        return statistics.median(b / a for a, b in zip(self.seconds, other.seconds, strict=True))


def collected_by_minari(log: LoggedDataset, root: Path) -> None:
    """Play the log's first sessions under Minari's collector and write them."""
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    collector = minari.DataCollector(gymnasium.make("recenv:RecSession-v0", config=log.config))
    for session in range(COLLECTED_SESSIONS):
        collector.reset(seed=int(log.sessions["session_seed"][session]))
        for slate in log.rows["slate"][log.offsets[session] : log.offsets[session + 1]]:
            collector.step(np.asarray(slate, np.int64))
    collector.create_dataset(DATASET_ID)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of the contenders (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=3000, help="sessions of the log (default: %(default)s)")
    options = parser.parse_args()
    # What Minari's collector warns of (no author, no permalink) is no news here.
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = collect(folder / "log", LogRequest(SessionConfig(), "uniform", "slate", options.sessions))
        exported = export_minari(log, DATASET_ID, folder)
        collector = Contender(lambda place: collected_by_minari(log, place), int(log.offsets[COLLECTED_SESSIONS]))
        contenders = {
            "Minari's own DataCollector": collector,
            "export_minari": Contender(lambda place: export_minari(log, DATASET_ID, place), log.num_rows),
            "import_minari": Contender(lambda place: import_minari(exported, place / "log"), log.num_rows),
            "export_parquet": Contender(lambda place: export_parquet(log, place / "files"), log.num_rows),
        }
        for _ in range(options.rounds):
            for contender in contenders.values():
                contender.run_round(folder)
        print(f"{log.num_sessions:,} sessions, {log.num_rows:,} steps; medians of {options.rounds} interleaved rounds")
        print(f"{platform.machine()}, {os.cpu_count()} cores; Minari {minari.__version__}")
        for label, contender in contenders.items():
            ratio = "" if contender is collector else f"{contender.times_faster(collector):10.1f} times the collector's"
            print(f"{label:<30}{contender.rate:>12,.0f} steps a second{ratio}")


if __name__ == "__main__":
    main()
