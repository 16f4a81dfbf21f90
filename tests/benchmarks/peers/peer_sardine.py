"""SARDINE's turn (Deffayet et al. 2024): slate 10 of 1,000, boredom and influence."""

# pyright: reportMissingImports=false
from __future__ import annotations

from itertools import cycle

import gymnasium
import numpy as np
import sardine  # noqa: F401 (registers its environments)
from turns import Contender, take_turns


def main() -> None:
    env = gymnasium.make("sardine/SlateTopK-BoredInf-v0")
    env.reset(seed=0)
    slates = cycle(np.argsort(np.random.default_rng(0).random((1000, 1000)), axis=1)[:, :10].copy())

    def play() -> int:
        _, _, terminated, truncated, _ = env.step(next(slates))
        if terminated or truncated:
            env.reset()
        return 1

    take_turns([Contender("SARDINE, slate 10 of 1,000", 1, play)])


if __name__ == "__main__":
    main()
