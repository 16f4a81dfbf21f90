"""Every registered objective with every policy that it fits, on a real log that gives all that it needs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from agents.families import ENCODERS, OBJECTIVES, POLICIES
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.objectives.base import Objective
from agents.policies.base import make_policy
from agents.training.log_columns import check_needs, make_storage
from agents.training.trainer import fitting_encoders
from agents.values.critics import CriticConfig, fit_critic, score_rows
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from offline_data.store.dataset import LoggedDataset
from recenv.session_config import SessionConfig
from tests.agents.policies.policy_cases import config_of

TINY = {"num_items": 40, "slate_size": 3, "max_steps": 8, "embedding_dim": 4, "num_topics": 3, "history_length": 5}
NETWORK = NetworkConfig((16,))
_KIND_OF_NEED = {"mass": "slate", "density": "proto"}


def kind_of(objective: str) -> str | None:
    """The only kind of action that an objective learns from, or None."""
    kinds = [kind for need, kind in _KIND_OF_NEED.items() if need in OBJECTIVES.get(objective).needs]
    kinds += ["slate"] if "prefix_propensities" in OBJECTIVES.get(objective).needs else []
    return kinds[0] if kinds else None


def fits(objective: str, policy: str) -> bool:
    return kind_of(objective) in (None, POLICIES.get(policy).action_kind)


PAIRS = [(name, policy) for name in OBJECTIVES.registered() for policy in POLICIES.registered() if fits(name, policy)]
# One policy for each objective: the quickest that it fits.
FIRST = [next(pair for pair in sorted(PAIRS, key=lambda p: p[1] == "generative") if pair[0] == name)
         for name in OBJECTIVES.registered()]  # fmt: skip

every_pair = pytest.mark.parametrize(("name", "policy"), PAIRS)
every_objective = pytest.mark.parametrize(("name", "policy"), FIRST)


def policy_config(objective: str, policy: str) -> Any:
    config = config_of(policy)
    if not OBJECTIVES.get(objective).conditions:
        return config
    encoder = ENCODERS.get(fitting_encoders(OBJECTIVES.get(objective))[0]).Config()
    return replace(config, network=replace(NETWORK, encoder=encoder))


@dataclass(frozen=True)
class Case:
    """An objective and its log.

    Attributes:
        name: of the objective.
        policy: config of the policy.
        log: where the batches are from.
        scores: [N], Q - V of its rows.
    """

    name: str
    policy: Any
    log: LoggedDataset
    scores: Tensor

    def objective(self, seed: int = 0, dtype: torch.dtype = torch.float32, **config: Any) -> Any:
        """A fresh objective that has seen the log's scores."""
        objective_class = OBJECTIVES.get(self.name)
        torch.manual_seed(seed)
        actor: Any = make_policy(SessionSpace.of_log(self.log), self.policy, seed=seed).to(dtype)
        # Behavior cloning at first would hide what these objectives are.
        own = {"cloning_steps": 0} if hasattr(objective_class.Config, "cloning_steps") else {}
        objective: Any = objective_class(actor, config=objective_class.Config(**{**own, **config}))
        objective.refresh(self.scores)
        return objective

    def batch(self, objective: Objective, size: int = 64, seed: int = 0) -> TensorDict:
        rows = np.random.default_rng(seed).permutation(self.log.num_rows)[:size]
        return self.rows(objective, rows)

    def rows(self, objective: Objective, rows: np.ndarray) -> TensorDict:
        return make_storage(objective, self.log, self.scores).get(rows)


class Cases:
    """Collects and scores each log once.

    Args:
        folder: of the logs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log: Callable[[str], LoggedDataset] = functools.cache(self._log)
        self.scores: Callable[[str], Tensor] = functools.cache(self._scores)

    def _log(self, kind: Any) -> LoggedDataset:
        behavior = mixture_spec(0.4, "clickbait")
        config = SessionConfig().override(**TINY)
        return collect(self.folder / kind, LogRequest(config, behavior, kind, 400, 11, group_size=4))

    def _scores(self, kind: str) -> Tensor:
        log = self.log(kind)
        return score_rows(fit_critic(log, CriticConfig(NETWORK, num_rounds=2, steps_per_round=60)), log)

    def make(self, name: str, policy: str) -> Case:
        kind = POLICIES.get(policy).action_kind
        check_needs(name, OBJECTIVES.get(name), self.log(kind))
        return Case(name, policy_config(name, policy), self.log(kind), self.scores(kind))
