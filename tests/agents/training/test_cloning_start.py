"""Objectives that begin by cloning: on slates the same policy as `bc` until then, afterwards each one of its own."""

from __future__ import annotations

from dataclasses import fields
from itertools import combinations

import pytest
import torch
from torch import Tensor

from agents.families import OBJECTIVES
from agents.nn.networks import NetworkConfig
from agents.policies.plackett_luce import PlackettLucePolicyConfig
from agents.training.trainer import train
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec
from offline_data.store.dataset import LoggedDataset

CLONING = 2
STARTS = [
    name
    for name in OBJECTIVES.registered()
    if any(entry.name == "cloning_steps" for entry in fields(OBJECTIVES.get(name).Config))
]
APART = ("bppo", "gbpo", "group_reinforce")
"""Of these nothing is alike but the start; others are each other's where no ratio is clipped."""


@pytest.fixture(scope="module")
def grouped_log(config, tmp_path_factory) -> LoggedDataset:
    request = LogRequest(config, mixture_spec(0.3, "clickbait"), "slate", 40, 5, group_size=4)
    return collect(tmp_path_factory.mktemp("log") / "log", request)


@pytest.fixture(scope="module")
def learned(grouped_log, build_trainer_config):
    """Return the weights of a policy after some steps, the first two of which clone; each is trained once."""
    found: dict[tuple[str, int], Tensor] = {}
    scores = torch.randn(grouped_log.num_rows, generator=torch.Generator().manual_seed(0))

    def weights(name: str, num_steps: int) -> Tensor:
        if (name, num_steps) not in found:
            policy = PlackettLucePolicyConfig(NetworkConfig((16,)))
            config = build_trainer_config(num_steps=num_steps, final_rate=1.0, policy=policy)
            own = OBJECTIVES.get(name).Config(**({"cloning_steps": CLONING} if name in STARTS else {}))
            actor = train(grouped_log, scores, name, own, config).actor
            found[name, num_steps] = torch.cat([each.detach().flatten() for each in actor.parameters()])
        return found[name, num_steps]

    return weights


def test_who_begins_by_cloning():
    assert set(STARTS) >= {*APART, "ppo_clip", "grpo", "sage", "dpo"}
    assert all(OBJECTIVES.get(name).Config().cloning_steps >= 50 for name in STARTS)


@pytest.mark.parametrize("name", STARTS)
def test_it_clones_and_then_does_not(learned, name):
    torch.testing.assert_close(learned(name, CLONING), learned("bc", CLONING), rtol=0.0, atol=1e-6)
    assert (learned(name, CLONING + 3) - learned("bc", CLONING + 3)).abs().max() > 1e-4


@pytest.mark.parametrize("pair", list(combinations(APART, 2)))
def test_after_it_they_part_from_each_other(learned, pair):
    first, second = (learned(name, CLONING + 3) for name in pair)
    assert (first - second).abs().max() > 1e-4
