"""How near `kappa="auto"` comes to the good fraction of simulated logs, for every noise, and what it refuses to say.

Run it with `python tests/benchmarks/bench_good_fraction.py`; each log is the default world's, its rows scored by Q - V.
A ratio in parentheses is of an estimate that is not identified. The critic is a quick one; `--steps 750` is the default
critic's budget, and separates more.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from agents.robust.good_fraction import estimate_good_fraction
from agents.training.diagnostics import filter_precision
from agents.values.critics import CriticConfig
from agents.values.scores.base import score_log
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec

NOISES = ("popularity", "clickbait", "stale", "adversarial", "uniform")


def main() -> None:
    """Print the table, and below it how many were identified, how many of those wrongly."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noises", nargs="*", default=NOISES, help="noise kinds (default: all)")
    parser.add_argument("--fractions", nargs="*", type=float, default=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5])
    parser.add_argument("--kinds", nargs="*", default=["proto", "slate"], help="kinds of action (default: both)")
    parser.add_argument("--sessions", type=int, default=4000, help="sessions of a log (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=240, help="gradient steps of a critic (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1000, help="of logs and critics (default: %(default)s)")
    parser.add_argument("--score", default="q_minus_v", help="what the rows are scored by (default: %(default)s)")
    arguments = parser.parse_args()
    config = CriticConfig(steps_per_round=max(arguments.steps // 3, 1), learning_rate=3e-3, batch_size=512)
    if arguments.steps >= 750:
        config = CriticConfig(steps_per_round=arguments.steps // 3)
    identified = wrong = total = 0
    spent = 0.0
    print("| noise | actions | good fraction | filter precision | auto | estimate / truth | in words |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for noise in arguments.noises:
        for kind in arguments.kinds:
            for fraction in arguments.fractions:
                behavior = mixture_spec(fraction, noise)
                request = LogRequest(
                    behavior=behavior, action_kind=kind, num_sessions=arguments.sessions, dataset_seed=arguments.seed
                )
                with tempfile.TemporaryDirectory() as folder:
                    log = collect(Path(folder) / "log", request)
                    scores = score_log(arguments.score, log, config, seed=arguments.seed)
                    good = log.open_latent_labels() == 0
                began = time.process_time()
                found = estimate_good_fraction(scores)
                spent += time.process_time() - began
                ratio, precision = found.estimate / good.mean(), filter_precision(scores.numpy(), good, good.mean())
                total, identified = total + 1, identified + found.identified
                wrong += found.identified and not 0.5 <= ratio <= 2.0
                said = f"{ratio:.2f}" if found.identified else f"({ratio:.2f})"
                print(
                    f"| {noise} | {kind} | {good.mean():.3f} | {precision:.2f} | {found.kappa:.3f} | {said} | "
                    f"{found.describe()} |",
                    flush=True,
                )
    print(f"{identified} of {total} identified, {wrong} of these wrong by more than two times; ", end="")
    print(f"{spent / max(total, 1):.2f} s an estimate")


if __name__ == "__main__":
    main()
