"""Advantage-weighted regression: cloning with an exponential weight on the advantage.

    L(theta) = -E_b[ min(exp(A / T), cap) log pi_theta(a | s) ],     A = (score - mean) / std over the whole log

Source: Peng, Kumar, Zhang and Levine 2019 (arXiv:1910.00177), equation 10 with the weight clipping and the
standardised advantage of its implementation. There the moments are a batch's and the advantage is a TD(lambda) return
minus V; here they are the whole log's, and the advantage is the score that every objective shares.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective, weighted_log_prob
from recenv.errors import require_range


@dataclass(frozen=True)
class AwrConfig:
    """Hyper-parameters of advantage-weighted regression.

    Examples:
        >>> from agents import AwrConfig, OBJECTIVES
        >>> OBJECTIVES.get("awr").Config is AwrConfig
        True
        >>> AwrConfig(temperature=0.3, weight_cap=1e6)
        AwrConfig(temperature=0.3, weight_cap=1000000.0)
    """

    temperature: float = 1.0
    """T, in standard deviations of the score; the smaller, the greedier."""
    weight_cap: float = 20.0
    """Largest weight of one action."""

    def __post_init__(self) -> None:
        require_range("temperature", self.temperature, 0.0, low_open=True)
        require_range("weight_cap", self.weight_cap, 0.0, low_open=True)


def awr_loss(log_prob: Tensor, advantage: Tensor, temperature: Tensor, weight_cap: Tensor) -> Tensor:
    """Return the weighted negative log-likelihood of each action.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions, nats.
        advantage: `[B]` standardised advantage, any size: the cap is taken before the exponential.
        temperature: scalar > 0.
        weight_cap: scalar > 0.
    """
    # The cap is taken as a log: the exponential of a large advantage would be infinite.
    weight = (advantage / temperature).minimum(weight_cap.log()).exp()
    return -weighted_log_prob(weight, log_prob)


@OBJECTIVES.register("awr")
class AwrObjective(Objective):
    """Advantage-weighted regression; see the module for the equation and `AwrConfig` for its scalars."""

    needs = frozenset({"score"})
    Config = AwrConfig
    _schedulable_buffers = frozenset({"temperature", "weight_cap"})
    temperature: Tensor
    weight_cap: Tensor

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        advantage = self.standardized_score(tensordict)
        return {"loss_actor": awr_loss(self.log_prob(tensordict), advantage, self.temperature, self.weight_cap)}
