"""SlateQ: a user chooses one item of a slate, or none, and so a slate is worth what its items are, by their chances.

    Q(s, A) = sum over i in A and none of P(i | s, A) Q(s, i),   P(i | s, A) = v_i / (v_none + sum over j in A of v_j)
    L_choice = -E_b log P(c | s, A),                             c the item that was clicked, or none
    L_Q: see `action_values`, of Q(s, c), with V'(s') = max over A of Q'(s', A)
    L(theta) = -E_b log pi_theta(A* | s),                        A* = argmax over A of Q'(s, A)

The maximum over slates of K items is a fractional program, whose linear relaxation is exact. It is found by
Dinkelbach's iteration: the slate of the K largest v_i (Q_i - L), then L = Q of that slate, from L = Q(s, none). Where
Q(s, none) = 0, as in the paper, its first slate is the paper's top-K slate, of the K largest v_i Q_i; each further one
is at least as good, and a few are the optimum.

Source: Ie et al. 2019 (arXiv:1905.12767), sections 4 and 5: the decomposition, the item-wise update on the clicked
item, the linear program and the top-K slate; Dinkelbach 1967. There the choice model is given; here it is learned, a
multinomial logit of the first channel of the feedback: without positions, and where a log has several clicks in a
slate, each counts an equal share. There the slate is served itself; here a policy learns it by maximum likelihood. Q is
the lower of twins, and values are in the unit of the log's rewards.
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
from agents.nn.slates import EMPTY, cut_to
from agents.nn.value_networks import ItemNetwork
from agents.objectives.bases.action_values import (
    DIAGNOSTICS,
    NUM_TWINS,
    ActionValuesConfig,
    ValueObjective,
    make_networks,
    read_transition,
)
from recenv.errors import require_range

_READS = "(observation, items or None)"


@dataclass(frozen=True)
class SlateqConfig(ActionValuesConfig):
    """Hyper-parameters of SlateQ."""

    num_rounds: int = 4
    """Slates of the search for the best one; 1 is the top-K slate."""
    item_width: int = 32
    """Length of the vectors of session and item whose products are the values."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("num_rounds", self.num_rounds, 1, 1000, integer=True)
        require_range("item_width", self.item_width, 1, 65_536, integer=True)


def slate_value(choice: Tensor, value: Tensor) -> Tensor:
    """Return `Q(s, A)`, `[B]`.

    Args:
        choice: `[B, 1 + K]` log v, of no item first; -inf for what has no chance.
        value: `[B, 1 + K]` Q, in the same order.
    """
    return (choice.softmax(dim=-1) * value).sum(dim=-1)


