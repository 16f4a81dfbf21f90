"""Where a policy of C-U1 settles that is free to have its own mean for each context."""

from __future__ import annotations

import math

from recsession.experiments.remoteness.arms import Arm
from recsession.experiments.remoteness.worlds import BAD_RADIUS, GOOD_RADIUS, LOCAL_GAP, OPTIMUM_GAP, REWARD_WIDTH


def settled(arm: Arm) -> tuple[float, float]:
    """Return how far beyond a+ the mean settles along u, and the scale's square there, for an unweighted arm.

    The mean is m* = a+ + rho / (1 - rho) (a+ - m-), with m- = a- of the local negative and a* of all; sigma^2 = (E+|a -
    m*|^2 - rho E-|a - m*|^2) / (2 (1 - rho)), negative where a learned scale falls for ever. Infinite for rho >= 1.

    Args:
        arm: of `rule` "none".
    """
    rho = arm.strength
    if rho >= 1.0:
        away = math.inf if arm.negatives == "local" else -math.inf
        return away, -math.inf
    center = -LOCAL_GAP if arm.negatives == "local" else OPTIMUM_GAP
    shift = -rho / (1.0 - rho) * center
    # Second moments around m* are those around the own center and its distance.
    good = GOOD_RADIUS**2 - OPTIMUM_GAP**2 + shift**2
    spread = 0.0 if arm.negatives == "local" else BAD_RADIUS**2
    return shift, (good - rho * (spread + (shift - center) ** 2)) / (2.0 * (1.0 - rho))


def settled_reward(arm: Arm) -> float:
    """Return the reward of the mean where it settles; 0 where it does not.

    Args:
        arm: of `rule` "none".
    """
    shift = settled(arm)[0]
    return math.exp(-((shift - OPTIMUM_GAP) ** 2) / (2.0 * REWARD_WIDTH**2))
