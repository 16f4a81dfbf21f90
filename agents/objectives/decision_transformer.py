"""Decision Transformer: cloning every action under the outcome that it had, and asking for a good one in play.

    L(theta) = -E_b[ log pi_theta(a | s, z) ],     z = clip((score - mean) / std over the whole log, -bound, bound)

Nothing is filtered or weighted: bad actions teach what leads to bad outcomes. In play z is the encoder's `target`. The
encoder must read it (`decision` does: self-attention over the consumed items and their feedback, that is over past
actions and rewards).

With the score `return`, z is the return-to-go of the Decision Transformer; with a critic's Q - V, the default, it is
the advantage, an outcome that owes less to chance and means the same at every step. A constant target asks for it again
at every step; the Decision Transformer takes off what was earned since, which here only `clock` and the history tell.

Source: Chen et al. 2021 (arXiv:2106.01345); as a policy of state and outcome without a trajectory, RvS-R of Emmons et
al. 2021 (arXiv:2112.10751); with a critic's values in place of returns, Yamagata et al. 2023 (arXiv:2209.03993).
TorchRL's `DecisionTransformer` needs the package `transformers` and trajectories of vectors. Standardising, the bound,
the target and the encoder's sizes (2 layers and 2 heads of 64, not 3 and 1 of 128) are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tensordict import NestedKey, TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective
from agents.objectives.bc import bc_loss
from recenv.errors import InvalidInput, require_range

_CONDITION = "wanted"


@dataclass(frozen=True)
class DecisionTransformerConfig:
    """Hyper-parameters of the Decision Transformer; what it wants in play is the encoder's `target`."""

    bound: float = 4.0
    """Outcomes are clipped at so many standard deviations from the mean."""

    def __post_init__(self) -> None:
        require_range("bound", self.bound, 0.0, low_open=True)


@OBJECTIVES.register("decision_transformer")
class DecisionTransformerObjective(Objective):
    """Decision Transformer; see the module for the equation and the config for its scalar.

    Raises:
        InvalidInput: if the policy reads no wanted outcome.
    """

    needs = frozenset({"score"})
    conditions = (_CONDITION,)
    Config = DecisionTransformerConfig
    _schedulable_buffers = frozenset({"bound"})
    bound: Tensor

    def __init__(self, actor_network: Any, *, config: DecisionTransformerConfig | None = None) -> None:
        super().__init__(actor_network, config=config)
        self._condition = _condition_key(actor_network.in_keys)

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`; see `Objective.terms`."""
        outcome = self.standardized_score(tensordict)
        conditioned = tensordict.copy().set(self._condition, outcome.clamp(-self.bound, self.bound))
        return {"loss_actor": bc_loss(self.log_prob(conditioned))}


def _condition_key(in_keys: list[NestedKey]) -> NestedKey:
    """Return where the policy reads the wanted outcome."""
    for key in in_keys:
        if (key if isinstance(key, str) else key[-1]) == _CONDITION:
            return key
    raise InvalidInput(
        "decision_transformer needs a policy that is told which outcome is wanted; choose the encoder decision: "
        "--encoder decision"
    )
