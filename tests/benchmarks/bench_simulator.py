"""Speed and memory of the simulator: one table, printed and never asserted; `tox -e bench`.

Slate 10, 1,000 items, d = 16. Slates are uniform and drawn outside the timing; observations, rewards, infos and
autoresets are inside. The contenders take turns, round by round, so that a noise of the machine hits all of them; a
ratio is the median of the rounds' own ratios.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import platform
import pstats
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import gymnasium
import numba
import numpy as np
from memory_of_sessions import session_bytes
from numba.core.dispatcher import Dispatcher
from row_gather import as_bytes, gather_and_write, gather_rows

from recenv import RecSessionEnv, RecSessionVectorEnv

BATCHES = (64, 1024, 4096, 16_384, 65_536)
BATCH = 4096
CATALOGUES = (1000, 10_000, 100_000, 1_000_000)
LIVE_SESSIONS = 1_000_000
SLATE_SIZE = 10
# Slates a contender shows before it begins again: at a million items more rows than any cache holds.
NUM_SLATES = 2**18
# Session steps that a round of one contender takes at least.
STEPS_A_ROUND = 2**16


@dataclass
class Contender:
    """Something that plays session steps, and the seconds that one step took in each round."""

    play: Callable[[], Any]
    num_sessions: int = 1
    seconds: list[float] = field(default_factory=list)

    def run_round(self) -> None:
        repeats = -(-(STEPS_A_ROUND if self.num_sessions > 1 else 1000) // self.num_sessions)
        # Once outside the timing: the others have filled the caches.
        self.play()
        start = time.perf_counter()
        for _ in range(repeats):
            self.play()
        self.seconds.append((time.perf_counter() - start) / (repeats * self.num_sessions))

    @property
    def nanoseconds(self) -> float:
        return 1e9 * statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        return 1.0 / statistics.median(self.seconds)

    def over(self, other: Contender) -> float:
        """Return this contender's time over the other's, the median over rounds."""
        return statistics.median(a / b for a, b in zip(self.seconds, other.seconds, strict=True))


# --- contenders


def uniform_slates(num_items: int, count: int = NUM_SLATES) -> np.ndarray:
    """Return slates of distinct items, [count, SLATE_SIZE] int64, uniform among all of them."""
    generator = np.random.default_rng(0)
    slates = generator.integers(num_items, size=(count, SLATE_SIZE))
    redrawn = np.arange(count)
    while len(redrawn):
        ordered = np.sort(slates[redrawn], axis=1)
        redrawn = redrawn[(ordered[:, 1:] == ordered[:, :-1]).any(axis=1)]
        slates[redrawn] = generator.integers(num_items, size=(len(redrawn), SLATE_SIZE))
    return slates


def batches_of(slates: np.ndarray, num_sessions: int) -> Iterator[np.ndarray]:
    whole = len(slates) // num_sessions * num_sessions
    return cycle(slates[:whole].reshape(-1, num_sessions, SLATE_SIZE))


def vector_steps(env: Any, slates: np.ndarray) -> Contender:
    env.reset(seed=0)
    batches = batches_of(slates, env.num_envs)
    return Contender(lambda: env.step(next(batches)), env.num_envs)


def single_steps(slates: np.ndarray) -> Contender:
    env = gymnasium.make("RecSession-v0")
    env.reset(seed=0)
    rows = cycle(slates)

    def play() -> None:
        _, _, terminated, truncated, _ = env.step(next(rows))
        if terminated or truncated:
            env.reset()

    return Contender(play)


def bare_gather(env: RecSessionVectorEnv, slates: np.ndarray) -> Contender:
    embeddings, sums = env.world.catalog.embeddings, np.empty(env.num_envs, np.float32)
    batches = batches_of(slates, env.num_envs)
    return Contender(lambda: gather_rows(embeddings, next(batches), sums), env.num_envs)


def bound(env: RecSessionVectorEnv, slates: np.ndarray) -> Contender:
    observation, _ = env.reset(seed=0)
    embeddings, sums, buffers = env.world.catalog.embeddings, np.empty(env.num_envs, np.float32), as_bytes(observation)
    batches = batches_of(slates, env.num_envs)
    return Contender(lambda: gather_and_write(embeddings, next(batches), sums, buffers), env.num_envs)


@dataclass
class Field:
    """Every contender of the table."""

    bounds: dict[int, Contender]
    vectors: dict[tuple[int, int], Contender]
    single: Contender
    models: dict[str, Contender]
    gathers: dict[int, Contender]
    large: dict[int, Contender]

    @staticmethod
    def enter() -> Field:
        slates = uniform_slates(CATALOGUES[0])
        environments = {
            (batch, threads): RecSessionVectorEnv(batch, num_threads=threads) for batch in BATCHES for threads in (1, 2)
        }
        names = sorted(name for name in gymnasium.registry if name.startswith("RecSession-"))
        catalogues = {num_items: RecSessionVectorEnv(BATCH, num_items=num_items) for num_items in CATALOGUES}
        slates_of = {num_items: uniform_slates(num_items) for num_items in CATALOGUES}
        return Field(
            bounds={batch: bound(environments[batch, 1], slates) for batch in BATCHES},
            vectors={key: vector_steps(env, slates) for key, env in environments.items()},
            single=single_steps(slates),
            models={name: vector_steps(_variant(name), slates) for name in names},
            gathers={num_items: bare_gather(env, slates_of[num_items]) for num_items, env in catalogues.items()},
            large={num_items: vector_steps(env, slates_of[num_items]) for num_items, env in catalogues.items()},
        )

    def contenders(self) -> list[Contender]:
        groups = (self.bounds, self.vectors, self.models, self.gathers, self.large)
        return [self.single, *(contender for group in groups for contender in group.values())]


def _variant(name: str) -> Any:
    return gymnasium.make_vec(
        name,
        num_envs=BATCH,
        vectorization_mode="vector_entry_point",
        num_items=CATALOGUES[0],
        slate_size=SLATE_SIZE,
    )


# --- sections of the table


def speed_lines(entered: Field) -> Iterator[str]:
    yield row("session steps", "sessions", "threads", "ns a step", "million/s", "of bound")
    for batch in BATCHES:
        reference = entered.bounds[batch]
        yield speed_row("bound: gather rows, write observations", reference, 1, reference)
        for threads in (1, 2):
            yield speed_row("RecSessionVectorEnv.step", entered.vectors[batch, threads], threads, reference)
    yield speed_row('gymnasium.make("RecSession-v0"), one session', entered.single, 1)
    for name, contender in entered.models.items():
        yield speed_row(f'make_vec("{name}")', contender, 1, entered.bounds[BATCH])


def speed_row(label: str, contender: Contender, threads: int, reference: Contender | None = None) -> str:
    share = "" if reference is None else f"{reference.over(contender):.2f}"
    rate = f"{contender.rate / 1e6:.3f}"
    return row(label, f"{contender.num_sessions:,}", threads, f"{contender.nanoseconds:,.1f}", rate, share)


def catalogue_lines(entered: Field) -> Iterator[str]:
    yield row(f"catalogue, {BATCH:,} sessions, 1 thread", "gather, ns", "step, ns", "gather x", "step x", "step/gather")
    gather, step = entered.gathers[CATALOGUES[0]], entered.large[CATALOGUES[0]]
    for num_items in CATALOGUES:
        rows, steps = entered.gathers[num_items], entered.large[num_items]
        growth, allowed = steps.over(step), rows.over(gather)
        yield row(
            f"{num_items:,} items",
            f"{rows.nanoseconds:.1f}",
            f"{steps.nanoseconds:.1f}",
            f"{allowed:.2f}",
            f"{growth:.2f}",
            f"{growth / allowed:.2f}",
        )


def memory_lines() -> Iterator[str]:
    yield row("memory", "bytes a session", "MiB")
    for kind, size in session_bytes().items():
        yield row(kind, f"{size:,.0f}")
    program = Path(__file__).with_name("memory_of_sessions.py")
    done = subprocess.run([sys.executable, program, str(LIVE_SESSIONS)], check=True, capture_output=True, text=True)
    before, peak = map(int, done.stdout.split())
    yield row("a process before its sessions, resident", "", f"{before / 2**20:,.0f}")
    each = f"{(peak - before) / LIVE_SESSIONS:,.0f}"
    yield row(f"{LIVE_SESSIONS:,} live sessions, after a step, peak", each, f"{peak / 2**20:,.0f}")


def picture_lines(num_frames: int = 50) -> Iterator[str]:
    """Yield the pictures a second of `rgb_array`, which asks for 30 at least."""
    yield row("rgb_array", "pixels", "frames/s")
    for slate_size in (5, SLATE_SIZE, 50, 300):
        env = RecSessionEnv(slate_size=slate_size, num_items=CATALOGUES[0], render_mode="rgb_array")
        env.reset(seed=0)
        ended = False
        height, width, _ = np.asarray(env.render()).shape
        seconds = 0.0
        for number in range(num_frames):
            if ended:
                env.reset()
            slate = (np.arange(slate_size) + number * slate_size) % CATALOGUES[0]
            _, _, terminated, truncated, _ = env.step(slate)
            ended = terminated or truncated
            start = time.perf_counter()
            env.render()
            seconds += time.perf_counter() - start
        rate = num_frames / seconds
        yield row(f"slate of {slate_size}", f"{width} x {height}", f"{rate:.0f}")


def profile_lines(num_steps: int = 40, repeats: int = 15, smallest_share: float = 0.005) -> Iterator[str]:
    """Yield the time of each function itself, kernels and Python alike: the quietest of several profiles."""
    env = RecSessionVectorEnv(BATCH)
    batches = batches_of(uniform_slates(CATALOGUES[0]), BATCH)
    env.reset(seed=0)
    for _ in range(100):
        env.step(next(batches))
    profiles: list[Any] = []
    for _ in range(repeats):
        with cProfile.Profile() as profiler:
            for _ in range(num_steps):
                env.step(next(batches))
        profiles.append(pstats.Stats(profiler))
    stats = min(profiles, key=lambda profile: profile.total_tt)
    total = stats.total_tt
    yield row(f"where a step goes, {BATCH:,} sessions, 1 thread", "calls a step", "ns a step", "share")
    entries = sorted(stats.stats.items(), key=lambda entry: -entry[1][2])
    rest = 0.0
    for (path, _, name), (_, calls, own, _, _) in entries:
        if own < smallest_share * total:
            rest += own
        else:
            yield row(_described(path, name), f"{calls / num_steps:.0f}", *_cost(own, total, num_steps))
    yield row("everything smaller", "", *_cost(rest, total, num_steps))
    yield row("sum", "", *_cost(total, total, num_steps))


def _cost(seconds: float, total: float, num_steps: int) -> tuple[str, str]:
    return f"{1e9 * seconds / (num_steps * BATCH):.1f}", f"{100 * seconds / total:.1f} %"


def _described(path: str, name: str) -> str:
    modules = [module for module in sys.modules.values() if getattr(module, "__file__", None) == path]
    kind = "kernel" if any(isinstance(getattr(module, name, None), Dispatcher) for module in modules) else "Python"
    return f"{kind}: {name}" if path == "~" else f"{kind}: {Path(path).stem}.{name}"


def row(label: object, *cells: object) -> str:
    return f"{label!s:<50}" + "".join(f"{cell!s:>13}" for cell in cells)


def machine() -> str:
    described = Path("/proc/cpuinfo").read_text().splitlines()
    processor = next((line.split(": ")[1] for line in described if line.startswith("model name")), platform.machine())
    versions = f"Python {platform.python_version()}, numpy {np.__version__}, numba {numba.__version__}"
    return f"{processor}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; {versions}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="rounds of the contenders (default: %(default)s)")
    rounds = parser.parse_args().rounds
    print(
        f"slate {SLATE_SIZE}, {CATALOGUES[0]:,} items, d = 16, uniform slates; medians of {rounds} interleaved rounds"
    )
    print(machine())
    entered = Field.enter()
    for _ in range(rounds):
        for contender in entered.contenders():
            contender.run_round()
    for section in (speed_lines(entered), catalogue_lines(entered), memory_lines(), picture_lines(), profile_lines()):
        print()
        for line in section:
            print(line.rstrip(), flush=True)


if __name__ == "__main__":
    main()
