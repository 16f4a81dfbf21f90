"""A Plackett-Luce policy: slates without replacement, by a softmax over the products of session and item vectors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from agents.distributions.plackett_luce import PlackettLuce
from agents.distributions.sampled_plackett_luce import ItemProposal, LargePlackettLuce, observation_key
from agents.families import POLICIES
from agents.nn.networks import ItemTable, NetworkConfig, make_encoder, mlp
from agents.nn.rows import scaled_logits
from agents.nn.session_space import SessionSpace
from agents.nn.slates import packed, unpacked, without_copies
from agents.policies.base import Played, Policy
from offline_data.ranking.plackett_luce import Law, Utilities, draw_slates, judge_slates, log_softmax
from recenv.errors import require, require_range

_LOGITS_AT_ONCE: Final = 2**24


@dataclass(frozen=True)
class PlackettLucePolicyConfig:
    """A Plackett-Luce policy over slates.

    Examples:
        >>> from agents import PlackettLucePolicyConfig, SessionSpace, make_policy
        >>> from recenv import SessionConfig, make_world
        >>> policy = make_policy(SessionSpace.of_world(make_world(SessionConfig())), PlackettLucePolicyConfig(), seed=0)
        >>> policy.action_kind
        'slate'
    """

    name: ClassVar[str] = "plackett_luce"
    network: NetworkConfig = field(default_factory=NetworkConfig)
    """Sizes."""
    item_width: int = 64
    """D, of the vectors of session and item whose products are the logits."""
    sampled_above: int = 10_000
    """In training, catalogues of more items than this have their normaliser estimated from a sample, unless the step
    offers candidates; in evaluation mode it is exact."""
    num_sampled: int = 1024
    """M, items of the sample, which the observations of the batch fix."""
    uniform_share: float = 0.5
    """Of the sample's proposal, in (0, 1]; the rest follows popularity."""

    def __post_init__(self) -> None:
        require_range("item_width", self.item_width, 1, 65_536, integer=True)
        require_range("sampled_above", self.sampled_above, 0, 2**24, integer=True)
        require_range("num_sampled", self.num_sampled, 1, 2**20, integer=True)
        require_range("uniform_share", self.uniform_share, 0.0, 1.0, low_open=True)


class PlackettLuceHead(nn.Module):
    """From an observation to `logits` (and `items`, the candidates), or `user` and `sample_key` of a large catalogue.

    Args:
        space: see `Policy`.
        config: the policy's config.
    """

    def __init__(self, space: SessionSpace, config: PlackettLucePolicyConfig) -> None:
        super().__init__()
        self.encoder = make_encoder(space, config.network)
        self.body = mlp(self.encoder.num_features, config.network.hidden_sizes, config.item_width)
        self.item_table = ItemTable(space, config.item_width)
        self.large = space.num_items > config.sampled_above and space.offer != "candidates"
        self.proposal = ItemProposal(space.popularity, config.uniform_share) if self.large else None

    def forward(self, **observation: Tensor) -> Tensor | tuple[Tensor, ...]:
        """See the class; the keywords are those of `SessionEncoder.forward`, `candidates` and `available`."""
        user = self.body(self.encoder(**observation))
        available = observation.get("available")
        if self.large:
            key = observation_key(observation, self.encoder.history_length)
            return (user.float(), key) if available is None else (user.float(), key, available)
        if "candidates" in observation:
            items = observation["candidates"].long()
            vectors, bias = self.item_table(items.clamp_min(0))
            logits = scaled_logits(user.unsqueeze(-2), vectors, bias.unsqueeze(-2)).squeeze(-2).float()
            return logits.masked_fill(items < 0, -torch.inf), items
        logits = scaled_logits(user, *self.item_table()).float()
        return logits if available is None else logits.masked_fill(available <= 0, -torch.inf)


