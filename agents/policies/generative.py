"""A slate as a sequence of semantic-ID tokens that a transformer decodes: every code it writes is an item on offer.

    log pi(slate | s) = sum over positions k, levels l of log p(token_kl | s, the tokens before)

and each p is a softmax over the tokens with an item below that the step may show and that the slate does not have yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from agents.distributions.token_decoder import TokenDecoder
from agents.distributions.token_slates import TokenSlates
from agents.distributions.token_tree import TokenTree
from agents.families import POLICIES
from agents.nn.attention import require_heads
from agents.nn.networks import NetworkConfig, make_encoder, mlp
from agents.nn.session_space import SessionSpace
from agents.policies.base import Played, Policy
from recenv.errors import InvalidInput, require_range
from recenv.item_codes.semantic_ids import SemanticIdConfig, SemanticIds


@dataclass(frozen=True)
class GenerativePolicyConfig:
    """A transformer decoder over semantic IDs.

    Examples:
        >>> from agents import GenerativePolicyConfig, SessionSpace, make_policy
        >>> from recenv import SessionConfig, make_world
        >>> policy = make_policy(SessionSpace.of_world(make_world(SessionConfig())), GenerativePolicyConfig(), seed=0)
        >>> policy.action_kind
        'slate'
    """

    name: ClassVar[str] = "generative"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Sizes of the encoder and of what makes the context token of it."""
    ids: SemanticIdConfig = field(default_factory=SemanticIdConfig)
    """How the items are coded."""
    width: int = 64
    """Of the decoder."""
    num_layers: int = 2
    """Of the decoder."""
    num_heads: int = 2
    """Of its attention; divides the width."""
    temperature: float = 1.0
    """Divides the logits, in training and in play: below 1 the policy is the more deterministic."""
    beam_size: int = 1
    """Prefixes that the search of the mode keeps; 1 is greedy."""
    num_entropy_samples: int = 4
    """Slates of which the entropy is a mean."""

    def __post_init__(self) -> None:
        require_range("width", self.width, 1, 65_536, integer=True)
        require_range("num_layers", self.num_layers, 1, 64, integer=True)
        require_heads(self.width, self.num_heads)
        require_range("temperature", self.temperature, 1e-3, 1e3)
        require_range("beam_size", self.beam_size, 1, 65_536, integer=True)
        require_range("num_entropy_samples", self.num_entropy_samples, 1, 1024, integer=True)


class GenerativeHead(nn.Module):
    """From an observation to the context token [B, width] float32, and what the step may show, if that is limited.

    Args:
        space: see `Policy`.
        config: the policy's config.
        ids: the items' codes.

    Attributes:
        decoder: the network that the distribution asks.
        codes: [N, L] int32, of the items.
    """

    codes: Tensor

    def __init__(self, space: SessionSpace, config: GenerativePolicyConfig, ids: SemanticIds) -> None:
        super().__init__()
        self.offer = space.offer
        self.register_buffer("codes", torch.from_numpy(ids.codes.copy()))  # for the file: see `GenerativePolicy`
        self.encoder = make_encoder(space, config.network)
        self.body = mlp(self.encoder.num_features, config.network.hidden_sizes, config.width)
        self.decoder = TokenDecoder(
            TokenTree(ids.codes, ids.level_sizes, space.offer),
            space.slate_size,
            config.width,
            config.num_layers,
            config.num_heads,
            config.temperature,
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        codes = state_dict.get(f"{prefix}codes")
        if codes is not None and not torch.equal(codes.cpu(), self.codes.cpu()):
            raise InvalidInput(
                "the semantic IDs beside the weights are not those that these items get here: the items are others, or "
                "stand in another order, or another version codes them otherwise; take the items and the version that "
                "the weights were trained with, or train again"
            )
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, **observation: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """See the class; the keywords are those of `SessionEncoder.forward`."""
        context = self.body(self.encoder(**observation)).float()
        return context if self.offer is None else (context, observation[self.offer])


@POLICIES.register("generative")
class GenerativePolicy(Policy):
    """The policy over semantic IDs: reads an observation, writes `context` and the slate, [B, K] int64.

    Its items' codes are fitted anew wherever it is made, also when a file is read, and compared with the file's: they
    follow from the items.

    Args:
        space: see `Policy`.
        config: see `GenerativePolicyConfig`.
        **keys: see `Policy`.
    """

    Config = GenerativePolicyConfig
    examples = ({"ids": SemanticIdConfig(num_codebooks=2, codebook_size=4), "width": 16, "num_layers": 1},)
    action_kind = "slate"

    def __init__(self, space: SessionSpace, config: GenerativePolicyConfig, **keys: Any) -> None:
        ids = SemanticIds.fit(space, config.ids)
        head = GenerativeHead(space, config, ids)
        options = {
            "decoder": head.decoder,
            "beam_size": config.beam_size,
            "num_entropy_samples": config.num_entropy_samples,
        }
        parameters = ("context",) if space.offer is None else ("context", "offer")
        super().__init__(space, config, head, parameters, TokenSlates, options, **keys)
        self._ids = ids

    @property
    def ids(self) -> SemanticIds:
        """The items' codes."""
        return self._ids

    @property
    def num_collisions(self) -> int:
        """Items that the last level of the codes alone tells from one with a lower id."""
        return self._ids.num_collisions

    @property
    def num_draws(self) -> int:
        """One a token."""
        return self.space.slate_size * len(self._ids.level_sizes)

    @torch.no_grad()
    def play(self, batch: TensorDictBase, uniforms: np.ndarray) -> Played:
        """See `Policy.play`."""
        distribution: TokenSlates = self.get_dist(batch)  # type: ignore[assignment]
        draws = torch.from_numpy(np.array(uniforms)).to(distribution.context.device)
        slates = distribution.draw(draws.unsqueeze(1))[0]
        # Not the sum over the steps of decoding: what `judge` says of these slates is this very number.
        prefix = distribution.prefix_log_prob(slates).double().cpu().numpy()
        return Played(slates.cpu().numpy().astype(np.int32), prefix[:, -1], prefix)

    @torch.no_grad()
    def judge(self, batch: TensorDictBase, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Policy.judge`."""
        distribution: TokenSlates = self.get_dist(batch)  # type: ignore[assignment]
        slates = torch.from_numpy(np.array(action)).to(distribution.context.device)
        prefix = distribution.prefix_log_prob(slates).double().cpu().numpy()
        return prefix[:, -1], prefix
