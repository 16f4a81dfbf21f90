"""A policy in every kind of world, and a batch of its own log: what the family's checks are run over."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from tensordict import TensorDict
from torch import Tensor

from agents import POLICIES, LogStorage, NetworkConfig, Policy, SessionSpace, make_policy
from offline_data.behavior.base import ActionKind
from offline_data.collection.collection import LogRequest, collect
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.store.dataset import LoggedDataset
from recenv.session_config import SessionConfig
from recenv.testing.contract import example_config, scratch_folder
from recenv.world import World, make_world

ROWS: Final = 8
# On some days two thirds of the items are not there yet: then there are fewer candidates, and padding.
_FRESHNESS: Final = {"horizon": 300.0}
WORLDS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "candidates": {"num_candidates": 20, "freshness": _FRESHNESS},
    "appearing": {"freshness": _FRESHNESS},
}
"""Session options by what a step offers."""
SPACES: Final = (*WORLDS, "imported")
"""Where a policy acts: in one of `WORLDS`, or on a log of no simulator."""


@dataclass
class PolicyCase:
    """A policy whose weights are far from those of the start, and rows of a log of its world."""

    policy: Any
    """In evaluation mode."""
    batch: TensorDict
    """[B], the observations and, where the policy reads it, the logged action."""
    action: Tensor
    """[B, K] slates or [B, d] proto-actions of these rows."""

    def uniforms(self, seed: int = 0) -> np.ndarray:
        """Return what a step of `play` takes."""
        return np.random.default_rng(seed).uniform(1e-9, 1.0, (len(self.batch), self.policy.num_draws))

    def distribution(self) -> Any:
        """Return the policy's distribution of the batch."""
        return self.policy.get_dist(self.batch)


def policy_config(part: str | type[Policy], **options: Any) -> Any:
    """Return a policy's config, of its first example and a small network.

    Args:
        part: a name or its class.
        **options: of the config besides.
    """
    return example_config(POLICIES.resolve(part), **{"network": NetworkConfig((16,)), **options})


@contextmanager
def compiling() -> Iterator[None]:
    """Let what is compiled inside meet nothing that was compiled before."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        # tensordict 0.14 asks torch 2.13 for a setting that it has dropped.
        warnings.filterwarnings("ignore", ".*inline_inbuilt_nn_modules", FutureWarning)
        yield


@functools.cache
def world_of(where: str) -> World:
    """Return one of `WORLDS`, of forty items."""
    small = {"num_items": 40, "slate_size": 3, "embedding_dim": 4, "num_topics": 3, "history_length": 5, "max_steps": 6}
    return make_world(SessionConfig().override(**small, **WORLDS[where]))


def perturb(policy: Policy, scale: float = 0.3, seed: int = 0) -> Any:
    """Add normal noise to every weight of a policy, and return it.

    Args:
        policy: changed in place.
        scale: of the noise.
        seed: of the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return policy


@functools.cache
def policy_log(where: str, kind: ActionKind) -> LoggedDataset:
    """Return a log of twelve sessions, made once a process.

    Args:
        where: one of `SPACES`.
        kind: of its actions; an imported log has slates.
    """
    path = scratch_folder() / f"{where}-{kind}"
    if where == "imported":
        return imported_log(path)
    return collect(path, LogRequest(world_of(where).config, "uniform", kind, 12))


def policy_case(part: str | type[Policy], where: str, **keys: Any) -> PolicyCase:
    """Return a policy in one of `SPACES`, and rows of a log of it.

    Args:
        part: a name or its class.
        where: one of `SPACES`.
        **keys: as `make_policy` takes them.
    """
    kind = POLICIES.resolve(part).action_kind
    log = policy_log(where, kind)
    policy: Any = perturb(make_policy(SessionSpace.of_log(log), policy_config(part), seed=1, **keys).eval())
    column = kind if kind in log.rows else None
    # Rows from the middle of a session: they have histories, and not all of one length.
    rows = np.random.default_rng(0).permutation(np.flatnonzero(log.rows["step"][:] > 0))[:ROWS]
    batch = LogStorage(log, columns=(column,) if column else ()).get(rows)
    if column is None:
        generator = torch.Generator().manual_seed(2)
        batch[kind] = torch.randn(ROWS, policy.space.embedding_dim, generator=generator)
    return PolicyCase(policy, batch, batch[kind])


def imported_log(path: Path) -> LoggedDataset:
    """Write twelve sessions of four slates of users without profiles, of items with embeddings.

    Args:
        path: the dataset's folder.
    """
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
