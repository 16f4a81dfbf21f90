"""Policies by name: each gives any logged action its exact log-probability, samples, and has a deterministic mode.

A policy is a TorchRL actor over one kind of action. What a batch of it is asked goes through its distribution:

    policy = make_policy(SessionSpace.of_log(log), PlackettLucePolicyConfig())
    distribution = policy.get_dist(batch)             # batch: a TensorDict with the key "observation"
    distribution.log_prob(batch["slate"])             # [B] nats; .sample(), .mode, .entropy(), .score_function_norm(a)

and without tensors it plays: `load_policy(path).act(observation)` returns slates, `act(Visit(events, step))` the
ids of one. A policy is one file: a frozen config, a network, a distribution and a `Policy` registered in `POLICIES`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from tensordict import NestedKey, TensorDictBase
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torchrl.modules import ProbabilisticActor

from agents.families import POLICIES
from agents.nn.networks import seeded
from agents.nn.session_space import SessionSpace
from offline_data.behavior.base import ActionKind
from offline_data.serving.item_ids import Unknown
from offline_data.serving.visits import Visit
from offline_data.store.session_sketch import SessionSketch
from recenv.engine.session_batch import Observation
from recenv.errors import InvalidInput, require

NUM_CACHED = 4
"""Actions of a policy that fitted Q evaluation takes means over."""


class PolicyDistribution(Protocol):
    """What the distribution of every policy answers, for a batch [B] of observations; all in float32, nats."""

    def log_prob(self, action: Tensor, /) -> Tensor:
        """Return the log-probability of actions, [..., B]; gradients reach the policy's parameters.

        In an empty position of a slate stands -1, which counts nothing.
        """
        ...

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return actions, [*sample_shape, B, ...]."""
        ...

    @property
    def mode(self) -> Tensor:
        """The action of the deterministic policy, [B, ...]."""
        ...

    def entropy(self) -> Tensor:
        """Return the entropy, [B]: exact, or a mean over samples where the docstring says so."""
        ...

    def score_function_norm(self, action: Tensor, /) -> Tensor:
        """Return the norm of the gradient of `log_prob` in the distribution's own coordinates, [B]."""
        ...


class Played(NamedTuple):
    """What a policy did in B sessions, as arrays.

    Examples:
        >>> from agents import Played
        >>> Played._fields
        ('action', 'log_prob', 'prefix_log_prob')
    """

    action: np.ndarray
    """[B, K] int32 slates or [B, d] float32 proto-actions."""
    log_prob: np.ndarray
    """[B] float64 nats."""
    prefix_log_prob: np.ndarray | None
    """[B, K] float64 nats, of the first 1, 2, ... K items; None for proto-actions."""


