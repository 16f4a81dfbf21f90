"""What the wrappers make slates of, over a batch: points, places among the candidates, codes; see `action_wrappers`."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from recenv.engine.session_batch import Observation
from recenv.envs.semantic_id_space import SemanticIdSpace
from recenv.envs.wrapper_parts import require_subsets, resolve_ids, world_of
from recenv.errors import InvalidInput, unknown_name
from recenv.item_codes.semantic_ids import SemanticIds, offered_items
from recenv.kernels import njit


class SlateView(Protocol):
    """What makes slates of a batch of actions."""

    takes: ClassVar[tuple[str, str]]
    """What one action is, and several, for messages."""
    kinds: ClassVar[str]
    """Kinds of dtype that an action may have, as numpy writes them."""

    @property
    def space(self) -> spaces.Space:
        """Of one action."""
        ...

    def slates(self, actions: np.ndarray, subset: Observation, /) -> np.ndarray:
        """Return the slates of actions: [B, K] int32.

        Args:
            actions: one a session, of a shape and kind that were checked.
            subset: the `candidates` or the `available` of the observation, or neither.
        """
        ...


class MaskedView(SlateView, Protocol):
    """What knows besides which actions the step allows."""

    mask_shape: tuple[int, ...]
    """Of one mask where an info tells it."""

    def masks(self, subset: Observation, batch_size: int, /) -> np.ndarray:
        """Return which numbers each entry of an action may be, end to end: [B, sum of the entries' sizes] bool."""
        ...


class NearestItems:
    """Slates from points of the embedding space: the nearest items of those that a step may show.

    Args:
        env: a `RecSessionEnv` or `RecSessionVectorEnv`, perhaps wrapped.

    Attributes:
        space: of one point.
    """

    takes: ClassVar[tuple[str, str]] = ("a proto-action", "proto-actions")
    kinds: ClassVar[str] = "iuf"

    def __init__(self, env: gymnasium.Env | VectorEnv) -> None:
        self._world = world_of(env)
        require_subsets(env)
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


class CandidatePlaces:
    """Slates from places among the candidates, where a place that is taken gives way to the next free one.

    Args:
        env: a `RecSessionEnv` or `RecSessionVectorEnv`, perhaps wrapped.

    Attributes:
        space: of one slate's places.
        mask_shape: (K, C).
    """

    takes: ClassVar[tuple[str, str]] = ("integer places", "integer places")
    kinds: ClassVar[str] = "iu"

    def __init__(self, env: gymnasium.Env | VectorEnv) -> None:
        world = world_of(env)
        require_subsets(env)
        self._every = np.arange(world.catalog.num_items, dtype=np.int32)[None]
        self._num_places = world.config.num_candidates or world.catalog.num_items
        self._slate_size = world.config.slate_size
        self.space = spaces.MultiDiscrete([self._num_places] * self._slate_size)
        self.mask_shape = (self._slate_size, self._num_places)

    def slates(self, places: np.ndarray, subset: Observation) -> np.ndarray:
        """Return the items at the places, or at the next free ones: [B, K] int32.

        Args:
            places: [B, K] integers.
            subset: the `candidates` or the `available` of the observation, or neither.

        Raises:
            InvalidInput: for a place out of range.
        """
        outside = np.argwhere((places < 0) | (places >= self._num_places))
        if len(outside):
            session, position = outside[0]
            raise InvalidInput(
                f"action holds place {places[session, position]} at slate position {position}; places lie in "
                f"[0, {self._num_places - 1}]"
            )
        slates = np.empty(places.shape, np.int32)
        _fill_slates(places.astype(np.int64), self._offers(subset), slates)
        return slates

    def masks(self, subset: Observation, batch_size: int) -> np.ndarray:
        """Return which places hold an item: [B, K * C] bool.

        Args:
            subset: the `candidates` or the `available` of the observation, or neither.
            batch_size: B.
        """
        held = self._offers(subset) >= 0
        return np.tile(np.broadcast_to(held, (batch_size, held.shape[1])), (1, self._slate_size))

    def _offers(self, subset: Observation) -> np.ndarray:
        """Return the item at each place, -1 for none: [B or 1, C] int32."""
        if "candidates" in subset:
            return subset["candidates"]
        if "available" in subset:
            return np.where(subset["available"] > 0, self._every, np.int32(-1))
        return self._every


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
        mask_shape: (K * (sum of level_sizes),).
    """

    takes: ClassVar[tuple[str, str]] = ("integer tokens", "integer tokens")
    kinds: ClassVar[str] = "iu"

    def __init__(
        self, env: gymnasium.Env | VectorEnv, ids: SemanticIds | None, invalid: str, options: dict[str, Any]
    ) -> None:
        if invalid not in ("raise", "nearest"):
            raise unknown_name("invalid", invalid, ("raise", "nearest"))
        world = world_of(env)
        require_subsets(env)
        self.ids = resolve_ids(world, ids, options)
        self._refuses = invalid == "raise"
        self.space = SemanticIdSpace(self.ids, world.config.slate_size, every_code=not self._refuses)
        self._slate_size = world.config.slate_size
        # Where the tokens of each level begin in a mask.
        self._offsets = np.cumsum([0, *self.ids.level_sizes])
        self.mask_shape = (self._slate_size * int(self._offsets[-1]),)
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


@njit(cache=True, error_model="numpy", nogil=True)
def _fill_slates(places, offers, slates):
    # taken[c] is the last session that took place c; where none is free, the position repeats an item and stays empty.
    batch_size, num_positions = places.shape
    num_places = offers.shape[1]
    taken = np.full(num_places, -1)
    for b in range(batch_size):
        own = offers[min(b, offers.shape[0] - 1)]
        for k in range(num_positions):
            place = places[b, k]
            for _ in range(num_places):
                if own[place] >= 0 and taken[place] != b:
                    break
                place = place + 1 if place + 1 < num_places else 0
            taken[place] = b
            slates[b, k] = max(own[place], 0)
