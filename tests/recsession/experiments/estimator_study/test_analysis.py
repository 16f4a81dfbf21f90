"""What truth says of answers, by hand; and the cells that are compared."""

from __future__ import annotations

import math

import numpy as np
import pytest

from recenv.errors import InvalidInput
from recsession.experiments.estimator_study.analysis import Truths, add_near, better, by_distance, judge, merged, off
from recsession.experiments.estimator_study.groups import cell_words, group_words
from recsession.experiments.estimator_study.protocol import SMALL, EstimatorProtocol

TRUTHS = Truths(np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.3, 0.0]))
SPREAD = math.sqrt(2.0 / 3.0)


def answer(value: float, half: float | None, grade: str = "t", called: bool = False) -> list:
    return [value, *((None, None) if half is None else (value - half, value + half)), grade, called]


def test_an_error_is_told_in_half_widths_of_both():
    assert off(answer(1.5, 0.25), 1.0, 0.0) == pytest.approx(2.0)
    assert off(answer(1.5, 0.4), 2.0, 0.3) == pytest.approx(1.0)
    assert off([1.0, 0.9, 1.4, "t", False], 1.2, 0.0) == pytest.approx(0.5)  # the end on the truth's side
    assert off(answer(1.0, None), 2.0, 0.3) is None


def test_a_judgement_by_hand():
    logs = [
        [answer(1.5, 0.2), answer(2.0, 0.1), answer(2.9, 0.2, "d")],
        [answer(3.0, None, "u"), None, answer(3.0, 9.0)],
    ]
    found = judge(logs, TRUTHS)
    assert found["rmse"] == pytest.approx(math.sqrt((0.25 + 0.0 + 0.01 + 4.0 + 0.0) / 5) / SPREAD, rel=1e-3)
    assert found["bias"] == pytest.approx((0.5 - 0.1 + 2.0) / 5 / SPREAD, rel=1e-3)
    assert (found["rank"], found["regret"]) == (1.0, 0.0)  # of the one log that has all answers
    trusted, doubtful, untrusted = (found["grades"][grade] for grade in ("trusted", "doubtful", "untrusted"))
    assert trusted == {"count": 3, "known": 3, "hold": 2, "far": 1, "error": 0.0}
    assert doubtful == {"count": 1, "known": 1, "hold": 1, "far": 0, "error": pytest.approx(0.1 / 3.0, rel=1e-3)}
    assert untrusted == {"count": 1, "known": 0, "hold": 0, "far": 0, "error": 2.0}
    assert found["worst"] == 2.5


def test_an_estimator_that_tells_nothing_apart_gains_nothing_by_it():
    found = judge([[answer(2.0, 1.0)] * 3], TRUTHS)
    assert found["rank"] == 0.0
    assert found["regret"] == pytest.approx(2.0 / SPREAD, rel=1e-3)


def test_nothing_said_is_nothing_judged():
    found = judge([[None, None, None]], TRUTHS)
    assert found["rmse"] is found["rank"] is found["worst"] is None
    assert merged(found["grades"].values()) == {"count": 0, "known": 0, "hold": 0, "far": 0, "error": None}


def test_calls_by_hand():
    logs = [
        [answer(1.0, 1.0, called=True), answer(1.0, 1.0), answer(9.0, 1.0, called=True)],
        [None, answer(2.0, None), None],
    ]
    assert better(logs, TRUTHS, 1.5) == {"better": 2, "found": 1, "worse": 1, "wrong": 1}


def test_distances_are_summed_over_cells():
    near = by_distance([[answer(1.0, 0.1), answer(9.0, 0.1), answer(3.0, 0.1, "u")]], TRUTHS, [0.03, 0.03, 10.0])
    assert near == {"0.03": [2, 1, 2], "10": [0, 0, 1]}
    total = {"0.03": [1, 1, 1]}
    add_near(total, near)
    assert total == {"0.03": [3, 2, 3], "10": [0, 0, 1]}


def test_cells_are_each_once_and_differ_from_the_usual_in_one_thing():
    cells = EstimatorProtocol().cells()
    assert len({cell.key for cell in cells}) == len(cells)
    for cell in cells:
        usual = {
            "steps": cell.task.max_steps in (10, 1),
            "size": cell.num_sessions == 1000,
            "world": cell.task.model in ("interest_evolution", "embedding_bandit"),
            "log": cell.logged == "running",
        }
        assert sum(not same for same in usual.values()) <= 1, cell.key
    assert set(SMALL.cells()) < set(cells)
    told = [
        {
            "model": cell.task.model,
            "kind": cell.task.kind,
            "steps": cell.task.max_steps,
            "logged": cell.logged,
            "mixing": cell.mixing,
            "sessions": cell.num_sessions,
        }
        for cell in cells
    ]
    assert len(set(map(cell_words, told))) == len(cells)
    assert {"bandit, one step", "10 steps, dial", "50 steps, by session"} <= set(map(group_words, told))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"experiments": ("sizes", "worlds")}, "experiments has worlds; choose from models"),
        ({"models": ("none",)}, "models has none; choose from"),
        ({"exploring": 1.0}, "exploring=1.0"),
        ({"sizes": (0,)}, "sizes=0"),
    ],
)
def test_what_has_no_cells_is_refused(changes, told):
    with pytest.raises(InvalidInput, match=told):
        EstimatorProtocol(**changes)
