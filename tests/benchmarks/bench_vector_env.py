"""Session steps a second of the vector environment: slate 10, 1,000 items, d = 16, one thread, observations written.

Uniform slates are drawn outside the timing; rewards, infos and autoresets are inside. `tox -e bench` prints the table.
"""

import numpy as np
import pytest

from recenv import RecSessionVectorEnv

STEPS_A_ROUND = 50


@pytest.mark.parametrize("num_envs", [1, 64, 1024, 4096, 16384])
def test_session_steps_a_second(benchmark, capsys, num_envs):
    env = RecSessionVectorEnv(num_envs)
    env.reset(seed=0)
    generator = np.random.default_rng(0)
    size, items = env.config.slate_size, env.config.catalog.num_items
    slates = [np.argpartition(generator.random((num_envs, items)), size)[:, :size].copy() for _ in range(8)]

    def play():
        for step in range(STEPS_A_ROUND):
            env.step(slates[step % 8])

    benchmark.pedantic(play, rounds=10, warmup_rounds=1)
    rate = num_envs * STEPS_A_ROUND / benchmark.stats.stats.median
    with capsys.disabled():
        print(f"\nRecSessionVectorEnv({num_envs:>6}): {rate / 1e6:5.2f} million session steps a second, one thread")
