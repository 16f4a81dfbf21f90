"""A trained policy as a behavior policy: what rolls it out, and what can log with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tensordict import TensorDict

from agents.policies import GaussianPolicy, load_policy
from offline_data.behavior import ActionKind, BehaviorPolicy, Decision, SessionView
from recenv.errors import require
from recenv.random_streams import normals
from recenv.session_batch import Observation
from recenv.session_config import SessionConfig
from recenv.world import World


@dataclass(frozen=True)
class AgentConfig:
    """Which policy acts, and how.

    Attributes:
        policy: the file that `recsession train` wrote; empty for a policy in memory.
        deterministic: take the mean, which has no density; otherwise sample.
        sha256: checksum of the file, 64 hex digits; filled in where it is empty.
    """

    policy: str = ""
    deterministic: bool = False
    sha256: str = ""

    def __post_init__(self) -> None:
        require(
            isinstance(self.deterministic, bool),
            f"deterministic={self.deterministic!r} is not a bool; use true or false",
        )
        if not self.policy:
            return
        file = Path(self.policy)
        require(file.is_file(), f"policy file {file} does not exist; train one with `recsession train`")
        found = hashlib.sha256(file.read_bytes()).hexdigest()
        require(
            self.sha256 in ("", found),
            f"policy file {file} has sha256={found}, and the spec says {self.sha256}; it is another policy now: give "
            "the file of that checksum, or leave sha256 out",
        )
        object.__setattr__(self, "sha256", found)


class AgentBehavior(BehaviorPolicy):
    """A Gaussian policy over proto-actions in the behavior policies' protocol.

    A log names it by the spec `{"name": "agents.behavior_adapter:AgentBehavior", "policy": FILE}`.

    Args:
        world: the world that it acts in.
        config: see `AgentConfig`.
        action_kind: "proto".
        actor: the policy; None for that of the config's file.
        device: where the actor's weights are.

    Raises:
        InvalidInput: for a config without a file where there is no actor either, or a file of another world's policy,
            or one that is to be deterministic.
    """

    Config = AgentConfig
    action_kinds = ("proto",)
    config: AgentConfig

    def __init__(
        self,
        world: World,
        config: AgentConfig,
        action_kind: ActionKind = "proto",
        *,
        actor: GaussianPolicy | None = None,
        device: str = "cpu",
    ) -> None:
        super().__init__(world, config, action_kind)
        self.actor = _load(world, config) if actor is None else actor
        self.device = device

    @property
    def num_draws(self) -> int:
        """Two a pair of coordinates."""
        dim = self.world.catalog.embedding_dim
        return dim + dim % 2

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """See `BehaviorPolicy.act`; a deterministic action has log-probability 0."""
        mean, scale = self._moments(view.observation)
        component = np.zeros(len(view.steps), np.int8)
        if self.config.deterministic:
            return Decision(mean, np.zeros(len(mean)), None, component)
        noise = normals(draws)[:, : mean.shape[1]]
        action = (mean + scale * noise).astype(np.float32)
        return Decision(action, diagonal_log_prob(action, mean, scale), None, component)

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the log-density of the stochastic policy, [B] float64 nats."""
        return diagonal_log_prob(action, *self._moments(view.observation)), None

    def _moments(self, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in observation.items()}
        count = len(observation["profile"])
        batch = TensorDict({"observation": TensorDict(tensors, batch_size=[count])}, batch_size=[count])
        with _one_thread():
            return self.actor.moments(batch.to(self.device))


@contextmanager
def _one_thread() -> Iterator[None]:
    # Two threads collapse on small networks where other processes, the workers of a collection, want the cores too.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _load(world: World, config: AgentConfig) -> GaussianPolicy:
    require(config.policy != "", "AgentBehavior has no policy; give it policy=FILE, one that `recsession train` wrote")
    require(
        not config.deterministic,
        f"deterministic=True gives the actions of {config.policy} no density, which a log holds; set deterministic to "
        "false",
    )
    actor, own_world = load_policy(Path(config.policy))
    own, here = _what_it_reads(own_world.config), _what_it_reads(world.config)
    for name, value in own.items():
        require(
            value == here[name],
            f"policy {config.policy} was trained in a world of {name}={value!r}, and this one has {here[name]!r}; "
            "collect in the policy's world, or train a policy in this one",
        )
    require(
        np.array_equal(own_world.catalog.embeddings, world.catalog.embeddings),
        f"policy {config.policy} was trained on other items than this world's; train a policy on these",
    )
    return actor


def _what_it_reads(config: SessionConfig) -> dict[str, object]:
    """Return what a policy's observations and actions mean in a world, by name."""
    return {
        "user_model": config.user_model.name,
        "history_length": config.history_length,
        "world_seed": config.world_seed,
        **vars(config.catalog),
    }


def diagonal_log_prob(action: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the log-density of a diagonal Gaussian, [B] float64 nats.

    Args:
        action: [B, d].
        mean: [B, d].
        scale: [B, d], above zero.
    """
    scale = scale.astype(np.float64)
    standard = (action.astype(np.float64) - mean) / scale
    return (-0.5 * standard**2 - np.log(scale) - 0.5 * np.log(2.0 * np.pi)).sum(axis=1)