@POLICIES.register("plackett_luce")
class PlackettLucePolicy(Policy):
    """The Plackett-Luce policy: reads an observation, writes what its head does and the slate, [B, K] int64.

    Args:
        space: see `Policy`.
        config: see `PlackettLucePolicyConfig`.
        **keys: see `Policy`.

    Raises:
        InvalidInput: for fewer items than a slate takes; see `Policy` too.
    """

    Config = PlackettLucePolicyConfig
    action_kind = "slate"
    score_coordinates = "logits"

    def __init__(self, space: SessionSpace, config: PlackettLucePolicyConfig, **keys: Any) -> None:
        remedy = "lower slate_size"
        if space.session is None:
            remedy = (
                "choose --policy generative, or import the log with --items FILE that names all items of its service, "
                f"{space.slate_size} or more"
            )
        require(
            space.slate_size <= space.num_items,
            f"slate_size={space.slate_size} exceeds num_items={space.num_items}, and each place of a plackett_luce "
            f"slate takes another item; {remedy}",
        )
        head = PlackettLuceHead(space, config)
        options: dict[str, Any] = {"slate_size": space.slate_size}
        if head.large:
            options |= {"item_table": head.item_table, "proposal": head.proposal, "num_sampled": config.num_sampled}
            parameters = ("user", "sample_key", *(("available",) if space.offer == "available" else ()))
        else:
            parameters = ("logits", "items") if space.offer == "candidates" else ("logits",)
        distribution = LargePlackettLuce if head.large else PlackettLuce
        super().__init__(space, config, head, parameters, distribution, options, **keys)

    @property
    def num_draws(self) -> int:
        """One a position."""
        return self.space.slate_size

    def play(self, batch: TensorDictBase, uniforms: np.ndarray) -> Played:
        """See `Policy.play`."""
        size = self.space.slate_size
        slates, prefix = np.empty((len(uniforms), size), np.int32), np.empty((len(uniforms), size))
        for rows, utilities in self._utilities(batch):
            slates[rows], prefix[rows] = draw_slates(Law(utilities), size, uniforms[rows])
        return Played(slates, prefix[:, -1].copy(), prefix)

    def judge(self, batch: TensorDictBase, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Policy.judge`."""
        items, index = packed(without_copies(torch.from_numpy(np.array(action, np.int64))))
        action = items.numpy()
        known = (action >= 0) & (action < self.space.num_items)
        slates, prefix = np.where(known, action, 0).astype(np.int32), np.empty(action.shape)
        for rows, utilities in self._utilities(batch):
            prefix[rows] = judge_slates(Law(utilities), slates[rows])
        prefix[~np.logical_and.accumulate(known, axis=1)] = -np.inf
        prefix = unpacked(torch.from_numpy(prefix), index).numpy()
        return prefix[:, -1].copy(), prefix

    def next_item_log_prob(self, batch: TensorDictBase, prefix: np.ndarray) -> np.ndarray:
        """Return the log-probability of each item to stand next, [B, N] float64, -inf for taken or not offered ones.

        Args:
            batch: holds the observations, on the policy's device.
            prefix: [B, k] different items that stand already, k < K.

        Raises:
            InvalidInput: for a prefix of K items or more.
        """
        length, size = prefix.shape[1], self.space.slate_size
        require(length < size, f"prefix has {length} items; a slate has {size}: give at most {size - 1}")
        out = np.empty((len(prefix), self.space.num_items))
        for rows, utilities in self._utilities(batch):
            logits = np.array(utilities.extras)
            np.put_along_axis(logits, prefix[rows].astype(np.int64), -np.inf, axis=1)
            out[rows] = log_softmax(logits)
        return out

    @torch.no_grad()
    def _utilities(self, batch: TensorDictBase) -> Iterator[tuple[slice, Utilities]]:
        """Yield the exact logits of a few sessions at a time, as the kernels read them, and which sessions."""
        num_items = self.space.num_items
        step = max(1, _LOGITS_AT_ONCE // num_items)
        for start in range(0, len(batch), step):
            rows = slice(start, min(start + step, len(batch)))
            distribution = self.get_dist(batch[rows])
            assert isinstance(distribution, PlackettLuce)
            logits = distribution.table(num_items)
            yield rows, Utilities(np.zeros(num_items), extras=logits.double().cpu().numpy())
