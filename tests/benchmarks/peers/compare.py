"""RecSession beside the simulators that pip can install: one table, printed and never asserted; `tox -e peers`.

A peer is a player `peer_NAME.py` and the versions `peer_NAME.txt` of an environment of its own, which tox makes. The
players are processes that take turns, so that a noise of the machine hits all of them; a ratio is the median of the
rounds' own ratios.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
# A player is started once for each; TensorFlow takes its number of threads once a process.
ARGUMENTS = {"peer_recsim_ng": ("1", "2")}
# Label and steps a second, measured in 2026 on another machine: for what is not installed.
QUOTED = {
    "peer_recsim_ng": ("RecSim NG, 1,000 users, 20 steps a call", 501_426),
    "KuaiSim": ("KuaiSim, batches of 32", 479),
    "EasyRL4Rec": ("EasyRL4Rec, looked up in a table", 190_008),
}


@dataclass
class Result:
    """Rates of one contender, one a round."""

    label: str
    threads: int
    rates: list[float] = field(default_factory=list)

    def behind(self, other: Result) -> float:
        """Return how many times the other is faster, the median over rounds."""
        return statistics.median(theirs / own for own, theirs in zip(self.rates, other.rates, strict=True))


class Player:
    """A process that plays when told to, and the results of its contenders."""

    def __init__(self, interpreter: Path, program: Path, *arguments: str) -> None:
        self.results: list[Result] = []
        self.reason = "" if interpreter.exists() else "not installed: tox made no environment for it"
        if self.reason:
            return
        with tempfile.TemporaryFile("w+") as errors:
            self._process = subprocess.Popen(
                [interpreter, program, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
            answer = self._read()
            if answer:
                self.results = [Result(*found) for found in json.loads(answer)]
                return
            self._process.wait()
            errors.seek(0)
            last = errors.read().strip().rpartition("\n")[2]
            self.reason = f"not installed: {last}" if "ModuleNotFoundError" in last else f"did not start: {last}"

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def play_round(self) -> None:
        for number, result in enumerate(self.results):
            assert self._process.stdin is not None
            print(number, file=self._process.stdin, flush=True)
            if not (answer := self._read()):
                self.results, self.reason = [], f"stopped while it played {result.label}"
                return
            result.rates.append(float(answer))

    def stop(self) -> None:
        if self.results:
            self._process.communicate()


def row(*cells: object) -> str:
    label, *numbers = (str(cell) for cell in cells)
    return (f"{label:<52}" + "".join(f"{number:>16}" for number in numbers)).rstrip()


def print_table(ours: Player, peers: dict[str, Player]) -> None:
    vector, single = ours.results
    print(row("slate 10 of 1,000 items", "threads", "steps/s", "vector / this", "single / this"))
    for result in [*ours.results, *(result for peer in peers.values() for result in peer.results)]:
        rate = f"{statistics.median(result.rates):,.0f}"
        ratios = (f"{result.behind(other):,.2f}" for other in (vector, single))
        print(row(result.label, result.threads, rate, *ratios))
    missing = {name: peer.reason for name, peer in peers.items() if peer.reason}
    missing.update((name, "not installed: not on PyPI") for name in QUOTED if not name.startswith("peer_"))
    print("\nNot of this run; a quoted rate was measured on another machine:")
    for name, reason in missing.items():
        print(f"{name.removeprefix('peer_')}: {reason}")
        if (key := name.partition(" ")[0]) in QUOTED:
            label, rate = QUOTED[key]
            ratios = (f"{statistics.median(other.rates) / rate:,.2f}" for other in (vector, single))
            print(row(f"{label}, quoted", "", f"{rate:,}", *ratios))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=Path, required=True, help="folder of the peers' environments: tox's own")
    parser.add_argument("--rounds", type=int, default=9, help="rounds of the players (default: %(default)s)")
    arguments = parser.parse_args()
    ours = Player(Path(sys.executable), HERE / "ours.py")
    if ours.reason:
        sys.exit(f"ours: {ours.reason}")
    peers = {}
    for program in sorted(HERE.glob("peer_*.py")):
        interpreter = arguments.environments / program.stem / "bin" / "python"
        for argument in ARGUMENTS.get(program.stem, ("",)):
            name = f"{program.stem} {argument}".strip()
            peers[name] = Player(interpreter, program, *argument.split())
    for _ in range(arguments.rounds):
        for player in (ours, *peers.values()):
            player.play_round()
    for player in (ours, *peers.values()):
        player.stop()
    print_table(ours, peers)


if __name__ == "__main__":
    main()
