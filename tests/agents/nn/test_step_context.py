"""The context of steps in what learns from them: the space, policies and their files, critics and batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from agents.batches.replay import LogStorage
from agents.nn.session_space import SessionSpace
from agents.policies.files import load_policy, save_policy
from agents.training.trainer import TrainerConfig, train
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.store.histories import ObservationBuilder
from recenv.errors import InvalidInput

NUM_ITEMS = 6


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Users of two cities: those of the one click the even items, those of the other the odd ones."""
    rng, steps = np.random.default_rng(0), 600
    item, city = rng.integers(NUM_ITEMS, size=steps), rng.integers(2, size=steps)
    folder = tmp_path_factory.mktemp("context")
    (folder / "log.csv").touch()
    told = Interactions(
        files=[(folder / "log.csv", steps)],
        user=Ids(np.arange(steps), np.arange(steps)),
        item=Ids(item, np.arange(NUM_ITEMS)),
        feedback={"click": (item % 2 == city).astype(np.float64)},
        item_log_prob=np.full(steps, -np.log(NUM_ITEMS)),
        context={"city": Ids(city, np.array(["Oslo", "Rome"])), "age": rng.normal(40.0, 9.0, steps)},
        catalog={"embeddings": np.eye(NUM_ITEMS, dtype=np.float32)},
    )
    return import_interactions(folder / "log", told, "test", options=ImportOptions())


def test_space_and_batches_have_it(log):
    space = SessionSpace.of_log(log)
    assert space.context == log.context
    assert space.observed == ("history_items", "history_feedback", "clock", "context")
    batch = LogStorage(log, columns=("slate",), with_next=True).get(torch.arange(5))
    np.testing.assert_array_equal(batch["observation", "context"].numpy(), log.rows["context"][:5])
    assert batch["next", "observation", "context"].shape == (5, 4)


def test_policy_learns_what_depends_on_it_and_its_file_keeps_it(log, tmp_path):
    scores = torch.from_numpy(np.array(log.rows["reward_vector"][:, 0]) - 0.5)
    run = train(log, scores, "awr", config=TrainerConfig(num_steps=150, batch_size=128))
    save_policy(tmp_path / "policy", run.actor)
    policy = load_policy(tmp_path / "policy")
    assert policy.space.context == log.context
    observation = ObservationBuilder(log).observe(np.arange(200))
    slates = policy.act(observation)
    np.testing.assert_array_equal(slates, run.actor.act(observation))
    assert np.mean(slates[:, 0] % 2 == log.rows["context"][:200, 1]) > 0.95


def test_policy_refuses_another_encoding_and_an_observation_without_it(log):
    space = SessionSpace.of_log(log)
    other = replace(space, context=(space.context[0], replace(space.context[1], mean=1.0)))
    with pytest.raises(InvalidInput, match=r"encoded otherwise than that of runs/log .*--context-of"):
        space.require_like(other, "policy p", "runs/log")
    observation = {
        "history_items": np.full((1, 20), -1, np.int32),
        "history_feedback": np.zeros((1, 20, 0), np.float32),
        "clock": np.zeros((1, 2), np.float32),
    }
    with pytest.raises(InvalidInput, match="no 'context'"):
        space.batch(observation)
    with pytest.raises(InvalidInput, match=r"'context' has shape \(1, 3\); the policy reads \(1, 4\)"):
        space.batch({**observation, "context": np.zeros((1, 3), np.float32)})
    with pytest.raises(InvalidInput, match="'context' holds a number that is not finite"):
        space.batch({**observation, "context": np.full((1, 4), np.nan, np.float32)})
    assert space.batch({**observation, "context": np.zeros((1, 4), np.float32)}).batch_size == (1,)
