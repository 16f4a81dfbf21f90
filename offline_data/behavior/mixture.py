"""Mixtures: the quality dial. Which component acted is latent; the log-probability is the mixture's own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from offline_data.behavior.base import ActionKind, BehaviorPolicy, Decision, SessionView, make_behavior
from offline_data.families import BEHAVIORS
from recenv.engine.slates import check_slates
from recenv.errors import require, require_range, unknown_name
from recenv.kernels import njit
from recenv.world import World

MIXINGS: Final = ("step", "session", "position")

# Numbers that a table of every item's log-probability may hold; more sessions are taken in turn.
_TABLE_SIZE: Final = 2**20


@dataclass(frozen=True)
class MixtureConfig:
    """Components, their weights, and how often the component is drawn."""

    components: Sequence[Mapping[str, Any] | str] = field(default_factory=tuple)
    """Specs of behavior policies, none of them a mixture."""
    weights: Sequence[float] = field(default_factory=tuple)
    """One nonnegative weight a component; they sum to one."""
    mixing: str = "step"
    """"step" draws a component at every step, "session" once a session, "position" for each slate position."""

    def __post_init__(self) -> None:
        for name, values in (("components", self.components), ("weights", self.weights)):
            require(
                isinstance(values, list | tuple | np.ndarray),
                f"{name}={values!r} of a mixture is not a list; give one entry a component",
            )
        count = len(self.components)
        require(1 <= count <= 127, f"mixture has {count} components; give 1 to 127")
        require(
            len(self.weights) == count, f"mixture has {count} components and {len(self.weights)} weights; give one each"
        )
        for weight in self.weights:
            require_range("mixture weight", weight, 0.0, 1.0)
        total = float(np.sum(self.weights))
        require(abs(total - 1.0) < 1e-9, f"mixture weights sum to {total}; they must sum to 1, scale them")
        if self.mixing not in MIXINGS:
            raise unknown_name("mixing", self.mixing, MIXINGS)


@BEHAVIORS.register("mixture")
class MixturePolicy(BehaviorPolicy):
    """A mixture with the exact log-probability of its marginal; a component of weight zero is never asked.

    Drawn per step, log p(a) = logsumexp_c(log w_c + log p_c(a)). Drawn per session, the weights are the components'
    posterior given the session so far, so that the product over the steps is the session's marginal,
    sum_c w_c prod_t p_c(a_t). Drawn per slate position, each position independently of the others, the slate's
    probability is the product over positions of sum_c w_c p_c(a_k | a_1 ... a_(k-1)): no posterior enters.
    """

    Config = MixtureConfig
    examples = (
        *(
            {"components": ["expert", "clickbait", "uniform"], "weights": [0.3, 0.3, 0.4], "mixing": mixing}
            for mixing in MIXINGS
        ),
        *(
            {
                "components": [{"name": "belief", "num_particles": 6}, "clickbait"],
                "weights": [0.6, 0.4],
                "mixing": mixing,
            }
            for mixing in MIXINGS[1:]
        ),
    )
    config: MixtureConfig

    def __init__(self, world: World, config: MixtureConfig, action_kind: ActionKind) -> None:
        super().__init__(world, config, action_kind)
        require(
            config.mixing != "position" or action_kind == "slate",
            f"mixing='position' draws a component for each slate position, and action_kind={action_kind!r} has none; "
            "mix per step or per session",
        )
        self.components = [make_behavior(world, spec, action_kind) for spec in config.components]
        for component in self.components:
            require(
                type(component) is not MixturePolicy,
                "a mixture cannot hold a mixture; list its components and multiply the weights",
            )
        with np.errstate(divide="ignore"):
            self._log_weights = np.log(np.asarray(config.weights, np.float64))
        self._cumulative = np.cumsum(config.weights)
        self._asked = np.flatnonzero(self._log_weights > -np.inf).tolist()
        # Per session: the component that acts, each one's log-likelihood of the session so far, and each one's memory.
        first = 1 + len(self.components) if config.mixing == "session" else 0
        ends = first + np.cumsum([component.num_memory for component in self.components])
        self.num_memory = int(ends[-1])
        self._memories = [
            slice(int(end) - part.num_memory, int(end)) for part, end in zip(self.components, ends, strict=True)
        ]

    @property
    def num_draws(self) -> int:
        """One for the component, and what the hungriest component takes; two a slate position if drawn for each."""
        if self.config.mixing == "position":
            return 2 * self.world.config.slate_size
        return 1 + max(component.num_draws for component in self.components)

    def remember(self, view: SessionView, memory: np.ndarray) -> None:
        """See `BehaviorPolicy.remember`; every component sees every step."""
        for index in self._asked:
            self.components[index].remember(view, memory[:, self._memories[index]])

    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """See `BehaviorPolicy.act`."""
        size, per_position = self.world.config.slate_size, self.config.mixing == "position"
        # The rounding of the weights' sum is left to the last that has any.
        drawn = np.searchsorted(self._cumulative, draws[:, : size if per_position else 1], side="right")
        drawn = np.minimum(drawn, self._asked[-1])
        if per_position:
            slates, prefix = self._fill_positions(view, memory, drawn, draws[:, size:])
            return Decision(slates, prefix[:, -1], prefix, drawn.astype(np.int8))
        component = drawn[:, 0]
        if self.config.mixing == "session":
            component = np.where(view.steps > 0, memory[:, 0].astype(np.int64), component)
            memory[:, 0] = component
        # Sessions of the same component lie together, so that each component is asked of slices.
        order = np.argsort(component, kind="stable")
        remembered = memory[order]
        action, log_probs = self._act_and_judge(view.take(order), draws[order, 1:], remembered, component[order])
        prefix = _logsumexp(self._weights(remembered)[:, :, None] + log_probs)
        if self.config.mixing == "session":
            memory[order, 1 : 1 + len(self.components)] += log_probs[:, :, -1].T
        back = np.argsort(order)
        action, prefix = action[back], prefix[back]
        proto = self.action_kind == "proto"
        return Decision(action, prefix[:, -1], None if proto else prefix, component.astype(np.int8))

    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """See `BehaviorPolicy.log_prob`; of a mixture per session, given the actions that its memory has seen."""
        if self.config.mixing == "position":
            slates = check_slates(action, action.shape, self.world.catalog.num_items)
            _, prefix = self._fill_positions(view, memory, None, slates)
            return prefix[:, -1], prefix
        log_probs = self._nothing(len(action))
        for index in self._asked:
            log_probs[index] = self._judge(index, view, action, memory)
        prefix = _logsumexp(self._weights(memory)[:, :, None] + log_probs)
        return prefix[:, -1], None if self.action_kind == "proto" else prefix

    def next_item_log_prob(self, view: SessionView, prefix: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """See `BehaviorPolicy.next_item_log_prob`."""
        weights = self._weights(memory)
        if self.config.mixing != "position":
            rows = np.arange(len(prefix))
            for k in range(prefix.shape[1]):
                weights = weights + self._next_items(view, prefix[:, :k], memory)[:, rows, prefix[:, k]]
            weights = _normalise(weights)
        return _logsumexp(weights[:, :, None] + self._next_items(view, prefix, memory))

    def _weights(self, memory: np.ndarray) -> np.ndarray:
        """Return the components' log-weights at this step, [C, B], or [C, 1] where all sessions have the same."""
        if self.config.mixing == "session":
            return _normalise(self._log_weights[:, None] + memory[:, 1 : 1 + len(self.components)].T)
        return self._log_weights[:, None]

    def _nothing(self, count: int) -> np.ndarray:
        """Return log-probabilities of zero, [C, B, K], or [C, B, 1] for proto-actions."""
        size = self.world.config.slate_size if self.action_kind == "slate" else 1
        return np.full((len(self.components), count, size), -np.inf)

    def _judge(self, index: int, view: SessionView, action: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """Return one component's log-probabilities, by prefix [B, K] or whole [B, 1]."""
        whole, prefix = self.components[index].log_prob(view, action, memory[:, self._memories[index]])
        return whole[:, None] if prefix is None else prefix

    def _act_and_judge(
        self, view: SessionView, draws: np.ndarray, memory: np.ndarray, component: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the actions of the components that act, and every component's log-probabilities of them.

        Args:
            view: B sessions.
            draws: [B, D] uniforms.
            memory: [B, num_memory].
            component: [B], who acts; in increasing order.
        """
        count = len(component)
        log_probs = self._nothing(count)
        if self.action_kind == "slate":
            action = np.empty((count, self.world.config.slate_size), np.int32)
        else:
            action = np.empty((count, self.world.catalog.embedding_dim), np.float32)
        bounds = np.searchsorted(component, np.arange(len(self.components) + 1)).tolist()
        for index in self._asked:
            own, policy = slice(bounds[index], bounds[index + 1]), self.components[index]
            if own.start < own.stop:
                uniforms = np.ascontiguousarray(draws[own, : policy.num_draws])
                decision = policy.act(view.take(own), uniforms, memory[own, self._memories[index]])
                action[own] = decision.action
                prefix = decision.prefix_log_prob
                log_probs[index, own] = decision.log_prob[:, None] if prefix is None else prefix
        for index in self._asked:
            for others in (slice(0, bounds[index]), slice(bounds[index + 1], count)):
                if others.start < others.stop:
                    log_probs[index, others] = self._judge(index, view.take(others), action[others], memory[others])
        return action, log_probs

    def _fill_positions(
        self, view: SessionView, memory: np.ndarray, component: np.ndarray | None, given: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return slates and their prefix log-probabilities, each position a mixture.

        Args:
            view: B sessions.
            memory: [B, num_memory].
            component: [B, K], who fills each position; None where the slates are given.
            given: [B, K] uniforms, or the slates.
        """
        slates, prefix = np.empty(given.shape, np.int32), np.empty(given.shape)
        at_once = max(1, _TABLE_SIZE // (self.world.catalog.num_items * len(self.components)))
        for start in range(0, len(given), at_once):
            indices = np.arange(start, min(start + at_once, len(given)))
            here, remembered, rows = view.take(indices), memory[indices], np.arange(len(indices))
            filled, running = np.empty((len(indices), given.shape[1]), np.int32), np.zeros(len(indices))
            for k in range(given.shape[1]):
                tables = self._next_items(here, filled[:, :k], remembered)
                if component is None:
                    filled[:, k] = given[indices, k]
                else:
                    _draw_items(tables, component[indices, k], given[indices, k], filled[:, k])
                running += _logsumexp(self._log_weights[:, None] + tables[:, rows, filled[:, k]])
                prefix[indices, k] = running
            slates[indices] = filled
        return slates, prefix

    def _next_items(self, view: SessionView, prefix: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """Return every component's log-probability of each next item, [C, B, N]."""
        tables = np.full((len(self.components), len(prefix), self.world.catalog.num_items), -np.inf)
        for index in self._asked:
            own = memory[:, self._memories[index]]
            tables[index] = self.components[index].next_item_log_prob(view, prefix, own)
        return tables


def _logsumexp(values: np.ndarray) -> np.ndarray:
    # Over the components, the first axis, in their order; in log space until the last step; -inf where every term is.
    top = values.max(axis=0)
    safe = np.where(np.isfinite(top), top, 0.0)
    total = np.zeros(top.shape)
    for terms in values:
        total += np.exp(terms - safe)
    with np.errstate(divide="ignore"):
        return safe + np.log(total)


def _normalise(log_weights: np.ndarray) -> np.ndarray:
    return log_weights - _logsumexp(log_weights)


@njit(cache=True, error_model="numpy", nogil=True)
def _draw_items(tables, component, draws, items):
    # Inverse distribution function, in the order of the items; what rounding leaves is the last one's.
    for b in range(len(items)):
        threshold = draws[b]
        for n in range(tables.shape[2]):
            weight = math.exp(tables[component[b], b, n])
            if weight > 0.0:
                items[b] = n
                threshold -= weight
                if threshold < 0.0:
                    break
