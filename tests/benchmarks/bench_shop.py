"""What an estimate from a shop's own log is worth: in how many generated shops its interval holds the true value.

Run it with `python tests/benchmarks/bench_shop.py`. Each shop's events are imported and split by user; a policy learns
from one part, and is judged by the other. The truth is of 20,000 users drawn anew, see
tests/reference/generated_shop.py. Below the shops: of each estimator, how many intervals hold the truth, their mean
half-width, and the root mean squared error.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

from agents.objectives.awr import AwrConfig
from agents.training.evaluation import off_policy_sessions, usual_estimators
from agents.training.trainer import TrainerConfig, train
from agents.values.critics import CriticConfig
from agents.values.scores.base import score_log
from offline_data.interop.readers.table import TableReader
from offline_data.ope.estimate import estimate
from offline_data.store.log_split import split_log
from tests.reference.generated_shop import logging_policy, true_value, write_shop
from tests.served_shop import served

COLUMNS = (
    *("user_id=user", "timestamp=time", "step=page", "position=position", "item_id=sku", "feedback.click=clicked"),
    *("propensity=propensity", "context.age=age", "context.segment=segment", "context.device=device"),
)


def main() -> None:
    """Print a row a shop, and what the estimators are worth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shops", type=int, default=10, help="how many (default: %(default)s)")
    parser.add_argument("--first-seed", type=int, default=0, help="of the shops (default: %(default)s)")
    parser.add_argument("--users", type=int, default=5000, help="of a shop (default: %(default)s)")
    parser.add_argument("--temperature", type=float, default=1.0, help="of AWR (default: %(default)s)")
    parser.add_argument("--critic-steps", type=int, default=80, help="a round (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=300, help="of training (default: %(default)s)")
    arguments = parser.parse_args()
    names = usual_estimators()
    errors: dict[str, list[tuple[float, float, bool]]] = {name: [] for name in names}
    print(f"| shop | logged | true value | effective sample | {' | '.join(names)} |", flush=True)
    print(f"| --- | --- | --- | --- |{' --- |' * len(names)}", flush=True)
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.shops):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder)
            shop = write_shop(path, seed, arguments.users)
            log = TableReader(path=path / "events.csv", items=path / "items.csv", map=COLUMNS).read(path / "log")
            parts = split_log(log, by="user", seed=seed)
            scores = score_log(
                "q_minus_v", parts.train, CriticConfig(steps_per_round=arguments.critic_steps), seed=seed
            )
            budget, objective = TrainerConfig(num_steps=arguments.steps), AwrConfig(temperature=arguments.temperature)
            actor = train(parts.train, scores, "awr", objective, budget, seed=seed).actor
            sessions = off_policy_sessions(actor, parts.judge, seed=seed)
            answers = {name: estimate(name, sessions, seed=seed) for name in names}
        truth, _ = true_value(shop, served(actor, shop), num_users=20_000, seed=seed)
        logged, _ = true_value(shop, logging_policy(shop), num_users=20_000, seed=seed)
        cells = []
        for name, answer in answers.items():
            ends = answer.ends
            held = ends is not None and ends.low <= truth <= ends.high
            errors[name].append((answer.value - truth, math.nan if ends is None else ends.half_width, held))
            cells.append(f"{answer.value:.2f}" if ends is None else f"{ends:.2f}{'' if held else ' misses'}")
        size = answers["snips"].effective_sample_size
        print(
            f"| {seed} | {logged:.3f} | {truth:.3f} | {size:,.0f} of {sessions.num_sessions:,} | {' | '.join(cells)} |",
            flush=True,
        )
    print()
    for name, found in errors.items():
        squared = sum(error * error for error, _, _ in found) / len(found)
        width, held = sum(width for _, width, _ in found) / len(found), sum(held for _, _, held in found)
        print(
            f"{name:9} holds {held} of {len(found)}; half-width {width:.3f}, root mean squared error {squared**0.5:.3f}"
        )


if __name__ == "__main__":
    main()
