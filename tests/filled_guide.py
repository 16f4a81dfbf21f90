"""The guide's own filling of a page with a study's results, docs/results/fill.py, as tests use it."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FILL: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "results" / "fill.py"))
keep: Callable[..., None] = _FILL["keep"]
filled: Callable[..., str] = _FILL["filled"]


def told_of(run: Path, folder: Path) -> str:
    """Return what the guide says of a finished run, kept in `folder`; its page is the run's own."""
    keep(run / "results.json", "run", folder)
    assert (folder / "run.html").read_bytes() == (run / "report.html").read_bytes()
    return filled("<!-- results: run -->\n<!-- end -->\n", folder)
