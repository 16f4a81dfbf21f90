"""The transformer over the history, told besides which outcome is wanted: what the Decision Transformer reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from agents.families import ENCODERS
from agents.nn.encoders.transformer import TransformerConfig, TransformerEncoder
from recenv.errors import require_range


@dataclass(frozen=True)
class DecisionConfig(TransformerConfig):
    """Size of the transformer, and what it wants.

    Examples:
        >>> from agents import DecisionConfig, NetworkConfig
        >>> NetworkConfig(encoder=DecisionConfig()).encoder.name
        'decision'
    """

    name: ClassVar[str] = "decision"
    target: float = 2.0
    """The outcome wanted where none is given, so in all that the policy plays: standard deviations of the log's score
    above its mean."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("target", self.target, -100.0, 100.0)


@ENCODERS.register("decision")
class DecisionEncoder(TransformerEncoder):
    """The transformer, with the wanted outcome as a part of the context: its token reads the history in that light.

    Args:
        space: see `SessionEncoder`.
        config: see `DecisionConfig`.

    Source: see `agents.objectives.decision_transformer`, which trains it.
    """

    Config = DecisionConfig
    conditions = ("wanted",)

    def context(self, observation: dict[str, Tensor]) -> Tensor:
        """Return profile, clock, calendar, the context, and last the wanted outcome, [B, num_context].

        Args:
            observation: as `forward` takes it; `wanted` is [B] standard deviations, or None for the config's target.
        """
        context, wanted = super().context(observation), observation.get("wanted")
        column = torch.full_like(context[:, :1], self.config.target) if wanted is None else wanted.unsqueeze(-1)
        return torch.cat([context, column.to(context.dtype)], dim=-1)
