"""The robust filter and the remoteness taper: clone what is retained, push the rest away as far as the taper lets.

    L(theta) = L_filter(theta) - beta E_b[ 1[w = 0] min(A, 0) v(D) log pi_theta(a | s) ]

with w, the filter's weights, and L_filter of `robust_filter`, A and v = alpha g of `taper`. The filter says what is
good and learns nothing from the rest; what is bad and still likely says where not to go, and a taper keeps that from
growing without bound. With `beta = 0` it is `robust_filter`.

Source: ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import weighted_log_prob
from agents.objectives.robust_filter import RobustFilterConfig, RobustFilterObjective
from agents.objectives.taper import TaperConfig, log_prob_and_remoteness, taper_weight
from recenv.errors import require, require_range


@dataclass(frozen=True)
class RobustFilterTaperConfig(RobustFilterConfig):
    """Hyper-parameters of the robust filter with tapered negatives: those of the filter, and these."""

    negative_scale: float = 0.1
    """beta, weight of the negatives beside the filter's mass of one, >= 0."""
    taper: TaperConfig = field(default_factory=TaperConfig)
    """How the negatives fade."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("negative_scale", self.negative_scale, 0.0)
        require(
            self.visits is None,
            f"visits={self.visits} draws no row to push away; set visits=None, or train robust_filter",
        )


@OBJECTIVES.register("robust_filter_taper")
class RobustFilterTaperObjective(RobustFilterObjective):
    """The robust filter with tapered negatives; see the module and `RobustFilterTaperConfig`."""

    Config = RobustFilterTaperConfig
    _schedulable_buffers = RobustFilterObjective._schedulable_buffers | {"negative_scale"}
    negative_scale: Tensor

    def __init__(self, actor_network: Any, *, config: RobustFilterTaperConfig | None = None) -> None:
        super().__init__(actor_network, config=RobustFilterTaperConfig() if config is None else config)

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`, and the diagnostics of the filter."""
        weight, (log_prob, far) = self.weight(tensordict), log_prob_and_remoteness(self, tensordict)
        terms = self.filtered_terms(tensordict, weight, log_prob)
        kept = taper_weight(far, **vars(self.config.taper))
        negative = self.standardized_score(tensordict).clamp_max(0.0)
        push = torch.where(weight > 0, 0.0, self.negative_scale * kept * negative)
        return terms | {"loss_actor": terms["loss_actor"] - weighted_log_prob(push, log_prob)}
