"""Rows of a table: taken by number, and multiplied by a vector."""

from __future__ import annotations

from torch import Tensor


def take_rows(table: Tensor, index: Tensor) -> Tensor:
    """Return rows of a table, [*index.shape, ...]; much faster than indexing on the CPU.

    Args:
        table: [n, ...].
        index: [...] integers in [0, n).
    """
    return table.index_select(0, index.flatten()).unflatten(0, index.shape)


def scaled_logits(user: Tensor, vectors: Tensor, bias: Tensor) -> Tensor:
    """Return user . vectors / sqrt(D) + bias, [..., B, n].

    Args:
        user: [..., B, D].
        vectors: [..., n, D].
        bias: [..., n], or with a dimension for B.
    """
    return user @ vectors.transpose(-1, -2) * user.shape[-1] ** -0.5 + bias
