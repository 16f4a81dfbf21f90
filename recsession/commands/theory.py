"""`recsession theory`: the register of claims, and the controlled experiments, closed form beside measurement."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from offline_data.store.folder_claim import FolderClaim
from recenv.errors import require_range
from recenv.files.atomic_files import write_json
from recsession.experiments.theory.claims.register import HEADER, all_claims, as_dict, cells, pictures, summary
from recsession.experiments.theory.comparison import DEVIATION_HEADER, deviation_rows, verdict
from recsession.experiments.theory.experiments import EXPERIMENTS
from recsession.lines import say


@dataclass(frozen=True)
class Theory:
    """Tell which claims of the papers hold, and check the theory of repulsion in controlled experiments.

    Every claim has its verdict, its source and the test that shows it. The experiments (one reused sample, regimes of
    rho, near and far, taper, one reused negative under each taper) plot what gradient steps of the real losses do
    beside what the closed form says. A matter of seconds.
    """

    out: Path
    """Folder of `theory.html`, self-contained, and `theory.json`, the numbers in it."""
    seed: int = 0
    """Of the actions that are drawn."""

    def __post_init__(self) -> None:
        require_range("seed", self.seed, 0, 2**31 - 1, integer=True)

    def run(self) -> None:
        """Measure, write and print."""
        # Of any seed: a few seconds' work is replaced.
        with FolderClaim(self.out, {"command": "theory"}, files=("theory.json", "theory.html")).held():
            self._measure()

    def _measure(self) -> None:
        from recsession.experiments.theory_page import write_theory_page  # matplotlib, which --help does without

        rngs = np.random.default_rng(self.seed).spawn(len(EXPERIMENTS))
        with tqdm(EXPERIMENTS, unit="experiment", delay=0.1) as bar:
            experiments = [run(rng) for run, rng in zip(bar, rngs, strict=True)]
        plain = [experiment.as_dict() for experiment in experiments]
        plots = pictures()
        claims = [as_dict(claim, plots) for claim in all_claims()]
        write_json(self.out / "theory.json", {"seed": self.seed, "experiments": plain, "claims": claims})
        page = write_theory_page(experiments, plots, self.seed, self.out / "theory.html")
        _say_table([DEVIATION_HEADER, *deviation_rows(experiments)], str.rjust)
        say("")
        told = [cells(claim) for claim in all_claims()]
        _say_table([(name, said, source, test) for name, said, _, source, test in [HEADER, *told]], str.ljust)
        say("", verdict(experiments), summary(), page)


def _say_table(rows: list[tuple[str, ...]], justify: Callable[[str, int], str]) -> None:
    """Print rows in columns as wide as their widest cell; the first stands flush left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *others in rows:
        columns = (justify(text, width) for text, width in zip(others, widths[1:], strict=True))
        say("  ".join([name.ljust(widths[0]), *columns]).rstrip())
