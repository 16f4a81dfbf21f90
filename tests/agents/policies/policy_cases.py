"""Every registered policy in every kind of world, and a batch of its own log: what the family's tests are run over."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from agents.batches.replay import LogStorage
from agents.families import POLICIES
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.policies.base import Policy, make_policy
from offline_data.behavior.base import ActionKind
from offline_data.collection.collection import LogRequest, collect
from offline_data.interop.foreign_log import ImportOptions, import_interactions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.store.dataset import LoggedDataset
from recenv.item_codes.semantic_ids import SemanticIdConfig
from recenv.session_config import SessionConfig
from recenv.world import World, make_world

NAMES = POLICIES.registered()
SMALL = {"num_items": 40, "slate_size": 3, "embedding_dim": 4, "num_topics": 3, "history_length": 5, "max_steps": 6}
# On some days two thirds of the items are not there yet: then there are fewer candidates, and padding.
FRESHNESS = {"horizon": 300.0}
WORLDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "candidates": {"num_candidates": 20, "freshness": FRESHNESS},
    "appearing": {"freshness": FRESHNESS},
}
SPACES = (*WORLDS, "imported")
ROWS = 8
# What makes a policy small enough for tests, where its defaults do not.
OPTIONS: dict[str, dict[str, Any]] = {
    "generative": {"ids": SemanticIdConfig(num_codebooks=2, codebook_size=4), "width": 16, "num_layers": 1}
}

every_policy = pytest.mark.parametrize("name", NAMES)
every_case = pytest.mark.parametrize(("name", "where"), list(itertools.product(NAMES, SPACES)))
every_world = pytest.mark.parametrize(("name", "where"), list(itertools.product(NAMES, WORLDS)))


@dataclass
class Case:
    """A policy whose weights are far from those of the start, and rows of a log of its world.

    Attributes:
        policy: in evaluation mode.
        batch: [B], the observations and, where the policy reads it, the logged action.
        action: [B, K] slates or [B, d] proto-actions of these rows.
    """

    policy: Any
    batch: TensorDict
    action: Tensor

    def uniforms(self, seed: int = 0) -> np.ndarray:
        return np.random.default_rng(seed).uniform(1e-9, 1.0, (len(self.batch), self.policy.num_draws))

    def distribution(self) -> Any:
        return self.policy.get_dist(self.batch)


def config_of(name: str, **options: Any) -> Any:
    return POLICIES.get(name).Config(NetworkConfig((16,)), **OPTIONS.get(name, {}), **options)


@functools.cache
def world_of(where: str) -> World:
    return make_world(SessionConfig().override(**SMALL, **WORLDS[where]))


def perturb(policy: Policy, scale: float = 0.3, seed: int = 0) -> Any:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return policy


class Cases:
    """Makes logs once, and of each as many cases as are asked for.

    Args:
        folder: of the logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = functools.cache(self._log)

    def _log(self, where: str, kind: ActionKind) -> LoggedDataset:
        path = self.folder / f"{where}-{kind}"
        if where == "imported":
            return imported_log(path)
        return collect(path, LogRequest(world_of(where).config, "uniform", kind, 12))

    def make(self, name: str, where: str, **keys: Any) -> Case:
        kind = POLICIES.get(name).action_kind
        log = self.log(where, kind)
        policy: Any = perturb(make_policy(SessionSpace.of_log(log), config_of(name), seed=1, **keys).eval())
        column = kind if kind in log.rows else None
        # Rows from the middle of a session: they have histories, and not all of one length.
        rows = np.random.default_rng(0).permutation(np.flatnonzero(log.rows["step"][:] > 0))[:ROWS]
        batch = LogStorage(log, columns=(column,) if column else ()).get(rows)
        if column is None:
            generator = torch.Generator().manual_seed(2)
            batch[kind] = torch.randn(ROWS, policy.space.embedding_dim, generator=generator)
        return Case(policy, batch, batch[kind])


def imported_log(path: Path) -> LoggedDataset:
    """Twelve sessions of four slates of users without profiles, of items with embeddings."""
    rng = np.random.default_rng(3)
    slates = np.stack([rng.permutation(40)[:3] for _ in range(48)])
    session, count = np.repeat(np.arange(12), 12), slates.size
    source = path.with_name("source")
    source.touch()
    log = Interactions(
        files=[(source, count)],
        user=Ids.of(session),
        item=Ids(slates.reshape(-1), np.arange(40)),
        feedback={"click": (rng.random(count) < 0.6).astype(float), "watch": rng.random(count)},
        session=session,
        step=np.tile(np.repeat(np.arange(4), 3), 12),
        position=np.tile([0, 1, 2], 48),
        catalog={"embeddings": rng.standard_normal((40, 4)).astype(np.float32)},
    )
    return import_interactions(path, log, "test", options=ImportOptions(history_length=5))
