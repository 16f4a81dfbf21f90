"""`recsession theory`: the controlled experiments on repulsion, closed form beside measurement."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from recenv.errors import require_range
from recenv.files.atomic_files import claimed_file, write_json
from recsession.experiments.theory.comparison import DEVIATION_HEADER, deviation_rows, verdict
from recsession.experiments.theory.experiments import EXPERIMENTS
from recsession.lines import say


@dataclass(frozen=True)
class Theory:
    """Check the theory of repulsion in controlled experiments: one reused sample, regimes of rho, near and far, taper.

    Each plots what gradient steps of the real losses do beside what the closed form says. A matter of seconds.
    """

    out: Path
    """Folder of `theory.html`, self-contained, and `theory.json`, the numbers in it."""
    seed: int = 0
    """Of the actions that are drawn."""

    def __post_init__(self) -> None:
        require_range("seed", self.seed, 0, 2**31 - 1, integer=True)

    def run(self) -> None:
        """Measure, write and print."""
        with claimed_file(self.out / "theory.json"), claimed_file(self.out / "theory.html"):
            self._measure()

    def _measure(self) -> None:
        from recsession.experiments.theory_page import write_theory_page  # matplotlib, which --help does without

        rngs = np.random.default_rng(self.seed).spawn(len(EXPERIMENTS))
        with tqdm(EXPERIMENTS, unit="experiment", delay=0.1) as bar:
            experiments = [run(rng) for run, rng in zip(bar, rngs, strict=True)]
        plain = [experiment.as_dict() for experiment in experiments]
        write_json(self.out / "theory.json", {"seed": self.seed, "experiments": plain})
        page = write_theory_page(experiments, self.seed, self.out / "theory.html")
        rows = [DEVIATION_HEADER, *deviation_rows(experiments)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for name, *numbers in rows:
            columns = (text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True))
            say("  ".join([name.ljust(widths[0]), *columns]))
        say(verdict(experiments), page)
