"""How well each policy clones a log of the expert alone: one table, never asserted.

Run it with `python tests/benchmarks/bench_cloning.py [POLICY ...] [--encoder NAME]`: the default world, a log of the
expert's sessions in the policy's kind of action, behavior cloning, and normalised scores in the simulator (noise:
clickbait), of the deterministic policy and of the sampled one; mean of the seeds with 95 % Student intervals.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from agents.families import ENCODERS, POLICIES
from agents.nn.networks import NetworkConfig
from agents.training.evaluation import roll_out
from agents.training.trainer import TrainerConfig, train
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import reference_returns
from recenv.session_config import SessionConfig
from recenv.world import make_world

# Chosen on seed 100, which is not reported.
BUDGETS = {
    "gaussian": {"num_steps": 700, "batch_size": 1024, "learning_rate": 4e-3},
    "plackett_luce": {"num_steps": 700, "batch_size": 1024, "learning_rate": 4e-3},
    "generative": {"num_steps": 1500, "batch_size": 256, "learning_rate": 2e-3},
}


def clone(name: str, encoder: str, seed: int, sessions: int, users: int, changes: dict[str, float]) -> list[float]:
    """Return the normalised scores of the deterministic and the sampled clone, and the seconds of training."""
    world = make_world(SessionConfig())
    kind = POLICIES.get(name).action_kind
    config = POLICIES.get(name).Config(network=NetworkConfig(encoder=ENCODERS.get(encoder).Config()))
    trainer = replace(TrainerConfig(policy=config), **{**BUDGETS.get(name, {}), **changes})
    with tempfile.TemporaryDirectory() as folder:
        log = collect(
            Path(folder) / "log",
            LogRequest(behavior="expert", action_kind=kind, num_sessions=sessions, dataset_seed=seed),
        )
        start = time.perf_counter()
        run = train(log, torch.zeros(log.num_rows), "bc", config=trainer, seed=seed)
        seconds = time.perf_counter() - start
    reference = reference_returns(world, "clickbait", kind, num_sessions=users, seed=seed)
    scores = [
        reference.normalized_score(float(roll_out(run.actor, world, users, seed, deterministic=best).mean()))
        for best in (True, False)
    ]
    return [*scores, seconds]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="*", default=POLICIES.registered(), help="policies (default: all)")
    parser.add_argument("--encoder", default="pooled", choices=ENCODERS.registered(), help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: %(default)s")
    parser.add_argument("--sessions", type=int, default=5000, help="of the log (default: %(default)s)")
    parser.add_argument("--users", type=int, default=2000, help="of each score (default: %(default)s)")
    for name in ("num_steps", "batch_size"):
        parser.add_argument(f"--{name}", type=int, help="in place of the policy's own")
    parser.add_argument("--learning_rate", type=float, help="in place of the policy's own")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    changes = {name: getattr(arguments, name) for name in ("num_steps", "batch_size", "learning_rate")}
    changes = {name: value for name, value in changes.items() if value is not None}
    print("| policy | encoder | score of the deterministic clone | of the sampled one | training, s |")
    print("|---|---|---|---|---|")
    for name in arguments.policies:
        rows = [
            clone(name, arguments.encoder, seed, arguments.sessions, arguments.users, changes)
            for seed in arguments.seeds
        ]
        cells = [_cell(np.array(column)) for column in zip(*rows, strict=True)]
        print(f"| {name} | {arguments.encoder} | {' | '.join(cells)} |", flush=True)


def _cell(values: np.ndarray) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2f} [{values.mean() - half:.2f}, {values.mean() + half:.2f}]"


if __name__ == "__main__":
    main()
