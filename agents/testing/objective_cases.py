"""An objective on a real log that gives all that it needs: what the family's checks are run over."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from tensordict import TensorDict
from tensordict.nn import TensorDictModule
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torchrl.modules import ProbabilisticActor

from agents import (
    ENCODERS,
    OBJECTIVES,
    POLICIES,
    CriticConfig,
    NetworkConfig,
    Objective,
    Policy,
    SessionSpace,
    fit_critic,
    make_policy,
    make_storage,
    score_rows,
)
from agents.testing.policy_cases import policy_config
from agents.training.log_columns import check_needs
from agents.training.trainer import fitting_encoders
from offline_data.behavior.base import ActionKind
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from offline_data.store.dataset import LoggedDataset
from recenv.session_config import SessionConfig
from recenv.testing.contract import example_config, scratch_folder

_KIND_OF_NEED: Final[dict[str, ActionKind]] = {"mass": "slate", "density": "proto", "prefix_propensities": "slate"}


def kind_of(part: type[Objective]) -> ActionKind | None:
    """Return the only kind of action that an objective learns from, or None."""
    return next((kind for need, kind in _KIND_OF_NEED.items() if need in part.needs), None)


@dataclass(frozen=True)
class ObjectiveCase:
    """An objective and its log."""

    part: type[Objective]
    """The objective's class."""
    policy: Any
    """Config of the policy."""
    log: LoggedDataset
    """Where the batches are from."""
    scores: Tensor
    """[N], Q - V of its rows."""

    def objective(self, seed: int = 0, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
        """Return a fresh objective that has seen the log's scores."""
        torch.manual_seed(seed)
        actor: Any = make_policy(SessionSpace.of_log(self.log), self.policy, seed=seed).to(dtype)
        # Behavior cloning at first would hide what these objectives are.
        own = {"cloning_steps": 0} if hasattr(self.part.Config, "cloning_steps") else {}
        objective: Any = self.part(actor, config=example_config(self.part, **{**own, **config}))  # type: ignore[call-arg]
        objective.refresh(self.scores)
        return objective

    def batch(self, objective: Objective, size: int = 64, seed: int = 0) -> TensorDict:
        """Return random rows of the log."""
        return self.rows(objective, np.random.default_rng(seed).permutation(self.log.num_rows)[:size])

    def rows(self, objective: Objective, rows: np.ndarray) -> TensorDict:
        """Return rows of the log as a batch of what the objective reads."""
        return make_storage(objective, self.log, self.scores).get(rows)


@functools.cache
def objective_log(kind: ActionKind) -> LoggedDataset:
    """Return a log of four hundred sessions in groups, 40 % of it the expert's, made once a process."""
    small = {"num_items": 40, "slate_size": 3, "max_steps": 8, "embedding_dim": 4, "num_topics": 3, "history_length": 5}
    request = LogRequest(SessionConfig().override(**small), mixture_spec(0.4, "clickbait"), kind, 400, 11, group_size=4)
    return collect(scratch_folder() / f"objectives-{kind}", request)


@functools.cache
def log_scores(kind: ActionKind) -> Tensor:
    """Return Q - V of every row of `objective_log`."""
    log = objective_log(kind)
    return score_rows(fit_critic(log, CriticConfig(NetworkConfig((16,)), num_rounds=2, steps_per_round=60)), log)


def objective_case(part: str | type[Objective], policy: str | type[Policy] | None = None) -> ObjectiveCase:
    """Return an objective with a policy, and a log for both.

    Args:
        part: the objective, a name or its class.
        policy: the same of the policy; None for a quick one that the objective fits.
    """
    objective = OBJECTIVES.resolve(part)
    if policy is None:
        policy = "plackett_luce" if kind_of(objective) == "slate" else "gaussian"
    config, kind = policy_config(policy), POLICIES.resolve(policy).action_kind
    if objective.conditions:
        encoder = ENCODERS.get(fitting_encoders(objective)[0]).Config()
        config = replace(config, network=replace(config.network, encoder=encoder))
    check_needs(OBJECTIVES.name_of(objective), objective, objective_log(kind))
    return ObjectiveCase(objective, config, objective_log(kind), log_scores(kind))


# --- an actor of TorchRL's own


def independent_normal(loc: Tensor, scale: Tensor) -> Independent:
    """Return the diagonal Gaussian of mean and scale [..., d]."""
    return Independent(Normal(loc, scale), 1)


class GaussianNetwork(nn.Module):
    """Mean by `mean`, learned scale; at zero parameters the standard normal."""

    def __init__(self, mean: nn.Module, action_size: int) -> None:
        super().__init__()
        self.mean = mean
        self.log_scale = nn.Parameter(torch.zeros(action_size))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and scale, [B, d] each."""
        loc = self.mean(features)
        return loc, self.log_scale.exp().expand_as(loc)


def gaussian_actor(
    mean: nn.Module | None = None, action_size: int = 2, distribution: Callable = independent_normal
) -> ProbabilisticActor:
    """Return an actor that reads `("observation", "features")`, [B, 3], and writes the proto-action.

    Args:
        mean: of the action; None for a linear one of zero parameters.
        action_size: d.
        distribution: from mean and scale.
    """
    if mean is None:
        mean = nn.Linear(3, action_size)
        nn.init.zeros_(mean.weight)
        nn.init.zeros_(mean.bias)
    network = GaussianNetwork(mean, action_size)
    module = TensorDictModule(network, in_keys=[("observation", "features")], out_keys=["loc", "scale"])
    return ProbabilisticActor(
        module, in_keys=["loc", "scale"], out_keys=["proto"], distribution_class=distribution, return_log_prob=True
    )
