"""Steps a second of 64 sessions as Stable-Baselines3 sees them, without a policy: ours, and its own two of single ones.

All three in one run, in turns, over the same actions; medians over the turns. SubprocVecEnv has a process a session.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import tyro
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

from recenv import RecSessionVectorEnv
from recenv.sb3 import SessionVecEnv


@dataclass(frozen=True)
class Options:
    """What is measured."""

    num_envs: int = 64
    """Sessions side by side."""
    num_steps: int = 50
    """Steps of a turn."""
    turns: int = 7
    """Turns."""


def single() -> gymnasium.Env:
    """Return one session."""
    return gymnasium.make("RecSession-v0")


def main(options: Options) -> None:
    """Print a row a kind of vector environment."""
    made: dict[str, Callable[[], Any]] = {
        "SessionVecEnv": lambda: SessionVecEnv(RecSessionVectorEnv(options.num_envs, autoreset_mode="SameStep")),
        "DummyVecEnv": lambda: DummyVecEnv([single] * options.num_envs),
        "SubprocVecEnv": lambda: SubprocVecEnv([single] * options.num_envs, start_method="fork"),
    }
    environments = {name: make() for name, make in made.items()}
    seconds: dict[str, list[float]] = {name: [] for name in made}
    rng = np.random.default_rng(0)
    actions = rng.integers(1000, size=(options.num_steps, options.num_envs, 10))
    for turn in range(options.turns + 1):
        for name, env in environments.items():
            env.seed(turn)
            env.reset()
            begun = time.perf_counter()
            for slates in actions:
                env.step(slates)
            if turn > 0:  # the first compiles
                seconds[name].append(time.perf_counter() - begun)
    steps = {name: options.num_steps * options.num_envs / statistics.median(each) for name, each in seconds.items()}
    print(f"{options.num_envs} sessions, slates of 10 from 1,000 items; session steps a second, without a policy")
    for name, value in steps.items():
        print(f"{name:14} {value:12,.0f} {value / steps['SubprocVecEnv']:8.2f} times SubprocVecEnv")
    for env in environments.values():
        env.close()


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
