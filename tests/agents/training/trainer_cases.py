"""What the tests of trainer share."""

from __future__ import annotations

import torch

from agents.families import OBJECTIVES

NAMES = ("awr", "bc", "robust_filter", "signed_pg")  # all of them: tests/agents/objectives/test_training.py


class Stop(Exception):
    """Stands for Ctrl-C, or the machine's end."""


def weights(run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.actor.state_dict().items()}


def assert_same_run(first, second):
    assert first.curve == second.curve
    assert first.stopped == second.stopped
    one, two = weights(first), weights(second)
    assert one.keys() == two.keys()
    for name in one:
        assert torch.equal(one[name], two[name]), name


def plant(monkeypatch, name: str, objective: type) -> None:
    """Register an objective for one test."""
    OBJECTIVES.registered()
    monkeypatch.setitem(OBJECTIVES._parts, name, objective)
