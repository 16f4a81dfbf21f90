"""Objectives by name: each turns a batch of logged actions and one score into a differentiable loss of the policy.

An objective is one file: a pure tensor function, a frozen config and a thin `Objective` registered in `OBJECTIVES`.
The trainer knows only this protocol:

    objective = OBJECTIVES.get("robust_filter")(actor_network, config=RobustFilterConfig())
    objective.refresh(scores)                   # the whole log's scores, whenever the critic is refreshed
    losses = objective(batch)                   # the sum of all `loss_*`: backward, optimiser step
    diagnostics = objective.after_step(batch)

What it reads besides observations and actions it says by `needs`; `agents.training.log_columns` takes that from a log.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from tensordict import NestedKey, TensorDict, TensorDictBase
from tensordict.nn import ProbabilisticTensorDictSequential, TensorDictParams, dispatch
from torch import Tensor
from torchrl.objectives import LossModule

from agents.objectives.bases.batch_kl import batch_kl
from agents.objectives.bases.draws import Draws
from agents.objectives.bases.needs import NEEDS
from agents.robust.problem import check_scores
from recenv.errors import InvalidInput
from recenv.registry import own_config


class Objective(LossModule):
    """Base of every objective: functional access to the actor, and the statistics of the log's scores.

    Subclasses set `needs`, `Config` and `diagnostics`, and implement `terms`; the config's scalars that they name in
    `_schedulable_buffers` become buffers, float64. The input is never written to; `loss_*` outputs are differentiable,
    all others detached.

    Args:
        actor_network: a `ProbabilisticActor` whose distribution's `log_prob` is already summed over event dimensions.
        config: an instance of the class's `Config`; None means its defaults.
        create_reference: hold a frozen copy of the actor's parameters in `target_actor_network_params`.

    Attributes:
        remarks: sentences on what `refresh` found, for the user.
        findings: the same as plain values by name, for a file.

    Raises:
        InvalidInput: if `config` is not an instance of `Config`.

    Examples:
        >>> from agents import GaussianPolicyConfig, OBJECTIVES, SessionSpace, make_policy
        >>> from recenv import SessionConfig, make_world
        >>> actor = make_policy(SessionSpace.of_world(make_world(SessionConfig())), GaussianPolicyConfig())
        >>> objective = OBJECTIVES.get("awr")(actor)
        >>> sorted(objective.needs), objective.losses
        (['score'], ('loss_actor',))
    """

    @dataclass
    class _AcceptedKeys:
        """Configurable keys; a batch holds those that the objective `needs`."""

        action: NestedKey = "proto"
        """As logged, [B, K] or [B, d]; of a `Policy` it lies where that policy says, unless `set_keys` does."""
        score: NestedKey = "score"
        """[B], of the log's actions, such as the `Q - V` of one critic."""
        behavior_log_prob: NestedKey = "behavior_log_prob"
        """[B] nats, of whole actions; NaN where the log does not know it."""
        prefix_log_prob: NestedKey = "prefix_log_prob"
        """[B, K] nats, of the first 1, 2, ... K items of the slate under the behavior policy."""
        session_return: NestedKey = "session_return"
        """[B], undiscounted, of the row's session."""
        session_rank: NestedKey = "session_rank"
        """[B] in [0, 1), the share of the log's sessions that earned more."""
        group_return_mean: NestedKey = "group_return_mean"
        """[B], of the session returns of the session's group."""
        group_return_std: NestedKey = "group_return_std"
        """[B], their standard deviation, of the group as a whole population."""
        session_rewards: NestedKey = "session_rewards"
        """[B, M], the sum of each component of the reward over the row's session."""
        group_rewards_mean: NestedKey = "group_rewards_mean"
        """[B, M], as `group_return_mean`."""
        group_rewards_std: NestedKey = "group_rewards_std"
        """[B, M], as `group_return_std`."""
        reward: NestedKey = ("next", "reward")
        """[B, 1]."""
        done: NestedKey = ("next", "done")
        """[B, 1] bool, whether the session ended after the action: nothing is earned after it."""
        next_observation: NestedKey = ("next", "observation")
        """The entries of the observation that follows; `shown` among them where its slate may have empty positions."""
        feedback: NestedKey = "feedback"
        """[B, K, F], of each item of the slate; the first channel is the click."""
        item_advantage: NestedKey = "item_advantage"
        """[B, K], of each item of the slate: 1 if it is best, -1 if disliked, else 0; or its credit for the score."""
        rejected: NestedKey = "rejected"
        """[B, m, K] or [B, m, d], actions to which the logged one is preferred."""
        pair_weight: NestedKey = "pair_weight"
        """[B, m], zero where there is no such action."""

    needs: frozenset[str] = frozenset()
    """What the batch must carry, of `NEEDS`, by default; see `needs_of`."""
    examples: ClassVar[tuple[Mapping[str, Any], ...]] = ({},)
    """Options with which it is checked; with the last ones a short run improves on a mixed log."""
    conditions: ClassVar[tuple[str, ...]] = ()
    """What the policy's encoder must be conditioned on; see `SessionEncoder.conditions`."""
    Config: ClassVar[type]
    """The frozen dataclass of the hyper-parameters."""
    losses: ClassVar[tuple[str, ...]] = ("loss_actor",)
    """What `forward` returns to be differentiated, as a sum; each trains parameters of its own."""
    diagnostics: ClassVar[tuple[str, ...]] = ()
    """What `forward` returns besides."""
    trains_scale: ClassVar[bool] = True
    """Whether a Gaussian policy's scale gets a gradient, not the mean alone."""
    default_keys = _AcceptedKeys
    tensor_keys: _AcceptedKeys

    actor_network: ProbabilisticTensorDictSequential
    actor_network_params: TensorDictParams
    target_actor_network_params: TensorDictParams
    score_mean: Tensor
    score_std: Tensor

    def __init__(
        self,
        actor_network: ProbabilisticTensorDictSequential,
        *,
        config: Any = None,
        create_reference: bool = False,
    ) -> None:
        super().__init__()
        self.config = own_config(type(self), config)
        self.needs = self.needs_of(self.config)
        for name in sorted(self._schedulable_buffers & vars(self.config).keys()):
            self.register_coeff_buffer(name, float(getattr(self.config, name)), dtype=torch.float64)
        self.reduction = "mean"
        self.out_keys = [*self.losses, *self.diagnostics]
        self.convert_to_functional(actor_network, "actor_network", create_target_params=create_reference)
        self._has_update_associated["actor_network"] = True  # `after_step` moves the reference itself
        if hasattr(actor_network, "action_key"):
            self.set_keys(action=actor_network.action_key)
        self._refreshed = "score" not in self.needs
        self._num_steps = 0
        self.remarks: list[str] = []
        self.findings: dict[str, Any] = {}
        self.register_buffer("score_mean", torch.zeros((), dtype=torch.float64))
        self.register_buffer("score_std", torch.ones((), dtype=torch.float64))

    @classmethod
    def needs_of(cls, config: Any) -> frozenset[str]:
        """Return what the batch must carry under a config: `needs`, unless a switch changes it.

        Args:
            config: an instance of `Config`.
        """
        return cls.needs

    @torch.no_grad()
    def refresh(self, scores: Tensor, advantage: np.ndarray | None = None, session: np.ndarray | None = None) -> None:
        """Take the scores of the whole log; call before the first step and whenever the critic changed.

        An objective that does not read them ignores them.

        Args:
            scores: `[N]` float32 or float64, finite; a batch's scores must be these very values.
            advantage: `[N]`, what each row really earned, more than was to be expected, for an objective that needs
                `outcomes`; None where nobody knows.
            session: `[N]` integers, the session of each row; given with `advantage`.

        Raises:
            InvalidInput: for empty, non-finite, mis-shaped or mis-typed scores.
        """
        if "score" not in self.needs:
            return
        check_scores(scores)
        std, mean = torch.std_mean(scores.double(), correction=0)
        self.score_mean.copy_(mean)
        self.score_std.copy_(torch.where(std > 0, std, 1.0))  # a constant score carries no preference: all zeros
        self._refreshed = True

    def draws(self, num_steps: int, batch_size: int) -> Draws | None:
        """Return which rows of the log batches are drawn from, and how many at once; None for all of them.

        Args:
            num_steps: of the training.
            batch_size: rows of a step, unless the objective needs fewer.
        """
        return None

    @abstractmethod
    def terms(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Return `losses` of each action, `[B]`, and the detached scalar `diagnostics`.

        Args:
            tensordict: a batch with the class's `in_keys`; must not be changed.
        """

    @dispatch  # type: ignore[arg-type]
    def forward(self, tensordict: TensorDictBase) -> TensorDict:
        """Return `losses`, their means over the batch, and the diagnostics.

        Args:
            tensordict: `[B]` batch with `in_keys`; a validity mask of TorchRL is respected.

        Raises:
            InvalidInput: as `score`, where the objective reads it.
        """
        terms = self.terms(tensordict)
        return TensorDict(terms | {name: self._reduce_loss(terms[name], tensordict) for name in self.losses})

    def after_step(self, tensordict: TensorDictBase) -> dict[str, Tensor]:
        """Update what follows the policy, after an optimiser step on this batch.

        Args:
            tensordict: the batch of the step.

        Returns:
            Detached scalars to log; none by default.
        """
        self._num_steps += 1
        return {}

    @contextmanager
    def acting(self, params: TensorDictParams | None = None) -> Iterator[ProbabilisticTensorDictSequential]:
        """Give the actor, run with `params`; what its distributions are asked must be asked inside.

        Args:
            params: parameters to run the actor with; None means those being trained.
        """
        params = self.actor_network_params if params is None else params
        with params.to_module(self.actor_network, preserve_module_state=False):
            yield self.actor_network

    def log_prob(self, tensordict: TensorDictBase, params: TensorDictParams | None = None) -> Tensor:
        """Return `log pi(a | s)` of the logged actions, `[B]`, in nats; the batch is left as it is.

        Args:
            tensordict: holds the actor's `in_keys` and the action.
            params: parameters to run the actor with; None means those being trained.
        """
        with self.acting(params) as actor:
            return actor.get_dist(tensordict.copy()).log_prob(tensordict.get(self.tensor_keys.action))

    def prefix_log_prob(self, tensordict: TensorDictBase) -> Tensor:
        """Return the log-probability of the first 1, 2, ... K items of the logged slates, `[B, K]` nats.

        Args:
            tensordict: see `log_prob`.
        """
        with self.acting() as actor:
            distribution: Any = actor.get_dist(tensordict.copy())
            return distribution.prefix_log_prob(tensordict.get(self.tensor_keys.action))

    @torch.no_grad()
    def reference_kl(self, tensordict: TensorDictBase) -> Tensor:
        """Return the batch mean of `KL(reference, policy)`, nats; see `batch_kl`.

        Args:
            tensordict: holds the actor's `in_keys`, and may hold the action, whose sizes the slates then have; a
                validity mask of TorchRL is respected.
        """
        logged = tensordict.get(self.tensor_keys.action, default=None)
        kl = batch_kl(lambda: self.acting(self.target_actor_network_params), self.acting, tensordict, logged)
        return self._reduce_loss(kl, tensordict)

    def counted(self, tensordict: TensorDictBase) -> Tensor:
        """Return which rows of a batch are no padding, `[B]` bool: all, where it has no validity mask of TorchRL."""
        counted = torch.ones(tensordict.batch_size, dtype=torch.bool, device=self.score_mean.device)
        for key in self._loss_mask_keys():
            mask = tensordict.get(key, default=None)
            if mask is not None:
                counted = counted & self._expand_loss_mask(mask, counted)
        return counted

    def score(self, tensordict: TensorDictBase) -> Tensor:
        """Return the batch's scores, detached, `[B]`.

        Raises:
            InvalidInput: before the first `refresh`, when the log's statistics are not known yet; or if the shape is
                not the batch's, where a `[B, 1]` would silently pair every action with every score.
        """
        if not self._refreshed:
            raise InvalidInput(f"{type(self).__name__} has not seen the log's scores; call refresh(scores) first")
        score = self.column(tensordict, "score")
        if score.shape != tensordict.batch_size:
            raise InvalidInput(
                f"score has shape {tuple(score.shape)}; pass the batch's, {tuple(tensordict.batch_size)}"
            )
        return score

    def standardized_score(self, tensordict: TensorDictBase) -> Tensor:
        """Return the batch's scores with the mean and standard deviation of the whole log taken out, `[B]`."""
        score = self.score(tensordict)
        return ((score.double() - self.score_mean) / self.score_std).to(score.dtype)

    @property
    def in_keys(self) -> list[NestedKey]:  # type: ignore[override]
        """Keys that `forward` reads: the actor's, the action and what it needs."""
        needed = dict.fromkeys(field for need in sorted(self.needs) for field in NEEDS[need])
        return [*self.actor_network.in_keys, self.tensor_keys.action, *(getattr(self.tensor_keys, f) for f in needed)]

    def column(self, tensordict: TensorDictBase, name: str) -> Tensor:
        """Return what a batch holds of a need, detached.

        Args:
            tensordict: the batch.
            name: a field of `_AcceptedKeys`.
        """
        return tensordict.get(getattr(self.tensor_keys, name)).detach()

    def get_extra_state(self) -> dict[str, Any]:
        """Return the part of the state that is no tensor, for `state_dict`."""
        return {"refreshed": self._refreshed, "num_steps": self._num_steps}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self._refreshed, self._num_steps = state["refreshed"], state["num_steps"]

    def _forward_value_estimator_keys(self, **kwargs: Any) -> None:
        """No objective here has a value estimator; `set_keys` asks for this hook."""


def weighted_log_prob(weight: Tensor, log_prob: Tensor) -> Tensor:
    """Return `weight * log_prob`, where a weight of zero silences even an impossible action: `0 * -inf = 0`.

    Args:
        weight: `[B]`, finite; no gradient flows into it.
        log_prob: `[B]` log-probabilities, nats.
    """
    weight = weight.detach()
    return torch.where(weight == 0, 0.0, weight * log_prob)
