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

from agents.families import POLICIES
from agents.nn.session_space import SessionSpace
from agents.policies.base import Policy
from agents.policies.files import load_policy
from offline_data.behavior.base import ActionKind, BehaviorPolicy, Decision, SessionView
from recenv.errors import require
from recenv.world import World


@dataclass(frozen=True)
class AgentConfig:
    """Which policy acts, and how."""

    policy: str = ""
    """The file that `recsession train` wrote; empty for a policy in memory."""
    deterministic: bool = False
    """Take the most probable action, of a Gaussian the mean, which has no probability of its own; otherwise sample."""
    sha256: str = ""
    """Checksum of the file, 64 hex digits; filled in where it is empty."""

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
    """A trained policy in the behavior policies' protocol.

    A log names it by the spec `{"name": "agents.serving.behavior_adapter:AgentBehavior", "policy": FILE}`.

    Args:
        world: the world that it acts in.
        config: see `AgentConfig`.
        action_kind: that of the policy.
        actor: the policy; None for that of the config's file.

    Raises:
        InvalidInput: for a config without a file where there is no actor either, a file of another world's policy, one
            of the other kind of action, or one that is to be deterministic.

    Examples:
        >>> from agents import AgentBehavior, GaussianPolicyConfig, SessionSpace, make_policy
        >>> from recenv import SessionConfig, make_world
        >>> world = make_world(SessionConfig())
        >>> actor = make_policy(SessionSpace.of_world(world), GaussianPolicyConfig())
        >>> AgentBehavior(world, AgentBehavior.Config(), actor=actor).action_kind
        'proto'
    """

    Config = AgentConfig
    config: AgentConfig

    def __init__(
        self,
        world: World,
        config: AgentConfig,
        action_kind: ActionKind | None = None,
        *,
        actor: Policy | None = None,
    ) -> None:
        self.actor = _load(world, config) if actor is None else actor
        kind = self.actor.action_kind
        require(
            action_kind in (None, kind),
            f"policy {config.policy or POLICIES.name_of(type(self.actor))} has no {action_kind} actions; pass "
            f"action_kind={kind!r}, or choose another policy",
        )
        super().__init__(world, config, kind)

    @classmethod
    def default_action_kind(cls, config: AgentConfig) -> ActionKind:
        """Return the kind of the policy in the config's file."""
        return load_policy(config.policy).action_kind if config.policy else cls.action_kinds[0]

    @property
    def num_draws(self) -> int:
        """As the policy says."""
        return self.actor.num_draws

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """See `BehaviorPolicy.act`; a deterministic action has log-probability 0."""
        component = np.zeros(len(view.steps), np.int8)
        with self._batch(view) as batch:
            if self.config.deterministic:
                return Decision(self.actor.best(batch), np.zeros(len(component)), None, component)
            return Decision(*self.actor.play(batch, draws), component)

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the log-probabilities of the stochastic policy; see `BehaviorPolicy.log_prob`."""
        with self._batch(view) as batch:
            return self.actor.judge(batch, action)

    def next_item_log_prob(self, view: SessionView, prefix: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """See `BehaviorPolicy.next_item_log_prob`."""
        with self._batch(view) as batch:
            return self.actor.next_item_log_prob(batch, prefix)

    @contextmanager
    def _batch(self, view: SessionView) -> Iterator[TensorDict]:
        with _one_thread():
            yield self.actor.space.batch(view.observation, self.actor.device)


@contextmanager
def _one_thread() -> Iterator[None]:
    # Two threads collapse on small networks where other processes, the workers of a collection, want the cores too.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _load(world: World, config: AgentConfig) -> Policy:
    require(config.policy != "", "AgentBehavior has no policy; give it policy=FILE, one that `recsession train` wrote")
    require(
        not config.deterministic,
        f"deterministic=True gives the actions of {config.policy} no probability, which a log holds; set deterministic "
        "to false",
    )
    actor = load_policy(config.policy)
    actor.require_fits(SessionSpace.of_world(world), f"policy {config.policy}", "this world")
    return actor
