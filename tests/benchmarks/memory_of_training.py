"""What a process takes that opens a log and trains on it.

Run as a program with a log of proto-actions it prints four numbers: the seconds in which it opens the log and makes its
replay buffer; in bytes, its anonymous memory before that, the most of it while it fits a critic and trains, and the
resident pages of files at the end. Those are the page cache's: the kernel takes them back when it needs them.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from agents.batches.replay import LogStorage, make_replay, mapped_column
from agents.training.trainer import TrainerConfig, train
from agents.values.critics import CriticConfig, fit_critic
from offline_data.store.dataset import LoggedDataset


def _status(field: str) -> int:
    """Return a size of this process from the kernel, in bytes: `RssAnon` is anonymous memory, `RssFile` of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    torch.set_num_threads(1)
    before, start = _status("RssAnon"), time.perf_counter()
    log = LoggedDataset.open(sys.argv[1])
    make_replay(LogStorage(log, columns=("proto",), with_next=True), 1024, torch.Generator())
    seconds, peak = time.perf_counter() - start, 0

    def measure(_: int) -> None:
        nonlocal peak
        peak = max(peak, _status("RssAnon"))

    fit_critic(log, CriticConfig(num_rounds=1, steps_per_round=20), progress=measure)
    config = TrainerConfig(num_steps=50, log_interval=50)
    train(log, mapped_column(log.num_rows), "bc", config=config, progress=measure)
    print(seconds, before, peak, _status("RssFile"))


if __name__ == "__main__":
    main()
