"""The robust filter: clone only the best `kappa` of the whole log.

What to learn is the hard filter of `agents.robust`, exact on the whole log and not batch by batch:

    w = (1[s > tau] + c 1[s = tau]) / kappa,              E_b[w] = 1
    L(theta) = -E_b[ w log pi_theta(a | s) ]

Its minimum is the maximum-likelihood fit of `q*`; with `kappa = 1` it is behavior cloning. tau and c are found at
`refresh`, so that the state is a few scalars and a resumed run needs no scores.

The fixed point attracts where steps are short enough: a mean's distance from that of the kept actions is multiplied by
1 - eta / sigma^2 at each step, whatever they spread. A ratio to a slow copy of the policy in place of the
log-probability undoes that, and with a curriculum of kappa it gained less than it cost (docs/objectives.md, What was
left out).

Source: ours. The filter is the solution of the optimistic problem of DRPO (arXiv:2602.10430), which weights what its
filter keeps, and filters batch by batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor

from agents.families import OBJECTIVES
from agents.objectives.base import Objective, weighted_log_prob
from agents.objectives.bases.draws import Draws
from agents.robust.density_cap import dual_threshold, filter_weight
from agents.robust.selection import Outcomes, select_rows
from recenv.errors import require_range
from recenv.statistics import effective_sample_size


@dataclass(frozen=True)
class RobustFilterConfig:
    """Hyper-parameters of the robust filter.

    Examples:
        >>> from agents import RobustFilterConfig
        >>> RobustFilterConfig(kappa="auto", visits=10.0).begin_gain
        0.75
    """

    kappa: float | Literal["auto"] = 0.02
    """Mass of the log to retain, in (0, 1]; "auto" finds it by what the rows earned."""
    visits: float | None = None
    """Times that training sees a row that it draws from, in the mean: batches are of the best rows alone, and as large
    as that takes, at most the trainer's. None: batches are of the whole log, in which all other rows teach nothing, and
    how often a retained row is seen depends on the log's length."""
    begin_gain: float = 0.75
    """With visits and kappa="auto": the first step draws from as many rows as gain this part of what those gain that
    are retained in the end, and each further step from fewer, by one factor: the many teach what the few alone would
    not, the few come last. In (0, 1]."""

    def __post_init__(self) -> None:
        if self.kappa != "auto":
            require_range("kappa", self.kappa, 0.0, 1.0, low_open=True)
        if self.visits is not None:
            require_range("visits", self.visits, 0.0, 1e6, low_open=True)
        require_range("begin_gain", self.begin_gain, 0.0, 1.0, low_open=True)


@OBJECTIVES.register("robust_filter")
class RobustFilterObjective(Objective):
    """The robust filter; see the module for the equations and `RobustFilterConfig` for the scalars.

    kappa, tau and the fraction of its tie are in `state_dict`.
    """

    needs = frozenset({"score"})
    Config = RobustFilterConfig
    diagnostics = ("retained_mass", "effective_sample_size", "kappa")
    kappa: Tensor  # [1] float64, as are the threshold and its tie's fraction: a scalar would be compared in float32
    tau: Tensor
    tie_fraction: Tensor

    def __init__(self, actor_network: Any, *, config: RobustFilterConfig | None = None) -> None:
        super().__init__(actor_network, config=config)
        for name, value in (("kappa", 1.0), ("tau", -math.inf), ("tie_fraction", 0.0)):
            self.register_buffer(name, torch.tensor([value], dtype=torch.float64))
        self._ranked: Tensor | None = None

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """See `Objective.needs_of`; where kappa is to be found, what the rows earned says how far."""
        return cls.needs | {"outcomes"} if config.kappa == "auto" else cls.needs

    @torch.no_grad()
    def refresh(self, scores: Tensor, advantage: np.ndarray | None = None, session: np.ndarray | None = None) -> None:
        """Find kappa, if it is "auto", and its threshold by the scores; see `Objective.refresh`."""
        super().refresh(scores)
        kappa, found = self.config.kappa, None
        if kappa == "auto":
            found = select_rows(scores, None if advantage is None or session is None else Outcomes(advantage, session))
            self.remarks, self.findings = [found.describe()], {"selection": found.as_dict()}
            kappa = min(found.kappa, float(self.kappa))  # never upwards, whatever a later critic finds
        self.kappa.fill_(kappa)
        if kappa < 1.0:  # at 1 everything is retained: tau = -inf
            self.tau[0], self.tie_fraction[0] = dual_threshold(scores, kappa)
        if self.config.visits is not None:
            self._last = int((scores >= self.tau).sum())
            self._first = max(found.widest(self.config.begin_gain), self._last) if found else self._last
            self._ranked = scores.argsort(descending=True, stable=True)[: self._first]

    def draws(self, num_steps: int, batch_size: int) -> Draws | None:
        """Return the best rows, narrowing to those retained, as many at once as `visits` takes."""
        if self._ranked is None or self.config.visits is None:
            return None
        first, last = self._first, self._last
        mean = (first - last) / math.log(first / last) if first > last else last  # over steps, of rows drawn from
        wanted = math.ceil(self.config.visits * mean / num_steps)
        return Draws(self._ranked, first, last, num_steps, min(wanted, batch_size))

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `loss_actor`, `[B]`, and the diagnostics.

        `retained_mass` is the batch's share of positive weights, `effective_sample_size` its `(sum w)^2 / sum w^2`.
        """
        weight = self.weight(tensordict)
        loss, counted = -weighted_log_prob(weight, self.log_prob(tensordict)), self.counted(tensordict)
        weight = torch.where(counted, weight, 0.0)
        return {
            "loss_actor": loss,
            "retained_mass": (weight > 0).to(weight.dtype).sum() / counted.sum().clamp_min(1),
            "effective_sample_size": effective_sample_size(weight),
            "kappa": self.kappa[0].clone(),
        }

    def weight(self, tensordict: TensorDictBase) -> Tensor:
        """Return the filter weights `w = q*/b` of the batch, `[B]`, found from its scores and the log's threshold.

        With `visits` the rows are drawn by what they weigh, and each weighs one.
        """
        score = self.score(tensordict)
        if self.config.visits is not None:
            return torch.ones_like(score)
        return filter_weight(score, self.tau, self.tie_fraction, self.kappa)
