"""Speed and memory of point estimates beside Open Bandit Pipeline's: one table, printed and never asserted.

The players are processes that take turns, ours and that of an interpreter that has obp 0.5.7; see `peers/compare.py`.
Without `--obp` ours plays alone. Validation is part of an estimate. Values of both are printed side by side.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from pathlib import Path

from tests.benchmarks.peers.compare import Player, Result

HERE = Path(__file__).parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--obp", type=Path, help="Python of an environment with obp 0.5.7 (default: none)")
    parser.add_argument("--rounds", type=int, default=1_000_000, help="logged rounds (default: %(default)s)")
    parser.add_argument("--actions", type=int, default=100, help="actions (default: %(default)s)")
    parser.add_argument("--turns", type=int, default=5, help="turns of each (default: %(default)s)")
    arguments = parser.parse_args()
    size = (str(arguments.rounds), str(arguments.actions))
    ours = Player(Path(sys.executable), HERE / "peers" / "ope_ours.py", *size)
    if ours.reason:
        sys.exit(f"ours: {ours.reason}")
    theirs = Player(arguments.obp or Path("none"), HERE / "peers" / "ope_obp.py", *size)
    for _ in range(arguments.turns):
        for player in (ours, theirs):
            player.play_round()
    for player in (ours, theirs):
        player.stop()
    print(f"{arguments.rounds:,} rounds, {arguments.actions} actions: value, median ms, MB besides the input")
    others = {result.label.split()[0]: result for result in theirs.results}
    for result in ours.results:
        name, *found = cells(result)
        line = f"{name:<12}" + "".join(f"{cell:>12}" for cell in found)
        if name in others:
            _, *found = cells(others[name])
            line += "   obp" + "".join(f"{cell:>12}" for cell in found) + f"{others[name].behind(result):>10.1f} times"
        print(line)
    if theirs.reason:
        print(f"\nobp: {theirs.reason}")


def cells(result: Result) -> tuple[str, ...]:
    name, value, extra = result.label.split()
    return name, value, f"{1e3 / statistics.median(result.rates):,.1f}", extra


if __name__ == "__main__":
    main()
