"""A log so small that its values are known: every session of two steps over four items, once; and a policy for it."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.training.evaluation import off_policy_sessions
from agents.values.critics import CriticConfig
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.ope.estimate import estimate
from offline_data.store.dataset import LoggedDataset

SLATES = np.array(list(itertools.permutations(range(4), 2)))  # [12, 2], all that there are
# The last two items have one embedding: only what is learned of an item tells them apart.
EMBEDDINGS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], np.float32)
APPEAL = np.array([0.0, 1.0, 2.0, 4.0])
REWARD = APPEAL[SLATES[:, 0]] + 0.5 * APPEAL[SLATES[:, 1]]
# A fitted Q that learns such a log by heart.
FITTED = CriticConfig(
    NetworkConfig((32,)), num_rounds=3, steps_per_round=150, batch_size=512, learning_rate=1e-2, item_width=2
)


def table_log(path: Path, reward: np.ndarray = REWARD) -> LoggedDataset:
    """Write the log: 144 sessions of users without profile, who consume nothing and leave after the second slate.

    Args:
        path: the dataset's folder.
        reward: [12] of each of `SLATES`, whatever went before.
    """
    shown = np.indices((12, 12)).reshape(2, -1).T  # [144, 2] which slate
    count = shown.size
    entries = np.repeat(np.arange(count), 2)
    session, step = entries // 2, entries % 2
    source = path.with_name("source")
    source.touch()
    log = Interactions(
        files=[(source, len(entries))],
        user=Ids.of(session),
        item=Ids(SLATES[shown.reshape(-1)].reshape(-1), np.arange(4)),
        feedback={"click": np.zeros(2 * count)},
        session=session,
        step=step,
        position=np.tile([0, 1], count),
        reward={"points": reward[shown.reshape(-1)][entries]},
        step_log_prob=np.full(2 * count, -np.log(12.0)),
        terminated=step == 1,
        catalog={"embeddings": EMBEDDINGS},
    )
    return import_interactions(path, log, "table", options=ImportOptions(history_length=3))


def varying_log(path: Path) -> LoggedDataset:
    """Write a log of slates of one, two and three items, in three positions: every session of two steps, once.

    Two items stand in the first position and the last. Users have no profile, consume nothing and leave after the
    second slate; each slate of a step's size is as probable.
    """
    every = [slate for size in (1, 2, 3) for slate in itertools.permutations(range(4), size)]
    shown = np.indices((len(every), len(every))).reshape(-1)
    shown = np.stack([shown[: len(every) ** 2], shown[len(every) ** 2 :]], axis=1).reshape(-1)
    rows = [every[number] for number in shown]
    sizes = np.array([len(row) for row in rows])
    entry = np.repeat(np.arange(len(rows)), sizes)
    source = path.with_name("source")
    source.touch()
    log = Interactions(
        files=[(source, len(entry))],
        user=Ids.of(entry // 2),
        item=Ids(np.concatenate(rows), np.arange(4)),
        feedback={"click": np.zeros(len(entry))},
        session=entry // 2,
        step=entry % 2,
        position=np.concatenate([(0, 2) if len(row) == 2 else range(len(row)) for row in rows]),
        reward={"points": np.array([varying_reward(row) for row in rows])[entry]},
        step_log_prob=-np.log(np.array([4.0, 12.0, 24.0]))[sizes[entry] - 1],
        terminated=entry % 2 == 1,
        catalog={"embeddings": EMBEDDINGS},
    )
    return import_interactions(path, log, "table", options=ImportOptions(history_length=3))


def varying_reward(items: tuple[int, ...]) -> float:
    """Return what a slate of `varying_log` earns, whatever went before: more, the more items it has."""
    return float(sum(weight * (1.0 + APPEAL[item]) for weight, item in zip((1.0, 0.5, 0.25), items, strict=False)))


def numbers(slates: np.ndarray) -> np.ndarray:
    """Return which of `SLATES` each slate is, [...] for [..., 2]."""
    return (slates[..., None, :] == SLATES).all(axis=-1).argmax(axis=-1)


def assert_estimated(policy: Any, log: LoggedDataset, truth: float) -> None:
    """Compare every estimate with the enumerated value: a log of every session once makes weighting exact."""
    sessions = off_policy_sessions(policy, log, config=FITTED)
    for estimator, tolerance in (("snips", 1e-3), ("pdsnips", 1e-3), ("dr", 0.02), ("wdr", 0.02), ("dm", 0.05)):
        answer = estimate(estimator, sessions, num_bootstrap=50)
        assert answer.value == pytest.approx(truth, rel=tolerance), estimator


class TablePolicy:
    """A policy that shows each of `SLATES` with a probability of its own, whatever it sees.

    Args:
        log: whose items it shows.
        probabilities: [12].
    """

    action_kind = "slate"
    draws_from_cache = True

    def __init__(self, log: LoggedDataset, probabilities: np.ndarray) -> None:
        self.space = SessionSpace.of_log(log)
        self.config: Any = SimpleNamespace(name="table")
        self.device = torch.device("cpu")
        self.probabilities = probabilities

    def judge(self, batch: Any, action: np.ndarray) -> tuple[np.ndarray, None]:
        with np.errstate(divide="ignore"):
            return np.log(self.probabilities)[numbers(action)], None

    def action_cache(self, batch: Any, generator: torch.Generator) -> Tensor:
        return torch.from_numpy(self.probabilities).float().expand(len(batch), -1)

    def cached_actions(self, cache: Tensor, generator: torch.Generator) -> Tensor:
        drawn = torch.multinomial(cache, 64, replacement=True, generator=generator)
        return torch.from_numpy(SLATES)[drawn].transpose(0, 1)
