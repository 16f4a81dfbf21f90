"""Speed of serving: one table, printed and never asserted; `tox -e bench`.

Users a second of `Policy.act` with the default configs and 1,000 items, one user and 1,000 at a time: medians of rounds
in which the policies take turns. Below, the exact search for nearest items against the index, at 1,000,000 items of 16
dimensions.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from agents.nn.session_space import SessionSpace
from agents.policies.base import Policy, make_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.policies.generative import GenerativePolicyConfig
from agents.policies.item_search import ItemSearch
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from recenv.engine.session_batch import SessionBatch
from recenv.items.catalog import Catalog
from recenv.items.synthetic_items import CatalogConfig
from recenv.session_config import SessionConfig
from recenv.world import make_world

ROUNDS = 7
NUM_PROTOS = 256


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def act(policy: Policy, observation: dict[str, np.ndarray], repeats: int) -> None:
    for _ in range(repeats):
        policy.act(observation)


def acting() -> None:
    world = make_world(SessionConfig().override(num_items=1000))
    space = SessionSpace.of_world(world)
    configs = (GaussianPolicyConfig(), PlackettLucePolicyConfig(), GenerativePolicyConfig())
    policies = {config.name: make_policy(space, config).eval() for config in configs}
    print(f"slates of {space.slate_size} of 1,000 items, {torch.get_num_threads()} thread(s)")
    print(f"{'policy':<16}{'users at once':>14}{'users/s':>12}{'ms a call':>12}")
    for count in (1, 1000):
        sessions, seeds = SessionBatch(world, count), np.arange(count)
        sessions.start(seeds, seeds.astype(np.uint64), np.zeros(count, np.uint64))
        observation = sessions.observe()
        repeats = 20 if count == 1 else 1
        times: dict[str, list[float]] = {name: [] for name in policies}
        for number in range(ROUNDS + 1):
            for name, policy in policies.items():
                taken = seconds(partial(act, policy, observation, repeats)) / repeats
                # The first round compiles.
                if number:
                    times[name].append(taken)
        for name, values in times.items():
            median = statistics.median(values)
            print(f"{name:<16}{count:>14,}{count / median:>12,.0f}{1e3 * median:>12.2f}")


def searching() -> None:
    catalog = Catalog.generate(CatalogConfig(num_items=1_000_000, embedding_dim=16), 0)
    generator = np.random.default_rng(1)
    noise = generator.standard_normal((NUM_PROTOS, 16)) * 0.1
    protos = (catalog.embeddings[generator.integers(catalog.num_items, size=NUM_PROTOS)] + noise).astype(np.float32)
    print(f"\nthe 10 nearest of 1,000,000 items, d = 16, for {NUM_PROTOS} protos at once: items moved by noise")
    print(f"{'search':<14}{'first call s':>14}{'ms a batch':>12}{'recall':>9}{'of these protos':>17}")
    for exact in (True, False):
        search = ItemSearch(catalog.embeddings, 10, exact=exact)
        first = seconds(lambda search=search: search.nearest(protos[:1]))
        taken = statistics.median(seconds(lambda search=search: search.nearest(protos)) for _ in range(3))
        own = search.measure_recall(protos)
        name = "exact" if exact else "approximate"
        print(f"{name:<14}{first:>14.2f}{1e3 * taken:>12.1f}{search.recall:>9.3f}{own:>17.3f}")
    print(search)


if __name__ == "__main__":
    acting()
    searching()
