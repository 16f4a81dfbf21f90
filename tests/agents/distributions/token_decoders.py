"""Small decoders of given codes, at random weights of a size that matters."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.distributions.token_decoder import TokenDecoder
from agents.distributions.token_slates import TokenSlates
from agents.distributions.token_tree import TokenTree
from tests.reference.token_slates_reference import next_logits, token_log_probs

WIDTH = 8


def random_decoder(
    codes: np.ndarray,
    level_sizes: tuple[int, ...],
    slate_size: int,
    offer: Any = None,
    *,
    seed: int = 0,
    spread: float = 20.0,
    **options: Any,
) -> TokenDecoder:
    """Return a decoder over items of these codes, whose logits differ by about a nat at a `spread` of 20."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = TokenDecoder(TokenTree(codes, level_sizes, offer), slate_size, width=WIDTH, **options)
        with torch.no_grad():
            for name, parameter in decoder.named_parameters():
                if name.startswith(("tokens", "positions", "levels", "start", "heads")):
                    parameter.copy_(0.02 * spread * torch.randn(parameter.shape))
    return decoder


def context_of(num_users: int, seed: int = 0) -> Tensor:
    return torch.randn(num_users, WIDTH, generator=torch.Generator().manual_seed(seed))


def slates_of(decoder: TokenDecoder, num_users: int, offer: Tensor | None = None, **options: Any) -> TokenSlates:
    return TokenSlates(context_of(num_users), offer, decoder=decoder, **options)


class Reference:
    """The same decoder by the slow plain reference, for one user."""

    def __init__(self, decoder: TokenDecoder, context: Tensor, offered: np.ndarray) -> None:
        self.weights = {name: value.detach().double().numpy() for name, value in decoder.named_parameters()}
        self.codes = decoder.tree.codes.numpy().tolist()
        self.heads, self.temperature = decoder.blocks[0].num_heads, decoder.temperature
        self.context, self.offered = context.double().numpy(), offered.tolist()
        self._known: dict[Any, np.ndarray] = {}

    def logits(self, items: tuple[int, ...], prefix: tuple[int, ...]) -> np.ndarray:
        key = items, prefix
        if key not in self._known:
            self._known[key] = next_logits(self.weights, self.heads, self.codes, self.context, items, prefix)
        return self._known[key]

    def token_log_probs(self, slate: Any) -> list[list[float]] | None:
        return token_log_probs(self.logits, self.codes, self.offered, tuple(slate), self.temperature)

    def log_prob(self, slate: Any) -> float:
        rows = self.token_log_probs(slate)
        return -np.inf if rows is None else float(np.sum(rows))
