"""Plackett-Luce policies over a small catalogue, with a table of logits and as large ones, and what they observe."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from recenv.session_config import SessionConfig
from recenv.world import make_world

CONFIG = PlackettLucePolicyConfig(NetworkConfig((16,)), item_width=8)
LARGE = dataclasses.replace(CONFIG, sampled_above=0, num_sampled=40)
NUM_ITEMS, SLATE_SIZE = 50, 3


def space_of(num_items: int = NUM_ITEMS) -> SessionSpace:
    config = SessionConfig().override(
        num_items=num_items, slate_size=SLATE_SIZE, embedding_dim=4, num_topics=3, history_length=5
    )
    return SessionSpace.of_world(make_world(config))


def observations(space: SessionSpace, count: int = 20, seed: int = 0) -> TensorDict:
    generator = np.random.default_rng(seed)
    found: dict[str, np.ndarray] = {
        "profile": generator.standard_normal((count, space.embedding_dim), np.float32),
        "history_items": generator.integers(-1, space.num_items, (count, space.history_length)),
        "history_feedback": generator.random((count, space.history_length, space.num_channels), np.float32),
        "clock": generator.random((count, 2), np.float32),
        "candidates": np.stack([generator.permutation(space.num_items)[:12] for _ in range(count)]),
        "available": (generator.random((count, space.num_items)) < 0.5).astype(np.int8),
    }
    found["candidates"][:, 10:] = -1
    return space.batch({name: found[name] for name in space.observed})


def noisy(policy: Any, seed: int = 0) -> Any:
    """Give what is learned of an item alone other values than zero."""
    generator = torch.Generator().manual_seed(seed)
    table = policy.head.item_table
    with torch.no_grad():
        table.own.add_(torch.randn(table.own.shape, generator=generator))
        table.bias.add_(torch.randn(table.bias.shape, generator=generator))
    return policy


def ask(policy: Any, batch: TensorDict, slate: Tensor) -> tuple[Tensor, ...]:
    distribution = policy.get_dist(batch)
    return (
        distribution.log_prob(slate),
        distribution.prefix_log_prob(slate),
        distribution.sample(),
        distribution.mode,
        distribution.entropy(),
        distribution.score_function_norm(slate),
    )
