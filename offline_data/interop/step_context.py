"""The context of the steps of a foreign log: its encoding fitted, or taken over from another log, and the column."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from offline_data.interop.arrangement import Arrangement
from offline_data.interop.interactions import Ids, Interactions
from offline_data.store.context import ContextColumn, category
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require

MOST_VALUES: Final = 32
"""Of a category, the most frequent ones have a coordinate of their own."""
# A spread below this share of the largest number is rounding.
_NO_SPREAD: Final = 1e-12


def step_context(
    log: Interactions, arrangement: Arrangement, like: Path | None
) -> tuple[np.ndarray, tuple[ContextColumn, ...], list[str]]:
    """Return the context of each row [N, C] float32, the columns that it is made of, and remarks.

    Args:
        log: what was read, with a context.
        arrangement: of it.
        like: folder of a log whose encoding is taken over; None fits one on the steps.

    Raises:
        InvalidInput: for a context that is not the same throughout a step, or not of the other log's kind.
    """
    values = {name: _of_steps(log, arrangement, name, each) for name, each in log.context.items()}
    fitted = (_fitted(name, each) for name, each in values.items())
    columns = tuple(fitted) if like is None else _taken_over(like, values)
    out = np.concatenate([_encoded(column, values[column.name]) for column in columns], axis=1)
    return out, columns, _remarks(columns, values)


def _of_steps(log: Interactions, arrangement: Arrangement, name: str, values: np.ndarray | Ids) -> np.ndarray | Ids:
    """Return a context's value of each step."""
    plain = values.codes if isinstance(values, Ids) else values
    same = arrangement.as_first(plain)
    if not same.all():
        told = np.append(values.source.astype(np.str_), "missing")[plain] if isinstance(values, Ids) else plain
        log.require_all(
            f"context.{name}",
            told,
            same,
            f"that of its step's first item; if it is of the item, map item.{name}, else leave it out of the map",
        )
    steps = arrangement.steps(plain)
    return Ids(steps, values.source) if isinstance(values, Ids) else steps


def _fitted(name: str, values: np.ndarray | Ids) -> ContextColumn:
    if isinstance(values, Ids):
        counts = np.bincount(values.codes[values.codes >= 0], minlength=len(values.source))
        frequent = np.argsort(-counts, kind="stable")[:MOST_VALUES]
        kept = np.sort(frequent[counts[frequent] > 0])
        return ContextColumn(name, "category", values=tuple(str(category(value)) for value in values.source[kept]))
    missing = np.isnan(values)
    known = values[np.isfinite(values)].astype(np.float64)
    largest = float(np.abs(known).max(initial=0.0))
    if largest == 0.0:
        return ContextColumn(name, "number", has_missing=bool(missing.any()))
    known = known / largest  # whose squares do not overflow
    spread = float(known.std())
    return ContextColumn(
        name,
        "number",
        mean=float(known.mean()) * largest,
        sd=spread * largest if spread > _NO_SPREAD else 1.0,
        has_missing=bool(missing.any()),
    )


def _taken_over(like: Path, values: Mapping[str, np.ndarray | Ids]) -> tuple[ContextColumn, ...]:
    """Return the columns of another log, which must be those that are mapped."""
    columns = LoggedDataset.open(like).context
    names = [column.name for column in columns]
    require(
        set(names) == values.keys(),
        f"--context-of {like}: its context is {', '.join(names) or 'none'}, and the map has {', '.join(values)}; map "
        "the same names",
    )
    for column in columns:
        kind = "category" if isinstance(values[column.name], Ids) else "number"
        role = "category" if column.kind == "category" else "context"
        require(
            column.kind == kind or column.kind == "category",
            f"--context-of {like}: its {column.name} is a {column.kind}, and here it is a {kind}; mend the column, or "
            f"map another as {role}.{column.name}",
        )
    return columns


def _encoded(column: ContextColumn, values: np.ndarray | Ids) -> np.ndarray:
    if isinstance(values, Ids):
        table = np.concatenate([column.encode(values.source), column.encode([None])])
        return table[values.codes]  # -1, a missing one, is the last
    if column.kind == "category":
        different, place = np.unique(values, return_inverse=True)
        return column.encode(different)[place.reshape(-1)]
    return column.encode(values)


def _remarks(columns: tuple[ContextColumn, ...], values: Mapping[str, np.ndarray | Ids]) -> list[str]:
    told = []
    for column in columns:
        given = values[column.name]
        if isinstance(given, Ids) and len(given.source) > len(column.values):
            share = float(np.mean(_encoded(column, given)[:, -1]))
            told.append(
                f"context.{column.name} has {len(given.source):,} values: the {len(column.values)} most frequent are "
                f"told apart, and the others, of {share:.1%} of the steps, are one"
            )
        elif not isinstance(given, Ids) and not np.isfinite(given).all():
            told.append(f"context.{column.name} lacks {int((~np.isfinite(given)).sum()):,} of {len(given):,} numbers")
    return told
