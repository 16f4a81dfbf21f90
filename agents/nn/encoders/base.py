"""Encoders by name: each turns observations, padded histories among them, into one row of features a session."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from agents.nn.rows import take_rows
from agents.nn.session_space import SessionSpace
from offline_data.store.context import context_width


class SessionEncoder(nn.Module):
    """From an observation to features. Padding counts nothing: its length does not change the answer.

    Histories may be shorter than the space's H, and of longer ones the last H events count.

    Args:
        space: fixes the observation and the items.
        config: an instance of the class's `Config`.

    Attributes:
        Config: frozen dataclass of the sizes, whose `name` is the registered one.
        conditions: further keywords of `forward`, [B] each, which no observation has: an objective may set them, and
            without them the encoder reads what its config says.
        num_features: width of what `forward` returns.
        num_context: width of `context`.
        num_event: width of an event, its embedding and signals together.
        history_length: H.

    Examples:
        >>> from agents import ENCODERS, SessionSpace
        >>> from recenv import RecSessionEnv
        >>> env, pooled = RecSessionEnv(), ENCODERS.get("pooled")
        >>> space = SessionSpace.of_world(env.world)
        >>> encoder = pooled(space, pooled.Config())
        >>> batch = space.batch({name: values[None] for name, values in env.reset(seed=0)[0].items()})
        >>> encoder(**batch["observation"]).shape == (1, encoder.num_features)
        True
    """

    Config: ClassVar[type]
    conditions: ClassVar[tuple[str, ...]] = ()
    num_features: int
    embeddings: Tensor

    def __init__(self, space: SessionSpace, config: Any) -> None:
        super().__init__()
        self.config = config
        embeddings = torch.from_numpy(space.embeddings.copy()).float()
        # The last row is zero: padding gathers it.
        table = torch.cat([embeddings, embeddings.new_zeros(1, space.embedding_dim)])
        self.register_buffer("embeddings", table, persistent=False)
        self.history_length = space.history_length
        self.num_event = space.embedding_dim + space.num_channels + 1
        self.num_context = space.embedding_dim * space.has_profile + 2 + 2 * space.has_calendar
        self.num_context += context_width(space.context) + len(self.conditions)

    @abstractmethod
    def forward(self, **observation: Tensor) -> Tensor:
        """Return features, [B, num_features], of the parameters' dtype.

        Args:
            **observation: `history_items` [B, h] integers, -1 for padding in front; `history_feedback` [B, h, F - 1];
                `clock` [B, 2]; by the space `profile` [B, d], `calendar` [B, 2] and `context` [B, C]; what else there
                is, is not read.
        """

    def context(self, observation: dict[str, Tensor]) -> Tensor:
        """Return what is no history: profile, clock, calendar, the step's context, the conditions, [B, num_context].

        Args:
            observation: as `forward` takes it.
        """
        names = [name for name in ("profile", "clock", "calendar", "context") if name in observation]
        return torch.cat([observation[name].to(self.embeddings.dtype) for name in names], dim=-1)

    def events(self, observation: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the last h <= H events: embeddings [B, h, d], and signals [B, h, F], zeros where there is padding.

        The signals are the feedback and, last, 1 for an event and 0 for padding.

        Args:
            observation: as `forward` takes it.
        """
        history_items = observation["history_items"][:, -self.history_length :]
        feedback = observation["history_feedback"][:, -self.history_length :].to(self.embeddings.dtype)
        real = (history_items >= 0).unsqueeze(-1)
        # -1 wraps to the table's last row, which is zero.
        rows = history_items.long().remainder(self.embeddings.shape[0])
        signals = torch.cat([feedback.masked_fill(~real, 0.0), real.to(feedback.dtype)], dim=-1)
        return take_rows(self.embeddings, rows), signals
