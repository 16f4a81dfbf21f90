"""The problem that every ambiguity set solves: scores, base weights and groups in, a certified maximiser out.

Input is checked at the door, once and with a synchronisation; inside `torch.compile` the checks are left out. Behind
the door nothing depends on the data but the data: no `.item()`, no boolean indexing, a fixed number of iterations. A
group's scalars stand in a table as long as the log, at the group's rank, so that no shape depends on their number.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from recenv.errors import require, require_range

Scope = Literal["global", "group"]


@dataclass(frozen=True)
class Solution:
    """The maximiser of `E_q[s]` over an ambiguity set, with its certificate."""

    q: Tensor
    """`[N]`, the scores' dtype, detached; sums to one."""
    weight: Tensor
    """`[N]`, the scores' dtype, detached; `q/b` without dividing by `b`, and defined where `b` is 0 too."""
    value: Tensor
    """Scalar, the scores' dtype, `E_q[s]` less what a priced divergence costs; its gradient is `q` for the scores,
    `sensitivity` for a kappa or radius that was given as a tensor, and less the divergence for its price (envelope
    theorem)."""
    sensitivity: Tensor
    """float64 scalar, the derivative of the value with respect to kappa or the radius."""
    duality_gap: Tensor
    """float64 scalar, the dual value at `duals` less the value: 0 but for rounding."""
    duals: dict[str, Tensor]
    """The dual variables by name, scalars, or `[N]` for the group of each score."""


@dataclass(frozen=True)
class Maximizer:
    """What a set finds: `weight` is `[N]`, the dual value and its derivative by the set's size are tables."""

    weight: Tensor
    dual_value: Tensor
    sensitivity: Tensor
    duals: dict[str, Tensor]
    divergence: Tensor | None = None
    """Table of what `price` is paid for; None where nothing is."""


class AmbiguitySet(ABC):
    """A set of distributions around the base weights; a frozen dataclass of one size, and of a price if it has one."""

    @property
    @abstractmethod
    def size(self) -> float | Tensor:
        """Kappa or radius, a number or a scalar tensor."""

    @property
    def price(self) -> float | Tensor:
        """What a unit of the maximiser's divergence from the base weights costs."""
        return 0.0

    @abstractmethod
    def maximize(self, problem: Problem) -> Maximizer:
        """Return the maximiser of a checked problem."""

    def solve(
        self,
        scores: Tensor,
        base_weights: Tensor | None = None,
        *,
        scope: Scope = "global",
        groups: Tensor | None = None,
    ) -> Solution:
        """Return the maximiser of `E_q[s]`, less the price of its divergence, with value, duals and duality gap.

        Args:
            scores: `[N]` float32 or float64, finite, N >= 1.
            base_weights: `[N]` finite, not negative, with a positive sum (normalised here); None means uniform.
            scope: one set around all of `b`, or one in every group around `b(. | group)`, where `b(group)` stays.
            groups: `[N]` integer ids, any values, for scope "group".

        Raises:
            InvalidInput: for empty, non-finite, mis-shaped or mis-typed input.
        """
        problem = Problem.pose(scores, base_weights, scope, groups)
        found = self.maximize(problem)
        q = problem.distribution(found.weight)
        # Float64: in float32 the sum over a long log would lose the small masses.
        value = (q * scores).sum(dtype=torch.float64)
        if found.divergence is not None:
            value = value - self.price * problem.expectation(found.divergence)
        gap = problem.expectation(found.dual_value) - value.detach()
        sensitivity = problem.expectation(found.sensitivity)
        if isinstance(self.size, Tensor):
            # At radius 0 the slope can be infinite, and 0 * inf would lose the value.
            slope = sensitivity.clamp_max(torch.finfo(torch.float64).max)
            value = value + slope * (self.size - self.size.detach())
        duals = {name: problem.spread(table) for name, table in found.duals.items()}
        return Solution(q, found.weight.to(scores.dtype), value.to(scores.dtype), sensitivity, gap, duals)


