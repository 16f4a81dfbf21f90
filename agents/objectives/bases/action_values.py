"""What objectives share that learn the values of actions beside the policy: Q, its slow copy, and one step of a log.

Q has a few members, initialised independently; Q' is a slow copy, `Q' <- Q' + rate (Q - Q')` after every step. With u
the root mean square of all rewards seen so far, in which unit all values are,

    y = r / u + discount (1 - done) V'(s'),                    L_Q = sum over members (y - Q(s, a))^2

and an objective says what V' is, the value of the observation that follows. Where a session is done, nothing is earned
after it: an observation shows its clock, and so a session that is cut off at its last step has no future either.

Source: TD(0) with a slow target: Lillicrap et al. 2015, arXiv:1509.02971; twins: Fujimoto, van Hoof and Meger 2018,
arXiv:1802.09477. The unit and the faster rate are ours: a log's rewards are of any size, those of the papers' tasks of
about one, and a run of a few hundred steps cannot wait for a target that takes a thousand to follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

import torch
from tensordict import TensorDict, TensorDictBase
from tensordict.nn import TensorDictParams
from torch import Tensor, nn
from torchrl.objectives import LossModule

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.nn.slates import EMPTY, cut_to
from agents.nn.value_networks import ActionNetwork, ValueEnsemble
from agents.objectives.base import Objective
from recenv.errors import InvalidInput, require_range

NUM_TWINS: Final = 2
ITEM_WIDTH: Final = 8
DIAGNOSTICS: Final = ("td_error", "qvalue")
"""Root mean square of y - Q, and the mean of Q over the logged actions; both in units of reward."""


@dataclass(frozen=True)
class ActionValuesConfig:
    """Hyper-parameters of Q, for every objective that learns it."""

    discount: float = 1.0
    """Of what is earned a step later, in (0, 1]."""
    target_rate: float = 0.05
    """Share of the way that the slow copy goes after a step, in (0, 1]; 0.005 in the papers, of a million steps."""

    def __post_init__(self) -> None:
        require_range("discount", self.discount, 0.0, 1.0, low_open=True)
        require_range("target_rate", self.target_rate, 0.0, 1.0, low_open=True)


class Transition(NamedTuple):
    """One step of each of B sessions."""

    observation: Any
    """What value networks read."""
    action: Tensor
    """[B, K] slates or [B, d] proto-actions."""
    reward: Tensor
    """[B]."""
    going_on: Tensor
    """[B] bool, whether something is earned after it."""
    following: TensorDictBase
    """What the actor reads of the observation that follows, a TensorDict [B]."""
    next_observation: Any
    """The same, as value networks read it."""
    next_shown: Tensor | None
    """[B, K] bool, which positions of the slate that follows have an item; None where all have, and of protos."""

    def cut(self, actions: Tensor) -> Tensor:
        """Return actions of a policy, [..., B, K] or [..., B, d], as the logged step would have shown them."""
        return cut_to(actions, self.action != EMPTY)

    def cut_next(self, actions: Tensor) -> Tensor:
        """Return actions of a policy, [..., B, K] or [..., B, d], as the step that follows would have shown them."""
        return actions if self.next_shown is None else cut_to(actions, self.next_shown)


def read_transition(objective: Objective, tensordict: TensorDictBase) -> Transition:
    """Return what a batch holds of `transitions`.

    Args:
        objective: whose keys it has; an actor that does not say where it reads the observation reads `observation`.
        tensordict: [B].
    """
    key = getattr(objective.actor_network, "observation_key", "observation")
    after: Any = objective.column(tensordict, "next_observation")
    return Transition(
        observation=tensordict.get(key),
        action=tensordict.get(objective.tensor_keys.action).detach(),
        reward=objective.column(tensordict, "reward").squeeze(-1),
        going_on=~objective.column(tensordict, "done").squeeze(-1),
        following=TensorDict({}, batch_size=tensordict.batch_size).set(key, after),
        next_observation=after,
        next_shown=after.get("shown", None) if isinstance(after, TensorDictBase) else None,
    )


def make_networks(
    actor_network: Any,
    networks: nn.Module | Sequence[nn.Module] | None,
    make: Callable[[SessionSpace, NetworkConfig], nn.Module],
    num: int = 1,
    *,
    name: str = "qvalue_network",
    reads: str = "(observation, action)",
) -> list[nn.Module]:
    """Return the networks of a value: given ones, or fresh ones of the actor's space, device and sizes.

    Fresh ones draw their weights from the global generator, and stay in float32 whatever the policy is in.

    Args:
        actor_network: whose actions are valued.
        networks: given ones, one or several; None for fresh ones.
        make: gives a fresh one.
        num: how many fresh ones.
        name: of the argument, for the message.
        reads: what it is called with, for the message.

    Raises:
        InvalidInput: if an actor has no space to make networks for.
    """
    if networks is not None:
        return [networks] if isinstance(networks, nn.Module) else list(networks)
    space = getattr(actor_network, "space", None)
    if space is None:
        raise InvalidInput(
            f"actor_network is a {type(actor_network).__name__} without `space`, by which {name} could be made; pass "
            f"{name}=, modules that are called with {reads} and return values [B], or an actor of agents.policies.base"
        )
    return [make(space, actor_network.config.network).to(actor_network.device) for _ in range(num)]


def make_action_networks(actor_network: Any, networks: nn.Module | Sequence[nn.Module] | None) -> list[nn.Module]:
    """Return the members of Q(s, a), twins where they are not given; see `make_networks`.

    Args:
        actor_network: whose actions are valued.
        networks: called with (observation, action), they return [..., B] for actions [..., B, K] or [..., B, d].
    """

    def make(space: SessionSpace, network: NetworkConfig) -> nn.Module:
        return ActionNetwork(space, network, actor_network.action_kind, ITEM_WIDTH)

    return make_networks(actor_network, networks, make, NUM_TWINS)


class ActionValues(LossModule):
    """Q by E members and its slow copy, in the unit of the rewards; see the module.

    Args:
        networks: the members, all called alike.
        config: of the objective.
    """

    in_keys: ClassVar[list[Any]] = []  # type: ignore[misc]  # it is called with tensors
    out_keys: ClassVar[list[Any]] = []  # type: ignore[misc]
    qvalue_network: nn.Module
    qvalue_network_params: TensorDictParams
    target_qvalue_network_params: TensorDictParams
    discount: Tensor
    target_rate: Tensor
    mean_square: Tensor
    num_batches: Tensor

    def __init__(self, networks: Sequence[nn.Module], config: ActionValuesConfig) -> None:
        super().__init__()
        ensemble: Any = ValueEnsemble(networks, 0.0, 1.0)
        self.convert_to_functional(ensemble, "qvalue_network", create_target_params=True)
        self._has_update_associated["qvalue_network"] = True  # `follow` does it
        for name in ("discount", "target_rate"):
            self.register_coeff_buffer(name, float(getattr(config, name)), dtype=torch.float64)
        self.register_buffer("mean_square", torch.ones((), dtype=torch.float64))
        self.register_buffer("num_batches", torch.zeros(()))

    def forward(self, observation: Any, *action: Tensor | None) -> Tensor:
        """Return Q by each member, [E, ..., B]; gradients reach its parameters.

        Args:
            observation: of B sessions.
            *action: what the members take besides.
        """
        with self._running(self.qvalue_network_params) as network:
            return network.members(observation, *action)

    def fixed(self, observation: Any, *action: Tensor | None) -> Tensor:
        """Return Q by each member; gradients reach the action alone."""
        with self._running(self.qvalue_network_params.detach()) as network:
            return network.members(observation, *action)

    @torch.no_grad()
    def slow(self, observation: Any, *action: Tensor | None) -> Tensor:
        """Return the lower of the slow members' values, [..., B]."""
        with self._running(self.target_qvalue_network_params) as network:
            return network.members(observation, *action).amin(dim=0)

    @contextmanager
    def _running(self, params: Any) -> Iterator[Any]:
        with params.to_module(self.qvalue_network, preserve_module_state=False):
            yield self.qvalue_network

    def unit(self, transition: Transition, tensordict: TensorDictBase) -> Tensor:
        """Return the root mean square of the rewards so far, those of the first batch at once; a scalar above zero.

        Args:
            transition: of the batch.
            tensordict: the batch, whose validity mask is respected.
        """
        first = self._reduce_loss(transition.reward.square(), tensordict, reduction="mean")
        square = torch.where(self.num_batches > 0, self.mean_square, first)
        return torch.where(square > 0, square, 1.0).sqrt()

    def target(self, transition: Transition, next_value: Tensor, tensordict: TensorDictBase) -> Tensor:
        """Return y, [B]; no gradient flows into it.

        Args:
            transition: of the batch.
            next_value: [B], V' of the observations that follow.
            tensordict: the batch.
        """
        reward = transition.reward / self.unit(transition, tensordict)
        return td_target(reward, transition.going_on, next_value, self.discount)

    @torch.no_grad()
    def relative(self, advantage: Tensor, tensordict: TensorDictBase) -> Tensor:
        """Return an advantage in units of its root mean square over the batch, detached.

        Args:
            advantage: [B], or [B, K] of the items of slates.
            tensordict: the batch.
        """
        square = advantage.square().reshape(len(advantage), -1).mean(dim=-1)
        square = self._reduce_loss(square, tensordict, reduction="mean")
        return advantage * torch.where(square > 0, square, 1.0).rsqrt()

    @torch.no_grad()
    def follow(self, transition: Transition, tensordict: TensorDictBase, *, move: bool = True) -> None:
        """Move the slow copy after a step, and take the batch's rewards into the unit.

        Args:
            transition: of the batch.
            tensordict: the batch.
            move: False leaves the copy where it is.
        """
        square = self._reduce_loss(transition.reward.square(), tensordict, reduction="mean")
        self.num_batches += 1
        self.mean_square += (square - self.mean_square) / self.num_batches
        if move:
            self.target_qvalue_network_params.data.lerp_(self.qvalue_network_params.data, self.target_rate)

    def report(
        self, transition: Transition, target: Tensor, qvalue: Tensor, tensordict: TensorDictBase
    ) -> dict[str, Tensor]:
        """Return `DIAGNOSTICS`.

        Args:
            transition: of the batch.
            target: [B], y.
            qvalue: [E, B], Q of the logged actions.
            tensordict: the batch.
        """
        unit, mean = self.unit(transition, tensordict), qvalue.detach().mean(dim=0)
        error = (target - qvalue.detach()).square().mean(dim=0)
        return {
            "td_error": unit * self._reduce_loss(error, tensordict, reduction="mean").sqrt(),
            "qvalue": unit * self._reduce_loss(mean, tensordict, reduction="mean"),
        }


