"""What a policy is worth by how many rows it keeps, beside what kappa="auto" chooses: one cell, never asserted.

Run it with `python tests/benchmarks/bench_selection.py --noise stale --good-fraction 0.02`. Log, critic and scores are
kept in the folder, so that a second run costs its trainings alone. A share is kept as it is, or begun wide as "auto"
begins; both see every row ten times.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from agents.objectives.robust_filter import RobustFilterConfig
from agents.robust.selection import Outcomes, select_rows
from offline_data.dial.quality import reference_returns
from recenv.world import make_world
from recsession.experiments.learning_task import Method, TaskLog
from recsession.experiments.selection_study.protocol import NOISES, OURS, Cell, SelectionProtocol, settings


def main() -> None:
    """Print the curve of the log, then the table of normalised scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", default="interest_evolution", help="user model (default: %(default)s)")
    parser.add_argument("--noise", default="clickbait", help=f"such as {', '.join(NOISES)} (default: %(default)s)")
    parser.add_argument("--good-fraction", type=float, default=0.02, help="of the log's steps (default: %(default)s)")
    parser.add_argument("--kind", choices=("proto", "slate"), default="proto", help="of action (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=100, help="a development seed (default: %(default)s)")
    parser.add_argument("--sessions", type=int, default=20_000, help="of the log (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("runs/bench-selection"), help="default: %(default)s")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cell = Cell(arguments.world, arguments.noise, arguments.good_fraction, arguments.kind)
    task = SelectionProtocol(num_sessions=arguments.sessions).task(cell)
    folder = arguments.out / f"{cell.key}-{arguments.sessions}-{arguments.seed}"
    log = TaskLog(task, folder, arguments.seed, arguments.seed)
    reference = reference_returns(make_world(cell.config), cell.noise, cell.kind)
    judged, dataset = log.judgement(), log.open()
    assert judged.advantages is not None
    found = select_rows(judged.scores, Outcomes(judged.advantages.numpy(), np.asarray(dataset.rows["session_id"])))
    assert found.gain is not None
    assert found.standard_error is not None
    print(found.describe())
    print("| rows | claim | gain | error | worth |\n|---|---|---|---|---|")
    for point in zip(found.rows, found.claim, found.gain, found.standard_error, found.worth, strict=True):
        print("| " + " | ".join(f"{number:.4g}" for number in point) + " |")
    methods = {f"{rows} rows": _kept(rows / found.num_rows) for rows in found.rows[4:-2:2]}
    methods |= {OURS: settings(OURS, cell.fraction)[""], "awr": settings("awr", cell.fraction)["T 0.3, cap 1e+06"]}
    print("| method | by the mean | sampled | seconds |\n|---|---|---|---|")
    for name, method in methods.items():
        began = time.process_time()
        actor = log.train(method, None).actor
        spent = time.process_time() - began
        returns = [log.returns(actor, deterministic=best, role="evaluation").mean() for best in (True, False)]
        scores = [f"{reference.normalized_score(float(each)):.3f}" for each in returns]
        print(f"| {name} | {scores[0]} | {scores[1]} | {spent:.1f} |", flush=True)


def _kept(share: float) -> Method:
    return Method("robust_filter", RobustFilterConfig(kappa=float(share), visits=10.0))


if __name__ == "__main__":
    main()
