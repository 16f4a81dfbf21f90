"""An objective that clones by rank: a step counts by how few sessions earned more than its own.

    L(theta) = -E_b[ (1 - rank)^power log pi_theta(a | s) ]

A rank is what it is however far the best session is ahead: one outlier cannot take all the weight, as it does where
weights are exponential in the return.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents import Objective, weighted_log_prob
from recenv import require_range


@dataclass(frozen=True)
class RankWeightedConfig:
    """Hyper-parameters of cloning by rank."""

    power: float = 4.0
    """How fast the weight falls with the rank; 0 is behavior cloning."""

    def __post_init__(self) -> None:
        require_range("power", self.power, 0.0, 1e3)


def rank_weighted_loss(log_prob: Tensor, session_rank: Tensor, power: float) -> Tensor:
    """Return the weighted negative log-likelihood of each action.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions, nats.
        session_rank: `[B]` in [0, 1), the share of the log's sessions that earned more than the row's.
        power: at least zero.
    """
    return -weighted_log_prob((1.0 - session_rank) ** power, log_prob)


class RankWeightedObjective(Objective):
    """Cloning by rank; see the module for the equation and `RankWeightedConfig` for its scalar."""

    needs = frozenset({"session_return"})
    Config = RankWeightedConfig

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        rank = self.column(tensordict, "session_rank")
        return {"loss_actor": rank_weighted_loss(self.log_prob(tensordict), rank, self.config.power)}
