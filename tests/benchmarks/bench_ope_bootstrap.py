"""How fast the bootstrap is beside Open Bandit Pipeline's, in the same run; never asserted.

Run it with `python tests/benchmarks/bench_ope_bootstrap.py --peer PYTHON`, PYTHON being that of an environment with obp
0.5.7; without it ours alone is timed. Ours resamples numerator and denominator of `snips`, and the mean weight with
them; obp one array of terms, with the normaliser held fixed.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from collections.abc import Callable

import numpy as np

from offline_data.ope.bootstrap import bootstrap
from offline_data.ope.statistics import SessionStatistics

_PEER = """
import importlib.util, pathlib, sys, time
import numpy as np
found = importlib.util.find_spec("obp")  # its utils alone: the package imports all of its policies
spec = importlib.util.spec_from_file_location("obp_utils", pathlib.Path(found.origin).parent / "utils.py")
utils = importlib.util.module_from_spec(spec)
spec.loader.exec_module(utils)
count, replicates = int(sys.argv[1]), int(sys.argv[2])
terms = np.random.default_rng(0).random(count)
began = time.perf_counter()
utils.estimate_confidence_interval_by_bootstrap(terms, n_bootstrap_samples=replicates, random_state=0)
print((time.perf_counter() - began) / replicates)
"""


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Print milliseconds a replicate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of an environment with obp")
    parser.add_argument("--replicates", type=int, default=100, help="at a million sessions (default: %(default)s)")
    arguments = parser.parse_args()
    print("| sessions | terms | ours, ms a replicate | obp | times |\n|---|---|---|---|---|")
    for count in (10_000, 1_000_000, 10_000_000):
        replicates = max(10, min(1000, arguments.replicates * 1_000_000 // count))
        rng = np.random.default_rng(0)
        weights = rng.random(count)
        clicked = (rng.random(count) < 0.1).astype(np.float64)
        few = np.take([0.5, 1.0, 2.0], rng.integers(3, size=count))
        peer = None
        if arguments.peer:
            told = [arguments.peer, "-c", _PEER, str(count), str(max(5, replicates // 10))]
            peer = float(subprocess.run(told, check=True, capture_output=True, text=True).stdout.split()[-1])
        for name, each in (("all differ", weights), ("six differ", few)):
            statistics = SessionStatistics((each * clicked)[:, None], each[:, None], each)
            bootstrap(statistics, num_bootstrap=2, seed=0)
            ours = seconds(lambda s=statistics, n=replicates: bootstrap(s, num_bootstrap=n, seed=0)) / replicates
            beside = "| | |" if peer is None else f"| {1e3 * peer:.2f} | {peer / ours:.1f} |"
            print(f"| {count:,} | {name} | {1e3 * ours:.3f} {beside}", flush=True)


if __name__ == "__main__":
    main()
