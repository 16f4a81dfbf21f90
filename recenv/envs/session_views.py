"""What the wrappers do to actions and observations, over a batch; see the wrappers beside it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv
from gymnasium.vector.utils import batch_space

from recenv.engine.session_batch import Observation
from recenv.errors import InvalidInput, require, unknown_name
from recenv.item_codes.semantic_ids import SemanticIdConfig, SemanticIds, offered_items
from recenv.world import World

# Observations that name the items which a step may show; candidates are available.
SUBSETS: Final = ("candidates", "available")


class NearestItems:
    """Slates from points of the embedding space: the nearest items of those that a step may show.

    Args:
        env: a `RecSessionEnv` or `RecSessionVectorEnv`, perhaps wrapped.

    Attributes:
        space: of one point.
    """

    def __init__(self, env: gymnasium.Env | VectorEnv) -> None:
        self._world = env_world(env)
        _require_subsets(env)
        self.space = spaces.Box(-1.0, 1.0, (self._world.catalog.embedding_dim,), np.float32)

    def slates(self, protos: np.ndarray, subset: Observation) -> np.ndarray:
        """Return the items nearest to each point: [B, K] int32.

        Args:
            protos: [B, d].
            subset: the `candidates` or the `available` of the observation, or neither.

        Raises:
            InvalidInput: for a number that is not finite.
        """
        return self._world.catalog.nearest_items(protos, self._world.config.slate_size, **subset)


class CodedItems:
    """Slates from semantic IDs, one a position, and the mask of the tokens that an item has.

    Args:
        env: a `RecSessionEnv` or `RecSessionVectorEnv`, perhaps wrapped.
        ids: codes of its items, or None to fit them.
        invalid: "raise" or "nearest", what becomes of a code that names no item.
        options: fields of `SemanticIdConfig`, to fit them.

    Attributes:
        ids: the codes.
        space: of one slate.
    """

    def __init__(
        self, env: gymnasium.Env | VectorEnv, ids: SemanticIds | None, invalid: str, options: dict[str, Any]
    ) -> None:
        if invalid not in ("raise", "nearest"):
            raise unknown_name("invalid", invalid, ("raise", "nearest"))
        world = env_world(env)
        _require_subsets(env)
        self.ids = _resolve_ids(world, ids, options)
        self._refuses = invalid == "raise"
        self.space = SemanticIdSpace(self.ids, world.config.slate_size, every_code=not self._refuses)
        self._slate_size = world.config.slate_size
        # Where the tokens of each level begin in a mask.
        self._offsets = np.cumsum([0, *self.ids.level_sizes])
        self._all = np.zeros((1, self._offsets[-1]), np.bool_)
        self._all[0, (self.ids.codes + self._offsets[:-1]).reshape(-1)] = True

    def slates(self, codes: np.ndarray, subset: Observation) -> np.ndarray:
        """Return the items that the codes name, or lead nearest to: [B, K] int32.

        Args:
            codes: [B, K * L] integers.
            subset: the `candidates` or the `available` of the observation, or neither.

        Raises:
            InvalidInput: for a code that names no item, where such are refused, or a token out of range.
        """
        tree = self.ids.tree
        codes = codes.reshape(len(codes), self._slate_size, tree.num_levels)
        if not self._refuses:
            return self.ids.nearest_items(codes, **subset)
        items = tree.items(codes)
        if items.min() >= 0:
            return items
        session, position = np.argwhere(items < 0)[0]
        code = codes[session, position]
        nodes = [int(tree.walk(code[None, :length])[0]) for length in range(tree.num_levels + 1)]
        level = nodes.index(-1) - 1
        count = int(tree.mask(np.array(nodes[level : level + 1]), level).sum())
        raise InvalidInput(
            f"action holds code {code.tolist()} at slate position {position}, which names no item: after "
            f"{code[:level].tolist()} token {code[level]} is not one of the {count} valid ones; choose from "
            "ids.tree.next_tokens(prefixes), level by level, or wrap with invalid='nearest'"
        )

    def masks(self, subset: Observation, batch_size: int) -> np.ndarray:
        """Return which tokens some item has that the step may show: [B, K * (sum of level_sizes)] bool.

        Args:
            subset: the `candidates` or the `available` of the observation, or neither.
            batch_size: B.
        """
        if not subset:
            return np.tile(self._all, (batch_size, self._slate_size))
        items, counts = offered_items(batch_size, **subset)
        indices = np.repeat(np.arange(batch_size), counts)
        masks = np.zeros((batch_size, self._offsets[-1]), np.bool_)
        masks[indices[:, None], self.ids.codes[items] + self._offsets[:-1]] = True
        return np.tile(masks, (1, self._slate_size))


class TokenHistory:
    """The observation with `history_tokens` in the place of `history_items`.

    Args:
        env: a `RecSessionEnv` or `RecSessionVectorEnv`, perhaps wrapped.
        tokens: "items" or "semantic".
        ids: codes of its items, or None to fit them.
        options: fields of `SemanticIdConfig`, to fit them.

    Attributes:
        space: of one session's observation.
        ids: the codes, or None for item tokens.
        num_tokens: size of the vocabulary, padding included.
    """

    def __init__(
        self, env: gymnasium.Env | VectorEnv, tokens: str, ids: SemanticIds | None, options: dict[str, Any]
    ) -> None:
        if tokens not in ("items", "semantic"):
            raise unknown_name("tokens", tokens, ("items", "semantic"))
        given = single_spaces(env, "history_items")
        world = env_world(env)
        self.ids: SemanticIds | None = None
        # [N + 1, tokens of an item]: the last row, which -1 picks, is the padding.
        if tokens == "items":
            require(
                ids is None and not options,
                "tokens='items' takes no ids and no options of theirs; leave them out, or pass tokens='semantic'",
            )
            table = np.arange(1, world.catalog.num_items + 1)[:, None]
            self.num_tokens = world.catalog.num_items + 1
        else:
            self.ids = _resolve_ids(world, ids, options)
            offsets = np.cumsum([1, *self.ids.level_sizes])
            table = self.ids.codes + offsets[:-1]
            self.num_tokens = int(offsets[-1])
        self._table = np.concatenate([table, np.zeros_like(table[:1])]).astype(np.int32)
        (length,) = given["history_items"].shape or (0,)
        self.space = spaces.Dict(
            {
                **{name: space for name, space in given.items() if name != "history_items"},
                "history_tokens": spaces.Box(0, self.num_tokens - 1, (length * self._table.shape[1],), np.int32),
            }
        )

    def observe(self, observation: Observation) -> Observation:
        """Return the observation with the tokens, [B, H] or [B, H * L] int32, in the place of the items.

        Args:
            observation: of B sessions.
        """
        items = observation["history_items"]
        rest = {name: values for name, values in observation.items() if name != "history_items"}
        return {**rest, "history_tokens": self._table[items].reshape(len(items), -1)}


class SemanticIdSpace(spaces.MultiDiscrete):
    """The slates of semantic IDs: K codes of L tokens end to end, of which `sample` draws only ones that name items.

    Args:
        ids: the codes.
        slate_size: K.
        num_envs: B for the space of a batch, [B, K * L]; None for one slate, [K * L].
        every_code: whether it contains codes that name no item.
        seed: of `sample`.
    """

    def __init__(
        self,
        ids: SemanticIds,
        slate_size: int,
        num_envs: int | None = None,
        every_code: bool = False,
        seed: int | np.random.Generator | None = None,
    ) -> None:
        self.ids = ids
        self.slate_size = slate_size
        self.every_code = every_code
        self._lanes = () if num_envs is None else (num_envs,)
        super().__init__(np.tile(np.array(ids.level_sizes), (*self._lanes, slate_size)), seed=seed)

    def sample(self, mask: Any = None, probability: Any = None) -> np.ndarray:
        """Return codes of uniform items.

        Args:
            mask: which tokens may be drawn, as `MultiDiscrete` takes it (nested tuples of one array an entry) or end to
                end, as in `info["action_mask"]`. The items are then those that it allows every token of; where there
                is none, those that it allows the longest prefix of.
            probability: of each token; tokens are then drawn one by one, as Gymnasium does, and may name no item.

        Raises:
            InvalidInput: for a mask of another size.
        """
        if probability is not None:
            return super().sample(mask, probability)
        if mask is None:
            items = self.np_random.integers(len(self.ids.codes), size=(*self._lanes, self.slate_size))
        else:
            items = np.array([self._allowed_item(allowed) for allowed in self._masks(mask)])
        return self.ids.codes[items].reshape(self.nvec.shape).astype(self.dtype)

    def _masks(self, mask: Any) -> np.ndarray:
        """Return the mask of each position: [B * K, sum of level_sizes] bool."""
        flat = np.concatenate(list(_leaves(mask))).astype(np.bool_)
        width = sum(self.ids.level_sizes)
        require(
            flat.size == self.nvec.sum(),
            f"mask holds {flat.size} values; pass one for each of the {self.nvec.sum()} tokens of all positions",
        )
        return flat.reshape(-1, width)

    def _allowed_item(self, allowed: np.ndarray) -> int:
        offsets = np.cumsum([0, *self.ids.level_sizes[:-1]])
        lengths = np.logical_and.accumulate(allowed[self.ids.codes + offsets], axis=1).sum(axis=1)
        return int(self.np_random.choice(np.flatnonzero(lengths == lengths.max())))

    def contains(self, x: Any) -> bool:
        """Return whether every code of `x` names an item, or, where every code is allowed, has tokens in range."""
        if not super().contains(x):
            return False
        if self.every_code:
            return True
        return bool((self.ids.tree.items(np.reshape(x, (-1, len(self.ids.level_sizes)))) >= 0).all())


@batch_space.register(SemanticIdSpace)
def _batch_of_semantic_ids(space: SemanticIdSpace, n: int = 1) -> SemanticIdSpace:
    return SemanticIdSpace(space.ids, space.slate_size, n, space.every_code, space.np_random)


def _leaves(mask: Any) -> Iterator[np.ndarray]:
    """Yield the arrays of nested tuples, each flat."""
    if isinstance(mask, tuple):
        for part in mask:
            yield from _leaves(part)
    else:
        yield np.reshape(mask, -1)


def env_world(env: gymnasium.Env | VectorEnv) -> World:
    """Return the world of a `RecSessionEnv` or `RecSessionVectorEnv`, perhaps wrapped, or refuse others."""
    world = getattr(env.unwrapped, "world", None)
    if not isinstance(world, World):
        raise InvalidInput(
            f"env={env!r} has no catalogue; pass a RecSessionEnv or RecSessionVectorEnv, perhaps wrapped "
            "(of a SyncVectorEnv or AsyncVectorEnv, wrap the single environments)"
        )
    return world


def single_spaces(env: gymnasium.Env | VectorEnv, *names: str) -> dict[str, spaces.Space]:
    """Return the spaces of an observation by name, which must have `names`."""
    space = env.single_observation_space if isinstance(env, VectorEnv) else env.observation_space
    given = dict(space.spaces) if isinstance(space, spaces.Dict) else {}
    for name in names:
        require(
            name in given,
            f"env={env!r} has no observation {name!r}; put this wrapper inside the one that took it away",
        )
    return given


def _require_subsets(env: gymnasium.Env | VectorEnv) -> None:
    """Refuse an environment that limits what a step may show where a wrapper hides the limits."""
    single_spaces(env, *(name for name in SUBSETS if name in single_spaces(env.unwrapped)))


def _resolve_ids(world: World, ids: SemanticIds | None, options: dict[str, Any]) -> SemanticIds:
    known = [field.name for field in fields(SemanticIdConfig)]
    for name in options:
        if name not in known:
            raise unknown_name("semantic ID option", name, known)
    if ids is None:
        return SemanticIds.fit(world.catalog, SemanticIdConfig(**options))
    require(not options, f"options={options!r} were given beside ids, which have their own; leave one of the two out")
    require(
        isinstance(ids, SemanticIds) and ids.are_of(world.catalog),
        f"ids of type {type(ids).__name__} are not the codes of these {world.catalog.num_items} items; pass what "
        "SemanticIds.fit(catalog, config) returned",
    )
    return ids
