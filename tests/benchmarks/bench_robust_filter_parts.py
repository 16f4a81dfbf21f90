"""Whether the robust filter's trust region and curriculum earn their time: one table, never asserted.

Run it with `python tests/benchmarks/bench_robust_filter_parts.py FOLDER`, again after a stop: in FOLDER each cell and
seed leaves a file, with the normalised scores of both ways of acting and the seconds of the processor that training
took, for the filter alone, with each part and both, and for what costs nothing instead: a lower rate, a smaller share.
The table has, beside the means, the paired difference to the filter alone with its 95 % Student interval over seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import torch

from agents.families import OBJECTIVES
from agents.policies.gaussian import GaussianPolicyConfig
from agents.training.evaluation import roll_out
from agents.training.trainer import TrainerConfig, train
from agents.values.critics import CriticConfig, fit_critic, score_rows
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import mixture_spec, reference_returns
from recenv.files.atomic_files import write_json
from recenv.session_config import SessionConfig
from recenv.world import make_world
from recsession.experiments.quickstart import seed_interval

CELLS: Final[dict[str, tuple[dict[str, Any], str, float]]] = {
    "clickbait, 2 %": ({}, "clickbait", 0.02),
    "stale, 10 %": ({}, "stale", 0.1),
    "multi_behavior, 5 %": ({"user_model": "multi_behavior"}, "clickbait", 0.05),
}
_ALONE: Final = {"trust_region": False, "curriculum": False}
VARIANTS: Final[dict[str, tuple[dict[str, Any], float, float]]] = {  # parts; share of the good fraction; rate
    "filter": (_ALONE, 1.0, 4e-3),
    "+ trust region": ({"curriculum": False}, 1.0, 4e-3),
    "+ curriculum": ({"trust_region": False}, 1.0, 4e-3),
    "+ both": ({}, 1.0, 4e-3),
    "filter, rate / 4": (_ALONE, 1.0, 1e-3),
    "filter, g / 4": (_ALONE, 0.25, 4e-3),
    "+ taper": (_ALONE, 1.0, 4e-3),
}


def measured(
    cell: str, seed: int, num_sessions: int, num_users: int, found: dict[str, dict[str, float]]
) -> dict[str, dict[str, float]]:
    """Return what is found and what each other variant reaches in a cell, by one seed of everything."""
    options, noise, good = CELLS[cell]
    config = SessionConfig().override(**options)
    world = make_world(config)
    reference = reference_returns(world, noise, "proto", num_sessions=2 * num_users, seed=seed)
    found = dict(found)
    with tempfile.TemporaryDirectory() as folder:
        request = LogRequest(
            config, mixture_spec(good, noise), "proto", num_sessions=num_sessions, dataset_seed=3 * seed
        )
        log = collect(Path(folder) / "log", request)
        scores = score_rows(fit_critic(log, CriticConfig(), seed=seed), log)
        for name, (parts, share, rate) in VARIANTS.items():
            if name in found:
                continue
            start = time.process_time()
            trainer = TrainerConfig(policy=GaussianPolicyConfig(), learning_rate=rate)
            objective = "robust_filter_taper" if name == "+ taper" else "robust_filter"
            method = OBJECTIVES.get(objective).Config(kappa=share * good, **parts)
            run = train(log, scores, objective, method, trainer, seed=seed)
            found[name] = {"seconds": time.process_time() - start}
            for way in ("mean", "sampled"):
                returns = roll_out(run.actor, world, num_users, seed, deterministic=way == "mean")
                found[name][way] = reference.normalized_score(float(returns.mean()))
    return found


def table(folder: Path, seeds: list[int]) -> str:
    """Return the cells that are done by every seed, a row a variant."""
    lines = ["| cell | variant | by the mean | less the filter alone | sampled | less the filter alone | time |"]
    lines.append("|---|---|---|---|---|---|---|")
    for cell in CELLS:
        files = [file for seed in seeds if (file := _file(folder, cell, seed)).exists()]
        units = [json.loads(file.read_text()) for file in files]
        for name in VARIANTS if units else ():
            cells = [f"{cell}, {len(units)} seeds", name]
            for way in ("mean", "sampled"):
                values = [unit[name][way] for unit in units]
                less = seed_interval([unit[name][way] - unit["filter"][way] for unit in units])
                cells += [f"{sum(values) / len(values):.3f}"]
                cells += [f"{less['mean']:+.3f} [{less['low']:+.3f}, {less['high']:+.3f}]"]
            seconds = [unit[name]["seconds"] / unit["filter"]["seconds"] for unit in units]
            lines.append(f"| {' | '.join(cells)} | {sum(seconds) / len(seconds):.2f} |")
    return "\n".join(lines)


def _file(folder: Path, cell: str, seed: int) -> Path:
    return folder / f"{cell.replace(' ', '').replace('%', '').replace(',', '-')}-{seed}.json"


def main() -> None:
    """Measure what is not measured yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the results, to go on from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102, 103, 104], help="default: %(default)s")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=list(CELLS), help="default: all")
    parser.add_argument("--sessions", type=int, default=2000, help="of a log (default: %(default)s)")
    parser.add_argument("--users", type=int, default=500, help="of each score (default: %(default)s)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        for cell in arguments.cells:
            file = _file(arguments.folder, cell, seed)
            found = json.loads(file.read_text()) if file.exists() else {}
            if found.keys() != VARIANTS.keys():
                write_json(file, measured(cell, seed, arguments.sessions, arguments.users, found))
    print(table(arguments.folder, arguments.seeds))


if __name__ == "__main__":
    main()
