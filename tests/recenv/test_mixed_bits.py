"""Mixed bits are those of SplitMix64."""

from __future__ import annotations

import numpy as np

from recenv.mixed_bits import mixed_bits


def test_the_first_numbers_of_the_published_generator_from_seed_0():
    counter = np.arange(4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    assert mixed_bits(counter).tolist() == [0, 0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
