"""A checkpoint goes on as the run would have, or is refused in one line and stays as it is."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch

from agents.nn.tensor_files import save_tensors
from agents.training.trainer import train
from recenv.errors import InvalidInput
from tests.damage import cut_or_added_to, flipped_bits
from tests.obstacles import KINDS, seen, stand_in_the_way


@pytest.fixture
def call(log, scores, build_trainer_config, tmp_path):
    """Train, which leaves a checkpoint, and go on from it."""
    config = build_trainer_config(num_steps=40)
    return lambda: train(log, scores, "robust_filter", config=config, checkpoint=tmp_path / "checkpoint")


def assert_refused(call, file) -> None:
    before = file.read_bytes()
    with pytest.raises(InvalidInput, match=f"^{file} .*; remove it to start over") as refusal:
        call()
    assert "\n" not in str(refusal.value)
    assert file.read_bytes() == before


def test_damaged_checkpoints_are_refused(call, tmp_path):
    call()
    file = tmp_path / "checkpoint"
    whole = file.read_bytes()
    for contents in (*flipped_bits(whole, 20), *cut_or_added_to(whole)):
        file.write_bytes(contents)
        assert_refused(call, file)


def test_whole_checkpoints_that_no_run_leaves_are_refused(call, trap, tmp_path):
    call()
    file = tmp_path / "checkpoint"
    whole = torch.load(io.BytesIO(file.read_bytes()), weights_only=True)

    def altered(*path: Any, value: Any) -> dict[str, Any]:
        content = copy.deepcopy(whole)
        inner = content
        for part in path[:-1]:
            inner = inner[part]
        inner[path[-1]] = value(inner[path[-1]]) if callable(value) else value
        return content

    weight = next(name for name, values in whole["objective"].items() if torch.is_tensor(values) and values.numel() > 1)
    group = whole["optimizer"]["param_groups"][0]
    cases = [
        {"step": 1},
        {**whole, "extra": trap},
        *(altered("step", value=value) for value in (0, -1, 40, 10**9, 1.5, "5", None, True, torch.ones(1))),
        *(altered("curve", value=value) for value in ({}, [1], [{"step": 0}], [{"step": -1}], whole["curve"] * 2)),
        altered("curve", 0, "loss", value=torch.nan),
        altered("curve", 0, "loss", value="low"),
        altered("rng", "batches", value=lambda state: state[:-1]),
        altered("rng", "global", value=[]),
        altered("rng", value=None),
        altered("objective", weight, value=lambda values: values[..., :1]),
        altered("objective", weight, value=lambda values: values.half()),
        altered("objective", weight, value=lambda values: values * torch.nan),
        altered("objective", weight, value=3),
        altered("objective", value=lambda state: {name: state[name] for name in state if name != weight}),
        altered("optimizer", "state", 0, "exp_avg", value=lambda values: values.flatten()[:1]),
        altered("optimizer", "state", 0, "exp_avg", value=lambda values: values * torch.inf),
        altered("optimizer", "state", 0, "step", value=torch.tensor(1e9)),
        altered("optimizer", "state", value=[]),
        altered("optimizer", "param_groups", value=[]),
        altered("optimizer", "param_groups", 0, "lr", value=-group["lr"]),
        altered("optimizer", "param_groups", 0, "betas", value=(0.5, 2.0)),
        altered("schedule", "last_epoch", value=3),
        altered("schedule", "T_max", value="long"),
        {name: values for name, values in whole.items() if name != "rng"},
    ]
    for content in cases:
        save_tensors(file, "checkpoint", content)
        assert_refused(call, file)
    assert not trap.folder.exists()
    save_tensors(file, "checkpoint", whole)
    call()


def test_one_of_an_older_version_is_refused_until_it_is_removed(call, tmp_path):
    call()
    file = tmp_path / "checkpoint"
    content = torch.load(io.BytesIO(file.read_bytes()), weights_only=True)
    del content["format"]
    content["call"] = content["call"].replace("robust_filter", "drpo")
    save_tensors(file, "checkpoint", content)
    with pytest.raises(
        InvalidInput, match=rf"^{file} is of an older format, .* drpo is now robust_filter; remove it to "
    ):
        call()
    file.unlink()
    call()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_file_is_refused_before_the_run(call, tmp_path, kind):
    stand_in_the_way(tmp_path / "checkpoint", kind)
    before = seen(tmp_path)
    with pytest.raises(InvalidInput, match=r"cannot write .*checkpoint: it is a .*; choose another path"):
        call()
    assert seen(tmp_path) == before
