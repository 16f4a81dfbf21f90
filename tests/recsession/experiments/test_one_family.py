"""The study of AWR's kappa: its numbers by hand, its small form, and the documents' copy of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.nn.networks import NetworkConfig
from agents.values.critics import CriticConfig
from recsession.experiments.reproduce import one_family
from recsession.experiments.reproduce.one_family import FamilyConfig, OneFamilyStudy, rows, weighed
from recsession.experiments.reproduction import Reproduction, read_results, run_reproduction
from tests.page_parser import PageParser
from tests.source_files import ROOT


def test_weights_worked_by_hand():
    """Advantages 1, -1 at T = 1, M = e^0 = 1: weights 1 and 1/e, of which the first is at the cap."""
    found = weighed(np.array([1.0, -1.0]), 1.0, 1.0)
    other = np.exp(-1.0)
    assert found["threshold"] == 0.0
    assert found["kappa"] == pytest.approx((1 + other) / 2)
    assert found["effective_share"] == pytest.approx((1 + other) ** 2 / (1 + other**2) / 2)
    assert found["at_the_cap"] == pytest.approx(1 / (1 + other))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[dict[str, Any], Any]:
    critic = CriticConfig(NetworkConfig((8,)), num_rounds=1, steps_per_round=2, batch_size=16)
    folder = tmp_path_factory.mktemp("family")
    config = FamilyConfig(num_sessions=20, critic=critic, temperatures=(0.3, 1.0))
    request = Reproduction(folder, first_seed=100, num_seeds=2, workers=1)
    return run_reproduction(OneFamilyStudy, request, config), folder


def test_a_run_has_a_row_for_each_setting(tiny):
    results, folder = tiny
    numbers = results["numbers"]
    assert [(row["temperature"], row["weight_cap"]) for row in numbers["table"]] == list(one_family.SETTINGS)
    for setting, row in enumerate(numbers["table"]):
        assert 0 < row["kappa"] <= 1
        assert row["kappa"] == pytest.approx(np.mean([each[setting] for each in numbers["kappas_per_seed"]]))
    # The figure's kappa is the solver's, the table's comes from the weights.
    assert numbers["kappas"]["20"] == pytest.approx([numbers["table"][1]["kappa"], numbers["table"][0]["kappa"]])
    parser = PageParser((folder / "report.html").read_text())
    parser.check(200_000)
    assert len(parser.alts) == 1


def test_the_documents_table_is_of_the_committed_results():
    results = read_results(ROOT / "docs" / "results" / "one_family.json")
    page = (ROOT / "docs" / "theory.md").read_text()
    assert results["command"] in page
    for row in rows(results["numbers"]):
        assert f"| {' | '.join(row)} |" in page
    assert all(seed in range(100, 110) for seed in results["seeds"])
