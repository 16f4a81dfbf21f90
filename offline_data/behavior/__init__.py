"""Logging policies with the exact log-probability of what they did; `BEHAVIORS` finds them by name.

A behavior policy is built from a world and a JSON-able spec, acts on a batch of sessions, and draws nothing itself: its
uniforms are passed in, from the stream `BEHAVIOR` of each session's behavior seed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Literal

import numpy as np

from recenv.errors import require, unknown_name
from recenv.registry import Registry
from recenv.session_batch import Observation, SessionBatch
from recenv.user_models import State
from recenv.world import World

ActionKind = Literal["slate", "proto"]
ACTION_KINDS: Final = ("slate", "proto")


@dataclass(frozen=True)
class SessionView:
    """What a behavior policy sees of B sessions at one step.

    Attributes:
        observation: what any agent sees; arrays with leading axis B.
        user_state: the hidden state, for oracles.
        steps: [B] uint64, steps taken so far.
    """

    observation: Observation
    user_state: State
    steps: np.ndarray

    @staticmethod
    def of(batch: SessionBatch) -> SessionView:
        """Return the view of a batch of sessions."""
        return SessionView(batch.observe(), batch.state, batch.steps)

    @property
    def offer(self) -> Observation:
        """What the step may show, by the names that `Catalog.nearest_items` takes; nothing where that is every item."""
        return {name: self.observation[name] for name in ("candidates", "available") if name in self.observation}

    def offered(self, num_items: int) -> np.ndarray | None:
        """Return which items the step may show, [B, N] bool, at least K of each row; None where that is every item.

        Args:
            num_items: N.
        """
        if "available" in self.observation:
            return self.observation["available"].astype(np.bool_)
        if "candidates" not in self.observation:
            return None
        # One column more takes the padding, -1.
        offered = np.zeros((len(self.steps), num_items + 1), np.bool_)
        np.put_along_axis(offered, self.observation["candidates"].astype(np.int64), True, axis=1)
        return offered[:, :num_items]

    def take(self, lanes: np.ndarray) -> SessionView:
        """Return the view of the sessions at `lanes`, an index array."""
        return SessionView(
            {name: values[lanes] for name, values in self.observation.items()},
            {name: values[lanes] for name, values in self.user_state.items()},
            self.steps[lanes],
        )


@dataclass(frozen=True)
class Decision:
    """What a behavior policy did.

    Attributes:
        action: [B, K] int32 slates or [B, d] float32 proto-actions.
        log_prob: [B] float64 nats, of the whole action.
        prefix_log_prob: [B, K] float64 nats, of the first 1, 2, ... K items; None for proto-actions.
        component: [B] int8, which component of a mixture acted; the latent label. 0 outside a mixture.
    """

    action: np.ndarray
    log_prob: np.ndarray
    prefix_log_prob: np.ndarray | None
    component: np.ndarray


class BehaviorPolicy(ABC):
    """A logging policy over one world.

    Args:
        world: the world.
        config: an instance of the class's `Config`.
        action_kind: "slate" (a mass) or "proto" (a density over embedding space).

    Attributes:
        Config: frozen dataclass of the policy's parameters.
        num_memory: float64 columns that the policy keeps for each session; zero at the session's start.
    """

    Config: ClassVar[type]
    num_memory: int = 0

    def __init__(self, world: World, config: Any, action_kind: ActionKind) -> None:
        self.world = world
        self.config = config
        self.action_kind: ActionKind = action_kind

    @property
    @abstractmethod
    def num_draws(self) -> int:
        """How many uniforms a step takes."""

    @abstractmethod
    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """Return an action for each session.

        Args:
            view: B sessions.
            draws: [B, num_draws] uniforms in (0, 1).
            memory: [B, num_memory] float64, updated in place.
        """

    @abstractmethod
    def log_prob(self, view: SessionView, action: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the log-probability of any action in nats, whole [B] and by prefix [B, K], or None for protos."""


BEHAVIORS: Registry[type[BehaviorPolicy]] = Registry("behavior policy", "offline_data.behavior")


def make_behavior(world: World, spec: Mapping[str, Any] | str, action_kind: ActionKind = "slate") -> BehaviorPolicy:
    """Return the behavior policy of a JSON-able spec.

    Args:
        world: the world.
        spec: a registered name, or `{"name": ..., <fields of the policy's Config>}`.
        action_kind: "slate" or "proto".

    Raises:
        InvalidInput: for an unknown name, action kind or field, or a value out of range.
    """
    if action_kind not in ACTION_KINDS:
        raise unknown_name("action kind", action_kind, ACTION_KINDS)
    values = {"name": spec} if isinstance(spec, str) else dict(spec)
    require("name" in values, f"behavior spec {spec!r} has no 'name'; add the name of a registered behavior policy")
    policy = BEHAVIORS.get(values.pop("name"))
    known = {f.name for f in fields(policy.Config)}
    for key in values:
        if key not in known:
            raise unknown_name("behavior option", key, known)
    return policy(world, policy.Config(**values), action_kind)
