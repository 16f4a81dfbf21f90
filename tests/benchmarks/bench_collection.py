"""Speed of collection, from the first session to the checksummed folder in its place: a table, printed, never asserted.

Default world (1,000 items, d = 16), slates of 10, two spawned workers. "in all" counts everything, the start of the
workers too; "steady" leaves out the time to the first finished ranges. The contenders take turns, round by round, with
the simulator's own step (vector environment, slates drawn beforehand), and a ratio is the median of the rounds' own.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from itertools import cycle
from pathlib import Path

import numpy as np

from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from recenv import RecSessionVectorEnv

BEHAVIORS = {
    "uniform": ("uniform", 1.0),
    "clickbait": ("clickbait", 0.4),
    "expert": ("expert", 0.2),
    "mixture, 10 % expert": (mixture_spec(0.1, "clickbait"), 0.3),
    "mixture, 50 % expert": (mixture_spec(0.5, "clickbait"), 0.3),
    "mixture by session": (mixture_spec(0.1, "clickbait", "session"), 0.3),
}
"""Each with the part of `--sessions` that it logs."""


def collection_rates(request: LogRequest, workers: int) -> tuple[float, float]:
    """Return logged steps a second, in all and steady."""
    done: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        log = collect(
            Path(folder) / "log", request, workers=workers, progress=lambda _: done.append(time.perf_counter())
        )
        seconds = time.perf_counter() - start
        first, ranges = done[workers - 1], len(done)
        steady = seconds - (first - start)
        return log.num_rows / seconds, log.num_rows * (ranges - workers) / ranges / steady


def simulator_rate(num_sessions: int, num_threads: int) -> float:
    """Return steps a second of the vector environment."""
    env = RecSessionVectorEnv(num_sessions, num_threads=num_threads)
    env.reset(seed=0)
    slates = cycle(np.random.default_rng(0).integers(1000, size=(16, num_sessions, 10)))
    for _ in range(5):
        env.step(next(slates))
    repeats, start = 2**21 // num_sessions, time.perf_counter()
    for _ in range(repeats):
        env.step(next(slates))
    return repeats * num_sessions / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=300_000, help="sessions of the uniform log")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in BEHAVIORS}
    simulator: list[tuple[float, float]] = []
    for _ in range(options.rounds):
        simulator.append((simulator_rate(4096, 1), simulator_rate(16_384, 2)))
        for name, (behavior, share) in BEHAVIORS.items():
            request = LogRequest(behavior=behavior, num_sessions=int(share * options.sessions))
            rates[name].append(collection_rates(request, options.workers))
    one, two = (statistics.median(round_[i] for round_ in simulator) for i in (0, 1))
    print(f"simulator's own step, 4,096 sessions, 1 thread{one:>14,.0f} a second")
    print(f"simulator's own step, 16,384 sessions, 2 threads{two:>12,.0f} a second\n")
    print(f"{'steps a second to disk':<24}{'in all':>12}{'steady':>12}{'over 1 thread':>15}{'over 2 threads':>16}")
    for name, rounds in rates.items():
        whole, steady = (statistics.median(round_[i] for round_ in rounds) for i in (0, 1))
        ratios = [
            statistics.median(round_[1] / base[i] for round_, base in zip(rounds, simulator, strict=True))
            for i in (0, 1)
        ]
        print(f"{name:<24}{whole:>12,.0f}{steady:>12,.0f}{ratios[0]:>15.2f}{ratios[1]:>16.2f}")


if __name__ == "__main__":
    main()
