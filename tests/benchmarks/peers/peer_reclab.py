"""RecLab's turn (Krauth et al. 2020): 1,000 users rate 10 of 1,000 items each, in one call."""

# pyright: reportMissingImports=false
from __future__ import annotations

from itertools import cycle

import numpy as np
from reclab.environments import Topics
from turns import Contender, take_turns

NUM_USERS, NUM_ITEMS = 1000, 1000
# It keeps every rating that was ever made; a session of ours is as long.
STEPS_AN_EPISODE = 50


def main() -> None:
    env = Topics(
        num_topics=20,
        num_users=NUM_USERS,
        num_items=NUM_ITEMS,
        rating_frequency=1.0,
        num_init_ratings=0,
        topic_change=0.1,
        memory_length=5,
        boredom_threshold=2,
        boredom_penalty=1,
    )
    env.seed(0)
    env.reset()
    order = np.argsort(np.random.default_rng(0).random((8, NUM_USERS, NUM_ITEMS)), axis=2)
    slates = cycle(order[:, :, :10].copy())
    num_steps = 0

    def play() -> int:
        nonlocal num_steps
        env.step(next(slates))
        num_steps += 1
        if num_steps % STEPS_AN_EPISODE == 0:
            env.reset()
        return NUM_USERS

    take_turns([Contender(f"RecLab topics, 10 of 1,000, {NUM_USERS:,} users", 1, play)])


if __name__ == "__main__":
    main()
