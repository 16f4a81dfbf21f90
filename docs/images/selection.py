"""Draw README's figure from selection.csv, in which `tests/benchmarks/bench_quickstart_grid.py` is kept.

Run it with `python docs/images/selection.py`; equal tables, equal bytes.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

HERE = Path(__file__).parent
STYLES = {"robust_filter": ("s", "#c1666b"), "awr": ("o", "#1f6f8b")}
NAMES = {"robust_filter": "robust filter", "awr": "AWR, by temperature T and weight cap"}
REMARKS = {"T 1; cap 20": (8, -11), "T 0.3; cap 1e+06": (-92, -2)}


def draw(path: Path) -> None:
    """Write the figure as an SVG.

    Args:
        path: the file.
    """
    with (HERE / "selection.csv").open() as file:
        rows = list(csv.DictReader(file))
    # Text stays text, and ids and metadata hold no date: the same bytes whenever it is drawn.
    with mpl.rc_context({"svg.hashsalt": "recsession", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.add_subplot()
        for method, (marker, color) in STYLES.items():
            points = [row for row in rows if row["method"] == method]
            shares, scores = ([float(row[name]) for row in points] for name in ("on_good", "by_the_mean"))
            axes.plot(shares, scores, marker, color=color, label=NAMES[method], alpha=0.8, markeredgewidth=0)
            for row, share, score in zip(points, shares, scores, strict=True):
                if method == "awr" and row["setting"] in REMARKS:
                    text = row["setting"].replace(";", ",").replace("1e+06", "1e6")
                    axes.annotate(
                        text, (share, score), REMARKS[row["setting"]], textcoords="offset points", color=color
                    )
        axes.axhline(1.0, color="#888888", linewidth=0.8, linestyle=":")
        axes.set(
            xlabel="share of the loss's weight on the expert's 2 % of the steps",
            ylabel="normalised score, acting by the mean",
            xlim=(0.0, 1.03),
            ylim=(0.0, 1.2),
        )
        axes.spines[["top", "right"]].set_visible(False)
        axes.annotate("the expert", (0.01, 1.02), color="#666666")
        axes.legend(frameon=False, loc=(0.02, 0.5))
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": "RecSession"})


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "selection.svg")
