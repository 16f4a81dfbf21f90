"""Draw the error of every estimator in every cell, of docs/estimators.md, from docs/results/estimators.json.

Run it with `python docs/images/estimators.py`; equal results, equal bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

from offline_data.describe.figures import STYLE
from recsession.experiments.estimator_study.figures import cell_map

HERE = Path(__file__).parent


def draw(path: Path) -> None:
    """Write the figure as an SVG.

    Args:
        path: the file.
    """
    numbers = json.loads((HERE.parent / "results" / "estimators.json").read_text())["numbers"]
    figure = cell_map(numbers, "rmse").axes.get_figure(root=True)
    assert figure is not None
    with mpl.rc_context(STYLE):
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "RecSession"})


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "estimators.svg")