def best_slate(
    choice: Tensor, value: Tensor, slate_size: int, num_rounds: int, num_shown: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the columns of the best slate, `[B, K]` in falling order of gain, and its `Q(s, A)`, `[B]`.

    Behind the last one, where less than K is offered or asked for, stands -1.

    Args:
        choice: `[B, 1 + n]` log v, of no item first; -inf for what is not offered.
        value: `[B, 1 + n]` finite Q, in the same order.
        slate_size: K <= n.
        num_rounds: slates to try; see the module.
        num_shown: `[B]` items of each slate, at most K; None for K.
    """
    dtype, choice, value = value.dtype, choice.double(), value.double()
    items = choice[..., 1:]
    weight, offered = (items - items.amax(dim=-1, keepdim=True)).exp(), items > -torch.inf
    # L = main + rest, the value of the likeliest choice and what the others add: where it takes nearly all choices,
    # the sum rounds to its value, and its weight times that rounding error would drown all other gains.
    main, rest = value[..., :1], torch.zeros_like(value[..., :1])
    columns = torch.empty(0)
    place = torch.arange(1 + slate_size, device=choice.device)
    beyond = None if num_shown is None else place > num_shown.unsqueeze(-1)
    for _ in range(num_rounds):
        gain = torch.where(offered, weight * (value[..., 1:] - main - rest), -torch.inf)
        columns = gain.topk(slate_size, dim=-1).indices
        taken = torch.cat([torch.zeros_like(columns[..., :1]), 1 + columns], dim=-1)
        logits, values = choice.gather(-1, taken), value.gather(-1, taken)
        logits = logits if beyond is None else logits.masked_fill(beyond, -torch.inf)
        main = values.gather(-1, logits.argmax(dim=-1, keepdim=True))
        rest = slate_value(logits, values - main).unsqueeze(-1)
    absent = ~offered.gather(-1, columns)
    absent = absent if beyond is None else absent | beyond[..., 1:]
    return columns.masked_fill(absent, EMPTY), (main + rest).squeeze(-1).to(dtype)


def clicked_share(click: Tensor, slate: Tensor) -> tuple[Tensor, Tensor]:
    """Return which choices there were, `[B, 1 + K]` bool, and the share of each in what was chosen, `[B, 1 + K]`.

    Args:
        click: `[B, K]` bool.
        slate: `[B, K]` items; a copy of an earlier one was not shown, and no choice, nor is an empty position, -1.
    """
    same = slate.unsqueeze(-1) == slate.unsqueeze(-2)
    shown = ~same.tril(diagonal=-1).any(dim=-1) & (slate != EMPTY)
    clicks = (click & shown).float()
    count = clicks.sum(dim=-1, keepdim=True)
    # Without a click all shares are 0 / 1.
    share = torch.cat([(count == 0).float(), clicks / count.clamp_min(1.0)], dim=-1)
    return torch.cat([torch.ones_like(shown[..., :1]), shown], dim=-1), share


def choice_loss(choice: Tensor, share: Tensor) -> Tensor:
    """Return `-log P(c | s, A)`, `[B]` nats.

    Args:
        choice: `[B, 1 + K]` log v, of no item first; -inf for what was not shown.
        share: `[B, 1 + K]`, sums to one; zero for what was not shown.
    """
    return -torch.where(share > 0, share * choice.log_softmax(dim=-1), 0.0).sum(dim=-1)


def item_td_loss(value: Tensor, share: Tensor, target: Tensor) -> Tensor:
    """Return the squared error of Q of what was chosen, `[B]`, summed over the members.

    Args:
        value: `[E, B, 1 + K]` Q, of no item first.
        share: `[B, 1 + K]`.
        target: `[B]`.
    """
    return (share * (target.unsqueeze(-1) - value).square()).sum(dim=-1).sum(dim=0)


@OBJECTIVES.register("slateq")
class SlateqObjective(ValueObjective):
    """SlateQ; see the module for the equations and `SlateqConfig` for the scalars.

    Args:
        actor_network: see `Objective`.
        config: None for the defaults.
        qvalue_network: members of Q(s, i), called with the observation and items `[B, n]` or None for all, for values
            `[B, 1 + n]`, of no item first; None for twins of the actor's space.
        choice_network: log v, called alike; None for one of the actor's space.
    """

    needs = frozenset({"mass", "transitions", "feedback"})
    Config = SlateqConfig
    losses = ("loss_actor", "loss_qvalue", "loss_choice")
    diagnostics = (*DIAGNOSTICS, "best_qvalue")

    def __init__(
        self,
        actor_network: Any,
        *,
        config: SlateqConfig | None = None,
        qvalue_network: Any = None,
        choice_network: nn.Module | None = None,
    ) -> None:
        super().__init__(actor_network, config=config, qvalue_network=qvalue_network)
        (self.choice_network,) = make_networks(
            actor_network, choice_network, self._make_network, name="choice_network", reads=_READS
        )

    def make_members(self, actor_network: Any, networks: Any) -> list[nn.Module]:
        """Return the members of Q, of single items; see `ValueObjective.make_members`."""
        return make_networks(actor_network, networks, self._make_network, NUM_TWINS, reads=_READS)

    def _make_network(self, space: SessionSpace, network: NetworkConfig) -> nn.Module:
        return ItemNetwork(space, network, self.config.item_width)

    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `losses`, `[B]`, and the diagnostics; `best_qvalue` is the mean of `Q'(s, A*)`, in units of reward."""
        step = read_transition(self, tensordict)
        slate = step.action.long()
        size = slate.shape[-1]
        shown, share = clicked_share(self.column(tensordict, "feedback")[..., 0] > 0, slate)
        choice = self.choice_network(step.observation, slate).masked_fill(~shown, -torch.inf)
        value = self.values(step.observation, slate)
        best, best_value = self.best(step.observation, size, slate != EMPTY)
        next_value = self.best(step.next_observation, size, step.next_shown)[1]
        target = self.values.target(step, next_value, tensordict)
        chosen = torch.where(share > 0, share * value, 0.0).sum(dim=-1)
        unit = self.values.unit(step, tensordict)
        with self.acting() as actor:
            log_prob = actor.get_dist(tensordict.copy()).log_prob(best)
        return {
            "loss_actor": -log_prob,
            "loss_qvalue": item_td_loss(value, share, target),
            "loss_choice": choice_loss(choice, share),
            **self.values.report(step, target, chosen, tensordict),
            "best_qvalue": unit * self._reduce_loss(best_value, tensordict, reduction="mean"),
        }

    @torch.no_grad()
    def best(self, observation: Any, slate_size: int, shown: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the slate of the largest `Q'(s, A)`, `[B, K]`, and that value, `[B]`.

        Args:
            observation: of B sessions.
            slate_size: K.
            shown: `[B, K]` bool, which positions the slates have; None for all.
        """
        space = getattr(self.actor_network, "space", None)
        offer = None if space is None else space.offer
        candidates = observation["candidates"].long() if offer == "candidates" else None
        choice, value = (network(observation, candidates) for network in (self.choice_network, self.values.slow))
        if candidates is not None:
            hidden = candidates < 0
        elif offer is not None:
            hidden = observation[offer] <= 0
        else:
            hidden = torch.zeros_like(choice[..., 1:], dtype=torch.bool)
        choice = torch.cat([choice[..., :1], choice[..., 1:].masked_fill(hidden, -torch.inf)], dim=-1)
        num_shown = None if shown is None else shown.sum(dim=-1)
        best, best_value = best_slate(choice, value, slate_size, self.config.num_rounds, num_shown)
        if candidates is not None:
            best = candidates.gather(-1, best.clamp_min(0)).masked_fill(best == EMPTY, EMPTY)
        return best if shown is None else cut_to(best, shown), best_value
