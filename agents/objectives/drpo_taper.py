"""DRPO and the remoteness taper: clone what the filter retains, and push away the rest as far as the taper lets.

    L(theta) = L_DRPO(theta) - beta E_b[ 1[w = 0] min(A, 0) g(D) log pi_theta(a | s) ]

with w, the filter's weights, and L_DRPO of `drpo`, A and g of `taper`. The filter says what is good and learns nothing
from the rest; what is bad and still likely says where not to go, and a taper keeps that from growing without bound.
With `beta = 0` it is DRPO.

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
from agents.objectives.drpo import DrpoConfig, DrpoObjective
from agents.objectives.taper import RemotenessThreshold, TaperConfig, taper_weight
from recenv.errors import require_range


@dataclass(frozen=True)
class DrpoTaperConfig(DrpoConfig):
    """Hyper-parameters of DRPO with tapered negatives: those of DRPO, and these."""

    negative_scale: float = 0.1
    """beta, weight of the negatives beside the filter's mass of one, >= 0."""
    taper: TaperConfig = field(default_factory=TaperConfig)
    """How the negatives fade."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("negative_scale", self.negative_scale, 0.0)


@OBJECTIVES.register("drpo_taper")
class DrpoTaperObjective(DrpoObjective):
    """DRPO with tapered negatives; see the module for the equation and `DrpoTaperConfig` for the scalars."""

    Config = DrpoTaperConfig
    _schedulable_buffers = DrpoObjective._schedulable_buffers | {"negative_scale", "width", "rate"}
    width: Tensor
    rate: Tensor
    negative_scale: Tensor

    def __init__(self, actor_network: Any, *, config: DrpoTaperConfig | None = None) -> None:
        super().__init__(actor_network, config=DrpoTaperConfig() if config is None else config)
        self.threshold = RemotenessThreshold(self.config.taper)
        for name in ("width", "rate"):
            self.register_coeff_buffer(name, float(getattr(self.config.taper, name)), dtype=torch.float64)

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`, and the diagnostics of DRPO."""
        weight, log_prob = self.weight(tensordict), self.log_prob(tensordict)
        terms = self.filtered_terms(tensordict, weight, log_prob)
        kept = taper_weight(log_prob, self.threshold.value, self.width, self.rate, self.config.taper.shape)
        negative = self.standardized_score(tensordict).clamp_max(0.0)
        push = torch.where(weight > 0, 0.0, self.negative_scale * kept * negative)
        return terms | {"loss_actor": terms["loss_actor"] - weighted_log_prob(push, log_prob)}

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Move DRPO's parts, and measure the taper's threshold where its interval is over; return it, nats."""
        return super().after_step(tensordict) | self.threshold.follow(self, tensordict, self._num_steps)