@dataclass(frozen=True)
class Problem:
    """A checked problem, detached."""

    scores: Tensor
    """`[N]`."""
    base: Tensor
    """Base weights, float64, summing to one: `[N]`, or a scalar 1 / N for uniform ones."""
    ids: Tensor | None
    """`[N]` rank of each score's group, from 0 without gaps; None for one group of all."""
    conditional: Tensor
    """Base weights given the group, float64, shaped as `base` or `[N]`; uniform in a group without mass."""

    @staticmethod
    def pose(scores: Tensor, base_weights: Tensor | None, scope: Scope, groups: Tensor | None) -> Problem:
        """Check all input, normalise the base weights and rank the groups; see `AmbiguitySet.solve`."""
        if not torch.compiler.is_compiling():
            check_scores(scores)
            _check_base_weights(base_weights, scores)
            _check_groups(scope, groups, scores)
        if base_weights is None:
            base = torch.full((), 1.0 / scores.numel(), dtype=torch.float64, device=scores.device)
        else:
            base = base_weights.detach().to(scores.device, torch.float64)
            base = base / base.max()  # first, so that neither a huge nor a subnormal sum loses digits
            base = base / base.sum()
        if groups is None:
            return Problem(scores.detach(), base, None, base)
        problem = Problem(scores.detach(), base, _ranks(groups.to(scores.device)), base)
        every = base.expand(scores.shape)
        mass, count = (problem.spread(problem.total(values)) for values in (every, torch.ones_like(every)))
        return replace(problem, conditional=torch.where(mass > 0, every / mass, 1.0 / count))

    @property
    def is_plain(self) -> bool:
        """Whether there is one group with uniform weights."""
        return self.conditional.ndim == 0

    def distribution(self, weight: Tensor) -> Tensor:
        """Return `q = b w`, `[N]`, in the scores' dtype."""
        return (self.base * weight).to(self.scores.dtype)

    def expectation(self, table: Tensor) -> Tensor:
        """Return the mean of a table under `b(group)`, a scalar."""
        return table if self.ids is None else (self.base * self.spread(table)).sum()

    def total(self, values: Tensor) -> Tensor:
        """Return the table of the groups' sums of `values`, `[N]`, in float64."""
        if self.ids is None:
            return values.sum(dtype=torch.float64)
        return torch.zeros_like(values, dtype=torch.float64).index_add(0, self.ids, values.double())

    def mean(self, values: Tensor) -> Tensor:
        """Return the table of the groups' means of `values`, `[N]`, under the base weights."""
        return self.total(values) * self.conditional if self.is_plain else self.total(values * self.conditional)

    def mass(self, mask: Tensor) -> Tensor:
        """Return the table of the groups' conditional masses of `mask`, `[N]` bool."""
        if self.is_plain:
            return mask.count_nonzero().double() / mask.numel()
        return self.total(torch.where(mask, self.conditional, 0.0))

    def largest(self, values: Tensor) -> Tensor:
        """Return the table of the groups' largest of `values`, `[N]`."""
        if self.ids is None:
            return values.max()
        return torch.full_like(values, -torch.inf).scatter_reduce(0, self.ids, values, "amax")

    def spread(self, table: Tensor) -> Tensor:
        """Return each score's entry of a table, `[N]`, or the one scalar of all."""
        return table if self.ids is None else table.index_select(0, self.ids)

    def highest_reaching(self, measure: Callable[[Tensor], Tensor], enough: Tensor | float) -> Tensor:
        """Return the table of the highest scores that have mass at which a measure is enough; else of the lowest ones.

        Args:
            measure: from a table of scores to a table; it never falls when the scores do.
            enough: what it has to reach, a number or a table.
        """
        has_mass = (self.conditional > 0).expand(self.scores.shape)
        ranked = torch.where(has_mass, self.scores, -torch.inf)
        order, last = ranked.argsort(descending=True), self.total(has_mass.double()).long() - 1
        start = torch.zeros_like(last)
        if self.ids is not None:
            order = order[self.ids[order].argsort(stable=True)]
            count = self.total(torch.ones_like(ranked)).long()
            start = (count.cumsum(0) - count).clamp_max(len(ranked) - 1)  # behind the groups the table is empty
        ranked, first = ranked[order], torch.zeros_like(last)
        for _ in range(len(ranked).bit_length()):
            middle = (first + last).div(2, rounding_mode="floor")
            reached = measure(ranked.take((start + middle).clamp(0, len(ranked) - 1))) >= enough
            last = torch.where(reached, middle, last)
            first = torch.where(reached, first, middle + 1).minimum(last)
        return ranked.take((start + last).clamp(0, len(ranked) - 1))

    def mass_down_to(self) -> Tensor:
        """Return the group's conditional mass from its best score down to each score, `[N]`, ties in any order."""
        mass = self.conditional.expand(self.scores.shape)
        order = self.scores.argsort(descending=True)
        if self.ids is None:
            return torch.empty_like(mass).scatter(0, order, mass[order].cumsum(0))
        order = order[self.ids[order].argsort(stable=True)]
        reached, ids = mass[order], self.ids[order]
        # Sums over twice as many predecessors each time: one cumulative sum would drown the small groups in the log.
        step = 1
        while step < len(reached):
            before = torch.where(ids[step:] == ids[:-step], reached[:-step], 0.0)
            reached = torch.cat([reached[:step], reached[step:] + before])
            step *= 2
        return torch.empty_like(mass).scatter(0, order, reached)


