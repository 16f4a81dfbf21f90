"""RecSession's turn: the vector environment and `gymnasium.make`, one thread, resets included."""

from __future__ import annotations

from itertools import cycle

import gymnasium
import numpy as np
from turns import Contender, take_turns

from recenv import RecSessionVectorEnv

NUM_SESSIONS = 4096


def main() -> None:
    vector = RecSessionVectorEnv(NUM_SESSIONS)
    single = gymnasium.make("RecSession-v0")
    vector.reset(seed=0)
    single.reset(seed=0)
    num_items, slate_size = vector.config.catalog.num_items, vector.config.slate_size
    generator = np.random.default_rng(0)
    slates = np.argsort(generator.random((8, NUM_SESSIONS, num_items)), axis=2)[:, :, :slate_size].copy()
    batches, rows = cycle(slates), cycle(slates[0])

    def play_vector() -> int:
        vector.step(next(batches))
        return NUM_SESSIONS

    def play_single() -> int:
        _, _, terminated, truncated, _ = single.step(next(rows))
        if terminated or truncated:
            single.reset()
        return 1

    take_turns(
        [
            Contender(f"RecSessionVectorEnv, {NUM_SESSIONS:,} sessions", 1, play_vector),
            Contender('gymnasium.make("RecSession-v0")', 1, play_single),
        ]
    )


if __name__ == "__main__":
    main()
