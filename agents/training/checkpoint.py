"""Where a training run goes on from: its weights, its optimiser, its random streams and its curve, in a sealed file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final, Protocol

import torch
from torch import Tensor

from agents.nn.file_formats import FORMAT_VERSION, check_format
from agents.nn.tensor_files import load_tensors, save_tensors
from recenv.errors import InvalidInput, require

_KIND: Final = "checkpoint"
_REMEDY: Final = "remove it to start over"
_WATCHED: Final = ("loss", "surprisal_max", "score_function_norm_max")

Curve = list[dict[str, Any]]


class Streams(Protocol):
    """The random streams of a run."""

    def state(self) -> dict[str, Any]:
        """Return their present states, tensors of bytes."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Take up such states."""
        ...


def save_checkpoint(path: Path, call: str, parts: dict[str, Any], rng: Streams, step: int, curve: Curve) -> None:
    """Write where a run stands.

    Args:
        path: the file, which is written beside and renamed.
        call: what the run depends on.
        parts: what has a `state_dict`, by name: `objective`, `optimizer` and `schedule`.
        rng: its random streams.
        step: steps that are done.
        curve: what was measured.

    Raises:
        InvalidInput: if the file cannot be written.
    """
    state = {name: part.state_dict() for name, part in parts.items()}
    content = {"format": FORMAT_VERSION, "call": call, "step": step, "curve": curve, "rng": rng.state()}
    save_tensors(path, _KIND, content | state)


def restore_checkpoint(
    path: Path | None, call: str, parts: dict[str, Any], rng: Streams, num_steps: int
) -> tuple[int, Curve]:
    """Put a run where its checkpoint says, if there is one, and return the steps that are done and the curve.

    Args:
        path: what `save_checkpoint` wrote; None and a path where nothing is begin at step 0.
        call: see there, and so `parts` and `rng`, which are altered.
        parts: see there.
        rng: see there.
        num_steps: of the whole run.

    Raises:
        InvalidInput: if the file is damaged, of another run, or holds what no run of this call could have left.
    """
    if path is None or not path.exists():
        return 0, []
    state = load_tensors(path, _KIND, _REMEDY)
    try:
        check_format(path, state.get("format"), str(state["call"]), f"{_REMEDY}, or choose another --out")
        require(
            state["call"] == call,
            f"{path} is a checkpoint of another run; {_REMEDY}, or choose another --out",
        )
    except KeyError as error:
        raise InvalidInput(f"{path} is not a checkpoint (it lacks {error}); {_REMEDY}") from error
    try:
        step, curve = state["step"], state["curve"]
        _check_progress(step, curve, num_steps)
        for name, part in parts.items():
            if name != "optimizer":
                _require_like(state[name], part.state_dict(), name)
            part.load_state_dict(state[name])
        _check_optimizer(parts["optimizer"], step)
        require(parts["schedule"].last_epoch == step, f"its schedule is not at step {step}")
        _require_like(state["rng"], rng.state(), "rng")
        rng.restore(state["rng"])
    except Exception as error:
        why = str(error) if isinstance(error, InvalidInput) else f"{type(error).__name__} in its state"
        raise InvalidInput(f"{path} is not a checkpoint of this run ({why}); {_REMEDY}") from error
    return step, curve


def _check_progress(step: Any, curve: Any, num_steps: int) -> None:
    require(type(step) is int and 0 < step < num_steps, f"its step {step!r} is not in [1, {num_steps - 1}]")
    require(
        isinstance(curve, list) and all(isinstance(point, dict) for point in curve), "its curve is no list of points"
    )
    steps = [point.get("step") for point in curve]
    rising = all(type(each) is int for each in steps) and steps == sorted(set(steps))
    require(rising and all(0 <= each < step for each in steps), "its curve's steps are not those that are done")
    for point in curve:
        numbers = {type(value) for value in point.values()} <= {int, float, type(None)}
        whole = numbers and all(math.isfinite(point.get(name, math.nan)) for name in _WATCHED)
        require(whole, f"its curve is not of numbers at step {point['step']}")


def _check_optimizer(optimizer: torch.optim.Optimizer, step: int) -> None:
    """Refuse moments that are not of their parameters' shapes, which PyTorch would find out at the next step alone."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            moments = [value for name, value in state.items() if name != "step"]
            fits = all(isinstance(m, Tensor) and m.shape == parameter.shape for m in moments)
            require(
                fits and all(bool(torch.isfinite(moment).all()) for moment in moments), "its optimiser does not fit"
            )
            require(0 < float(state.get("step", step)) <= step, "its optimiser has done other steps")
    defaults = optimizer.defaults
    for group in optimizer.param_groups:
        same = all(group.get(name) == value for name, value in defaults.items() if name != "lr")
        require(same and 0.0 <= group["lr"] <= defaults["lr"], "its optimiser has other options")


def _require_like(found: Any, expected: Any, name: str) -> None:
    """Refuse a state of other names, types, shapes or dtypes than the run's own, or that holds NaN."""
    require(type(found) is type(expected), f"{name} is a {type(found).__name__}")
    if isinstance(expected, dict):
        require(found.keys() == expected.keys(), f"{name} has other entries")
        for key, value in expected.items():
            _require_like(found[key], value, f"{name}.{key}")
    elif isinstance(expected, list | tuple):
        require(len(found) == len(expected), f"{name} has {len(found)} entries, not {len(expected)}")
        for index, (one, two) in enumerate(zip(found, expected, strict=True)):
            _require_like(one, two, f"{name}.{index}")
    elif isinstance(expected, Tensor):
        same = found.shape == expected.shape and found.dtype == expected.dtype
        require(same, f"{name} is {found.dtype} {tuple(found.shape)}")
        require(not bool(found.isnan().any()), f"{name} is not a number")
    elif isinstance(expected, float):
        require(math.isfinite(found), f"{name} is {found}")
