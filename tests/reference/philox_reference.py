"""Philox4x32-10 in Python's whole numbers, and the draws that a session's address gives; after the paper's definition.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
"""

import zlib

ROUND_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)


def philox4x32(counter, key, num_rounds=10):
    """Four words from four words of counter and two of key."""
    l0, r0, l1, r1 = counter
    k0, k1 = key
    for _ in range(num_rounds):
        high_0, low_0 = divmod(ROUND_MULTIPLIERS[0] * l0, 1 << 32)
        high_1, low_1 = divmod(ROUND_MULTIPLIERS[1] * l1, 1 << 32)
        l0, r0, l1, r1 = high_1 ^ r0 ^ k0, low_1, high_0 ^ r1 ^ k1, low_0
        k0 = (k0 + KEY_INCREMENTS[0]) % (1 << 32)
        k1 = (k1 + KEY_INCREMENTS[1]) % (1 << 32)
    return l0, r0, l1, r1


def words(seed, stream, episode, step, num_draws):
    """The 32-bit words of one address: counter (block, step, episode, stream), key the seed's low and high half."""
    drawn = []
    while len(drawn) < num_draws:
        drawn += philox4x32((len(drawn) // 4, step, episode, stream), (seed % (1 << 32), seed >> 32))
    return drawn[:num_draws]


def uniforms(seed, stream, episode, step, num_draws):
    """The middle of each of 2**32 equal cells of (0, 1)."""
    return [(2 * word + 1) / 2**33 for word in words(seed, stream, episode, step, num_draws)]


def derived_seed(root_seed, role, index, stream):
    """A 64-bit seed: the role's words under the root seed are the key of the index's words."""
    high, low = words(root_seed, stream, zlib.crc32(role.encode()), 0, 2)
    high, low = words((high << 32) + low, stream, index >> 32, index % (1 << 32), 2)
    return (high << 32) + low
