"""What tells a log's items apart: its embeddings or its own factors; and that a policy is judged by its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from agents import CriticConfig, NetworkConfig, SessionSpace, TrainerConfig, score_log, train
from agents.nn.item_features import features_of
from agents.policies.files import load_policy, save_policy
from agents.training.evaluation import off_policy_sessions
from offline_data import Ids, ImportOptions, Interactions, LoggedDataset, LogRequest, collect, import_interactions
from offline_data.fitting.item_factors import item_factors
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig

SMALL = NetworkConfig((8,))
HASTY = CriticConfig(SMALL, num_rounds=2, steps_per_round=3, batch_size=32)
BRIEF = TrainerConfig(num_steps=3, batch_size=32)


def written(path, *, users=20, items=12, together=True, made=False, seed=0, **catalog) -> LoggedDataset:
    """Sessions of four slates of two items; or as many of one, each a user's own."""
    rng = np.random.default_rng(seed)
    size = 2 if together else 1
    slates = np.stack([rng.permutation(items - 1)[:size] for _ in range(4 * users)])  # the last item is never shown
    count = slates.size
    path.with_name("source").touch()
    log = Interactions(
        files=[(path.with_name("source"), count)],
        user=Ids.of(np.repeat(np.arange(users), 8) if together else np.arange(count)),
        item=Ids(slates.reshape(-1), np.arange(items)),
        feedback={"click": (rng.random(count) < 0.5).astype(float)},
        session=np.zeros(count, np.int64),
        step=np.repeat(np.arange(4 * users), size) if together else None,
        item_log_prob=np.full(count, -np.log(items)),
        catalog=catalog,
    )
    found = import_interactions(path, log, "test", options=ImportOptions(history_length=5))
    source = {**found.manifest["source"], "item_features": [{"column": "genre", "as": "categories"}]}
    return dataclasses.replace(found, manifest={**found.manifest, "source": source}) if made else found


@pytest.fixture
def bare(tmp_path):
    return written(tmp_path / "bare")


@pytest.fixture
def embeddings():
    rows = np.random.default_rng(1).normal(size=(12, 3))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_without_embeddings_they_are_the_logs_own_factors(bare):
    space = SessionSpace.of_log(bare)
    np.testing.assert_array_equal(space.embeddings, item_factors(bare))
    assert space.num_from_log == space.embedding_dim > 2
    dim = space.embedding_dim
    told = f"{dim} factors of what stands together in the log; 1 of 12 items stand with no other and have none"
    assert space.told_apart_by == told
    assert not space.embeddings[11].any()


def test_given_embeddings_stay_what_they_are(tmp_path, embeddings):
    space = SessionSpace.of_log(written(tmp_path / "log", embeddings=embeddings))
    np.testing.assert_array_equal(space.embeddings, embeddings)
    assert (space.num_from_log, space.told_apart_by) == (0, "the embeddings of the catalogue")


def test_those_made_of_columns_stand_beside_the_factors(tmp_path, embeddings):
    log = written(tmp_path / "log", embeddings=embeddings, made=True)
    space, factors = SessionSpace.of_log(log), item_factors(log)
    assert factors is not None
    np.testing.assert_allclose(space.embeddings[:, :3] * np.sqrt(2), embeddings, rtol=1e-5)
    np.testing.assert_allclose(space.embeddings[:, 3:] * np.sqrt(2 * 11 / 12), factors, rtol=1e-5)
    assert space.num_from_log == factors.shape[1]
    assert space.told_apart_by.startswith("3 coordinates of their genre; and by ")
    only = SessionSpace.of_log(log, "catalog")
    np.testing.assert_array_equal(only.embeddings, embeddings)
    assert only.told_apart_by == "3 coordinates of their genre"
    np.testing.assert_array_equal(SessionSpace.of_log(log, "log").embeddings, factors)


@pytest.mark.parametrize(("items", "dim", "told"), [(12, 12, "a coordinate each"), (140, 32, "32 random num")])
def test_single_items_without_users_are_told_apart_by_themselves(tmp_path, items, dim, told):
    log = written(tmp_path / "log", users=300, items=items, together=False)
    features = features_of(log)
    assert features.told.startswith(told)
    assert features.told.endswith(f"in a way of their own; 1 of {items} are not in the log and have none")
    assert features.embeddings.shape == (items, dim)
    gram = features.embeddings @ features.embeddings.T
    np.testing.assert_allclose(np.diag(gram)[:-1], 1.0, rtol=1e-5)
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 0.9
    assert not features.embeddings[-1].any()
    np.testing.assert_array_equal(features_of(log).embeddings, features.embeddings)


