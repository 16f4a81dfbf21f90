"""What every wrapper of RecSession's environments shares: whom it may wrap, what it finds there, batches of one."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Final, Literal

import gymnasium
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from recenv.engine.session_batch import Observation
from recenv.errors import InvalidInput, require, unknown_name
from recenv.item_codes.semantic_ids import SemanticIdConfig, SemanticIds
from recenv.world import World

Task = Literal["actions", "one item", "observations"]
_REASONS: Final[dict[Task, str]] = {
    "actions": "ProtoAction makes a slate of a point, CandidateAction of places among the candidates, and "
    "SemanticIdAction of codes",
    "one item": "SingleItemAction makes the slate of one item an integer, outside what else changes actions",
    "observations": "FlatObservation makes features of the history, and HistoryTokens tokens",
}
# What may not be inside a wrapper of a task.
_REFUSED: Final[dict[Task, tuple[Task, ...]]] = {
    "actions": ("actions", "one item"),
    "one item": ("one item",),
    "observations": ("observations",),
}

SUBSETS: Final = ("candidates", "available")
"""Observations that name the items which a step may show; candidates are available."""


class VectorForm(VectorWrapper):
    """A vector wrapper that says how it resets, in the attribute that TorchRL looks for."""

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """When a session that ended starts again."""
        return self.env.metadata["autoreset_mode"]


def check_wrapped(name: str, task: Task, env: object, *, vector: bool = False) -> None:
    """Refuse an environment of the other form, and a second wrapper of the same task.

    Args:
        name: of the wrapper's single form.
        task: what it changes; each wrapper class has it as an attribute.
        env: what is to be wrapped.
        vector: whether the wrapper is the vector form.

    Raises:
        InvalidInput: naming the wrapper that fits, where there is one.
    """
    own, other = (f"Vector{name}", name) if vector else (name, f"Vector{name}")
    if not isinstance(env, VectorEnv if vector else gymnasium.Env):
        takes = f"{own} takes a {'vector' if vector else 'single'} environment"
        if isinstance(env, gymnasium.Env | VectorEnv):
            raise InvalidInput(f"{takes} and env={env} is a {'single' if vector else 'vector'} one; use {other}")
        raise InvalidInput(f"{takes}, not a {type(env).__name__}; pass a RecSession environment")
    inner: Any = env
    while isinstance(inner, gymnasium.Wrapper | VectorWrapper):
        found: Task | None = getattr(type(inner), "task", None)
        if found in _REFUSED[task]:
            raise InvalidInput(f"{own} cannot wrap env={env}: {_REASONS[found]}; use one of them, once")
        inner = inner.env


def rows_of_one(observation: Observation) -> Observation:
    """Return a batch of one observation."""
    return {name: values[None] for name, values in observation.items()}


def world_of(env: gymnasium.Env | VectorEnv) -> World:
    """Return the world of a RecSession environment.

    Raises:
        InvalidInput: for another environment.
    """
    world = getattr(env.unwrapped, "world", None)
    if not isinstance(world, World):
        raise InvalidInput(
            f"env={env!r} has no catalogue; pass a RecSessionEnv or RecSessionVectorEnv, perhaps wrapped "
            "(of a SyncVectorEnv or AsyncVectorEnv, wrap the single environments)"
        )
    return world


def single_spaces(env: gymnasium.Env | VectorEnv, *names: str) -> dict[str, spaces.Space]:
    """Return the spaces of an observation by name.

    Args:
        env: single or vector environment.
        *names: entries that must be there.

    Raises:
        InvalidInput: naming one that a wrapper has taken away.
    """
    space = env.single_observation_space if isinstance(env, VectorEnv) else env.observation_space
    given = dict(space.spaces) if isinstance(space, spaces.Dict) else {}
    for name in names:
        require(
            name in given,
            f"env={env!r} has no observation {name!r}; put this wrapper inside the one that took it away",
        )
    return given


def require_subsets(env: gymnasium.Env | VectorEnv) -> None:
    """Refuse an environment that limits what a step may show where a wrapper hides the limits.

    Raises:
        InvalidInput: naming the entry that is hidden.
    """
    single_spaces(env, *(name for name in SUBSETS if name in single_spaces(env.unwrapped)))


def resolve_ids(world: World, ids: SemanticIds | None, options: dict[str, Any]) -> SemanticIds:
    """Return the codes of a world's items: those given, or fitted ones.

    Args:
        world: the world.
        ids: given codes, or None.
        options: fields of `SemanticIdConfig`, to fit them.
    """
    known = [field.name for field in fields(SemanticIdConfig)]
    for name in options:
        if name not in known:
            raise unknown_name("semantic ID option", name, known)
    if ids is None:
        return SemanticIds.fit(world.catalog, SemanticIdConfig(**options))
    require(
        not options,
        f"options {', '.join(options)} were given beside ids, which have their own; leave one of the two out",
    )
    require(
        isinstance(ids, SemanticIds) and ids.are_of(world.catalog),
        f"ids of type {type(ids).__name__} are not the codes of these {world.catalog.num_items} items; pass what "
        "SemanticIds.fit(catalog, config) returned",
    )
    return ids
