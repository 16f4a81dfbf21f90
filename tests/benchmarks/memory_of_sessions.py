"""Memory of live sessions: bytes that their arrays hold, and what a process that holds them takes.

Run as a program with a number of sessions it prints two numbers of bytes: its resident memory before it makes them,
and its peak after it has reset them all and stepped them once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from recenv import RecSessionVectorEnv


def session_bytes(num_sessions: int = 4096) -> dict[str, float]:
    """Return bytes a session of what a `RecSessionVectorEnv` holds, by kind.

    The kinds are the state (everything that is none of the others), what observations are copied from, the scratch
    space of a step, and the bounds that Gymnasium's batched spaces repeat for each session. Bytes a session are the
    slope between two sizes: what does not grow with the sessions, such as the catalogue, is not counted.

    Args:
        num_sessions: the smaller size; the other is twice that.
    """
    few, many = (_bytes_by_kind(size) for size in (num_sessions, 2 * num_sessions))
    return {kind: (many[kind] - few[kind]) / num_sessions for kind in many}


def _bytes_by_kind(num_sessions: int) -> dict[str, int]:
    env = RecSessionVectorEnv(num_sessions)
    observation, _ = env.reset(seed=0)
    kinds = ("state", "observation buffers", "scratch of a step", "bounds of Gymnasium's spaces")
    sizes: dict[str, int] = dict.fromkeys(kinds, 0)
    for path, array in _arrays(env, (), set()):
        if "observation_space" in path or "action_space" in path:
            kind = "bounds of Gymnasium's spaces"
        elif "_blocks" in path:
            kind = "scratch of a step"
        elif path[-1] in observation or "_".join(path[-2:]) in observation:
            # `profile` is an attribute of the batch, `history_items` the attribute `items` of its `history`.
            kind = "observation buffers"
        else:
            kind = "state"
        sizes[kind] += array.nbytes
    return sizes


def _arrays(owner: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Yield path and array of everything that `owner` reaches; a view is its base's memory and is left out."""
    if id(owner) in seen:
        return
    seen.add(id(owner))
    if isinstance(owner, np.ndarray):
        if owner.base is None:
            yield path, owner
        elif isinstance(owner.base, np.ndarray):
            yield from _arrays(owner.base, path, seen)
    elif isinstance(owner, dict):
        for name, part in owner.items():
            yield from _arrays(part, (*path, str(name)), seen)
    elif isinstance(owner, list | tuple):
        for part in owner:
            yield from _arrays(part, path, seen)
    elif type(owner).__module__.partition(".")[0] in ("recenv", "gymnasium"):
        slots = [slot for kind in type(owner).__mro__ for slot in getattr(kind, "__slots__", ())]
        names = [*getattr(owner, "__dict__", ()), *slots]
        for name in names:
            yield from _arrays(getattr(owner, name, None), (*path, name), seen)


def _status(field: str) -> int:
    """Return a size of this process from the kernel, in bytes: `VmRSS` is resident, `VmHWM` the peak of it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main() -> None:
    num_sessions = int(sys.argv[1])
    warm = RecSessionVectorEnv(2)
    warm.reset(seed=0)
    warm.step(warm.action_space.sample())
    slates = np.random.default_rng(0).integers(1000, size=(num_sessions, 10))
    before = _status("VmRSS")
    env = RecSessionVectorEnv(num_sessions)
    env.reset(seed=0)
    env.step(slates)
    print(before, _status("VmHWM"))


if __name__ == "__main__":
    main()
