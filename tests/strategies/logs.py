"""Hypothesis strategies: what is logged, slates, semantic IDs; arrays are numpy's, none needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from hypothesis import strategies as st

from recenv.testing.worlds import columns


@st.composite
def slate_problems(draw: st.DrawFn, spread: float = 4.0, max_items: int = 5) -> tuple[np.ndarray, int]:
    """Draw `[N]` float64 item scores in [-spread, spread], ties among them, and a slate size in [1, N]."""
    value = st.one_of(st.sampled_from([-spread, 0.0, spread]), st.floats(-spread, spread, allow_subnormal=False))
    table = draw(st.lists(value, min_size=1, max_size=max_items))
    return np.array(table, dtype=np.float64), draw(st.integers(1, len(table)))


@st.composite
def logged_values(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw rewards [N] and values of the following observations [N], float64, and the sessions' offsets [S + 1]."""
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    rows = sum(lengths)
    reward, value = (np.array(draw(columns(rows, -10.0, 10.0)), np.float64) for _ in range(2))
    return reward, value, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@st.composite
def foreign_entries(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw the entries of a foreign log with any of its columns, None where it has none; no position is there twice."""
    count = draw(st.integers(1, 25))
    has = {name: draw(st.booleans()) for name in ("session", "step", "position", "time")}
    named, small = draw(st.booleans()), st.integers(0, 3)
    positions = draw(st.permutations(range(count)))
    entries = []
    for index in range(count):
        entry: dict[str, Any] = {"index": index, "user": draw(small), "item": draw(small), "named": named}
        for name in ("session", "step"):
            entry[name] = draw(small) if has[name] else None
        entry["position"] = positions[index] if has["position"] else None
        entry["time"] = draw(st.sampled_from([0.0, 1.0, 2.0, 5.0, 9.0])) if has["time"] else None
        entries.append(entry)
    return entries


# --- semantic IDs


@dataclass(frozen=True)
class TokenProblem:
    """Coded items and what two or so users are offered of them.

    Attributes:
        codes: [N, L] int64, no two rows equal.
        level_sizes: L numbers of tokens.
        slate_size: K, at most as many as every user is offered.
        offered: [B, N] bool.
        offer: how the offer is given, a name or None; None offers everything.
    """

    codes: np.ndarray
    level_sizes: tuple[int, ...]
    slate_size: int
    offered: np.ndarray
    offer: Literal["candidates", "available"] | None

    def offer_array(self) -> np.ndarray | None:
        """Return the offer as an observation holds it, candidates shuffled and padded with -1."""
        if self.offer is None:
            return None
        if self.offer == "available":
            return self.offered.astype(np.int8)
        rows = [np.flatnonzero(row)[::-1].tolist() for row in self.offered]
        width = max(map(len, rows)) + 1
        return np.array([[-1] * (width - len(row)) + row for row in rows], np.int32)


@st.composite
def token_problems(draw: st.DrawFn, max_items: int = 5, max_slate: int = 3) -> TokenProblem:
    """Draw a small tree, a slate size and offers; levels of one token are common."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))
    every = np.indices(sizes).reshape(len(sizes), -1).T
    rows = draw(st.lists(st.integers(0, len(every) - 1), min_size=1, max_size=max_items, unique=True))
    codes, count = every[rows].astype(np.int64), len(rows)
    slate_size = draw(st.integers(1, min(count, max_slate)))
    offer: Any = draw(st.sampled_from([None, "candidates", "available"]))
    offered = np.ones((draw(st.integers(1, 2)), count), np.bool_)
    if offer is not None:
        for row in offered:
            hidden = draw(st.lists(st.integers(0, count - 1), max_size=count - slate_size, unique=True))
            row[hidden] = False
    return TokenProblem(codes, tuple(sizes), slate_size, offered, offer)
