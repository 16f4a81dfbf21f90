"""The distribution over slates that a token decoder gives, exact for any slate."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution

from agents.distributions.decoding import beam_search, sample_slates
from agents.distributions.slate_samples import entropy_of_samples
from agents.distributions.token_decoder import Conditionals, TokenDecoder
from agents.nn.slates import EMPTY, packed, unpacked, without_copies


class TokenSlates(Distribution):
    """The distribution over slates of K different items on offer; float32 nats.

    A slate with an item twice, or one that is not on offer, has log-probability -inf and gives no gradient. Of one that
    has empty positions, -1 or copies at its end, what counts are the items; see `agents.nn.slates`. Where fewer than K
    items are on offer, samples and the mode hold them all and end in -1.

    Args:
        context: [B, width], the context token.
        offer: what the step may show, see `TokenTree`; None for every item.
        decoder: the network, whose parameters are read whenever something is asked.
        beam_size: prefixes that the search of the mode keeps; 1 is greedy.
        num_entropy_samples: slates of which the entropy is a mean.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]
    has_rsample = False

    def __init__(
        self,
        context: Tensor,
        offer: Tensor | None = None,
        *,
        decoder: TokenDecoder,
        beam_size: int = 1,
        num_entropy_samples: int = 4,
    ) -> None:
        self.context, self.offer, self.decoder = context, offer, decoder
        self.beam_size, self.num_entropy_samples = beam_size, num_entropy_samples
        super().__init__(context.shape[:1], torch.Size([decoder.slate_size]), validate_args=False)

    # --- of given slates

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of slates, [..., B].

        Args:
            value: [..., B, K] integers.
        """
        return self.prefix_log_prob(value)[..., -1]

    def prefix_log_prob(self, slate: Tensor) -> Tensor:
        """Return the log-probability of the first 1, 2, ... K items, [..., B, K].

        Args:
            slate: [..., B, K] integers.
        """
        items, index = packed(without_copies(slate))
        law = self._law(items)
        prefix = self._token_log_prob(law).sum(dim=-1).cumsum(dim=-1)
        return unpacked(self._by_sample(torch.where(self._possible(law, items), prefix, -torch.inf), slate), index)

    def num_tokens(self, slate: Tensor) -> Tensor:
        """Return the number of tokens of slates, [...]: levels times items.

        Args:
            slate: [..., K] integers.
        """
        return self.decoder.tree.num_levels * (without_copies(slate) != EMPTY).sum(-1)

    def token_log_prob(self, slate: Tensor) -> Tensor:
        """Return the log-probability of each token given those before, [..., B, K, L]; of `prefix_log_prob` the shares.

        0 in an empty position, -inf from a wrong item on.

        Args:
            slate: [..., B, K] integers.
        """
        slate = without_copies(slate)
        items, index = packed(slate)
        law = self._law(items)
        possible = self._possible(law, items).unsqueeze(-1)
        tokens = unpacked(self._by_sample(torch.where(possible, self._token_log_prob(law), -torch.inf), slate), index)
        return torch.where((slate == EMPTY).unsqueeze(-1) & (tokens > -torch.inf), 0.0, tokens)

    def score_function_norm(self, action: Tensor) -> Tensor:
        """Return the norm of the gradient of `log_prob` in the logits of all tokens, [..., B]; 0 where that is -inf.

        A token's share is |onehot(token) - p| / temperature.

        Args:
            action: [..., B, K] integers.
        """
        items, _ = packed(without_copies(action))
        law = self._law(items)
        total = torch.zeros((), device=action.device)
        for level, log_prob in enumerate(law.log_prob):
            chosen = law.tokens[..., level, None] == torch.arange(log_prob.shape[-1], device=action.device)
            share = (chosen.float() - log_prob.exp()).square().sum(dim=-1)
            total = total + torch.where(law.valid, share, 0.0).sum(dim=-1)
        norm = total.sqrt() / self.decoder.temperature
        return self._by_sample(torch.where(self._possible(law, items)[..., -1], norm, 0.0), action)

    # --- of its own slates

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return slates by the global generator, [*sample_shape, B, K] int64."""
        shape = torch.Size(sample_shape)
        draws = self.decoder.slate_size * self.decoder.tree.num_levels
        uniforms = torch.rand(len(self.context), shape.numel(), draws, dtype=torch.float64, device=self.context.device)
        return self.draw(uniforms).view(*shape, *self.batch_shape, *self.event_shape)

    def draw(self, uniforms: Tensor) -> Tensor:
        """Return the slates that uniforms fix, [R, B, K] int64.

        Args:
            uniforms: [B, R, K L] in [0, 1].
        """
        return sample_slates(self.decoder, self.context, self._offered(), uniforms).transpose(0, 1)

    def beams(self, beam_size: int) -> tuple[Tensor, Tensor]:
        """Return the best slates that a beam search finds, [B, W, K], and their log-probabilities [B, W], best first.

        Args:
            beam_size: W.
        """
        return beam_search(self.decoder, self.context, self._offered(), beam_size)

    @property
    def mode(self) -> Tensor:
        """The best slate that a search with `beam_size` beams finds, [B, K] int64."""
        return self.beams(self.beam_size)[0][:, 0]

    @property
    def deterministic_sample(self) -> Tensor:
        """The mode: what TorchRL takes where it explores nothing."""
        return self.mode

    def entropy(self) -> Tensor:
        """Return an unbiased estimate of the entropy, [B]: a mean over a few samples.

        Each sample gives the sum of the entropies of its tokens' laws; see `entropy_of_samples`.
        """
        slates = self.sample((self.num_entropy_samples,))
        law = self._law(slates)
        shares = [
            -(log_prob.exp() * torch.where(log_prob > -torch.inf, log_prob, 0.0)).sum(dim=-1)
            for log_prob in law.log_prob
        ]
        valid = law.valid.unsqueeze(-1)
        entropy = torch.where(valid, torch.stack(shares, dim=-1), 0.0).flatten(2)
        log_prob = torch.where(valid, self._token_log_prob(law), 0.0).flatten(2)
        return entropy_of_samples(entropy.transpose(0, 1), log_prob.transpose(0, 1))

    # --- parts

    def _offered(self) -> Tensor | None:
        return self.decoder.tree.offered(self.offer)

    def _law(self, slate: Tensor) -> Conditionals:
        """Return the laws of the tokens; samples lie behind the batch, [B, R, ...]."""
        return self.decoder.conditionals(self.context, self._offered(), self._lanes(slate))

    def _possible(self, law: Conditionals, slate: Tensor) -> Tensor:
        """Return which positions no wrong item stands at or before, [B, R, K] bool."""
        return (law.valid | (self._lanes(slate) == EMPTY)).cumprod(dim=-1) > 0

    @staticmethod
    def _lanes(slate: Tensor) -> Tensor:
        """Return slates [..., B, K] as [B, R, K]."""
        return slate.reshape(slate.shape[:-2].numel(), *slate.shape[-2:]).transpose(0, 1)

    def _token_log_prob(self, law: Conditionals) -> Tensor:
        """Return [B, R, K, L], 0 where the item is wrong."""
        chosen = [
            log_prob.gather(-1, law.tokens[..., level, None]).squeeze(-1) for level, log_prob in enumerate(law.log_prob)
        ]
        return torch.where(law.valid.unsqueeze(-1), torch.stack(chosen, dim=-1), 0.0)

    @staticmethod
    def _by_sample(values: Tensor, slate: Tensor) -> Tensor:
        """Return [B, R, ...] as [..., B, ...], with the leading axes of the slates."""
        return values.transpose(0, 1).reshape(*slate.shape[:-2], *values.shape[:1], *values.shape[2:])
