"""Speed and memory of replay: one table, printed and never asserted; `tox -e bench`.

The log is synthetic: sessions of 1 to 50 steps in the default world, in 60 % of which an item was consumed. TorchRL's
memory-mapped storage and the plain tensors hold what our storage gives: observation, proto-action, reward vector and
log-probability, with and without what followed; each is read through its page cache, by one thread, and draws its own
indices. The contenders take turns, round by round, so that a noise of the machine hits all of them; a ratio is the
median of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torchrl.data import LazyMemmapStorage, SliceSampler, TensorDictReplayBuffer

from agents.batches.replay import LogStorage, SequenceStorage, make_replay
from offline_data.store.dataset import LoggedDataset
from offline_data.store.dataset_writer import consumed_events, write_dataset
from recenv.session_config import SessionConfig
from recenv.world import make_world

BATCH = 1024
WINDOW = 16
SIZES = (100_000, 1_000_000, 10_000_000)
COLUMNS = ("proto", "reward_vector", "behavior_log_prob")
# Rows that are made once and repeated until the log is long enough.
ROWS_A_BLOCK = 100_000
STEPS_A_ROUND = 2**15


@dataclass
class Contender:
    """Something that draws a batch and says how many steps it holds, and the seconds a step took in each round."""

    sample: Callable[[], int]
    seconds: list[float] = field(default_factory=list)

    def run_round(self) -> None:
        # Once outside the timing: the others have filled the caches.
        self.sample()
        steps, start = 0, time.perf_counter()
        while steps < STEPS_A_ROUND:
            steps += self.sample()
        self.seconds.append((time.perf_counter() - start) / steps)

    @property
    def nanoseconds(self) -> float:
        return 1e9 * statistics.median(self.seconds)

    def over(self, other: Contender) -> float:
        """Return this contender's time over the other's, the median over rounds."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


# --- the log


