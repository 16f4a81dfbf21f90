"""What the pages of docs/ say of a study's results is what these say; of results of their shape, whatever they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
from tests.filled_guide import filled, keep

ROOT = Path(__file__).parents[1]
PAGES = [path for path in (ROOT / "docs").glob("*.md") if "<!-- results: " in path.read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_says_what_the_results_say(page):
    text = page.read_text()
    assert filled(text) == text, "run python docs/results/fill.py"


def test_every_study_that_is_kept_is_told():
    told = "".join(page.read_text() for page in PAGES)
    assert PAGES
    kept = [path.stem for path in (ROOT / "docs" / "results").glob("*.html")]
    assert not [name for name in kept if f"<!-- results: {name} -->" not in told]


def results(cells: dict) -> dict:
    from recsession.experiments.selection_study.analysis import summary

    numbers = {"proto": {"cells": cells, "left_out": {}, "chosen": {"awr": "T 0.3"}, "summary": summary(cells)}}
    made = {"command": "recsession reproduce selection --form full", "versions": {"numpy": "2"}, "worlds": {}}
    told = {"study": "selection", "form": "full", "config": {}, "title": "", "verdict": []}
    return {**made, **told, "seeds": list(range(4)), "numbers": numbers}


def test_a_run_is_kept_and_told(tmp_path):
    scores = {"ours": [1.0, 1.1, 1.0, 1.1], "awr": [0.5, 0.6, 0.5, 0.6]}
    run = tmp_path / "results.json"
    run.write_text(json.dumps(results({"stale": {"by_mean": scores, "sampled": scores, "kappa": 0.01}})))
    keep(run, "selection-proto", tmp_path)
    kept = json.loads((tmp_path / "selection-proto.json").read_text())
    assert kept["numbers"] == json.loads(run.read_text())["numbers"]
    assert "Regret: proto" in (tmp_path / "selection-proto.html").read_text()
    before = "a\n<!-- results: selection-proto -->\nold\n<!-- end -->\nb\n<!-- results: drpo -->\n<!-- end -->\n"
    page = filled(before, tmp_path)
    assert filled(page, tmp_path) == page
    assert page.startswith("a\n<!-- results: selection-proto -->\n* proto, by the mean: over 1 cells")
    assert "old" not in page
    assert page.endswith("<!-- end -->\nb\n<!-- results: drpo -->\nIt was not run in full yet.\n<!-- end -->\n")
    assert "above it in 1: stale" in page
    assert "| awr | 0.50 [0.50, 0.50] | 0.50 [0.50, 0.50] | 0.50, stale | 0.50, stale | 1 | 1 | T 0.3 |" in page
    assert "`recsession reproduce selection --form full`, with numpy 2: [figures and all tables]" in page
