"""Logging policies with the exact log-probability of what they did; `BEHAVIORS` finds them by name.

A behavior policy is built from a world and a JSON-able spec, acts on a batch of sessions, and draws nothing itself: its
uniforms are passed in, from the stream `BEHAVIOR` of each session's behavior seed. What it knows of a session besides
the step at hand lies in a row of memory that its caller keeps: zeros at the session's start, shown to `remember` once a
step before anything else is asked.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np

from offline_data.families import BEHAVIORS
from recenv.dynamics.kernel_groups import State
from recenv.engine.session_batch import Observation, SessionBatch
from recenv.errors import InvalidInput, require, unknown_name
from recenv.families import USER_MODELS
from recenv.plain_config import from_plain, to_plain
from recenv.session_config import SessionConfig
from recenv.world import World

ActionKind = Literal["slate", "proto"]
ACTION_KINDS: Final = ("slate", "proto")
NOISES: Final = ("uniform", "popularity", "clickbait", "stale", "adversarial")
"""The behavior policies that the quality dial calls noise."""
WORLD_EXPERT: Final = "world_expert"
"""The name by which a spec means the expert of whichever world it acts in; its further fields alter that expert."""


@dataclass(frozen=True)
class SessionView:
    """What a behavior policy sees of B sessions at one step.

    Examples:
        >>> import numpy as np
        >>> from offline_data import SessionView
        >>> from recenv import SessionBatch, SessionConfig, make_world
        >>> batch = SessionBatch(make_world(SessionConfig()), num_sessions=2)
        >>> batch.start(np.arange(2), np.array([7, 8], np.uint64), np.zeros(2, np.uint64))
        >>> sorted(SessionView.of(batch).user_state)
        ['budget', 'interest', 'satiation']
    """

    observation: Observation
    """What any agent sees; arrays with leading axis B."""
    user_state: State
    """The hidden state, for oracles."""
    steps: np.ndarray
    """[B] uint64, steps taken so far."""
    last_slate: np.ndarray | None = None
    """[B, K] int32, the slate submitted at the previous step, -1 at a session's start; None where nobody keeps it."""

    @staticmethod
    def of(batch: SessionBatch, last_slate: np.ndarray | None = None) -> SessionView:
        """Return the view of a batch of sessions, until its next step.

        Args:
            batch: B sessions.
            last_slate: see the class.
        """
        return SessionView(batch.observe(), batch.state, batch.steps, last_slate)

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

    def take(self, indices: np.ndarray | slice) -> SessionView:
        """Return the view of the sessions at `indices`, an index array or a slice."""
        return SessionView(
            {name: values[indices] for name, values in self.observation.items()},
            {name: values[indices] for name, values in self.user_state.items()},
            self.steps[indices],
            None if self.last_slate is None else self.last_slate[indices],
        )


@dataclass(frozen=True)
class Decision:
    """What a behavior policy did.

    Examples:
        >>> from dataclasses import fields
        >>> from offline_data import Decision
        >>> [field.name for field in fields(Decision)]
        ['action', 'log_prob', 'prefix_log_prob', 'component']
    """

    action: np.ndarray
    """[B, K] int32 slates or [B, d] float32 proto-actions."""
    log_prob: np.ndarray
    """[B] float64 nats, of the whole action."""
    prefix_log_prob: np.ndarray | None
    """[B, K] float64 nats, of the first 1, 2, ... K items; None for proto-actions."""
    component: np.ndarray
    """[B] int8, which component of a mixture acted, or [B, K] where each position draws its own; the latent label. 0
    outside a mixture."""


