"""RECGym's turn (SCOPE-RL, Kiyohara et al. 2023): one item of 1,000 a step."""

# pyright: reportMissingImports=false
from __future__ import annotations

from itertools import cycle

import numpy as np
from recgym import RECEnv
from turns import Contender, take_turns


def main() -> None:
    env = RECEnv(n_items=1000, random_state=0)
    env.reset()
    items = cycle(np.random.default_rng(0).integers(1000, size=10_000).tolist())

    def play() -> int:
        _, _, done, truncated, _ = env.step(next(items))
        if done or truncated:
            env.reset()
        return 1

    take_turns([Contender("RECGym, 1 of 1,000", 1, play)])


if __name__ == "__main__":
    main()
