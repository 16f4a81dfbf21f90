"""The space of slates of semantic IDs, whose samples name items."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space

from recenv.errors import require
from recenv.item_codes.semantic_ids import SemanticIds


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
