"""An observation whose history is tokens; see `HistoryTokens`."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import VectorEnv

from recenv.engine.session_batch import Observation
from recenv.envs.wrapper_parts import resolve_ids, single_spaces, world_of
from recenv.errors import require, unknown_name
from recenv.item_codes.semantic_ids import SemanticIds


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
        world = world_of(env)
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
            self.ids = resolve_ids(world, ids, options)
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
