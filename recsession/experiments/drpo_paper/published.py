"""The numbers that the paper prints, in its own units: rewards, and eCPM, which is five times the reward.

Source: arXiv:2602.10430v1, by its authors' TeX: table 1, the tables of ablation and of sensitivity, the figure of
phantom gradients. It gives no seeds and no intervals.
"""

from __future__ import annotations

from typing import Final

ECPM: Final = 5.0
"""eCPM of a reward of one."""

TABLE: Final = {
    "medium": {
        "bc": 0.338,
        "crr": 0.222,
        "bppo": 0.341,
        "awr": 0.333,
        "iql": 0.337,
        "adaptive_bc": 0.367,
        "drpo_exp": 0.372,
        "drpo": 0.374,
        "apg": 0.01,
    },
    "extreme": {
        "bc": 0.268,
        "crr": 0.217,
        "bppo": 0.124,
        "awr": 0.254,
        "iql": 0.289,
        "adaptive_bc": 0.297,
        "drpo_exp": 0.318,
        "drpo": 0.308,
        "apg": 0.01,
    },
}
"""Rewards by scenario and method; of `apg` the text says about .01 in both."""

NOISE_SHARES: Final = (0.0, 0.2, 0.4, 0.6, 0.8)
"""Of random items, injected into the log; the figure has no numbers: DRPO stays flat, the others fall."""

ABLATION: Final = {
    "hard filter alone": 0.12,
    "soft base": 1.15,
    "soft base, fixed filter": 1.31,
    "soft base, adaptive filter": 1.42,
}
"""eCPM."""

REWARD_NOISES: Final = (0.0, 0.5, 1.0)
POLICY_NOISES: Final = (0.1, 0.5)
TOP_SHARES: Final = (0.05, 0.4, 1.0)
SENSITIVITY: Final = {
    0.1: {0.0: (1.69, 1.69, 1.35), 0.5: (1.29, 1.29, 1.20), 1.0: (1.06, 1.06, 1.13)},
    0.5: {0.0: (1.63, 1.63, 1.59), 0.5: (1.13, 1.13, 1.04), 1.0: (0.87, 0.87, 0.93)},
}
"""eCPM by policy noise, reward noise and, in order, `TOP_SHARES`."""

PHANTOM: Final = {"growth": 9.0, "sigma": 58.0, "mu": 2.0}
"""Growth of the gradient of negatives, and of negatives over positives the gradient's ratio by sigma and by mu."""