class Policy(ProbabilisticActor):
    """A policy over one kind of action, as a TorchRL actor.

    Args:
        space: what it reads and acts on.
        config: an instance of the class's `Config`.
        head: network from the entries of an observation, as keywords, to `parameters`, with an `encoder`; what this one
            is conditioned on lies among the entries, and may be missing.
        parameters: what `head` returns, by the names that the distribution's constructor takes.
        distribution: class of the distribution.
        distribution_options: further keywords of its constructor, modules of `head` among them.
        observation_key: where a batch holds the observation.
        action_key: where it holds the action; None for the kind's own, "slate" or "proto".

    Attributes:
        Config: frozen dataclass of the hyper-parameters, whose `name` is the registered one.
        action_kind: "slate" (a mass) or "proto" (a density over embedding space).
        examples: optional, options of a small policy with which `agents.testing.check_policy` makes it.
        score_coordinates: which of `parameters` the distribution's `score_function_norm` is in; None where it is in
            none of them, and not checked.
        draws_from_cache: whether `cached_actions` draws anew from a cache, which holds the law; else it holds actions.
        learned_from: which sessions it learned from, as `train` sets it and its file keeps it; None where that is not
            known.

    Examples:
        >>> from agents import GaussianPolicyConfig, SessionSpace, make_policy
        >>> from recenv import RecSessionEnv
        >>> env = RecSessionEnv(slate_size=5)
        >>> policy = make_policy(SessionSpace.of_world(env.world), GaussianPolicyConfig())
        >>> observation, info = env.reset(seed=7)
        >>> policy.act(observation).shape
        (5,)
    """

    Config: ClassVar[type]
    action_kind: ClassVar[ActionKind]
    score_coordinates: ClassVar[str | None] = None
    draws_from_cache: ClassVar[bool] = False
    learned_from: SessionSketch | None = None

    def __init__(
        self,
        space: SessionSpace,
        config: Any,
        head: nn.Module,
        parameters: tuple[str, ...],
        distribution: Any,
        distribution_options: dict[str, Any] | None = None,
        *,
        observation_key: NestedKey = "observation",
        action_key: NestedKey | None = None,
    ) -> None:
        encoder: Any = head.encoder
        keys = {name: _nested(observation_key, name) for name in (*space.observed, *encoder.conditions)}
        super().__init__(
            TensorDictModule(head, in_keys=keys, out_keys=list(parameters), out_to_in_map=True),
            in_keys=list(parameters),
            out_keys=[self.action_kind if action_key is None else action_key],
            distribution_class=distribution,
            distribution_kwargs=distribution_options or {},
            return_log_prob=False,
        )
        # Not `space` and `config` alone: a TensorDictModule looks names up in its parts.
        self._space, self._config, self._observation_key = space, config, observation_key

    @property
    def space(self) -> SessionSpace:
        """What the policy reads and acts on."""
        return self._space

    @property
    def config(self) -> Any:
        """The policy's own config."""
        return self._config

    @property
    def head(self) -> nn.Module:
        """The network."""
        return self.module[0].module  # type: ignore[return-value]

    @property
    def observation_key(self) -> NestedKey:
        """Where a batch holds the observation."""
        return self._observation_key

    @property
    def action_key(self) -> NestedKey:
        """Where a batch holds the action."""
        return self.out_keys[-1]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def get_dist(self, tensordict: TensorDictBase, *args: Any, **kwargs: Any) -> Any:
        """Return the `PolicyDistribution` of a batch, which is left as it is; TorchRL would write into it."""
        return super().get_dist(tensordict.copy(), *args, **kwargs)

    def require_fits(self, space: SessionSpace, own: str, others: str) -> None:
        """Refuse sessions that the policy would misread, or whose slates have another size than its own.

        Args:
            space: of the world or log that the policy meets.
            own: what the policy is called in the message.
            others: what the world or log is called.

        Raises:
            InvalidInput: naming what differs and what would fit.
        """
        self._space.require_like(space, own, others, slate_size=self.action_kind == "slate")

    # --- as plain arrays

    @property
    @abstractmethod
    def num_draws(self) -> int:
        """How many uniforms `play` takes for each session."""

    @abstractmethod
    def play(self, batch: TensorDictBase, uniforms: np.ndarray) -> Played:
        """Return sampled actions, which the uniforms fix, with their exact log-probabilities.

        Args:
            batch: holds the observations, on the policy's device.
            uniforms: [B, num_draws] in (0, 1).
        """

    @abstractmethod
    def judge(self, batch: TensorDictBase, action: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the log-probability of any actions, [B] float64, and of their prefixes [B, K], or None for protos.

        A slate with empty positions, as read-in logs have them, is as probable as its items, in order.

        Args:
            batch: holds the observations, on the policy's device.
            action: [B, K] integer slates, -1 in an empty position, or [B, d] proto-actions.
        """

    def next_item_log_prob(self, batch: TensorDictBase, prefix: np.ndarray) -> np.ndarray:
        """Return the log-probability of each item to stand next in the slate, [B, N] float64 nats.

        Args:
            batch: holds the observations, on the policy's device.
            prefix: [B, k] integers, the slate's first k < K items, all different.

        Raises:
            InvalidInput: from a policy that does not fill a slate item by item.
        """
        raise InvalidInput(
            f"a {POLICIES.name_of(type(self))} policy does not say how it fills single positions of a slate; mix it "
            "per step or per session, or choose a plackett_luce policy"
        )

    @torch.no_grad()
    def best(self, batch: TensorDictBase) -> np.ndarray:
        """Return the actions of the deterministic policy, [B, K] int32 slates or [B, d] float32 proto-actions.

        Args:
            batch: holds the observations, on the policy's device.
        """
        action = self.get_dist(batch).mode
        return action.cpu().numpy().astype(np.int32 if self.action_kind == "slate" else np.float32)

    def slates(self, action: np.ndarray, observation: Observation) -> np.ndarray:
        """Return the slates that actions show, [B, K] int32.

        Args:
            action: [B, K] or [B, d].
            observation: of the same sessions.
        """
        return action

    def act(
        self,
        observation: Mapping[str, np.ndarray] | Visit | Sequence[Visit],
        *,
        deterministic: bool = True,
        rng: np.random.Generator | None = None,
        unknown: Unknown = "refuse",
    ) -> np.ndarray:
        """Return the slate to show, [K], or [B, K] for a batch of sessions.

        Args:
            observation: what the environment gave, single or vector, for a slate of item indices, int32; or what a
                server knows of a user, or of several, for one of ids: `Visit`.
            deterministic: take the most probable action (of a Gaussian its mean); otherwise sample.
            rng: where samples come from; None for one that is seeded by the operating system.
            unknown: what is done with ids in visits that no item has: refuse them, or skip them.

        Raises:
            InvalidInput: for an observation of another space, or a visit that cannot be read.
        """
        if not isinstance(observation, Mapping):
            visits = [observation] if isinstance(observation, Visit) else observation
            require(
                isinstance(visits, Sequence) and all(isinstance(visit, Visit) for visit in visits),
                f"observation is a {type(observation).__name__}; pass the environment's dict of arrays, without a "
                "wrapper that changes it, or Visit(events, step) of each user",
            )
            serving = self._space.serving
            slates = serving.ids_of(self._act(serving.observe(visits, unknown=unknown), deterministic, rng))
            return slates[0] if isinstance(observation, Visit) else slates
        single = np.ndim(observation.get("history_items", [[]])) == 1
        many = {
            name: np.asarray(values)[None] if single else np.asarray(values) for name, values in observation.items()
        }
        slates = self._act(many, deterministic, rng)
        return slates[0] if single else slates

    def _act(
        self, observation: Mapping[str, np.ndarray], deterministic: bool, rng: np.random.Generator | None
    ) -> np.ndarray:
        batch = self._space.batch(observation, self.device)
        if deterministic:
            action = self.best(batch)
        else:
            rng = rng or np.random.default_rng()
            draws = rng.random((len(batch), self.num_draws))
            # Inside (0, 1): a Gaussian's quantile of either end is infinite.
            action = self.play(batch, np.clip(draws, 1e-12, 1.0 - 1e-12)).action
        return self._filled(self.slates(action, dict(observation)), observation)

    def _filled(self, slates: np.ndarray, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return slates [B, K] whose first item stands again where a step offers no more: a copy is not shown."""
        missing = self._space.slate_size - slates.shape[1]
        if not missing and self._space.offer is None and slates.min(initial=0) >= 0:
            return slates
        slates = np.pad(slates, ((0, 0), (0, missing)), constant_values=-1)
        empty = slates < 0
        if self._space.offer == "available":
            empty |= np.take_along_axis(np.asarray(observation["available"]), np.maximum(slates, 0), axis=1) <= 0
        return np.where(empty, slates[:, :1], slates)

    # --- for fitted Q evaluation

    def action_cache(self, batch: TensorDictBase, generator: torch.Generator) -> Tensor:
        """Return what fixes the actions that the policy may take, [B, m]: a few sampled ones; see `cached_actions`.

        Args:
            batch: holds the observations, on the policy's device.
            generator: of samples, on the CPU.
        """
        shape = (NUM_CACHED, len(batch), self.num_draws)
        # Float64, whose neighbour of 1 is nearer than 1e-12, and inside (0, 1): a quantile of either end is infinite.
        uniforms = torch.rand(shape, generator=generator, dtype=torch.float64).clamp(1e-12, 1.0 - 1e-12).numpy()
        actions = [self.play(batch, draws).action for draws in uniforms]
        return torch.from_numpy(np.concatenate(actions, axis=1))

    def cached_actions(self, cache: Tensor, generator: torch.Generator) -> Tensor:
        """Return a few actions of the policy for each session, [P, B, ...], of which means are unbiased.

        Args:
            cache: [B, m], rows of what `action_cache` returned.
            generator: of samples, on the CPU.
        """
        actions = cache.unflatten(1, (NUM_CACHED, -1)).movedim(1, 0)
        return actions.long() if self.action_kind == "slate" else actions


def make_policy(space: SessionSpace, config: Any, *, seed: int = 0, **keys: NestedKey) -> Policy:
    """Return a fresh policy.

    Args:
        space: what it reads and acts on.
        config: of a policy, which it chooses.
        seed: of the initial weights; the global generator is left as it was.
        **keys: `observation_key` and `action_key` of `Policy`.
    """
    with seeded(seed):
        return POLICIES.part_of(config)(space, config, **keys)  # type: ignore[call-arg]


def _nested(key: NestedKey, name: str) -> NestedKey:
    return (*((key,) if isinstance(key, str) else key), name)
