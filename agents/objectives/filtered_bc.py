"""Filtered behavior cloning: maximum likelihood of the actions of the sessions that earned most.

    L(theta) = -E_b[ 1[rank < fraction] log pi_theta(a | s) ],   rank = share of the log's sessions that earned more

It filters whole sessions by what they really earned, chance included; `robust_filter` filters actions by their score:
of a session with few good steps among many bad ones it keeps all or none.

Source: "BC, 10 %" of Chen et al. 2021 (arXiv:2106.01345), section 5.1, and of Emmons et al. 2021 (arXiv:2112.10751).
There the share is of time steps; here, sessions being of unequal lengths, it is of sessions. Ties at its edge stay.
"""

from __future__ import annotations

from dataclasses import dataclass

from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective, weighted_log_prob
from recenv.errors import require_range


@dataclass(frozen=True)
class FilteredBcConfig:
    """Hyper-parameters of filtered behavior cloning."""

    fraction: float = 0.1
    """Share of the log's sessions that is cloned, in (0, 1]; 1 is behavior cloning."""

    def __post_init__(self) -> None:
        require_range("fraction", self.fraction, 0.0, 1.0, low_open=True)


def filtered_bc_loss(log_prob: Tensor, session_rank: Tensor, fraction: Tensor) -> Tensor:
    """Return the negative log-likelihood of each action of a session that is kept, zero for the others.

    Args:
        log_prob: `[B]` log-probabilities of the logged actions, nats.
        session_rank: `[B]` in [0, 1), the share of the log's sessions that earned more than the row's.
        fraction: scalar in (0, 1].
    """
    return -weighted_log_prob((session_rank < fraction).to(log_prob.dtype), log_prob)


@OBJECTIVES.register("filtered_bc")
class FilteredBcObjective(Objective):
    """Filtered behavior cloning; see the module for the equation and `FilteredBcConfig` for its scalar."""

    needs = frozenset({"session_return"})
    Config = FilteredBcConfig
    diagnostics = ("retained_mass",)
    _schedulable_buffers = frozenset({"fraction"})
    fraction: Tensor

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`, and `retained_mass`, the share of the batch's rows that is cloned."""
        rank = self.column(tensordict, "session_rank")
        return {
            "loss_actor": filtered_bc_loss(self.log_prob(tensordict), rank, self.fraction),
            "retained_mass": self._reduce_loss((rank < self.fraction).to(rank.dtype), tensordict),
        }
