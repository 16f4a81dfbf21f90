"""C-U1 and D-U1 as tasks: what a policy thinks of the logged actions of a batch, and what it earns on new contexts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Categorical
from torch.nn.functional import normalize, softplus

from agents.objectives.taper import remoteness
from agents.policies.gaussian import IndependentNormal
from recsession.experiments.remoteness.network import StackedNetwork
from recsession.experiments.remoteness.worlds import (
    NUM_ACTIONS,
    NUM_GOOD,
    OPTIMUM_GAP,
    categorical_contexts,
    continuous_contexts,
)

World = Literal["cu1", "du1"]

INITIAL_SCALE: Final = 0.60
FAR_DISTANCE: Final = 5.0
"""Of C-U1, in sigmas."""
LEAST_LOG_SCALE: Final = -12.0
INITIAL_CONCENTRATION: Final = 8.0
_LEAST_CONCENTRATION: Final = 0.05
LEAST_SUPPORT: Final = 2.0
"""Of D-U1, in actions: e to the power of the entropy; ours."""


@dataclass(frozen=True)
class Look:
    """What the policies of all arms think of a batch; the last two are detached."""

    log_prob: Tensor
    """[E, B, 4 + n] nats, of the good actions and then of the bad ones, the local one first among these."""
    remoteness: Tensor
    """[E, B, n] D of the bad ones, normalised; see `agents.objectives.taper`."""
    force: Tensor
    """[E, B, n] norm of their score functions in the mean, or in the logits: what each pushes with at |A| = 1."""


class Task(ABC):
    """A world of one seed, and the policies that are learned in it.

    Args:
        seed: of contexts and of the first weights.
        learned: whether the scale, or the concentration, is learned or stays as it is.
    """

    far: ClassVar[float]
    """The remoteness beyond which a bad action is far."""
    num_bad: ClassVar[int]

    def __init__(self, seed: int, learned: bool) -> None:
        self.learned = learned
        self.contexts, self.actions = self._training(seed)
        self.network = self._network(torch.Generator().manual_seed(seed))

    @property
    def num_contexts(self) -> int:
        """Return how many contexts there are to train on."""
        return len(self.contexts)

    @abstractmethod
    def _training(self, seed: int) -> tuple[Tensor, Tensor]:
        """Return contexts, [N, 6], and their logged actions, [N, 4 + n, ...], and keep what `judge` needs."""

    @abstractmethod
    def _network(self, generator: torch.Generator) -> StackedNetwork: ...

    @abstractmethod
    def look(self, rows: Tensor) -> Look:
        """Return what the arms think of the contexts of the given rows, [B]."""

    @abstractmethod
    def judge(self) -> Mapping[str, np.ndarray]:
        """Return how each arm does on contexts that it was not trained on, [E] each.

        `reward`: of C-U1 of the mean action, of D-U1 expected; `reward_sampled`: expected, of either; `shift`: how far
        along u the policy has gone, 1 at the optimum of C-U1; `scale`: mean sigma or concentration; `support`:
        effective actions (D-U1); `at_boundary`: whether a scale or the support has vanished.
        """


class ContinuousTask(Task):
    """C-U1: an isotropic Gaussian in the plane."""

    far = FAR_DISTANCE**2 / 2.0  # remoteness is per dimension
    num_bad = 8

    def _training(self, seed: int) -> tuple[Tensor, Tensor]:
        train, self.test = (continuous_contexts(seed, role) for role in ("train", "test"))
        self.test_contexts = torch.from_numpy(self.test.context).float()
        return torch.from_numpy(train.context).float(), torch.from_numpy(
            np.concatenate([train.good, train.bad], 1)
        ).float()

    def _network(self, generator: torch.Generator) -> StackedNetwork:
        heads = {"mean": (2, None), "log_scale": (1, math.log(INITIAL_SCALE))}
        return StackedNetwork(heads if self.learned else {"mean": (2, None)}, torch.relu, generator)

    def _policy(self, context: Tensor) -> IndependentNormal:
        out = self.network(context)
        mean = out["mean"]
        scale = out["log_scale"].exp() if self.learned else torch.tensor(INITIAL_SCALE)
        return IndependentNormal(mean.unsqueeze(-2), scale.expand_as(mean).unsqueeze(-2))

    def look(self, rows: Tensor) -> Look:
        """See `Task.look`."""
        policy, actions = self._policy(self.contexts[rows]), self.actions[rows]
        log_prob, bad = policy.log_prob(actions), actions[:, NUM_GOOD:]
        return Look(
            log_prob,
            remoteness(policy, bad, log_prob[..., NUM_GOOD:]),
            policy.score_function_norm(bad).detach(),
        )

    @torch.no_grad()
    def judge(self) -> Mapping[str, np.ndarray]:
        """See `Task.judge`."""
        policy = self._policy(self.test_contexts)
        mean, scale = policy.mean.squeeze(-2).double().numpy(), policy.stddev[..., 0, 0].double().numpy()
        along = ((mean - self.test.target) * self.test.direction).sum(-1)
        arms = range(len(mean))
        return {
            "reward": np.array([self.test.reward(mean[arm]).mean() for arm in arms]),
            "reward_sampled": np.array([self.test.reward(mean[arm], scale[arm]).mean() for arm in arms]),
            "shift": along.mean(axis=1) / OPTIMUM_GAP,
            "scale": scale.mean(axis=1),
            "at_boundary": scale.min(axis=1) < math.exp(LEAST_LOG_SCALE),
        }


class CategoricalTask(Task):
    """D-U1: logits kappa q(s)'e of 64 actions."""

    far = math.log(NUM_ACTIONS)  # less likely than a draw at random
    num_bad = 5

    def _training(self, seed: int) -> tuple[Tensor, Tensor]:
        train, test = (categorical_contexts(seed, role) for role in ("train", "test"))
        self.embedding, self.test_contexts, self.reward, self.direction = (
            torch.from_numpy(array).float() for array in (train.embedding, test.context, test.reward, test.direction)
        )
        return torch.from_numpy(train.context).float(), torch.from_numpy(np.concatenate([train.good, train.bad], 1))

    def _network(self, generator: torch.Generator) -> StackedNetwork:
        start = math.log(math.expm1(INITIAL_CONCENTRATION - _LEAST_CONCENTRATION))
        heads = {"direction": (self.embedding.shape[1], None), "concentration": (1, start)}
        return StackedNetwork(heads if self.learned else {"direction": heads["direction"]}, torch.tanh, generator)

    def _policy(self, context: Tensor) -> tuple[Categorical, Tensor, Tensor]:
        out = self.network(context)
        direction = normalize(out["direction"], dim=-1)
        concentration = torch.tensor(INITIAL_CONCENTRATION).expand_as(direction[..., :1])
        if self.learned:
            concentration = softplus(out["concentration"]) + _LEAST_CONCENTRATION
        return Categorical(logits=concentration * (direction @ self.embedding.T)), direction, concentration

    def look(self, rows: Tensor) -> Look:
        """See `Task.look`."""
        policy = self._policy(self.contexts[rows])[0]
        actions = self.actions[rows].expand(len(policy.logits), -1, -1)
        log_prob = policy.logits.gather(-1, actions)
        far = remoteness(policy, actions[..., NUM_GOOD:], log_prob[..., NUM_GOOD:])
        mass = policy.probs.detach().square().sum(-1, keepdim=True)
        force = (1.0 - 2.0 * (-far).exp() + mass).clamp_min(0.0).sqrt()  # |e_a - pi|
        return Look(log_prob, far, force)

    @torch.no_grad()
    def judge(self) -> Mapping[str, np.ndarray]:
        """See `Task.judge`."""
        policy, direction, concentration = self._policy(self.test_contexts)
        reward = (policy.probs * self.reward).sum(-1).mean(-1)
        support = policy.entropy().exp().mean(-1)
        shift = (direction * self.direction).sum(-1).mean(-1)
        told = {"reward": reward, "reward_sampled": reward, "shift": shift, "scale": concentration.mean((1, 2))}
        told |= {"support": support, "at_boundary": support < LEAST_SUPPORT}
        return {name: values.double().numpy() for name, values in told.items()}


TASKS: Final[Mapping[World, type[Task]]] = {"cu1": ContinuousTask, "du1": CategoricalTask}
