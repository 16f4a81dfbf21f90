"""Mixtures: the quality dial. Which component acted is latent; the log-probability is the mixture's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from offline_data.behavior import BEHAVIORS, ActionKind, BehaviorPolicy, Decision, SessionView, make_behavior
from recenv.errors import require, require_range, unknown_name
from recenv.world import World


@dataclass(frozen=True)
class MixtureConfig:
    """Components, their weights, and how often the component is drawn.

    Attributes:
        components: specs of behavior policies, none of them a mixture.
        weights: one nonnegative weight a component; they sum to one.
        mixing: "step" draws a component at every step, "session" once a session.
    """

    components: Sequence[Mapping[str, Any] | str] = field(default_factory=tuple)
    weights: Sequence[float] = field(default_factory=tuple)
    mixing: str = "step"

    def __post_init__(self) -> None:
        count = len(self.components)
        require(1 <= count <= 127, f"mixture has {count} components; give 1 to 127")
        require(
            len(self.weights) == count, f"mixture has {count} components and {len(self.weights)} weights; give one each"
        )
        for weight in self.weights:
            require_range("mixture weight", weight, 0.0, 1.0)
        total = float(np.sum(self.weights))
        require(abs(total - 1.0) < 1e-9, f"mixture weights sum to {total}; they must sum to 1, scale them")
        if self.mixing not in ("step", "session"):
            raise unknown_name("mixing", self.mixing, ("step", "session"))
        for spec in self.components:
            name = spec if isinstance(spec, str) else spec.get("name")
            require(name != "mixture", "a mixture cannot hold a mixture; list its components and multiply the weights")


@BEHAVIORS.register("mixture")
class MixturePolicy(BehaviorPolicy):
    """A mixture with the exact log-probability of its marginal.

    Drawn per step, log p(a) = logsumexp_c(log w_c + log p_c(a)). Drawn per session, the weights are the components'
    posterior given the session so far, so that the product over the steps is the session's marginal,
    sum_c w_c prod_t p_c(a_t).
    """

    Config = MixtureConfig
    config: MixtureConfig

    def __init__(self, world: World, config: MixtureConfig, action_kind: ActionKind) -> None:
        super().__init__(world, config, action_kind)
        self.components = [make_behavior(world, spec, action_kind) for spec in config.components]
        for component in self.components:
            require(
                component.num_memory == 0,
                f"{type(component).__name__} keeps memory of its session; a mixture takes policies that keep none",
            )
        with np.errstate(divide="ignore"):
            self._log_weights = np.log(np.asarray(config.weights, np.float64))
        self._cumulative = np.cumsum(config.weights)
        # Per session: the component that acts, then each component's log-likelihood of the session so far.
        self.num_memory = 1 + len(self.components) if config.mixing == "session" else 0

    @property
    def num_draws(self) -> int:
        """One for the component, and what the hungriest component takes."""
        return 1 + max(component.num_draws for component in self.components)

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """See `BehaviorPolicy.act`."""
        last = int(np.flatnonzero(self._log_weights > -np.inf)[-1])
        component = np.minimum(np.searchsorted(self._cumulative, draws[:, 0], side="right"), last)
        if self.num_memory:
            begun = view.steps > 0
            component = np.where(begun, memory[:, 0].astype(np.int64), component)
            memory[:, 0] = component
        action: np.ndarray | None = None
        for index, policy in enumerate(self.components):
            lanes = np.flatnonzero(component == index)
            if len(lanes) == 0:
                continue
            chosen = policy.act(view.take(lanes), draws[lanes, 1 : 1 + policy.num_draws], memory[lanes, :0]).action
            if action is None:
                action = np.empty((len(component), chosen.shape[1]), chosen.dtype)
            action[lanes] = chosen
        if action is None:
            raise ValueError("a mixture was asked to act for no session")
        joint, prefix = self._component_log_probs(view, action)
        weights = np.broadcast_to(self._log_weights, joint.shape)
        if self.num_memory:
            weights = _normalise(weights + memory[:, 1:])
            memory[:, 1:] += joint
        log_prob = _logsumexp(weights + joint)
        if prefix is not None:
            prefix = _logsumexp(weights[:, None, :] + prefix)
            log_prob = prefix[:, -1]
        return Decision(action, log_prob, prefix, component.astype(np.int8))

    def log_prob(self, view: SessionView, action: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the log-probability at the components' first weights: of a step, or of a session's first step."""
        joint, prefix = self._component_log_probs(view, action)
        if prefix is None:
            return _logsumexp(self._log_weights + joint), None
        prefix = _logsumexp(self._log_weights + prefix)
        return prefix[:, -1], prefix

    def _component_log_probs(self, view: SessionView, action: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        answers = [policy.log_prob(view, action) for policy in self.components]
        joint = np.stack([answer[0] for answer in answers], axis=-1)
        prefixes = [answer[1] for answer in answers if answer[1] is not None]
        return joint, np.stack(prefixes, axis=-1) if prefixes else None


def _logsumexp(values: np.ndarray) -> np.ndarray:
    # In a fixed order over the components, in log space until the last step; -inf where every term is.
    top = values.max(axis=-1)
    safe = np.where(np.isfinite(top), top, 0.0)
    total = np.zeros(top.shape)
    for index in range(values.shape[-1]):
        total += np.exp(values[..., index] - safe)
    with np.errstate(divide="ignore"):
        return safe + np.log(total)


def _normalise(log_weights: np.ndarray) -> np.ndarray:
    return log_weights - _logsumexp(log_weights)[:, None]
