"""Speed of Plackett-Luce log-probabilities beside a bare log-softmax over the same logits: one table, never asserted.

One thread; the contenders take turns, and a ratio is the median of the rounds' own ratios.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from agents.distributions.plackett_luce import PlackettLuce


def measure(num_rows: int = 1024, num_items: int = 1000, slate_size: int = 10, num_rounds: int = 100) -> None:
    """Print milliseconds and ratios, forward alone and with the backward pass."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(num_rows, num_items, generator=generator)
    slate = torch.rand(num_rows, num_items, generator=generator).topk(slate_size).indices
    leaf = logits.clone().requires_grad_()

    def forward(function: Callable[[Tensor], Tensor]) -> None:
        with torch.no_grad():
            function(logits)

    def both(function: Callable[[Tensor], Tensor]) -> None:
        torch.autograd.grad(function(leaf).sum(), leaf)

    def slates(values: Tensor) -> Tensor:
        return PlackettLuce(values, slate_size=slate_size).log_prob(slate)

    print(f"[{num_rows}, {num_items}] logits, K={slate_size}, one thread: median ms, ratio to log_softmax")
    for name, run, bare in (
        ("forward", forward, lambda values: torch.log_softmax(values, -1)),
        ("forward + backward", both, lambda values: torch.log_softmax(values, -1)[:, 0]),
    ):
        seconds: dict[str, list[float]] = {"log_softmax": [], "plackett_luce": []}
        for _ in range(num_rounds):
            for contender, function in (("log_softmax", bare), ("plackett_luce", slates)):
                start = time.perf_counter()
                run(function)
                seconds[contender].append(time.perf_counter() - start)
        first, second = seconds.values()
        ratio = statistics.median(b / a for a, b in zip(first, second, strict=True))
        times = ", ".join(f"{key} {1e3 * statistics.median(values):.2f}" for key, values in seconds.items())
        print(f"{name:20s} {times}, ratio {ratio:.2f}, of the fastest rounds {min(second) / min(first):.2f}")


if __name__ == "__main__":
    measure()
