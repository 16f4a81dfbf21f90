"""The study of estimators at a tiny size, end to end, and that its words follow its numbers."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.policies.files import load_policy
from agents.training.trainer import TrainerConfig
from agents.values.critics import FITTED_Q, CriticConfig
from offline_data.collection.collection import LogRequest, collect
from offline_data.describe.pages import Table
from recenv.errors import InvalidInput
from recsession.experiments.estimator_study.families import distances, on_the_line
from recsession.experiments.estimator_study.figures import MEASURES, sections
from recsession.experiments.estimator_study.protocol import EstimatorProtocol
from recsession.experiments.estimator_study.verdict import sentences
from recsession.experiments.reproduce.estimators import EstimatorStudy
from recsession.experiments.reproduction import Reproduction, run_reproduction
from tests.filled_guide import told_of
from tests.page_parser import PageParser

TINY = EstimatorProtocol(
    experiments=("models", "logs"),
    models=("interest_evolution", "embedding_bandit"),
    kinds=("slate",),
    max_steps=3,
    num_sessions=120,
    num_truth_sessions=64,
    bandit_truth_sessions=64,
    distances=(0.1, 1.0),
    back=(0.1,),
    num_learning_sessions=64,
    trainer=TrainerConfig(num_steps=4, batch_size=32),
    critic=CriticConfig(num_rounds=1, steps_per_round=2, batch_size=32),
    fitted_q=replace(FITTED_Q, num_rounds=2, steps_per_round=2, batch_size=32),
)


def run(out: Path, **changes: Any) -> dict[str, Any]:
    options = {"first_seed": 100, "num_seeds": 1, "workers": 1, **changes}
    return run_reproduction(EstimatorStudy, Reproduction(out, **options), TINY)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("estimators") / "one"
    run(out)
    return out


@pytest.fixture
def numbers(finished) -> dict[str, Any]:
    return json.loads((finished / "results.json").read_text())["numbers"]


def test_every_estimator_answers_in_every_cell(numbers):
    assert len(numbers["cells"]) == len(TINY.cells())
    for key, cell in numbers["cells"].items():
        assert {"dm", "ips", "snips", "dr", "wdr", "mis", "drl", "density_ratio"} <= set(cell["estimators"]), key
        by_item = {"pdis by item", "pdsnips by item"} <= set(cell["estimators"])
        assert by_item == (cell["model"] != "embedding_bandit")  # whose slates have one item
        for name, each in cell["estimators"].items():
            counts = [grade["count"] for grade in each["grades"].values()]
            assert sum(counts) == 3, name
            assert each["rmse"] is not None
            if name == "auto":
                (chosen,) = cell["chosen"]
                assert each == cell["estimators"][chosen]
            if name == "dm":
                assert [grade["known"] for grade in each["grades"].values()] == [0, 0, 0]
    total = sum(tally[2] for tally in numbers["near"]["snips"].values())
    assert total == 3 * len(TINY.cells())


def test_workers_and_a_stop_change_no_byte(finished, tmp_path):
    run(tmp_path / "two", workers=2)
    (tmp_path / "two" / "interest_evolution-slate-3-dial-step-120" / "seed-100.json").unlink()
    (tmp_path / "two" / "results.json").unlink()
    run(tmp_path / "two")
    for name in ("results.json", "report.html"):
        assert (tmp_path / "two" / name).read_bytes() == (finished / name).read_bytes()
    left = {path.name for path in (tmp_path / "two").glob("*/*")}
    assert left == {"family.json", "running", "policy-0", "policy-1", "policy-2", "seed-100.json"}


def test_policies_lie_as_far_away_as_they_are_to(finished, tmp_path):
    (task,) = {cell.task for cell in TINY.cells() if cell.task.key == "interest_evolution-slate-3"}
    folder = finished / task.key
    found = json.loads((folder / "family.json").read_text())
    told = found.get("result", found)["policies"]
    assert [each["direction"] for each in told] == [1, 1, -1]
    running = load_policy(folder / "running")
    spec = {"name": "agents.serving.behavior_adapter:AgentBehavior", "policy": str(folder / "running")}
    log = collect(tmp_path / "log", LogRequest(task.config, spec, "slate", 400, 7))
    measured = distances(running, [load_policy(folder / f"policy-{index}") for index in range(3)], log)
    np.testing.assert_allclose(measured, [each["distance"] for each in told], rtol=0.5)  # by another log
    assert distances(running, [on_the_line(running, load_policy(folder / "policy-1"), 0.0)], log) == 0.0


def test_page_shows_the_maps_and_loads_nothing(finished):
    parser = PageParser((finished / "report.html").read_text())
    parser.check(400_000)
    assert len(parser.alts) == len(MEASURES)
    assert {"Verdicts", "Estimators", "All cells"} <= {line.strip() for line in parser.text.split("\n")}


def test_the_guide_says_what_the_numbers_say(finished, numbers, tmp_path):
    told = told_of(finished, tmp_path)
    for sentence in sentences(numbers):
        assert f"\n* {sentence}\n" in told
    assert "**Which is nearest when**\n\n| " in told


def test_the_policies_seed_is_not_reported(tmp_path):
    with pytest.raises(InvalidInput, match="the seed 500 chooses the settings"):
        EstimatorStudy(EstimatorProtocol(), [500], tmp_path)


# --- words that follow numbers


def test_a_wrong_verdict_is_named_with_its_estimator(numbers):
    right = copy.deepcopy(numbers)
    for cell in right["cells"].values():
        for each in cell["estimators"].values():
            each["grades"]["trusted"] = {"count": 30, "known": 30, "hold": 29, "far": 0, "error": 0.01}
    said = sentences(right)
    known = 30 * sum(len(cell["estimators"]) - 1 for cell in right["cells"].values())  # but what was chosen of them
    assert f"of {known:,} trusted intervals 96.7 % hold the truth (median error 1 %)" in said[0]
    assert said[1] == f"No trusted estimate of {known:,} is off by more than twice its interval."
    first = next(iter(right["cells"].values()))
    first["estimators"]["snips"]["grades"]["trusted"] |= {"hold": 10, "far": 7}
    assert f"are 7 of {known:,} estimates: `snips` 7 of {30 * len(right['cells'])}, in 1 cells." in sentences(right)[1]
    table = sections(right)[1].parts[0]
    assert isinstance(table, Table)
    rows = {row[0]: row for row in table.rows}
    assert rows["snips"][7] == "7"


def test_the_nearest_is_counted_by_cell(numbers):
    changed = copy.deepcopy(numbers)
    for cell in changed["cells"].values():
        cell["estimators"]["wdr"]["rmse"] = 1e-9
        cell["estimators"]["auto"]["rmse"] = 0.25
    assert f"`wdr` in {len(changed['cells'])} of {len(changed['cells'])} cells." in sentences(changed)[2]
    assert "is what `select` chooses by 0.25; of those that answer everywhere, `wdr` 0.00, " in sentences(changed)[3]
