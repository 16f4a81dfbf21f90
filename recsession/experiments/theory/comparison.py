"""A measurement beside what the theory says of it, and gradient steps to measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

DEVIATION_HEADER = ("experiment", "closed forms", "largest relative deviation", "ranges", "largest relative excess")

_ROUNDING = 1e-9  # relative; an excess below it is arithmetic


@dataclass(frozen=True)
class Comparison:
    """One measured line and the closed form that it must lie on, or the two that it must lie between."""

    name: str
    """Of the line."""
    x: np.ndarray
    """[M], such as steps."""
    measured: np.ndarray
    """[M]."""
    low: np.ndarray | None = None
    """[M], or None where the theory says nothing."""
    high: np.ndarray | None = None
    """[M], the same values as `low` where it says exactly what comes."""

    @property
    def is_exact(self) -> bool:
        """Return whether the theory gives a value and not a range."""
        return self.low is not None and self.low is self.high

    def deviation(self) -> float:
        """Return how far the measurement lies off the closed form, or out of its range, at most and relative to it.

        A closed form that nearly vanishes counts as a millionth of its line's largest value.
        """
        if self.low is None or self.high is None:
            return 0.0
        size = np.maximum(np.abs(self.low), np.abs(self.high))
        outside = np.maximum(np.maximum(self.low - self.measured, self.measured - self.high), 0.0)
        scale = np.maximum(size, 1e-6 * size.max())
        relative = np.where(outside == 0.0, 0.0, outside / np.where(scale > 0.0, scale, 1.0))
        return float(np.max(np.nan_to_num(relative, nan=np.inf)))  # what is no number agrees with nothing

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        arrays = {name: getattr(self, name) for name in ("x", "measured", "low", "high")}
        plain = {name: None if array is None else array.tolist() for name, array in arrays.items()}
        return {"name": self.name, **plain, "exact": self.is_exact, "deviation": self.deviation()}


def compare(name: str, measured: Any, closed: Any, high: Any = None, x: Any = None) -> Comparison:
    """Return a comparison of tensors or arrays.

    Args:
        name: of the line.
        measured: [M].
        closed: [M] or a number, the closed form or the lower end of its range; None where there is none.
        high: [M] or a number, the upper end; None where `closed` is exact.
        x: [M]; None counts steps.
    """
    measured = np.asarray(measured, np.float64)
    x = np.arange(len(measured), dtype=np.float64) if x is None else np.asarray(x, np.float64)
    if closed is None:
        return Comparison(name, x, measured)
    low = np.broadcast_to(np.asarray(closed, np.float64), measured.shape)
    return Comparison(name, x, measured, low, low if high is None else np.broadcast_to(np.asarray(high), low.shape))


@dataclass(frozen=True)
class Plot:
    """Comparisons on one pair of axes."""

    title: str
    """What stands above it."""
    x_label: str
    """With its unit."""
    y_label: str
    """With its unit."""
    comparisons: Sequence[Comparison]
    """The lines."""
    log: bool = False
    """Whether the upright axis is logarithmic."""
    rule: tuple[float, str] | None = None
    """a value to mark on it, and its name."""

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        plain = {name: getattr(self, name) for name in ("title", "x_label", "y_label")}
        return {**plain, "lines": [line.as_dict() for line in self.comparisons]}


@dataclass(frozen=True)
class Experiment:
    """A controlled experiment."""

    name: str
    """Short, as in tables."""
    title: str
    """What it asks."""
    caption: str
    """What was done, and what to look for."""
    plots: Sequence[Plot] = field(default_factory=list)
    """What was found."""

    def comparisons(self, exact: bool) -> list[Comparison]:
        """Return the lines with an exact closed form, or those with a range."""
        lines = [line for plot in self.plots for line in plot.comparisons if line.low is not None]
        return [line for line in lines if line.is_exact == exact]

    def deviation(self, exact: bool) -> float:
        """Return the largest deviation of those lines."""
        return max((line.deviation() for line in self.comparisons(exact)), default=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-able values."""
        plots = [plot.as_dict() for plot in self.plots]
        deviations = {"exact": self.deviation(exact=True), "ranges": self.deviation(exact=False)}
        return {"name": self.name, "title": self.title, "deviation": deviations, "plots": plots}


def gradient_steps(
    loss: Callable[[Tensor], Tensor], start: Tensor, step_size: float | Tensor, num_steps: int
) -> Tensor:
    """Return the coordinates along plain gradient steps, [T + 1, ...].

    Args:
        loss: from coordinates to a scalar, differentiable.
        start: the coordinates at first.
        step_size: eta; a tensor of the coordinates' shape gives each its own.
        num_steps: T.
    """
    path = [start.detach()]
    for _ in range(num_steps):
        coordinates = path[-1].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(coordinates), coordinates)
        path.append(path[-1] - step_size * gradient)
    return torch.stack(path)


def verdict(experiments: Sequence[Experiment]) -> str:
    """Return how well measurement and theory agree, in one sentence.

    Args:
        experiments: what was measured.
    """
    exact, ranges = ([line for each in experiments for line in each.comparisons(exact=kind)] for kind in (True, False))
    worst, outside = max(line.deviation() for line in exact), sum(line.deviation() > _ROUNDING for line in ranges)
    return (
        f"{len(exact)} measured lines lie on their closed form to within {worst:.0e} of it, and of {len(ranges)} that "
        f"the theory gives a range {outside or 'none'} leaves it."
    )


def deviation_rows(experiments: Sequence[Experiment]) -> list[tuple[str, ...]]:
    """Return each experiment's cells under `DEVIATION_HEADER`, of lines with a closed form and of those with a range.

    Args:
        experiments: what was measured.
    """
    return [
        (
            each.name,
            *(
                text
                for exact in (True, False)
                for text in (str(len(each.comparisons(exact))), f"{each.deviation(exact) or 0:.2g}")
            ),
        )
        for each in experiments
    ]
