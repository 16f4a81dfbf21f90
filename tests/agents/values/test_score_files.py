"""Scores come back to the bit or are refused: damaged, of another log, or not finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from agents.values.score_files import kept_judgement, load_scores, save_scores
from agents.values.scores.base import Judgement
from recenv.errors import InvalidInput
from tests.damage import cut_or_added_to, flipped_bits

SCORES = torch.tensor([0.5, -1.25, 3.0, 1e-30])


def test_scores_come_back_and_numpy_reads_them_too(tmp_path):
    save_scores(tmp_path / "scores.npy", SCORES)
    found = load_scores(tmp_path / "scores.npy", 4)
    assert found.dtype == torch.float32
    assert torch.equal(found, SCORES)
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), SCORES.numpy())


def test_damaged_scores_are_refused(tmp_path):
    file = tmp_path / "scores.npy"
    save_scores(file, SCORES)
    whole = file.read_bytes()
    for contents in (*flipped_bits(whole, 300), *cut_or_added_to(whole)):
        file.write_bytes(contents)
        with pytest.raises(InvalidInput, match=f"^{file} .*; remove it, and run the same command again"):
            load_scores(file, 4)


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (torch.zeros(5), "does not hold 4 scores"),
        (torch.zeros(0), "does not hold 4 scores"),
        (torch.tensor([0.0, 1.0, torch.nan, 2.0]), "not finite"),
        (torch.tensor([0.0, 1.0, -torch.inf, 2.0]), "not finite"),
    ],
)
def test_whole_scores_that_are_not_the_logs_are_refused(tmp_path, scores, message):
    save_scores(tmp_path / "scores.npy", scores)
    with pytest.raises(InvalidInput, match=message):
        load_scores(tmp_path / "scores.npy", 4)


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        (Judgement(torch.zeros(3), None), r"as scores has shape \(3,\)"),
        (Judgement(torch.tensor([0.0, torch.nan, 1.0, torch.inf]), None), "as scores is not finite in 2 rows"),
        (Judgement(SCORES, torch.zeros(4, 1)), r"as advantages has shape \(4, 1\)"),
    ],
)
def test_what_a_score_gives_is_refused_before_it_is_kept(tmp_path, judged, message):
    with pytest.raises(InvalidInput, match=message):
        kept_judgement(tmp_path, 4, lambda: judged)
    assert list(tmp_path.iterdir()) == []
