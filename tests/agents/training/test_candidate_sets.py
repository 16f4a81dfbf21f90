"""Read-in logs whose steps offer candidates: policies, weights and fitted values work among these, as enumerated."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from agents.batches.replay import LogStorage
from agents.families import OBJECTIVES
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.nn.slates import EMPTY
from agents.policies.base import make_policy
from agents.policies.files import load_policy, save_policy
from agents.policies.generative import GenerativePolicyConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.testing.policy_cases import perturb
from agents.training.log_columns import make_storage
from agents.training.trainer import TrainerConfig, train
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions, Lists
from offline_data.store.histories import ObservationBuilder
from recenv.errors import InvalidInput
from recenv.item_codes.semantic_ids import SemanticIdConfig
from tests.agents.slate_table import assert_estimated

SETS = [[0, 1, 2], [1, 3, 4], [2]]
"""Of the last, a slate of one."""
NETWORK = NetworkConfig((16,))
CONFIGS = {
    "plackett_luce": PlackettLucePolicyConfig(NETWORK, item_width=4),
    "generative": GenerativePolicyConfig(
        NETWORK, SemanticIdConfig(num_codebooks=2, codebook_size=3), width=16, num_layers=1
    ),
}


def slates_of(offer: list[int]) -> list[tuple[int, ...]]:
    return list(itertools.permutations(offer, min(2, len(offer))))


def reward(slate: tuple[int, ...]) -> float:
    return slate[0] + 0.5 * (slate[1] if len(slate) > 1 else 3)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Every session of two steps once: whatever is offered, and whatever of that is shown."""
    steps = [(offer, slate) for offer in range(len(SETS)) for slate in slates_of(SETS[offer])]
    entries = [
        (session, step, position, *each[step], each[step][1][position])
        for session, each in enumerate(itertools.product(steps, steps))
        for step in range(2)
        for position in range(len(each[step][1]))
    ]
    session, step, position, offer, slate, item = (list(column) for column in zip(*entries, strict=True))
    folder = tmp_path_factory.mktemp("offers")
    (folder / "log.csv").touch()
    told = Interactions(
        files=[(folder / "log.csv", len(entries))],
        user=Ids(np.array(session), np.arange(len(steps) ** 2)),
        item=Ids(np.array(item), np.arange(5)),
        feedback={"click": np.zeros(len(item))},  # so that all histories are the same
        step=np.array(step),
        position=np.array(position),
        reward={"worth": np.array([reward(each) for each in slate])},
        step_log_prob=-np.log([len(slates_of(SETS[each])) for each in offer]),
        candidates=Lists(np.array(offer), np.array([0, 3, 6, 7]), np.concatenate(SETS)),
        catalog={"embeddings": np.eye(5, dtype=np.float32)},
    )
    return import_interactions(folder / "log", told, "test", options=ImportOptions())


def policy_of(log, name: str) -> Any:
    return perturb(make_policy(SessionSpace.of_log(log), CONFIGS[name]), 0.6, 0).eval()


def test_observations_say_what_is_offered_now_and_next(log):
    assert SessionSpace.of_log(log).offer == "candidates"
    batch: Any = LogStorage(log, with_next=True).get(slice(None))
    candidates = batch["observation", "candidates"].numpy()
    assert {tuple(row) for row in candidates.tolist()} == {(0, 1, 2), (1, 3, 4), (2, -1, -1)}
    following = batch["next", "observation", "candidates"].numpy()
    np.testing.assert_array_equal(following[::2], candidates[1::2])


@pytest.mark.parametrize("name", CONFIGS)
def test_every_estimator_finds_the_enumerated_value(log, name):
    policy = policy_of(log, name)
    batch = LogStorage(log).get(slice(None))
    offered = log.rows["candidates"]
    truth = 0.0
    for step in range(2):
        for offer in SETS:
            rows = [row for row in range(step, log.num_rows, 2) if [i for i in offered[row] if i >= 0] == offer]
            slates = slates_of(offer)
            padded = np.array([[*slate, EMPTY][:2] for slate in slates])
            chances = np.exp(policy.judge(batch[rows[:1]].expand(len(slates)), padded)[0])
            assert chances.sum() == pytest.approx(1.0, abs=1e-4)
            truth += len(rows) / log.num_sessions * float(np.dot(chances, [reward(slate) for slate in slates]))
    assert_estimated(policy, log, truth)


@pytest.mark.parametrize("name", ["bc", "awr", "crr", "cql", "slateq", "reinforce", "dpo", "robust_filter"])
def test_objectives_learn_among_candidates_and_policies_show_nothing_else(log, name, tmp_path):
    scores = torch.from_numpy(log.reward().astype(np.float32) - 2.0)
    run = train(log, scores, name, config=TrainerConfig(num_steps=20, batch_size=64, policy=CONFIGS["plackett_luce"]))
    save_policy(tmp_path / "policy", run.actor)
    policy = load_policy(tmp_path / "policy")
    observation = ObservationBuilder(log).observe(np.arange(log.num_rows))
    for slate, offer in zip(policy.act(observation), log.rows["candidates"], strict=True):
        assert set(slate[slate >= 0]) <= set(offer)
    storage = make_storage(OBJECTIVES.get(name)(policy), log, scores)
    assert storage.get(slice(0, 4))["observation", "candidates"].shape == (4, 3)


def test_policy_of_another_offer_is_refused(log):
    space = SessionSpace.of_log(log)
    bare = {"history_items": np.full((1, 20), -1), "history_feedback": np.zeros((1, 20, 0)), "clock": np.zeros((1, 2))}
    with pytest.raises(InvalidInput, match="the observation has no 'candidates'"):
        space.batch(bare)
