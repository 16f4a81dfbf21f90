from __future__ import annotations

import importlib
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.policies.base import Policy, make_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.policies.generative import GenerativePolicyConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.serving.onnx_export import export_onnx
from agents.testing.policy_cases import perturb
from offline_data.serving.serving_space import ServingSpace
from recenv.engine.session_batch import SessionBatch
from recenv.item_codes.semantic_ids import SemanticIdConfig
from recenv.session_config import SessionConfig
from recenv.world import World, make_world
from tests.agents.shop import shop_log, shop_visits
from tests.test_documents import ROOT, program

NETWORK = NetworkConfig((8,))
CONFIGS: dict[str, Any] = {
    "gaussian": GaussianPolicyConfig(NETWORK),
    "plackett_luce": PlackettLucePolicyConfig(NETWORK),
    "plackett_luce_large": PlackettLucePolicyConfig(NETWORK, sampled_above=10, num_sampled=8),
    "generative": GenerativePolicyConfig(
        NETWORK, SemanticIdConfig(num_codebooks=1, codebook_size=8), width=8, num_layers=1
    ),
}
SMALL = {"num_items": 40, "slate_size": 2, "embedding_dim": 4, "num_topics": 3, "history_length": 5}
LIMITS: dict[str, dict[str, Any]] = {
    "all": {},
    "candidates": {"num_candidates": 20},
    "available": {"freshness": {"horizon": 60.0}},
}
slow = pytest.mark.slow
pytestmark = pytest.mark.clients


def make(name: str, limit: str = "all") -> tuple[World, Policy]:
    world = make_world(SessionConfig().override(**SMALL, **LIMITS[limit]))
    return world, perturb(make_policy(SessionSpace.of_world(world), CONFIGS[name], seed=1).eval())


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("gaussian", "candidates"),
        ("plackett_luce", "all"),
        ("gaussian", "all"),
        ("gaussian", "available"),
        ("plackett_luce", "candidates"),
        ("plackett_luce", "available"),
        ("plackett_luce_large", "all"),
        ("plackett_luce_large", "available"),
        pytest.param("generative", "all", marks=slow),
        pytest.param("generative", "candidates", marks=slow),
        pytest.param("generative", "available", marks=slow),
    ],
)
def test_the_model_shows_what_the_policy_shows(name: str, limit: str, tmp_path: Path):
    onnxruntime = importlib.import_module("onnxruntime")
    world, policy = make(name, limit)
    path = tmp_path / "folder" / "policy.onnx"
    export_onnx(policy, path)
    assert [file.name for file in path.parent.iterdir()] == ["policy.onnx"]
    session = onnxruntime.InferenceSession(path)
    assert [entry.name for entry in session.get_inputs()] == list(policy.space.observed)
    assert {entry.shape[0] for entry in (*session.get_inputs(), *session.get_outputs())} == {"batch"}
    outputs = ["slate", "proto"] if name == "gaussian" else ["slate"]
    assert [entry.name for entry in session.get_outputs()] == outputs
    assert session.get_modelmeta().custom_metadata_map["max_steps"] == str(world.config.max_steps)
    for count in (1, 7, 1000):
        sessions, seeds = SessionBatch(world, count), np.arange(count)
        sessions.start(seeds, seeds.astype(np.uint64), np.zeros(count, np.uint64))
        for _ in range(3):
            observation = sessions.observe()
            found = session.run(None, {entry: observation[entry] for entry in policy.space.observed})
            expected = policy.act(observation)
            assert found[0].dtype == np.int64
            np.testing.assert_array_equal(found[0], expected)
            if name == "gaussian":
                np.testing.assert_allclose(found[1], policy.best(policy.space.batch(observation)), atol=1e-5)
            sessions.step(expected)
    # Users differ, or the test shows nothing.
    assert len(np.unique(expected, axis=0)) > 10
    if limit != "all":  # one item is left: it is repeated
        if limit == "candidates":
            observation["candidates"] = observation["candidates"][:, :1]
        else:
            observation["available"] = (np.arange(40) == np.arange(len(expected))[:, None] % 40).astype(np.int8)
        found = session.run(["slate"], {entry: observation[entry] for entry in policy.space.observed})
        np.testing.assert_array_equal(found[0], policy.act(observation))
        assert (found[0] == found[0][:, :1]).all()


@pytest.mark.parametrize("offers", [False, True])
def test_the_model_serves_users_of_a_shop_by_the_ids_of_its_items(offers: bool, tmp_path: Path):
    onnxruntime = importlib.import_module("onnxruntime")
    log = shop_log(tmp_path / "log", offers=offers)
    policy = perturb(make_policy(SessionSpace.of_log(log), CONFIGS["plackett_luce"], seed=1).eval())
    export_onnx(policy, tmp_path / "policy.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "policy.onnx")
    serving = ServingSpace.of_metadata(session.get_modelmeta().custom_metadata_map)
    visits = shop_visits(offers=offers)
    slates = serving.ids_of(session.run(["slate"], serving.observe(visits, unknown="skip"))[0])
    np.testing.assert_array_equal(slates, policy.act(visits, unknown="skip"))
    assert len(np.unique(slates, axis=0)) > 1


def test_the_page_of_serving_shows_what_a_server_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Its program makes a policy and asks it; its recipe asks the model of it the same."""
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "page"}
    for block in program((ROOT / "docs/serving.md").read_text()):
        exec(block, names)
    export_onnx(names["agent"], "policy.onnx")
    capsys.readouterr()
    runpy.run_path(str(ROOT / "tests/agents/serving/serve_onnx.py"))
    assert capsys.readouterr().out == f"{names['slates'].tolist()}\n"
