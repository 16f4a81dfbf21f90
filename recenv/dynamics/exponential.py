"""The exponential of an array, with the same bits on every machine."""

from __future__ import annotations

import numpy as np

from recenv.kernels import njit


@njit(cache=True, error_model="numpy", nogil=True)
def _exp(x):
    # exp for x in [-708, 709] by additions and products alone, to within 1e-15 of itself: unlike a library's, it has
    # the same bits on every machine, and the compiler vectorises it. x = n log 2 + r with |r| <= log(2)/2; adding
    # 1.5 * 2**52 leaves n in the low bits.
    shifted = x * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    # log 2 in two parts: n times the first is exact.
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    # The series to r^11, in three parts that do not wait for one another.
    s = r * r
    low = (1.0 + r) + s * (0.5 + r * (1.0 / 6.0))
    middle = (1.0 / 24.0 + r * (1.0 / 120.0)) + s * (1.0 / 720.0 + r * (1.0 / 5040.0))
    high = (1.0 / 40320.0 + r * (1.0 / 362880.0)) + s * (
        1.0 / 3628800.0 + (r * (1.0 / 39916800.0) + s * (1.0 / 479001600.0))
    )
    # 2**n by its exponent's bits.
    power = np.int64((np.float64(shifted).view(np.int64) + np.int64(1023)) << np.int64(52)).view(np.float64)
    return (low + (s * s) * (middle + (s * s) * high)) * power


@njit(cache=True, error_model="numpy", nogil=True)
def exp_all(values):
    """Replace each value by its exponential.

    Args:
        values: C-ordered float64 of any shape, written; beyond 700 a value counts as 700, which is as good as infinity.
    """
    # One flat loop without a branch, for vectors.
    flat = values.reshape(-1)
    for i in range(len(flat)):
        bounded = flat[i] if flat[i] > -700.0 else -700.0
        flat[i] = _exp(bounded if bounded < 700.0 else 700.0)
