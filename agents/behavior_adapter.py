"""A trained policy as a behavior policy: what rolls it out, and what can log with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from tensordict import TensorDict

from agents.policies import GaussianPolicy
from offline_data.behavior import BehaviorPolicy, Decision, SessionView
from recenv.random_streams import normals
from recenv.session_batch import Observation
from recenv.world import World


@dataclass(frozen=True)
class AgentConfig:
    """How the policy acts.

    Attributes:
        deterministic: take the mean; otherwise sample.
    """

    deterministic: bool = True


class AgentBehavior(BehaviorPolicy):
    """A Gaussian policy over proto-actions in the behavior policies' protocol.

    Args:
        world: the world that it acts in.
        config: deterministic or not.
        actor: the policy.
        device: where the actor's weights are.
    """

    Config = AgentConfig
    config: AgentConfig

    def __init__(self, world: World, config: AgentConfig, actor: GaussianPolicy, device: str = "cpu") -> None:
        super().__init__(world, config, "proto")
        self.actor = actor
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

    def log_prob(self, view: SessionView, action: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the log-density of the stochastic policy, [B] float64 nats."""
        return diagonal_log_prob(action, *self._moments(view.observation)), None

    def _moments(self, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in observation.items()}
        count = len(observation["profile"])
        batch = TensorDict({"observation": TensorDict(tensors, batch_size=[count])}, batch_size=[count])
        return self.actor.moments(batch.to(self.device))


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
