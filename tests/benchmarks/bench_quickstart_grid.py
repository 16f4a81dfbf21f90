"""What the quickstart's methods reach over grids of one size, caps among them: one table, never asserted.

Run it with `python tests/benchmarks/bench_quickstart_grid.py [METHOD ...]`: the quickstart's log, critic and budget on
seeds that it does not report, nine settings a method, normalised scores of both ways of acting. Beside them stands what
a setting selects of the log, by the weights of its loss: `kappa`, their mean over the largest, which a hard filter is
told and a capped exponential chooses itself; `at the cap`, the share of their mass that is as large as the largest; and
`on good`, the share on the expert's rows.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.objectives.awr import AwrConfig
from agents.objectives.bc import BcConfig
from agents.objectives.drpo import DrpoConfig, DrpoExpConfig
from agents.objectives.robust_filter import RobustFilterConfig
from agents.objectives.signed_pg import SignedPgConfig
from agents.robust.density_cap import hard_filter
from agents.training.evaluation import roll_out
from agents.training.trainer import train
from agents.values.critics import fit_critic, score_rows
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec, reference_returns
from recenv.session_config import SessionConfig
from recenv.world import make_world
from recsession.experiments.comparison import Method
from recsession.experiments.quickstart import Quickstart

RATES = (1e-3, 2e-3, 4e-3)
BATCHES = (512, 1024, 2048)
SHARES = (1.0, 0.5, 0.25)  # of the good fraction
Setting = tuple[str, Method, dict[str, Any]]  # a label, and what of the trainer changes


def grids(good_fraction: float) -> dict[str, list[Setting]]:
    """Return nine settings of each method."""
    budgets = [
        (f"rate {rate:g}, batch {size}", {"learning_rate": rate, "batch_size": size})
        for rate in RATES
        for size in BATCHES
    ]
    kappas = [share * good_fraction for share in SHARES]
    return {
        "bc": [(label, Method("bc", BcConfig()), changes) for label, changes in budgets],
        "awr": [
            (f"T {temperature:g}, cap {cap:g}", Method("awr", AwrConfig(temperature, cap)), {})
            for temperature in (0.1, 0.3, 1.0)
            for cap in (20.0, 1e3, 1e6)
        ],
        "robust_filter": [
            (
                f"kappa {kappa:g}, rate {rate:g}",
                Method("robust_filter", RobustFilterConfig(kappa=kappa)),
                {"learning_rate": rate},
            )
            for kappa in kappas
            for rate in RATES
        ],
        "signed_pg": [(label, Method("signed_pg", SignedPgConfig()), changes) for label, changes in budgets],
        "drpo": [
            (
                f"lambda {spread:g}, floor {floor:g}",
                Method("drpo", DrpoConfig(spread_ratio=spread, min_share=floor)),
                {},
            )
            for spread in (0.25, 0.5, 0.75)
            for floor in (0.05, 0.02, 0.005)
        ],
        "drpo_exp": [
            (
                f"beta {beta:g} sd, floor {floor:g}",
                Method("drpo_exp", DrpoExpConfig(beta=beta, in_deviations=True, weight_cap=100.0, min_share=floor)),
                {},
            )
            for beta in (0.1, 0.3, 1.0)
            for floor in (0.05, 0.02, 0.005)
        ],
    }


def selected(method: Method, scores: Tensor, good: np.ndarray) -> str:
    """Return the cells kappa, at the cap, on good."""
    if isinstance(method.config, AwrConfig):
        advantage = (scores.double() - scores.double().mean()) / scores.double().std()
        weight = (advantage / method.config.temperature).exp().clamp_max(method.config.weight_cap)
    elif method.kappa is not None:
        weight = hard_filter(scores, method.kappa)
    else:
        return " |  | "
    weight = weight.double().numpy()
    shares = (weight.mean() / weight.max(), weight[weight == weight.max()].sum() / weight.sum())
    return f"{shares[0]:.4f} | {shares[1]:.2f} | {weight[good].sum() / weight.sum():.3f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", help="methods (default: all)")
    parser.add_argument("--good-fraction", type=float, default=0.02, help="of the log's steps (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101], help="default: %(default)s")
    parser.add_argument("--users", type=int, default=1000, help="of each score (default: %(default)s)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    request = Quickstart(good_fraction=arguments.good_fraction)
    world = make_world(SessionConfig())
    reference = reference_returns(
        world, request.noise, "proto", num_sessions=2 * arguments.users, seed=arguments.seeds[0]
    )
    logs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in arguments.seeds:
            behavior = mixture_spec(request.good_fraction, request.noise)
            log_request = LogRequest(
                behavior=behavior, action_kind="proto", num_sessions=request.num_sessions, dataset_seed=3 * seed
            )
            log = collect(Path(folder) / str(seed), log_request)
            logs.append((seed, log, score_rows(fit_critic(log, request.critic, seed=seed), log)))
        seeds = f"mean of seeds {arguments.seeds}"
        print(f"| method | setting | by the mean, {seeds} | sampled | kappa | at the cap | on good |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for name, settings in grids(request.good_fraction).items():
            for label, method, changes in settings if name in (arguments.methods or [name]) else ():
                scores = []
                for seed, log, log_scores in logs:
                    trainer = replace(request.trainer, **changes)
                    run = train(log, log_scores, method.objective, method.config, trainer, seed=seed)
                    returns = [
                        roll_out(run.actor, world, arguments.users, seed, deterministic=best) for best in (True, False)
                    ]
                    scores.append([reference.normalized_score(float(way.mean())) for way in returns])
                cells = [
                    f"{np.mean(way):.3f} ({', '.join(f'{score:.2f}' for score in way)})"
                    for way in zip(*scores, strict=True)
                ]
                chosen = selected(method, logs[0][2], logs[0][1].open_latent_labels() == 0)
                print(f"| `{name}` | {label} | {' | '.join(cells)} | {chosen} |", flush=True)


if __name__ == "__main__":
    main()
