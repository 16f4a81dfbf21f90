"""Behavior cloning: maximum likelihood of every logged action, good or bad.

    L(theta) = -E_b[ log pi_theta(a | s) ]

Source: Pomerleau 1991; the baseline that every other objective must beat.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective


@dataclass(frozen=True)
class BcConfig:
    """Behavior cloning has nothing to choose.

    Examples:
        >>> from agents import BcConfig, OBJECTIVES
        >>> isinstance(OBJECTIVES.get("bc").Config(), BcConfig)
        True
    """


def bc_loss(log_prob: Tensor) -> Tensor:
    """Return the negative log-likelihood of each action, nats.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions.
    """
    return -log_prob


@OBJECTIVES.register("bc")
class BcObjective(Objective):
    """Behavior cloning; see the module for the equation."""

    Config = BcConfig

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        return {"loss_actor": bc_loss(self.log_prob(tensordict))}
