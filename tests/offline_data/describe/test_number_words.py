"""Numbers in words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from offline_data.describe.number_words import bytes_text, count_text, interval_text, readable, share_text, typeset

pytestmark = pytest.mark.kernels  # needs no torch

MINUS, TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"


@pytest.mark.parametrize(
    ("words", "value", "text"),
    [
        (readable, None, "-"),
        (readable, math.nan, "diverged"),
        (readable, -math.inf, "diverged"),
        (readable, 1.23e9, "1.2e+09"),
        (readable, -1e30, "-1.0e+30"),
        (readable, 9999.0, "9999"),
        (readable, 412.4, "412"),
        (readable, 99.96, "100"),
        (readable, 31.24, "31.2"),
        (readable, 0.944, "0.94"),
        (readable, 0.053, "0.05"),
        (readable, 0.0042, "0.004"),
        (readable, 2e-7, "2.0e-07"),
        (readable, 0.0, "0.00"),
        (readable, -0.0, "0.00"),
        (readable, np.float32(0.5), "0.50"),
        (interval_text, {"mean": 0.5, "low": 0.25, "high": 1.0}, "0.50 [0.25, 1.00]"),
        (interval_text, {"value": 31.24, "low": None, "high": math.inf}, "31.2"),
        (interval_text, {"value": math.nan, "low": 0.0, "high": 1.0}, "diverged"),
        (bytes_text, 0, "0 bytes"),
        (bytes_text, 1023, "1023 bytes"),
        (bytes_text, 1024, "1.0 KiB"),
        (bytes_text, 3 << 29, "1.5 GiB"),
        (bytes_text, 1 << 52, "4096.0 TiB"),
        (count_text, 1.0, "1.00"),
        (count_text, 99.4, "99.4"),
        (count_text, 12345.6, "12,346"),
        (share_text, 0.0, "0.0 %"),
        (share_text, 0.005, "0.50 %"),
        (share_text, 0.25, "25.0 %"),
        (share_text, 1.0, "100.0 %"),
        (
            typeset,
            "-0.06 [-0.1, 1.2e-04] self-made",
            f"{MINUS}0.06 [{MINUS}0.1, 1.2\u00a0{TIMES}\u00a010⁻⁴] self-made",
        ),
        (typeset, "2 % of 9", "2\u00a0% of 9"),
    ],
)
def test_words(words, value, text):
    assert words(value) == text
