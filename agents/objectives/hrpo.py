"""Credit for the tokens of a slate: what the prefix up to a token promises, less what the one before it did.

    U(s, c_1 ... c_t) = mean of u(s, i) over the items i that can still follow: on offer, not shown, and so coded
    delta_t = U(c_1 ... c_t) - U(c_1 ... c_(t-1)) + e / n,     e = z - u_0(s) - sum over the slate's items of u(s, i)
    L(theta) = -E_b[ sum_t min(exp(n delta_t / temperature), cap) log p_theta(c_t | s, c_1 ... c_(t-1)) ]
    L_u = E_b[ e^2 ],     z = (score - mean) / std over the whole log,     n tokens of the slate

The tokens of an item are its semantic ID's, and those of a whole slate stand one after another, each item's tree
without the items before it; a policy without semantic IDs has one token an item. Credits add up: over an item's tokens
to u of the item less the mean of what else could have stood there, and over a slate to its score less what a slate of
chance would be expected to have. What no sum over items explains, e, every token shares. With u = 0 this is AWR of the
whole slate; what u explains moves weight from the items of a good slate that do not earn it to those of others that do.

Source: HRPO (arXiv:2608.00750), of which we know one line only: credit to the prefixes of semantic IDs by
delta_t = U(s<=t) - U(s<t). Its text was not read. All else is a reading: that U is a mean over completions, that it is
of utilities u that are fitted to the shared score as a sum over a slate's items, that the rest is shared, and that a
token of the log is weighted by its credit as AWR weights a row (arXiv:1910.00177); the source may well draw from its
policy and clip ratios.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from agents.families import OBJECTIVES
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.nn.slates import EMPTY, offered_items, without_copies
from agents.nn.value_networks import ItemNetwork
from agents.objectives.awr import awr_loss
from agents.objectives.base import Objective
from agents.objectives.bases.action_values import make_networks
from agents.objectives.reinforce import conditional_log_prob
from recenv.errors import require_range


@dataclass(frozen=True)
class HrpoConfig:
    """Hyper-parameters of credit to prefixes; all of them ours, and the weights' those of `AwrConfig`.

    Examples:
        >>> from agents import OBJECTIVES
        >>> OBJECTIVES.get("hrpo").Config(temperature=0.3).weight_cap
        20.0
    """

    temperature: float = 1.0
    """Of the weights, in standard deviations of the score; the smaller, the greedier."""
    weight_cap: float = 20.0
    """Largest weight of one token."""
    item_width: int = 32
    """Length of the vectors of session and item whose products are the utilities."""

    def __post_init__(self) -> None:
        require_range("temperature", self.temperature, 0.0, low_open=True)
        require_range("weight_cap", self.weight_cap, 0.0, low_open=True)
        require_range("item_width", self.item_width, 1, 65_536, integer=True)


def prefix_paths(codes: Tensor) -> Tensor:
    """Return which prefixes lead to each item, [N, L + 1] int64: by length from 0, numbers of the distinct ones.

    Args:
        codes: [N, L] integers, all rows different.
    """
    paths = [torch.unique(codes[:, :length], dim=0, return_inverse=True)[1] for length in range(1, codes.shape[1] + 1)]
    return torch.stack([torch.zeros(len(codes), dtype=torch.int64), *paths], dim=1)


def prefix_utility(utility: Tensor, paths: Tensor, slate: Tensor, offered: Tensor | None = None) -> Tensor:
    """Return U of the prefixes of each item of slates, [B, K, L + 1], from the empty one to its whole code.

    Args:
        utility: [B, N] u.
        paths: [N, L + 1], see `prefix_paths`.
        slate: [B, K] int64 different items on offer; -1 in an empty position, of which anything is returned.
        offered: [B, N] bool, what each step may show; None for everything.
    """
    items, shown = slate.clamp_min(0), slate != EMPTY
    own, size = utility.gather(1, items), slate.shape[1]
    # Item j stands before item k.
    before = torch.ones(size, size, dtype=torch.bool, device=slate.device).tril(-1) & shown.unsqueeze(1)
    present = torch.ones_like(utility) if offered is None else offered.to(utility.dtype)
    found = []
    for depth in range(paths.shape[1] - 1):
        node = paths[:, depth]
        number = utility.shape[1] if depth else 1
        empty = utility.new_zeros(len(utility), number)
        mine = node[items]
        gone = (before & (mine.unsqueeze(2) == mine.unsqueeze(1))).to(utility.dtype)
        total = empty.index_add(1, node, utility * present).gather(1, mine) - (gone * own.unsqueeze(1)).sum(2)
        count = empty.index_add(1, node, present).gather(1, mine) - gone.sum(2)
        found.append(total / count.clamp_min(1))
    return torch.stack([*found, own], dim=2)


@OBJECTIVES.register("hrpo")
class HrpoObjective(Objective):
    """Credit to prefixes; see the module for the equations and `HrpoConfig` for the scalars.

    Args:
        actor_network: see `Objective`; the slates of its distribution have `token_log_prob`, or `prefix_log_prob`.
        config: None for the defaults.
        utility_network: u, called with the observation and items `[B, n]` or None for all, for u_0 and u, `[B, 1 + n]`;
            None for one of the actor's space.
    """

    needs = frozenset({"mass", "score"})
    Config = HrpoConfig
    losses = ("loss_actor", "loss_utility")
    diagnostics = ("unexplained",)
    _schedulable_buffers = frozenset({"temperature", "weight_cap"})
    temperature: Tensor
    weight_cap: Tensor
    paths: Tensor

    def __init__(
        self, actor_network: Any, *, config: HrpoConfig | None = None, utility_network: nn.Module | None = None
    ) -> None:
        super().__init__(actor_network, config=config)
        reads = "(observation, items or None)"
        (self.utility_network,) = make_networks(
            actor_network, utility_network, self._make_network, name="utility_network", reads=reads
        )
        ids = getattr(actor_network, "ids", None)
        codes = torch.arange(actor_network.space.num_items)[:, None] if ids is None else torch.tensor(ids.codes)
        self.register_buffer("paths", prefix_paths(codes), persistent=False)

    def _make_network(self, space: SessionSpace, network: NetworkConfig) -> nn.Module:
        return ItemNetwork(space, network, self.config.item_width)

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `losses`, `[B]`, and the root mean square of e, in standard deviations of the score."""
        slate = without_copies(tensordict.get(self.tensor_keys.action)).long()
        shown, observation = slate != EMPTY, self._observation(tensordict)
        own = self.utility_network(observation, slate)
        explained = own[:, 0] + torch.where(shown, own[:, 1:], 0.0).sum(-1)
        rest = self.standardized_score(tensordict).to(own.dtype) - explained
        credit = self.credit(observation, slate, rest.detach())
        with self.acting() as actor:
            distribution: Any = actor.get_dist(tensordict.copy())
            if hasattr(distribution, "token_log_prob"):
                log_prob = distribution.token_log_prob(slate)
            else:
                log_prob = conditional_log_prob(distribution.prefix_log_prob(slate)).unsqueeze(-1)
        number = shown.sum(-1).clamp_min(1)[:, None, None] * credit.shape[2]
        loss = awr_loss(log_prob, (number * credit).to(log_prob.dtype), self.temperature, self.weight_cap)
        square = self._reduce_loss(rest.detach().square(), tensordict, reduction="mean")
        return {
            "loss_actor": torch.where(shown.unsqueeze(-1), loss, 0.0).sum((-1, -2)),
            "loss_utility": rest.square(),
            "unexplained": square.sqrt(),
        }

    @torch.no_grad()
    def credit(self, observation: Any, slate: Tensor, rest: Tensor) -> Tensor:
        """Return delta of each token, `[B, K, L]`.

        Args:
            observation: of B sessions.
            slate: `[B, K]` int64, -1 in an empty position.
            rest: `[B]` e.
        """
        utility = self.utility_network(observation)[:, 1:]
        offered = offered_items(observation, self.actor_network.space.offer, len(self.paths))
        credit = prefix_utility(utility, self.paths, slate, offered).diff(dim=-1)
        number = (slate != EMPTY).sum(-1).clamp_min(1) * credit.shape[2]
        return credit + (rest / number)[:, None, None]

    def _observation(self, tensordict: TensorDictBase) -> Any:
        return tensordict.get(getattr(self.actor_network, "observation_key", "observation"))
