"""Each contradiction is found where it was put, and a sound log has none; blocks are whole sessions in order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline_data.collection.collection import collect
from offline_data.describe.log_checks import CHECKS, contradictions
from offline_data.store import session_blocks

pytestmark = pytest.mark.kernels


@pytest.fixture(scope="module")
def log(small_request, tmp_path_factory):
    return collect(tmp_path_factory.mktemp("checks") / "log", small_request)


@pytest.fixture(autouse=True, params=[1, 1 << 18])
def _rows_at_once(request, monkeypatch):
    monkeypatch.setattr(session_blocks, "ROWS_AT_ONCE", request.param)


def test_a_sound_log_has_none(log):
    assert contradictions(log) == dict.fromkeys(CHECKS, 0)


CONTRADICTIONS = {
    "answers_where_nothing_was_shown": ("rows__shown", np.array([[0], [1], [1], [1], [1], [1], [1]], np.bool_)),
    "items_outside_the_catalogue": ("rows__slate", np.array([[3], [0], [-1], [1], [3], [2], [6]], np.int32)),
    "numbers_not_finite": ("rows__reward_vector", np.array([[0], [0], [np.nan], [0], [0], [0], [0]], np.float32)),
    "steps_out_of_order": ("rows__step", np.array([0, 2, 1, 0, 0, 1, 1], np.int32)),
    "rows_after_the_end": ("rows__terminated", np.array([1, 1, 1, 1, 0, 0, 0], np.bool_)),
    "consumed_not_clicked": ("rows__consumed", np.array([0, 1, 1, 0, 0, 0, 0], np.int32)),
    "probabilities_out_of_range": ("log_prob", np.array([0.1, -np.inf, -1.0, -1.0, np.nan, -1.0, -1.0])),
}
COUNTS = {"items_outside_the_catalogue": 2, "steps_out_of_order": 3, "rows_after_the_end": 2}
COUNTS["probabilities_out_of_range"] = 2


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_counted(foreign_log, name):
    column, values = CONTRADICTIONS[name]
    found = contradictions(foreign_log(**{column: values}))
    assert {key: count for key, count in found.items() if count} == {name: COUNTS.get(name, 1)}


def test_an_item_shown_twice_is_counted(log):
    slate = np.array(log.rows["slate"])
    slate[5, 2] = slate[5, 0]
    found = contradictions(replace(log, rows={**log.rows, "slate": slate}))
    assert {key: count for key, count in found.items() if count} == {"items_shown_twice": 1}
    hidden = np.array(log.rows["shown"])
    hidden[5, 2] = False
    feedback = np.array(log.rows["feedback"])
    feedback[5, 2] = 0.0
    rows = {**log.rows, "slate": slate, "shown": hidden, "feedback": feedback}
    assert contradictions(replace(log, rows=rows))["items_shown_twice"] == 0


def test_every_contradiction_can_be_found():
    assert {*CONTRADICTIONS, "items_shown_twice"} == set(CHECKS)


@pytest.mark.parametrize("rows_at_once", [1, 7, 10_000])
def test_blocks_are_whole_sessions_in_order(log, monkeypatch, rows_at_once):
    monkeypatch.setattr(session_blocks, "ROWS_AT_ONCE", rows_at_once)
    blocks = list(session_blocks.session_blocks(log))
    starts = [block.rows.start + each for block in blocks for each in block.first]
    assert starts == log.offsets[:-1].tolist()
    assert [length for block in blocks for length in block.lengths] == np.diff(log.offsets).tolist()
    assert [each + block.rows.start for block in blocks for each in block.last] == (log.offsets[1:] - 1).tolist()
    assert [index for block in blocks for index in range(40)[block.sessions]] == list(range(40))
    for block in blocks:
        assert block.rows.stop - block.rows.start <= rows_at_once or len(block.lengths) == 1
        assert block.rows.stop - block.rows.start == block.lengths.sum()