def test_columns_alone_where_the_log_has_nothing(tmp_path, embeddings):
    log = written(tmp_path / "log", users=50, together=False, embeddings=embeddings, made=True)
    features = features_of(log)
    np.testing.assert_array_equal(features.embeddings, embeddings)
    assert features.num_from_log == 0
    assert features.told.startswith("3 coordinates of their genre alone, since no two of them stand together")


@pytest.mark.parametrize("choice", ["catalog", "both"])
def test_embeddings_that_are_not_there_are_refused(bare, choice):
    message = (
        f"item features '{choice}': .*bare has no embeddings of its items; say log, or import it again with a file"
    )
    with pytest.raises(InvalidInput, match=message):
        SessionSpace.of_log(bare, choice)


def test_another_choice_is_refused(bare):
    for make in (lambda c: SessionSpace.of_log(bare, c), lambda c: TrainerConfig(item_features=c)):
        with pytest.raises(InvalidInput, match="item features 'cataloge'; did you mean 'catalog'"):
            make("cataloge")


def test_a_simulated_world_has_its_own(tmp_path):
    config = SessionConfig().override(num_items=20, slate_size=2, embedding_dim=4, num_topics=3, max_steps=4)
    log = collect(tmp_path / "log", LogRequest(config, "uniform", "slate", 4))
    np.testing.assert_array_equal(SessionSpace.of_log(log, "catalog").embeddings, log.world.catalog.embeddings)
    with pytest.raises(InvalidInput, match=r"item features 'log': the items of .*log are those of a simulated world"):
        SessionSpace.of_log(log, "log")


# --- learned, kept and judged


@pytest.fixture
def policy(bare):
    scores = score_log("q_minus_v", bare, HASTY)
    return train(bare, scores, "awr", config=BRIEF).actor


def test_a_file_keeps_them(tmp_path, bare, policy):
    save_policy(tmp_path / "policy", policy)
    space = load_policy(tmp_path / "policy").space
    np.testing.assert_array_equal(space.embeddings, SessionSpace.of_log(bare).embeddings)
    assert (space.num_from_log, space.told_apart_by) == (policy.space.num_from_log, policy.space.told_apart_by)


def test_a_policy_is_judged_by_the_factors_of_the_log_that_it_learned_from(tmp_path, bare, policy):
    other = written(tmp_path / "other", seed=5)
    assert not np.array_equal(SessionSpace.of_log(other).embeddings, policy.space.embeddings)
    judged = SessionSpace.of_log(other, policy.space)
    np.testing.assert_array_equal(judged.embeddings, policy.space.embeddings)
    sessions: Any = off_policy_sessions(policy, other, config=dataclasses.replace(HASTY, num_rounds=1))
    assert np.isfinite(sessions.target_log_prob).all()
    assert np.isfinite(sessions.q_value).all()


def test_beside_them_the_catalogue_must_be_the_same(tmp_path, embeddings):
    log = written(tmp_path / "log", embeddings=embeddings, made=True)
    space = train(log, torch.zeros(log.num_rows), "bc", config=BRIEF).actor.space
    same = written(tmp_path / "same", seed=3, embeddings=embeddings)
    space.require_like(SessionSpace.of_log(same, space), "the policy", "same")
    other = written(tmp_path / "other", seed=3, embeddings=embeddings[::-1].copy())
    with pytest.raises(InvalidInput, match="the policy was made for other embeddings of the same 12 items than"):
        space.require_like(SessionSpace.of_log(other, space), "the policy", "other")
    lacking = written(tmp_path / "lacking", seed=3)
    with pytest.raises(InvalidInput, match="lacking has no embeddings of its items, and the policy was made for items"):
        SessionSpace.of_log(lacking, space)


def test_another_number_of_items_is_refused(tmp_path, bare):
    more = written(tmp_path / "more", items=13)
    space = SessionSpace.of_log(bare)
    with pytest.raises(InvalidInput, match=r"the policy does not know 1 of 13 items \(12\) of more; import"):
        space.require_like(SessionSpace.of_log(more, space), "the policy", "more")
