"""Speed of the token decoder: one table, printed and never asserted; `tox -e bench`.

Beam search over one-item slates of 256 users is measured against the bare decoder: the same steps on the same slates,
with fixed tokens, without a tree, a mask, scores or an order of the cache. The contenders take turns, round by round; a
ratio is the median of the rounds' own ratios. Below, what training and play cost with the default config: forward and
backward of the log-probability of slates of 10, and a played slate.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.distributions.token_decoder import TokenDecoder
from agents.nn.session_space import SessionSpace
from agents.policies.base import make_policy
from agents.policies.generative import GenerativePolicyConfig
from recenv.engine.session_batch import SessionBatch
from recenv.item_codes.semantic_ids import SemanticIdConfig
from recenv.session_config import SessionConfig
from recenv.world import make_world

USERS = 256


def prepared(codebooks: int, **options: Any) -> tuple[Any, Any]:
    """Return a fresh policy and a batch of first observations."""
    world = make_world(SessionConfig().override(**options))
    space = SessionSpace.of_world(world)
    policy = make_policy(space, GenerativePolicyConfig(ids=SemanticIdConfig(num_codebooks=codebooks)))
    sessions, seeds = SessionBatch(world, USERS), np.arange(USERS)
    sessions.start(seeds, seeds.astype(np.uint64), np.zeros(USERS, np.uint64))
    return policy, space.batch(sessions.observe())


@torch.no_grad()
def bare_decoder(decoder: TokenDecoder, context: Tensor, beam_size: int, tokens: list[Tensor]) -> Tensor:
    """Run the decoder's steps of a one-item slate: the context on a slate a user, then on `beam_size` of them."""
    hidden, cache = decoder.begin(context)
    logits = decoder.heads[0](hidden)
    for level in range(1, decoder.tree.num_levels):
        if level == 1:
            cache = tuple(
                (key.repeat_interleave(beam_size, 0), value.repeat_interleave(beam_size, 0)) for key, value in cache
            )
        hidden, cache = decoder.step(0, level - 1, tokens[level - 1], cache)
        logits = decoder.heads[level](hidden)
    return logits


def in_turns(rounds: int, contenders: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Return the seconds of each round, after one that is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def beam_lines(rounds: int, beam_size: int) -> Iterator[str]:
    yield row(f"beam search, {USERS} users, {beam_size} beams, K = 1", "levels", "ms", "of the bare decoder")
    for label, codebooks, options in (
        ("1,000 items", 2, {}),
        ("48 candidates of 1,000", 2, {"num_candidates": 48}),
        ("1,000 items", 3, {}),
    ):
        policy, batch = prepared(codebooks, slate_size=1, **options)
        distribution = policy.get_dist(batch)
        decoder, context = policy.head.decoder, distribution.context.detach()
        levels = decoder.tree.num_levels
        tokens = [torch.randint(size, (USERS * beam_size,)) for size in decoder.tree.level_sizes]
        bare = partial(bare_decoder, decoder, context, beam_size, tokens)
        found = in_turns(rounds, {"bare decoder": bare, "beam search": partial(distribution.beams, beam_size)})
        for name, seconds in found.items():
            ratios = [a / b for a, b in zip(seconds, found["bare decoder"], strict=True)]
            cells = f"{1e3 * statistics.median(seconds):.1f}", f"{statistics.median(ratios):.2f}"
            yield row(f"{name}, {label}", levels, *cells)


def policy_lines(rounds: int) -> Iterator[str]:
    yield row(f"default policy, {USERS} users, K = 10, 1,000 items", "ms")
    policy, batch = prepared(3)
    uniforms = np.random.default_rng(0).random((USERS, policy.num_draws))
    slates = torch.from_numpy(policy.play(batch, uniforms).action)

    def train() -> None:
        policy.zero_grad()
        policy.get_dist(batch).log_prob(slates).mean().backward()

    contenders = {
        "log_prob, forward": lambda: policy.judge(batch, slates.numpy()),
        "log_prob, forward and backward": train,
        "play": lambda: policy.play(batch, uniforms),
        "best, greedy": lambda: policy.best(batch),
    }
    for name, seconds in in_turns(rounds, contenders).items():
        yield row(name, f"{1e3 * statistics.median(seconds):.0f}")


def row(label: object, *cells: object) -> str:
    return f"{label!s:<55}" + "".join(f"{cell!s:>20}" for cell in cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds of the contenders (default: %(default)s)")
    parser.add_argument("--beams", type=int, default=16, help="width of the search (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start; torch {torch.__version__}, one thread")
    for section in (beam_lines(arguments.rounds, arguments.beams), policy_lines(arguments.rounds)):
        print()
        for line in section:
            print(line.rstrip(), flush=True)


if __name__ == "__main__":
    main()
