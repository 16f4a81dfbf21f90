"""A policy of ours in the pages of the generated shop, whose true value it then has."""

from __future__ import annotations

import numpy as np

from agents.policies.base import Policy
from tests.reference.generated_shop import DEVICES, NUM_ITEMS, SEGMENTS, Filled, Pages, Shop
from tests.reference.generated_shop import Policy as ShopPolicy


def served(policy: Policy, shop: Shop, *, deterministic: bool = False) -> ShopPolicy:
    """Return what fills the shop's pages by a policy that learned from its log.

    The observation is made here by what its entries mean, and not by the function that makes it where policies serve.
    """
    space = policy.space
    assert space.item_ids is not None
    place = {str(sku): item for item, sku in enumerate(shop.sku)}
    of_shop = np.array([place[str(sku)] for sku in space.item_ids])
    of_policy = np.full(NUM_ITEMS + 1, -1, np.int32)  # one more, which -1 finds
    of_policy[of_shop] = np.arange(len(of_shop))

    def fill(pages: Pages, rng: np.random.Generator) -> Filled:
        history = np.full((len(pages.user), space.history_length), -1, np.int32)
        for clicks in np.unique(pages.num_clicked):
            rows = np.flatnonzero(pages.num_clicked == clicks)
            last = pages.clicked[rows, max(clicks - space.history_length, 0) : clicks]
            history[rows, space.history_length - last.shape[1] :] = of_policy[last]
        clock = np.stack([np.full(len(history), pages.page), pages.num_clicked], axis=1) / space.max_steps
        observation = {
            "history_items": history,
            "history_feedback": np.zeros((*history.shape, space.num_channels), np.float32),
            "clock": np.minimum(clock, 1.0).astype(np.float32),
        }
        known = {
            "age": pages.age,
            "segment": np.take(SEGMENTS, pages.segment),
            "device": np.take(DEVICES, pages.device),
        }
        if space.context:
            parts = [column.encode(known[column.name]) for column in space.context]
            observation["context"] = np.concatenate(parts, axis=1)
        return Filled(of_shop[policy.act(observation, deterministic=deterministic, rng=rng)])

    return fill
