"""What passes between the kernels of a step, in groups whose members have names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

State: TypeAlias = dict[str, np.ndarray]


class Response(NamedTuple):
    """What a user model and the pieces read of a step of B sessions besides their state, and what they write.

    Numba's cache tells this group by its name and its members' types, not by their names: an order changed among
    members of one type would be read wrongly by the cached kernels of other files. A test holds it.

    Examples:
        >>> from recenv import Response
        >>> Response._fields[:3], Response._fields[-2:]
        (('shown_items', 'clicked', 'draws'), ('left', 'returned'))
    """

    shown_items: np.ndarray
    """[B, K] int32 ids, -1 for an empty position."""
    clicked: np.ndarray
    """[B, C] int16, clicked positions in increasing order, then -1."""
    draws: np.ndarray
    """[B, at least num_response_draws] uniforms, the user model's first."""
    active: np.ndarray
    """[B] bool."""
    feedback: np.ndarray
    """[B, K, F] float32, zeros; written, its watch channel excepted."""
    rewards: np.ndarray
    """[B, M] float32, zeros; written, minutes excepted."""
    wanted: np.ndarray
    """[B, C] float64, written for each click: minutes that the user would watch with time without end, which pieces
    then cut to what is watched."""
    benefit: np.ndarray
    """[B, C] float64, written for each click: what the item gives back."""
    left: np.ndarray
    """[B] bool, written: the user leaves after this step."""
    returned: np.ndarray
    """[B] bool, written by what brings back who left: another session of the episode begins."""


def numbers_of(names: Sequence[str], config: Any) -> np.ndarray:
    """Return fields of a config as a record, [1] of float64 members: a kernel takes `numbers[0]["name"]`.

    A record passes to a kernel as fast as one array, where a NamedTuple takes half a microsecond; its type holds the
    names, so that a cached kernel never reads one for another.

    Args:
        names: of the fields.
        config: the config.
    """
    values = tuple(float(getattr(config, name)) for name in names)
    return np.array([values], np.dtype([(name, np.float64) for name in names]))
