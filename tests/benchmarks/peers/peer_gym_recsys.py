"""gym-recsys's turn: slate 10 of 1,000; its user and reward models are the caller's, here a vector and dot products."""

# pyright: reportMissingImports=false
from __future__ import annotations

from itertools import cycle

import numpy as np
from gym_recsys import Env
from turns import Contender, take_turns

NUM_ITEMS, DIM = 1000, 16


def main() -> None:
    generator = np.random.default_rng(0)
    user = generator.standard_normal(DIM).astype(np.float32)
    # The last row is the skip, item -1.
    items = generator.standard_normal((NUM_ITEMS + 1, DIM)).astype(np.float32)
    env = Env(
        user_ids=[0],
        item_category=["one"] * NUM_ITEMS,
        item_popularity=np.ones(NUM_ITEMS),
        hist_seq_len=20,
        slate_size=10,
        user_state_model_callback=lambda user_id, history: user,
        reward_model_callback=lambda user_id, history, slate: items[slate] @ user,
    )
    env.reset()
    slates = cycle(np.argsort(generator.random((1000, NUM_ITEMS)), axis=1)[:, :10].copy())
    num_steps = 0

    def play() -> int:
        nonlocal num_steps
        env.step(next(slates))
        num_steps += 1
        # It never ends a session, and keeps every step for its pictures.
        if num_steps % 50 == 0:
            env.reset()
        return 1

    take_turns([Contender("gym-recsys, slate 10 of 1,000", 1, play)])


if __name__ == "__main__":
    main()
