"""How the items of a catalogue are coded: by residual k-means, or by codes of one's own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import numpy as np

from recenv.errors import InvalidInput, require, require_range
from recenv.files.array_files import map_npy
from recenv.plain_numbers import settle_numbers

_MOST_TOKENS: Final = 65_536
"""Of a level; more only where there are more items."""
_MOST_NUMBERS: Final = 1 << 20
"""Of codes of one's own, as many as fit into the JSON that is read back."""


@dataclass(frozen=True)
class SemanticIdConfig:
    """How the items of a catalogue are coded.

    Examples:
        >>> import numpy as np
        >>> from recenv import SemanticIdConfig
        >>> SemanticIdConfig().num_codebooks
        3
        >>> SemanticIdConfig(codes=np.array([[0, 0], [0, 1], [1, 0]])).codes
        ((0, 0), (0, 1), (1, 0))
    """

    num_codebooks: int = 3
    """Levels of residual k-means; one more level tells apart the items that share all of them."""
    codebook_size: int = 16
    """Tokens of each of these levels."""
    num_rounds: int = 20
    """Most rounds of Lloyd's algorithm a level; it stops where no item changes its token."""
    points_per_token: int = 256
    """Centroids are fitted to at most this many times `codebook_size` items, drawn at random, and then every item gets
    its token."""
    seed: int = 0
    """Seed of the draws, in [0, 2**63)."""
    codes: Path | tuple[tuple[int, ...], ...] | None = None
    """Codes of one's own in place of fitted ones: an array [N, L] of integers, or the Path of a `.npy` file of one; a
    row an item in the items' order, no two equal, tokens of a level from 0. The other fields then stay as they are."""

    def __post_init__(self) -> None:
        settle_numbers(self)
        require_range("num_codebooks", self.num_codebooks, 1, 32, integer=True)
        require_range("codebook_size", self.codebook_size, 1, 65_536, integer=True)
        require_range("num_rounds", self.num_rounds, 0, 10_000, integer=True)
        require_range("points_per_token", self.points_per_token, 1, 2**31 - 1, integer=True)
        require_range("seed", self.seed, 0, 2**63 - 1, integer=True)
        if self.codes is None:
            return
        others = [entry.name for entry in fields(self)[:-1] if getattr(self, entry.name) != entry.default]
        require(
            not others,
            f"codes are given, and {' and '.join(others)} would say how they are fitted; leave one of the two out",
        )
        object.__setattr__(self, "codes", tuple(map(tuple, _checked(self.codes).tolist())))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain values, `codes` where they are given."""
        plain = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return plain if self.codes is not None else {name: plain[name] for name in plain if name != "codes"}


def _checked(codes: Any) -> np.ndarray:
    remedy = "pass integers of shape [num_items, L], L in [1, 33], a row an item"
    if isinstance(codes, str):  # which a stranger's file may say
        raise InvalidInput(f"codes={codes!r} is a text; {remedy}, or the Path of a .npy file of them")
    try:
        array = map_npy(codes) if isinstance(codes, Path) else np.asarray(codes)
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"codes is ragged; {remedy}") from error
    require(
        array.ndim == 2 and len(array) > 0 and 1 <= array.shape[1] <= 33 and array.dtype.kind in "iu",
        f"codes has shape {array.shape} and dtype {array.dtype}; {remedy}",
    )
    require(
        array.size <= _MOST_NUMBERS,
        f"codes has {array.size:,} tokens, and a policy's or a spec's JSON holds {_MOST_NUMBERS:,}; fit codes to so "
        "many items, or give fewer levels",
    )
    most = max(_MOST_TOKENS, len(array))
    outside = np.argwhere((array < 0) | (array >= most))
    if len(outside):
        item, level = outside[0].tolist()
        raise InvalidInput(
            f"codes holds token {array[item, level]} at level {level} of item {item}; number a level's tokens from 0, "
            f"below {most:,}"
        )
    return array