class ValueObjective(Objective):
    """Base of the objectives that learn Q beside the policy.

    Subclasses implement `terms`.

    Args:
        actor_network: see `Objective`.
        config: None for the defaults.
        qvalue_network: members of Q; None for twins of the actor's space.
        create_reference: see `Objective`.
    """

    needs = frozenset({"transitions"})
    losses = ("loss_actor", "loss_qvalue")
    diagnostics = DIAGNOSTICS

    def __init__(
        self, actor_network: Any, *, config: Any = None, qvalue_network: Any = None, create_reference: bool = False
    ) -> None:
        super().__init__(actor_network, config=config, create_reference=create_reference)
        self.values = ActionValues(self.make_members(actor_network, qvalue_network), self.config)

    def make_members(self, actor_network: Any, networks: Any) -> list[nn.Module]:
        """Return the members of Q; those of whole actions, unless a subclass has others.

        Args:
            actor_network: whose actions are valued.
            networks: given ones, one or several; None for fresh ones of the actor's space.

        Raises:
            InvalidInput: for an actor that says no space, and None.
        """
        return make_action_networks(actor_network, networks)

    @property
    def moves(self) -> bool:
        """Whether the slow copies move after the coming step."""
        return True

    @torch.no_grad()
    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Move the slow copy of Q; see `Objective.after_step`."""
        self.values.follow(read_transition(self, tensordict), tensordict, move=self.moves)
        return super().after_step(tensordict)


def td_target(reward: Tensor, going_on: Tensor, next_value: Tensor, discount: Tensor) -> Tensor:
    """Return `r + discount V'(s')`, and `r` alone where a session is done; no gradient flows into it.

    Args:
        reward: `[B]`.
        going_on: `[B]` bool.
        next_value: `[B]`; where a session is done, anything.
        discount: scalar in (0, 1].
    """
    return (reward + discount * torch.where(going_on, next_value, 0.0)).detach()


def td_loss(qvalue: Tensor, target: Tensor) -> Tensor:
    """Return the sum of the members' squared errors, `[B]`.

    Args:
        qvalue: `[E, B]`.
        target: `[B]`.
    """
    return (target - qvalue).square().sum(dim=0)
