"""The page of a log's curve: what it says is of its numbers, whatever log they are of."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from agents.robust.selection import Outcomes, Selection, select_rows
from recsession.selection_page import write_selection_page
from tests.recsession.cli_cases import BUDGET, FIT, split


def plain(selection: Selection) -> dict[str, Any]:
    return json.loads(json.dumps(selection.as_dict(), allow_nan=False))


@pytest.fixture
def mixed() -> Selection:
    """A log of which 5 % are good, by their scores and by what they earned."""
    random = np.random.default_rng(0)
    scores = random.normal(size=20_000) + 4.0 * (random.random(20_000) < 0.05)
    earned = scores + 3.0 * random.normal(size=20_000)
    return select_rows(torch.from_numpy(scores), Outcomes(earned, np.arange(20_000) // 10))


def test_it_draws_the_curve_and_says_what_was_chosen(mixed, tmp_path):
    page = write_selection_page(plain(mixed), tmp_path / "selection.html").read_text()
    assert page.count("<svg") == 2
    assert f"kappa {100 * mixed.kappa:.3g}" in page
    assert f"the best {mixed.num_kept:,} of 20,000 rows" in page
    assert page.count('<th scope="row">') == len(mixed.rows)
    assert "refused: 0 of 23 here" in page
    assert mixed.gain is not None
    assert f"gain {mixed.gain[mixed.chosen]:.2f}" in page
    again = write_selection_page(mixed.as_dict(), tmp_path / "again.html")
    assert again.read_text() == page


def test_claims_are_matched_by_least_squares(mixed):
    assert mixed.gain is not None
    rho = (mixed.claim @ mixed.gain) / (mixed.claim @ mixed.claim)
    np.testing.assert_allclose(mixed.matched_claim, rho * mixed.claim, rtol=1e-12)
    alone = select_rows(torch.arange(100.0))
    np.testing.assert_array_equal(alone.matched_claim, alone.claim)


@pytest.mark.parametrize(
    ("scores", "earned", "session", "told"),
    [
        ([0.0] * 50, None, None, "every row scores the same"),
        (range(50), None, None, "nobody knows what they earned"),
        (range(50), [1.0, -1.0] * 25, [0] * 50, "refused: 10 of 11 here"),
        ([1e300, 3.0, 2.0], [1e200, 0.0, 0.0], [0, 1, 2], "all 3 rows"),
        ([1.0], [1.0], [0], "all 1 rows"),
    ],
)
def test_logs_that_say_little(scores, earned, session, told, tmp_path):
    outcomes = None if earned is None else Outcomes(np.array(earned), np.array(session))
    selection = select_rows(torch.tensor([float(score) for score in scores], dtype=torch.float64), outcomes)
    page = write_selection_page(plain(selection), tmp_path / "selection.html").read_text()
    assert told in page
    assert page.count("<svg") == 2
    assert "nan" not in page.lower().replace("explanation", "")


def test_training_leaves_it_in_its_folder(run, made, tmp_path):
    words = [*split(f"train robust_filter --log {made / 'log'} --out {tmp_path / 'run'} --objective.kappa auto"), *FIT]
    code, out, _ = run(*words, *BUDGET)
    assert code == 0
    assert f"its curve: {tmp_path / 'run' / 'selection.html'}" in out
    numbers = json.loads((tmp_path / "run" / "selection.json").read_text())
    page = (tmp_path / "run" / "selection.html").read_bytes()
    assert write_selection_page(numbers, tmp_path / "again.html").read_bytes() == page
    assert run(*words, *BUDGET)[0] == 0  # again, from what is there
    assert (tmp_path / "run" / "selection.html").read_bytes() == page