class BehaviorPolicy(ABC):
    """A logging policy over one world.

    Args:
        world: the world.
        config: an instance of the class's `Config`.
        action_kind: "slate" (a mass) or "proto" (a density over embedding space).

    Attributes:
        Config: frozen dataclass of the policy's parameters.
        action_kinds: which kinds of action the policy has.
        examples: optional, options with which `offline_data.testing.check_behavior` makes it in worlds of three
            dimensions; a class without runs by its defaults.
        num_memory: float64 columns that the policy keeps for each session; zero at the session's start.

    Examples:
        >>> from offline_data import make_behavior
        >>> from recenv import SessionConfig, make_world
        >>> policy = make_behavior(make_world(SessionConfig()), {"name": "clickbait"})
        >>> policy.action_kind, policy.num_memory
        ('slate', 0)
    """

    Config: ClassVar[type]
    action_kinds: ClassVar[tuple[ActionKind, ...]] = ACTION_KINDS
    num_memory: int = 0

    def __init__(self, world: World, config: Any, action_kind: ActionKind) -> None:
        self.world = world
        self.config = config
        self.action_kind: ActionKind = action_kind

    @classmethod
    def default_action_kind(cls, config: Any) -> ActionKind:
        """Return the kind of action where none is asked for: of a policy that has both, slates.

        Args:
            config: an instance of the class's `Config`.
        """
        return cls.action_kinds[0]

    @property
    def num_draws(self) -> int:
        """How many uniforms a step takes: by default one a position, or two a pair of coordinates."""
        dim = self.world.catalog.embedding_dim
        return self.world.config.slate_size if self.action_kind == "slate" else dim + dim % 2

    def remember(self, view: SessionView, memory: np.ndarray) -> None:  # noqa: B027 (most policies have no memory)
        """Take in what came of the last step; called once a step of every session, whoever acts in it.

        Args:
            view: B sessions.
            memory: [B, num_memory] float64, updated in place.
        """

    @abstractmethod
    def act(self, view: SessionView, draws: np.ndarray, memory: np.ndarray) -> Decision:
        """Return an action for each session.

        Args:
            view: B sessions.
            draws: [B, num_draws] uniforms in (0, 1).
            memory: [B, num_memory] float64, after `remember`; a mixture per session writes its posterior here.
        """

    @abstractmethod
    def log_prob(
        self, view: SessionView, action: np.ndarray, memory: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the log-probability of any action in nats, whole [B] and by prefix [B, K], or None for protos.

        Args:
            view: B sessions.
            action: [B, K] integer slates or [B, d] proto-actions.
            memory: [B, num_memory] float64, after `remember`; only read.
        """

    def next_item_log_prob(self, view: SessionView, prefix: np.ndarray, memory: np.ndarray) -> np.ndarray:
        """Return the log-probability of each item to stand next in the slate, [B, N] float64 nats.

        Args:
            view: B sessions.
            prefix: [B, k] integers, the slate's first k < K items, all different.
            memory: [B, num_memory] float64, after `remember`; only read.

        Returns:
            Rows that sum to one; minus infinity for an item that is taken or not offered.

        Raises:
            InvalidInput: from a policy that does not fill a slate item by item.
        """
        raise InvalidInput(
            f"{type(self).__name__} does not say how it fills single positions of a slate; "
            "give it next_item_log_prob, or mix it per step or per session"
        )


def make_behavior(
    world: World, spec: Mapping[str, Any] | str, action_kind: ActionKind | None = "slate"
) -> BehaviorPolicy:
    """Return the behavior policy of a JSON-able spec.

    Args:
        world: the world.
        spec: a registered name, or `{"name": ..., <fields of the policy's Config>}`; instead of a registered name,
            "MODULE:CLASS" of any `BehaviorPolicy` that can be imported, or "world_expert", the world's own expert.
        action_kind: "slate" or "proto"; None for slates where the policy has them.

    Raises:
        InvalidInput: for an unknown name, action kind or field, a class that is none, a value out of range, the expert
            of a world whose user model names none, or a policy that means nothing to it.
    """
    if action_kind not in (None, *ACTION_KINDS):
        raise unknown_name("action kind", action_kind, ACTION_KINDS)
    policy, config = _resolved(in_world(world.config, {"name": spec} if isinstance(spec, str) else spec))
    require_defined(world.config, spec)
    action_kind = action_kind or policy.default_action_kind(config)
    require(
        action_kind in policy.action_kinds,
        f"{policy.__name__} has no {action_kind} actions; pass action_kind={policy.action_kinds[0]!r}, or choose "
        "another behavior policy",
    )
    return policy(world, config, action_kind)


def expert_spec(config: SessionConfig) -> dict[str, Any]:
    """Return the spec of a world's expert: the oracle whose normalised score is 1.

    Each is the far-sighted oracle that `myopic_gap` found for the user model's own world, at its usual randomness.

    Args:
        config: the world's; its user model names the expert.

    Raises:
        InvalidInput: if it names none.
    """
    model = USER_MODELS.part_of(config.user_model)
    if model.expert is None:
        raise InvalidInput(
            f"the user model {model.__name__} names no expert, and no score has a 1 in its world; say which it is "
            "(`expert=`, --expert), or give the class an `expert`, the spec of its best far-sighted oracle"
        )
    return dict(model.expert)


def require_defined(config: SessionConfig, spec: Mapping[str, Any] | str) -> None:
    """Refuse a behavior policy that means nothing to the users of a world.

    Args:
        config: the world's; its user model says which those are.
        spec: see `make_behavior`.

    Raises:
        InvalidInput: saying why, and which noises there are.
    """
    model, name = USER_MODELS.part_of(config.user_model), spec if isinstance(spec, str) else spec.get("name")
    if name in model.undefined_behaviors:
        raise undefined(str(name), USER_MODELS.name_of(model), model.undefined_behaviors)


def default_noise(config: SessionConfig) -> str:
    """Return the noise that is meant where none is named: clickbait, or, where that is undefined, the first defined.

    Args:
        config: the world's; see `require_defined`.
    """
    refused = USER_MODELS.part_of(config.user_model).undefined_behaviors
    return next(noise for noise in ("clickbait", *NOISES) if noise not in refused)


def undefined(name: str, model: str, undefined_behaviors: Mapping[str, str]) -> InvalidInput:
    """Return the refusal of a behavior policy that means nothing to a user model.

    Args:
        name: the policy's.
        model: the user model's name.
        undefined_behaviors: the user model's.
    """
    defined = " or ".join(noise for noise in NOISES if noise not in undefined_behaviors)
    return InvalidInput(
        f"{name} is not defined for the user model {model!r}: {undefined_behaviors[name]}; choose {defined}"
    )


def in_world(config: SessionConfig, spec: Any) -> Any:
    """Return a spec of `WORLD_EXPERT` as that of the expert which the world has, any other as it is."""
    if isinstance(spec, Mapping) and spec.get("name") == WORLD_EXPERT:
        return {**expert_spec(config), **{key: value for key, value in spec.items() if key != "name"}}
    return spec


def pinned_spec(config: SessionConfig, spec: Any) -> Any:
    """Return a spec as a manifest holds it: plain values, "MODULE:CLASS" with its whole config, a file's checksum say.

    Args:
        config: of the world that it acts in.
        spec: see `make_behavior`; what it holds, the components of a mixture say, is pinned too.

    Raises:
        InvalidInput: for such a class or config that `make_behavior` refuses.
    """
    if isinstance(spec, np.ndarray | np.generic):
        return spec.tolist()
    if isinstance(spec, list | tuple):
        return [pinned_spec(config, part) for part in spec]
    if spec == WORLD_EXPERT:
        spec = {"name": spec}
    if not isinstance(spec, Mapping):
        return spec
    values = {key: pinned_spec(config, value) for key, value in in_world(config, spec).items()}
    if ":" not in str(values.get("name")):
        return values
    return {"name": values["name"], **to_plain(_resolved(values)[1])}


def _resolved(spec: Mapping[str, Any]) -> tuple[type[BehaviorPolicy], Any]:
    """Return the class of a spec, and its config."""
    require(isinstance(spec, Mapping), f"behavior spec {spec!r} is neither a name nor an object; pass one")
    config = from_plain(BEHAVIORS, spec)
    return BEHAVIORS.resolve(spec["name"]), config
