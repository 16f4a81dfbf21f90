"""Speed of the exact filter beside one `torch.kthvalue` of the same size: one table, printed and never asserted.

One thread, float32 scores; the contenders take turns, and a ratio is the median of the rounds' own ratios. Uniform
weights: a selection and a few passes. The last table is of what sorts or bisects, at a hundredth of the scores.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from agents.robust.density_cap import DensityCap, dual_threshold, hard_filter, optimistic_value
from agents.robust.divergence_balls import ChiSquareBall, KlBall, TotalVariationBall

ROUNDS = 7


def compare(title: str, baseline: str, contenders: dict[str, Callable[[], Any]]) -> None:
    """Print each contender's median milliseconds and its ratio to the baseline's."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(ROUNDS + 1):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    print(f"\n{title}: median ms, ratio to {baseline}")
    for name, times in seconds.items():
        ratio = statistics.median(a / b for a, b in zip(times, seconds[baseline], strict=True))
        print(f"{name:<28}{1e3 * statistics.median(times):>10.1f}{ratio:>8.2f}")


def measure(num_scores: int = 10_000_000) -> None:
    """Print the tables."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(num_scores, generator=generator)
    for kappa in (0.02, 0.1, 0.5):
        rank = num_scores - int(kappa * num_scores) + 1
        compare(
            f"{num_scores:,} scores, kappa {kappa}",
            "kthvalue",
            {
                "kthvalue": lambda rank=rank: scores.kthvalue(rank),
                "dual_threshold": lambda kappa=kappa: dual_threshold(scores, kappa),
                "hard_filter": lambda kappa=kappa: hard_filter(scores, kappa),
                "optimistic_value": lambda kappa=kappa: optimistic_value(scores, kappa),
                "DensityCap.solve": lambda kappa=kappa: DensityCap(kappa).solve(scores),
            },
        )
    part = scores[: num_scores // 100].clone()
    weights = torch.rand(len(part), generator=generator)
    groups = torch.randint(0, 1_000, part.shape, generator=generator)
    sets = (DensityCap(0.1), KlBall(0.1), ChiSquareBall(0.1), TotalVariationBall(0.1))
    compare(
        f"{len(part):,} scores, weighted, and in 1,000 groups",
        "argsort",
        {
            "argsort": lambda: part.argsort(),
            **{type(chosen).__name__: lambda chosen=chosen: chosen.solve(part, weights) for chosen in sets},
            **{
                f"{type(chosen).__name__}, groups": lambda chosen=chosen: chosen.solve(
                    part, weights, scope="group", groups=groups
                )
                for chosen in sets
            },
        },
    )


if __name__ == "__main__":
    measure()
