"""Credit by item on slates: objectives as published and with each item judged by itself, in normalised scores.

Run it with `python tests/benchmarks/bench_item_credit.py FOLDER`; of logs of slates with 5 % good steps among
clickbait, in groups of eight sessions, by the policy's most probable slate and sampled. All learn with the same
network, score and budget. `--methods` names some of them; logs and scores are kept in the folder.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import torch

from agents import OBJECTIVES, CriticConfig, TrainerConfig, roll_out, train
from agents.values.score_files import kept_judgement
from agents.values.scores.base import judge_log
from offline_data import LogRequest, collect, mixture_spec, reference_returns
from recenv import SessionConfig, make_world
from recsession.experiments.seed_statistics import seed_interval

SHARP = {"temperature": 0.3, "weight_cap": 1e6}
METHODS = {
    "bc": ("bc", {}),
    "awr, slate": ("awr", SHARP),
    "hrpo, item": ("hrpo", SHARP),
    "sage, slate": ("sage", {}),
    "sage, item": ("sage", {"unit": "item"}),
    "gbpo, slate": ("gbpo", {"unit": "slate"}),
    "gbpo, item's feedback": ("gbpo", {}),
    "gbpo, item's credit": ("gbpo", {"advantage": "score"}),
    "crr, slate": ("crr", {"num_samples": 1}),
    "crr, item": ("crr", {"num_samples": 1, "credit": "item"}),
    "slateq": ("slateq", {}),
}


def main() -> None:
    """Print a line for each method and seed, and the means over seeds with 95 % Student intervals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the logs lie")
    parser.add_argument("--first-seed", type=int, default=100, help="of logs and training (default: %(default)s)")
    parser.add_argument("--num-seeds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--sessions", type=int, default=1000, help="of a log (default: %(default)s)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), help="default: all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    config = SessionConfig()
    world, behavior = make_world(config), mixture_spec(0.05, "clickbait")
    reference = reference_returns(world, "clickbait", "slate")
    found: dict[str, list[list[float]]] = {name: [] for name in arguments.methods}
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.num_seeds):
        folder = arguments.folder / f"{arguments.sessions}-{seed}"
        request = LogRequest(config, behavior, "slate", arguments.sessions, seed, group_size=8)
        log = collect(folder / "log", request)
        judged = kept_judgement(folder, log.num_rows, partial(judge_log, "q_minus_v", log, CriticConfig(), seed=seed))
        for name in arguments.methods:
            objective, options = METHODS[name]
            own = OBJECTIVES.resolve(objective).Config(**options)
            run = train(log, judged.scores, objective, own, TrainerConfig(), seed=seed)
            returns = [roll_out(run.actor, world, 1000, seed, deterministic=way).mean() for way in (True, False)]
            scores = [reference.normalized_score(float(value)) for value in returns]
            found[name].append(scores)
            print(seed, name, *(f"{score:.3f}" for score in scores), *run.remarks, flush=True)
    print("| objective | by the mean | sampled |\n|---|---|---|")
    for name, scores in found.items():
        intervals = [seed_interval(column) for column in zip(*scores, strict=True)]
        print(f"| {name} |", " | ".join(f"{i['mean']:.2f} [{i['low']:.2f}, {i['high']:.2f}]" for i in intervals), "|")


if __name__ == "__main__":
    main()