def synthetic_log(path: Path, num_steps: int) -> LoggedDataset:
    """Write a log of the default world's shapes and about `num_steps` rows, whose values mean nothing."""
    config = SessionConfig()
    world, rng = make_world(config), np.random.default_rng(0)
    slots, channels, dim = config.slate_size, world.num_feedback, world.catalog.embedding_dim
    lengths = rng.integers(1, config.max_steps + 1, ROWS_A_BLOCK)
    lengths = lengths[np.cumsum(lengths) <= ROWS_A_BLOCK]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows, sessions = int(offsets[-1]), len(lengths)
    feedback = np.zeros((rows, slots, channels), np.float32)
    consumed = np.flatnonzero(rng.uniform(size=rows) < 0.6)
    feedback[consumed, rng.integers(slots, size=len(consumed))] = rng.uniform(0.5, 1.0, (len(consumed), channels))
    step = np.arange(rows) - np.repeat(offsets[:-1], lengths)
    last = np.zeros(rows, np.bool_)
    last[offsets[1:] - 1] = True
    slate = rng.integers(config.catalog.num_items, size=(rows, slots)).astype(np.int32)
    block: dict[str, np.ndarray] = {
        "rows/step": step.astype(np.int32),
        "rows/slate": slate,
        "rows/shown": np.ones((rows, slots), np.bool_),
        "rows/feedback": feedback,
        "rows/reward_vector": rng.uniform(size=(rows, len(world.reward_names))).astype(np.float32),
        "rows/terminated": last & (step < config.max_steps - 1),
        "rows/truncated": last & (step == config.max_steps - 1),
        "rows/behavior_log_prob": rng.normal(size=rows),
        "rows/proto": rng.normal(size=(rows, dim)).astype(np.float32),
        "sessions/profile": rng.uniform(-1.0, 1.0, (sessions, dim)).astype(np.float32),
        **consumed_events(slate, feedback, offsets),
    }
    repeats = max(num_steps // rows, 1)
    index = np.arange(repeats * sessions)
    event_offsets = block.pop("sessions/event_offsets")
    columns: dict[str, Any] = {name: [values] * repeats for name, values in block.items()}
    columns |= {
        "rows/session_id": [np.repeat(np.arange(sessions) + n * sessions, lengths) for n in range(repeats)],
        "sessions/offsets": _repeated(offsets, repeats),
        "sessions/event_offsets": _repeated(event_offsets, repeats),
        "sessions/user_id": index,
        "sessions/group_id": index,
        "sessions/episode_id": np.zeros_like(index),
        "sessions/session_seed": index.astype(np.uint64),
        "sessions/behavior_seed": index.astype(np.uint64),
    }
    columns |= {f"catalog/{name}": values for name, values in world.catalog.arrays().items()}
    facts = {
        "source": {"kind": "synthetic"},
        "config": config.to_dict(),
        "world_hash": config.world_hash(),
        "action_kind": "proto",
        "num_items": config.catalog.num_items,
        "history_length": config.history_length,
        "max_steps": config.max_steps,
        "feedback_names": list(world.user_model.feedback_names),
        "reward_names": list(world.reward_names),
        "reward_weights": dict(zip(world.reward_names, world.reward_weights.tolist(), strict=True)),
        "propensities": "exact",
        "injected": {},
    }
    return write_dataset(path, columns, facts)


def _repeated(offsets: np.ndarray, repeats: int) -> np.ndarray:
    return np.concatenate([offsets[:1], *(offsets[1:] + n * offsets[-1] for n in range(repeats))])


# --- contenders


def ours(storage: LogStorage, batch_size: int) -> Contender:
    replay = make_replay(storage, batch_size, torch.Generator().manual_seed(0))
    return Contender(lambda: _steps(replay.sample()))


def torchrl(storage: LazyMemmapStorage, batch_size: int = BATCH, **options: Any) -> Contender:
    replay = TensorDictReplayBuffer(storage=storage, batch_size=batch_size, **options)
    return Contender(lambda: _steps(replay.sample()))


def plain_tensors(rows: TensorDict) -> Contender:
    tensors: list[Any] = list(rows.values(True, True))
    generator = torch.Generator().manual_seed(0)

    def sample() -> int:
        index = torch.randint(len(rows), (BATCH,), generator=generator)
        selected = [tensor.index_select(0, index) for tensor in tensors]
        return len(selected[0])

    return Contender(sample)


def _steps(batch: Any) -> int:
    return int(batch["mask"].sum()) if "mask" in batch else len(batch)


def memory_mapped(storage: LogStorage, folder: Path) -> tuple[LazyMemmapStorage, TensorDict]:
    """Return TorchRL's storage and plain tensors, both filled with what ours gives."""
    theirs, parts = LazyMemmapStorage(len(storage), scratch_dir=folder), []
    for start in range(0, len(storage), ROWS_A_BLOCK):
        stop = min(start + ROWS_A_BLOCK, len(storage))
        parts.append(storage.get(slice(start, stop)))
        theirs.set(range(start, stop), parts[-1])
    return theirs, torch.cat(parts)  # type: ignore[arg-type]


@dataclass
class Field:
    """Every contender of the table."""

    batches: dict[bool, tuple[Contender, Contender, Contender]]
    sequences: dict[str, tuple[Contender, Contender]]

    @staticmethod
    def enter(log: LoggedDataset, folder: Path) -> Field:
        batches = {}
        for with_next in (False, True):
            storage = LogStorage(log, columns=COLUMNS, with_next=with_next)
            theirs, tensors = memory_mapped(storage, folder / f"torchrl-{with_next}")
            batches[with_next] = ours(storage, BATCH), torchrl(theirs), plain_tensors(tensors)
        sequences = {}
        for name, length in ((f"windows of {WINDOW} steps", WINDOW), ("whole sessions", None)):
            slices = BATCH // (length or log.max_steps)
            sampler = SliceSampler(num_slices=slices, cache_values=True, strict_length=False)
            theirs_sliced = torchrl(theirs, slices * (length or log.max_steps), sampler=sampler)
            own = SequenceStorage(log, length, columns=COLUMNS, with_next=True)
            sequences[name] = ours(own, slices), theirs_sliced
        return Field(batches, sequences)

    def contenders(self) -> list[Contender]:
        return [each for group in (self.batches, self.sequences) for entered in group.values() for each in entered]


# --- sections of the table


def batch_lines(entered: Field) -> Iterator[str]:
    yield row(f"batches of {BATCH:,} steps", "us a batch", "batches/s", "x TorchRL", "of plain")
    for with_next, (own, theirs, plain) in entered.batches.items():
        ending = ", with next" if with_next else ""
        names = "plain tensors, index_select", "TorchRL LazyMemmapStorage", "LogStorage"
        for name, contender in zip(names, (plain, theirs, own), strict=True):
            each = contender.nanoseconds * BATCH / 1e3
            ratios = f"{theirs.over(contender):.2f}", f"{plain.over(contender):.2f}"
            yield row(f"{name}{ending}", f"{each:,.0f}", f"{1e6 / each:,.0f}", *ratios)


def sequence_lines(entered: Field) -> Iterator[str]:
    yield row("sequences, with next", "ns a step", "million/s", "x TorchRL")
    for name, (own, theirs) in entered.sequences.items():
        for label, contender in (("TorchRL SliceSampler", theirs), ("SequenceStorage", own)):
            speed = f"{contender.nanoseconds:,.0f}", f"{1e3 / contender.nanoseconds:.2f}"
            yield row(f"{label}, {name}", *speed, f"{theirs.over(contender):.2f}")


def process_lines(folder: Path, sizes: list[int]) -> Iterator[str]:
    yield row("a fresh process", "open, ms", "anonymous MiB", "training", "files, MiB")
    program = Path(__file__).with_name("memory_of_training.py")
    for size in sizes:
        log = synthetic_log(folder / f"log-{size}", size)
        command = [sys.executable, str(program), str(log.path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds, before, peak, mapped = map(float, done.stdout.split())
        cells = f"{1e3 * seconds:.1f}", f"{before / 2**20:,.0f}", f"{peak / 2**20:,.0f}", f"{mapped / 2**20:,.0f}"
        yield row(f"{log.num_rows:,} steps", *cells)


def row(label: object, *cells: object) -> str:
    return f"{label!s:<50}" + "".join(f"{cell!s:>15}" for cell in cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the contenders (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1_000_000, help="rows that are drawn from (default: %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES, help="rows of the logs that a process opens")
    parser.add_argument("--folder", type=Path, help="where the logs are made and removed (default: the system's)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    logging.getLogger("torchrl").setLevel(logging.WARNING)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; torch {torch.__version__}, one thread")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        log = synthetic_log(folder / "log", arguments.steps)
        print(f"{log.num_rows:,} steps of {log.num_sessions:,} sessions; {arguments.rounds} interleaved rounds")
        entered = Field.enter(log, folder)
        for _ in range(arguments.rounds):
            for contender in entered.contenders():
                contender.run_round()
        for section in (batch_lines(entered), sequence_lines(entered), process_lines(folder, arguments.sizes)):
            print()
            for line in section:
                print(line.rstrip(), flush=True)


if __name__ == "__main__":
    main()