def check_scores(scores: Tensor) -> None:
    """Refuse scores that no set is defined on.

    Args:
        scores: must be `[N]`, float32 or float64, finite, N >= 1.

    Raises:
        InvalidInput: otherwise, naming what is wrong.
    """
    require(isinstance(scores, Tensor), f"scores is a {type(scores).__name__}; pass a torch tensor")
    require(
        scores.dtype in (torch.float32, torch.float64),
        f"scores has dtype {scores.dtype}; pass float32 or float64",
    )
    require(
        scores.ndim == 1 and scores.numel() > 0,
        f"scores has shape {tuple(scores.shape)}; pass a one-dimensional tensor with at least one score",
    )
    low, high = torch.stack(torch.aminmax(scores.detach())).tolist()  # NaN if any is
    if not (math.isfinite(low) and math.isfinite(high)):
        unusable = int((~torch.isfinite(scores)).sum())
        require(False, f"scores holds {unusable} NaN or infinite values; pass finite scores")
    require(
        high - low <= torch.finfo(scores.dtype).max,
        f"scores reach from {low} to {high}, too far apart for {scores.dtype}; divide them by 4",
    )


def check_size(name: str, size: float | Tensor, low: float, high: float = math.inf, *, low_open: bool = False) -> None:
    """Refuse a kappa or radius outside its range, or a tensor that is no scalar; nothing inside `torch.compile`.

    Args:
        name: the field's name.
        size: a number or a scalar tensor.
        low: lower end, included unless `low_open`.
        high: upper end, included.
        low_open: exclude the lower end.

    Raises:
        InvalidInput: naming the field, the value and the interval.
    """
    if torch.compiler.is_compiling():
        return
    if isinstance(size, Tensor):
        require(
            size.ndim == 0 and size.is_floating_point(),
            f"{name} is a tensor of shape {tuple(size.shape)} and dtype {size.dtype}; pass a floating scalar",
        )
        size = size.item()
    require_range(name, size, low, high, low_open=low_open)


def _check_base_weights(base_weights: Tensor | None, scores: Tensor) -> None:
    if base_weights is None:
        return
    require(
        isinstance(base_weights, Tensor),
        f"base_weights is a {type(base_weights).__name__}; pass a torch tensor or None",
    )
    require(
        base_weights.shape == scores.shape,
        f"base_weights has shape {tuple(base_weights.shape)}, scores {tuple(scores.shape)}; pass one weight a score",
    )
    low, high = torch.stack(torch.aminmax(base_weights.detach())).tolist()
    require(
        low >= 0 and math.isfinite(high),
        f"base_weights reach from {low} to {high}; pass finite weights >= 0",
    )
    require(high > 0, "base_weights sums to 0; give at least one score a positive weight")


def _check_groups(scope: Scope, groups: Tensor | None, scores: Tensor) -> None:
    require(scope in ("global", "group"), f"scope={scope!r} is not a scope; choose 'global' or 'group'")
    if scope == "global":
        require(groups is None, "groups are given with scope='global'; leave them out or set scope='group'")
        return
    require(
        isinstance(groups, Tensor),
        f"scope='group' with groups a {type(groups).__name__}; pass a torch tensor of ids",
    )
    require(
        groups.shape == scores.shape,  # type: ignore[union-attr]
        f"groups has shape {tuple(groups.shape)}, scores {tuple(scores.shape)}; pass one id a score",  # type: ignore[union-attr]
    )
    require(
        not groups.is_floating_point() and not groups.is_complex(),  # type: ignore[union-attr]
        f"groups has dtype {groups.dtype}; pass integers",  # type: ignore[union-attr]
    )


def _ranks(groups: Tensor) -> Tensor:
    """Return the rank of each id among the different ones, `[N]`; `torch.unique` would have a shape of the data's."""
    values, order = groups.sort()
    is_new = torch.cat([torch.zeros_like(values[:1], dtype=torch.int64), (values[1:] != values[:-1]).long()])
    return torch.empty_like(order).scatter(0, order, is_new.cumsum(0))
