"""RecSim's turn (Ie et al. 2019): interest evolution, slate 10."""

# pyright: reportMissingImports=false
from __future__ import annotations

import sys
from itertools import cycle
from types import ModuleType

import numpy as np
from turns import Contender, take_turns

# The runner of its agents, which the environments do not use, needs Dopamine and TensorFlow; gin.tf needs TensorFlow.
for unused in ("recsim.simulator.runner_lib", "gin.tf"):
    sys.modules[unused] = ModuleType(unused)

from recsim.environments import interest_evolution  # noqa: E402


def contender(num_candidates: int, resample: bool) -> Contender:
    env = interest_evolution.create_environment(
        {"num_candidates": num_candidates, "slate_size": 10, "resample_documents": resample, "seed": 0}
    )
    env.reset()
    order = np.argsort(np.random.default_rng(0).random((1000, num_candidates)), axis=1)
    slates = cycle(order[:, :10].copy())

    def play() -> int:
        *_, done, _ = env.step(next(slates))
        if done:
            env.reset()
        return 1

    kind = "new ones each step" if resample else "the same each step"
    return Contender(f"RecSim, slate 10 of {num_candidates:,}, {kind}", 1, play)


if __name__ == "__main__":
    take_turns([contender(100, resample=True), contender(1000, resample=True), contender(1000, resample=False)])
