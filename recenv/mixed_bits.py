"""The finalizer of SplitMix64: words whose bits all depend on all of another word's."""

from __future__ import annotations

import numpy as np


def mixed_bits(words: np.ndarray) -> np.ndarray:
    """Return each word mixed, [...] uint64; different words stay different, and 0 stays 0.

    Source: Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".

    Args:
        words: [...] uint64.
    """
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
