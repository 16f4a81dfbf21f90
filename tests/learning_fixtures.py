"""A tiny world, logs of it, and what is fitted to them once for every test of learners and of the application."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict
from torch import Tensor

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.files import save_policy
from agents.policies.gaussian import GaussianPolicy, GaussianPolicyConfig
from agents.training.trainer import TrainerConfig
from agents.values.critics import CriticConfig, fit_critic, score_rows
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from offline_data.store.dataset import LoggedDataset
from recenv.session_config import SessionConfig
from recenv.world import World, make_world
from recsession.cli import main
from tests.folder_tree import tree

# At this budget users leave and sessions are cut off by `max_steps`, both.
TINY = {
    "num_items": 50,
    "slate_size": 3,
    "max_steps": 8,
    "embedding_dim": 4,
    "num_topics": 3,
    "history_length": 5,
    "budget": 10.0,
}
NETWORK = NetworkConfig((16,))
CRITIC = CriticConfig(NETWORK, num_rounds=2, steps_per_round=30, batch_size=64)


@pytest.fixture(scope="session")
def config() -> SessionConfig:
    return SessionConfig().override(**TINY)


@pytest.fixture(scope="session")
def world(config) -> World:
    return make_world(config)


@pytest.fixture(scope="session")
def make_log(config, tmp_path_factory) -> Callable[..., LoggedDataset]:
    """Collect a log of the tiny world in a folder of its own."""

    def build(behavior: Any = "uniform", num_sessions: int = 60, kind: Any = "proto", seed: int = 5) -> LoggedDataset:
        folder: Path = tmp_path_factory.mktemp("log") / "log"
        return collect(folder, LogRequest(config, behavior, kind, num_sessions, seed))

    return build


@pytest.fixture(scope="session")
def log(make_log) -> LoggedDataset:
    """A log of proto-actions of a per-step mixture, 30 % expert."""
    return make_log(mixture_spec(0.3, "clickbait"), 200)


@pytest.fixture(scope="session")
def slate_log(make_log) -> LoggedDataset:
    return make_log(mixture_spec(0.3, "clickbait"), 20, "slate")


@pytest.fixture(scope="session")
def with_reward() -> Callable[[LoggedDataset, np.ndarray], LoggedDataset]:
    """Give a log another reward, [N] minutes watched: what the tiny world's weights count."""

    def build(log: LoggedDataset, reward: np.ndarray) -> LoggedDataset:
        vector = np.zeros_like(log.rows["reward_vector"])
        vector[:, log.manifest["reward_names"].index("watch_minutes")] = reward
        changed = dataclasses.replace(log, rows={**log.rows, "reward_vector": vector})
        np.testing.assert_allclose(changed.reward(), reward)
        return changed

    return build


@pytest.fixture(scope="session")
def scores(log) -> Tensor:
    """Q - V of every row of `log`."""
    return score_rows(fit_critic(log, CRITIC), log)


@pytest.fixture(scope="session")
def build_trainer_config() -> Callable[..., TrainerConfig]:
    def build(**changes: Any) -> TrainerConfig:
        tiny: dict[str, Any] = {"num_steps": 60, "batch_size": 32, "log_interval": 10, "evaluate_interval": 20}
        tiny |= {"checkpoint_interval": 20, "policy": GaussianPolicyConfig(NETWORK)}
        return TrainerConfig(**{**tiny, **changes})

    return build


@pytest.fixture
def build_policy(world) -> Callable[..., GaussianPolicy]:
    def build(seed: int = 0, **changes: Any) -> GaussianPolicy:
        policy: Any = make_policy(SessionSpace.of_world(world), GaussianPolicyConfig(NETWORK, **changes), seed=seed)
        return policy

    return build


@pytest.fixture
def uniform_actor(build_policy) -> GaussianPolicy:
    """The behavior policy `uniform` as an actor: N(0, I / d), whatever it sees."""
    actor = build_policy(initial_scale=0.5)  # 1 / sqrt(4)
    head: Any = actor.head
    with torch.no_grad():
        head.body[-1].weight.zero_()
        head.body[-1].bias.zero_()
    return actor


@pytest.fixture(scope="session")
def as_batch() -> Callable[..., TensorDict]:
    """Nest an observation of numpy arrays under `observation`."""

    def build(observation: dict) -> TensorDict:
        count = len(observation["profile"])
        tensors = {name: torch.from_numpy(values) for name, values in observation.items()}
        return TensorDict({"observation": tensors}, batch_size=[count])

    return build


class _Trap:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


@pytest.fixture
def trap(tmp_path) -> _Trap:
    """An object whose pickle makes the folder `sprung` when it is read."""
    return _Trap(tmp_path / "sprung")


# --- the command line


@pytest.fixture(scope="session")
def folder_tree() -> Callable[[Path], dict[str, bytes | None]]:
    """Read everything under a folder: a file's bytes, None for a folder."""
    return tree


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    """Run a command; return its exit code, what it printed, and what it printed to stderr."""

    def build(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return code, *capsys.readouterr()

    return build


@pytest.fixture(scope="session")
def world_options() -> list[str]:
    """The tiny world as options of `recsession collect`."""
    return ["--set", *(f"{name}={value}" for name, value in TINY.items())]


@pytest.fixture(scope="session")
def made(make_log, world, tmp_path_factory) -> Path:
    """A folder with a `log` of proto-actions, one of `slates`, a `policy` of their world and a `default_policy`."""
    folder = tmp_path_factory.mktemp("made")
    for name, kind in (("log", "proto"), ("slates", "slate")):
        make_log(mixture_spec(0.3, "clickbait"), 40, kind).path.rename(folder / name)
    save_policy(folder / "policy", make_policy(SessionSpace.of_world(world), GaussianPolicyConfig(NETWORK)))
    save_policy(
        folder / "default_policy",
        make_policy(SessionSpace.of_world(make_world(SessionConfig())), GaussianPolicyConfig()),
    )
    return folder
