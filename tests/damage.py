"""Files that something has happened to: a bit flipped, an end cut off, bytes added."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def flipped_bits(whole: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield copies with one bit flipped each, at random places; every one of them if there are at most `count`."""
    places = np.random.default_rng(seed).permutation(8 * len(whole))[:count]
    for place in places.tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


def cut_or_added_to(whole: bytes) -> Iterator[bytes]:
    """Yield what is empty, foreign, cut at either end or has something added at either end."""
    yield from (b"", b"\n", b"something else\n", whole[:-1], whole[: len(whole) // 2], whole[1:])
    yield from (whole + b"\n", whole + b"\0" * 4096, b"\0" + whole, whole + whole)
