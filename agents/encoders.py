"""From an observation to features: the profile, the clock, and the history pooled over learned decays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from recenv.errors import require, require_range


@dataclass(frozen=True)
class NetworkConfig:
    """Size of a network; the policy and the critics take the same.

    Attributes:
        hidden_sizes: widths of the hidden layers.
        num_decays: learned weightings of the history's positions.
    """

    hidden_sizes: tuple[int, ...] = (128, 128)
    num_decays: int = 4

    def __post_init__(self) -> None:
        require(len(self.hidden_sizes) > 0, "hidden_sizes is empty; give at least one width")
        for width in self.hidden_sizes:
            require_range("hidden_sizes", width, 1, 65_536, integer=True)
        require_range("num_decays", self.num_decays, 1, 64, integer=True)


class SessionEncoder(nn.Module):
    """Profile, clock, and num_decays weighted sums over the history of (embedding, feedback, 1) of each consumed item.

    The weights are learned, one a position counted from the latest item, and begin as exponential moving averages:
    their size does not grow with the history, so that a policy can meet longer histories than its log holds. Padding
    counts nothing, so that the answer does not depend on how long the padding is.

    Args:
        embeddings: [N, d] item embeddings, frozen.
        history_length: H of the observations.
        num_feedback: feedback channels of a consumed item.
        num_decays: weighted sums of the history.
    """

    embeddings: Tensor

    def __init__(self, embeddings: Tensor, history_length: int, num_feedback: int, num_decays: int) -> None:
        super().__init__()
        dim = embeddings.shape[1]
        # The last row is zero: padding gathers it.
        table = torch.cat([embeddings.float(), embeddings.new_zeros(1, dim, dtype=torch.float32)])
        self.register_buffer("embeddings", table, persistent=False)
        age = torch.arange(history_length - 1, -1, -1, dtype=torch.float32)
        rates = torch.linspace(0.3, 0.9, num_decays)
        self.position_weights = nn.Parameter((1.0 - rates) * rates ** age[:, None])
        self.num_features = dim + 2 + num_decays * (dim + num_feedback + 1)

    def forward(self, profile: Tensor, history_items: Tensor, history_feedback: Tensor, clock: Tensor) -> Tensor:
        """Return features, [B, num_features] float32.

        Args:
            profile: [B, d].
            history_items: [B, H] item ids, -1 for padding.
            history_feedback: [B, H, F].
            clock: [B, 2].
        """
        real = (history_items >= 0).unsqueeze(-1).to(profile.dtype)
        # -1 wraps to the table's last row, which is zero.
        rows = history_items.long().remainder(self.embeddings.shape[0])
        items = self.embeddings.index_select(0, rows.flatten()).unflatten(0, rows.shape)
        signals = torch.cat([history_feedback * real, real], dim=-1)
        pooled = [(events.transpose(1, 2) @ self.position_weights).flatten(1) for events in (items, signals)]
        return torch.cat([profile, clock, *pooled], dim=-1)


def mlp(num_inputs: int, hidden_sizes: tuple[int, ...], num_outputs: int) -> nn.Sequential:
    """Return a multilayer perceptron with layer normalisation at its input and SiLU between its layers.

    Args:
        num_inputs: width of the input.
        hidden_sizes: widths of the hidden layers.
        num_outputs: width of the output.
    """
    layers: list[nn.Module] = [nn.LayerNorm(num_inputs)]
    width = num_inputs
    for hidden in hidden_sizes:
        layers += [nn.Linear(width, hidden), nn.SiLU()]
        width = hidden
    layers.append(nn.Linear(width, num_outputs))
    return nn.Sequential(*layers)
