"""Draw the figure of AWR's kappa in docs/theory.md from docs/results/one_family.json.

Run it with `python docs/images/one_family.py`; equal results, equal bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

from offline_data.describe.figures import STYLE
from recsession.experiments.reproduce.one_family import plot
from recsession.experiments.theory_page import draw as draw_plot

HERE = Path(__file__).parent


def draw(path: Path) -> None:
    """Write the figure as an SVG.

    Args:
        path: the file.
    """
    numbers = json.loads((HERE.parent / "results" / "one_family.json").read_text())["numbers"]
    figure = draw_plot(plot(numbers)).axes.get_figure(root=True)
    assert figure is not None
    figure.set_size_inches(6.4, 3.2)
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "RecSession"})


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "one_family.svg")
