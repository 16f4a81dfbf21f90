"""Policies that log: what the log says of an action's probability is what the policy says of the log's batches."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from agents.batches.replay import LogStorage
from agents.families import POLICIES
from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.files import load_policy, save_policy
from agents.serving.behavior_adapter import AgentBehavior, AgentConfig
from agents.testing.policy_cases import perturb, policy_config, world_of
from offline_data.behavior.base import SessionView, make_behavior
from offline_data.collection import collection
from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.rollout import play_sessions
from offline_data.store.columns import LATENT_LABELS
from offline_data.store.dataset import LoggedDataset
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.random_streams import derive_seeds
from tests.agents.policies.policy_cases import NAMES, every_policy, every_world
from tests.folder_tree import tree

NUM_SESSIONS = 24
BY_POSITION = ("plackett_luce",)  # policies that fill a slate item by item
SLATES = [name for name in NAMES if POLICIES.get(name).action_kind == "slate"]


@pytest.fixture
def spec(tmp_path):
    """Save a policy of a world, and return what a log calls it."""

    def build(name: str, where: str = "plain") -> dict[str, Any]:
        policy = perturb(make_policy(SessionSpace.of_world(world_of(where)), policy_config(name), seed=1))
        save_policy(tmp_path / name, policy)
        return {"name": "agents.serving.behavior_adapter:AgentBehavior", "policy": str(tmp_path / name)}

    return build


def collected(path: Path, name: str, behavior: Any, where: str = "plain", **options: Any) -> LoggedDataset:
    request = LogRequest(world_of(where).config, behavior, POLICIES.get(name).action_kind, NUM_SESSIONS, 3)
    return collect(path, request, **options)


@every_world
def test_logged_log_probs_are_those_of_the_logs_batches(name, where, spec, tmp_path):
    log = collected(tmp_path / "log", name, spec(name, where), where)
    policy: Any = load_policy(tmp_path / name)
    policy.require_fits(SessionSpace.of_log(log), "policy", "log")
    kind = policy.action_kind
    columns = ("prefix_log_prob",) if kind == "slate" else ()
    batch = LogStorage(log, columns=(kind, "behavior_log_prob", *columns)).get(slice(None))
    assert len(batch) > 60
    with torch.no_grad():
        distribution = policy.get_dist(batch)
        found = distribution.log_prob(batch[kind])
        np.testing.assert_allclose(found, batch["behavior_log_prob"], rtol=1e-5, atol=1e-5)
        if kind == "slate":
            prefix = distribution.prefix_log_prob(batch[kind])
            np.testing.assert_allclose(prefix, batch["prefix_log_prob"], rtol=1e-5, atol=1e-5)
    # Sessions that see different things are treated differently.
    assert len(batch[kind].unique(dim=0)) > 30


@every_policy
def test_workers_give_the_same_bytes(name, spec, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "SESSIONS_PER_RANGE", NUM_SESSIONS // 2)
    behavior = spec(name)
    one, two = (collected(tmp_path / f"log{workers}", name, behavior, workers=workers) for workers in (1, 2))
    first, second = (
        {file: content for file, content in tree(log.path).items() if not file.endswith("run.json")}
        for log in (one, two)
    )
    assert first == second


@every_policy
def test_a_deterministic_policy_plays_its_mode_and_logs_nothing(name, spec):
    world, actor = world_of("candidates"), load_policy(spec(name, "candidates")["policy"])
    seeds = derive_seeds(7, "users", np.arange(5))
    behavior = AgentBehavior(world, AgentConfig(deterministic=True), actor=actor)
    first, second = (
        play_sessions(world, behavior, seeds, derive_seeds(seed, "draws", np.arange(5))) for seed in (1, 2)
    )
    np.testing.assert_array_equal(first.columns["slate"], second.columns["slate"])
    with pytest.raises(InvalidInput, match=r"deterministic=True gives the actions of .* no probability, which a log"):
        make_behavior(world, {**spec(name, "candidates"), "deterministic": True}, actor.action_kind)


@every_policy
def test_a_policy_of_another_kind_or_world_is_refused(name, spec):
    kind = POLICIES.get(name).action_kind
    other = "proto" if kind == "slate" else "slate"
    with pytest.raises(InvalidInput, match=f"policy .*{name} has no {other} actions; pass action_kind='{kind}'"):
        make_behavior(world_of("plain"), spec(name), other)
    assert make_behavior(world_of("plain"), spec(name), None).action_kind == kind
    with pytest.raises(InvalidInput, match=f"policy .*{name} was made for observed=.*, and this world has "):
        make_behavior(world_of("candidates"), spec(name), kind)


# --- in mixtures


def mixture(first: Any, second: Any, mixing: str) -> dict[str, Any]:
    return {"name": "mixture", "components": [first, second], "weights": [0.4, 0.6], "mixing": mixing}


OTHERS = {"slate": "clickbait", "proto": {"name": "clickbait", "proto_scale": 0.5}}
MIXINGS = [(n, m) for n, m in itertools.product(NAMES, ("step", "session"))] + [(n, "position") for n in BY_POSITION]


@pytest.mark.parametrize(("name", "mixing"), MIXINGS)
def test_a_mixture_logs_its_exact_probability(name, mixing, spec, tmp_path):
    where, kind = "candidates", POLICIES.get(name).action_kind
    own = spec(name, where)
    log = collected(tmp_path / "log", name, mixture(own, OTHERS[kind], mixing), where)
    assert set(np.unique(np.load(log.path / LATENT_LABELS))) == {0, 1}
    parts = [make_behavior(world_of(where), part, kind) for part in (own, OTHERS[kind])]
    expected, prefix = judged(log, world_of(where), parts, mixing)
    # Asked of one session the network may round otherwise than of many.
    np.testing.assert_allclose(log.rows["behavior_log_prob"], expected, rtol=1e-4, atol=1e-4)
    if kind == "slate":
        np.testing.assert_allclose(log.rows["prefix_log_prob"], prefix, rtol=1e-4, atol=1e-4)
        assert (np.diff(np.sort(log.rows["slate"], axis=1), axis=1) > 0).all()


def judged(log: LoggedDataset, world: Any, parts: list[Any], mixing: str) -> tuple[np.ndarray, np.ndarray]:
    """Return what the mixture of two parts says of each row, by stepping the logged slates again."""
    whole, prefixes = np.zeros(log.num_rows), np.zeros((log.num_rows, world.config.slate_size))
    action = np.array(log.rows[log.action_kind])
    offsets = np.asarray(log.offsets)
    for session in range(log.num_sessions):
        batch = SessionBatch(world, 1)
        batch.start(
            np.array([0]), np.asarray(log.sessions["session_seed"])[session : session + 1], np.zeros(1, np.uint64)
        )
        weights = np.log([[0.4], [0.6]])
        for row in range(offsets[session], offsets[session + 1]):
            view = SessionView.of(batch)
            if mixing == "position":
                running = 0.0
                for k in range(action.shape[1]):
                    given = action[row : row + 1, :k]
                    each = [part.next_item_log_prob(view, given, np.zeros((1, 0)))[0, action[row, k]] for part in parts]
                    running += np.logaddexp(*(np.log([0.4, 0.6]) + each))
                    prefixes[row, k] = running
                whole[row] = running
            else:
                answers = [part.log_prob(view, action[row : row + 1], np.zeros((1, 0))) for part in parts]
                each = np.array([a[0] if a[1] is None else a[1][0] for a in answers])
                mixed = np.logaddexp(*(weights + each))
                whole[row], prefixes[row] = mixed[-1], mixed
                if mixing == "session":
                    weights = weights + each[:, -1:] - mixed[-1]
            batch.step(np.asarray(log.rows["slate"])[row : row + 1])
    return whole, prefixes


@pytest.mark.parametrize("name", sorted(set(SLATES) - set(BY_POSITION)))
def test_a_policy_that_does_not_fill_positions_says_so(name, spec, tmp_path):
    message = f"a {name} policy does not say how it fills single positions of a slate; mix it per step or per session"
    with pytest.raises(InvalidInput, match=message):
        collected(tmp_path / "log", name, mixture(spec(name), "clickbait", "position"))


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(SLATES)))
def test_a_policy_without_positions_says_so(name, spec, tmp_path):
    with pytest.raises(InvalidInput, match="mixing='position' draws a component for each slate position"):
        collected(tmp_path / "log", name, mixture(spec(name), OTHERS["proto"], "position"))
