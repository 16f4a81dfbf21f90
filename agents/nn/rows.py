"""Rows of a table by number."""

from __future__ import annotations

from torch import Tensor


def take_rows(table: Tensor, index: Tensor) -> Tensor:
    """Return rows of a table, [*index.shape, ...]; much faster than indexing on the CPU.

    Args:
        table: [n, ...].
        index: [...] integers in [0, n).
    """
    return table.index_select(0, index.flatten()).unflatten(0, index.shape)
