"""The pieces of the quickstart as units of work; what they leave is tested with the quickstart."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from agents.training.trainer import TrainerConfig
from agents.values.critics import CriticConfig
from offline_data.dial.quality import Reference
from recenv.statistics import Interval
from recsession.experiments.comparison import Comparison
from recsession.experiments.quickstart_units import CEILING, PREPARE, QuickstartUnit

COMPARISON = Comparison(
    trainer=TrainerConfig(num_steps=30),
    critic=CriticConfig(num_rounds=2, steps_per_round=20),
    judge=CriticConfig(num_rounds=1, steps_per_round=50),
)
REFERENCE = Reference(Interval(60.0, 59.0, 61.0), Interval(20.0, 19.0, 21.0))


@pytest.mark.parametrize(
    ("name", "cost", "needs"),
    [(PREPARE, 40, []), (CEILING, 30, []), ("bc", 80, [PREPARE]), ("robust_filter", 80, [PREPARE])],
)
def test_a_unit_costs_its_gradient_steps_and_methods_need_what_is_prepared(tmp_path, name, cost, needs):
    unit = QuickstartUnit(COMPARISON, REFERENCE, tmp_path, 3, name)
    assert unit.cost == cost
    assert [(need.name, need.seed, need.folder) for need in unit.needs] == [(need, 3, tmp_path) for need in needs]
    assert unit.title == f"seed 3 {name}"
    assert pickle.loads(pickle.dumps(unit)) == unit
    assert not unit.is_done()
    Path(tmp_path / f"{name}.json").write_text("{}")
    assert unit.is_done()
