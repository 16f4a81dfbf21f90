from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from agents.nn.networks import NetworkConfig
from agents.training.trainer import TrainerConfig
from agents.values.critics import CriticConfig
from offline_data.dial.quality import Reference
from offline_data.store.sealed_files import write_sealed_json
from recenv.errors import InvalidInput
from recenv.statistics import Interval
from recsession.experiments.learning_units import ChosenMethodUnit
from recsession.experiments.reproduce.selection import SelectionStudy
from recsession.experiments.reproduction import Reproduction, run_reproduction
from recsession.experiments.selection_study.analysis import LOST, cell_words, lead, regret, summary
from recsession.experiments.selection_study.protocol import (
    EXPERIMENTS,
    FRACTIONS,
    NOISES,
    OTHER_MODELS,
    OURS,
    SLATE_RIVALS,
    Cell,
    SelectionProtocol,
    left_out,
    settings,
)
from recsession.experiments.selection_study.units import TrialUnit
from tests.filled_guide import told_of

TINY = SelectionProtocol(
    experiments=("bandit",),
    methods=(OURS, "bc", "awr"),
    fractions=(0.1,),
    noises=("uniform", "clickbait"),
    num_sessions=60,
    num_evaluation_sessions=20,
    num_reference_sessions=200,
    trainer=TrainerConfig(num_steps=3, batch_size=16),
    critic=CriticConfig(NetworkConfig((8,)), num_rounds=1, steps_per_round=3, batch_size=16),
)

# --- the regret


def test_regret_by_hand():
    """Of the even seeds' best, b, on the odd seeds, and of the odd seeds' best, a, on the even ones."""
    scores = {"a": [0.0, 1.0, 0.2, 0.8], "b": [0.9, 0.0, 0.7, 0.1], "ours": [0.5, 0.5, 0.5, 0.5]}
    found = regret(scores, "ours")
    assert found["per_seed"] == pytest.approx([-0.5, -0.5, -0.3, -0.4])
    assert found["best"] == ["a", "b"]
    assert found["mean"] == pytest.approx(-0.425)
    assert found["low"] < -0.425 < found["high"]


def test_a_lead_is_over_the_best_of_the_others_and_never_over_itself():
    """Of a and b the even seeds' best is b, the odd ones' a; ours is left out of the choice, whatever it scores."""
    scores = {"a": [0.0, 1.0, 0.2, 0.8], "b": [0.9, 0.0, 0.7, 0.1], "ours": [2.0, 2.0, 2.0, 2.0]}
    found = lead(scores, "ours")
    assert found["mean"] == pytest.approx(2.0 - (0.0 + 0.0 + 0.2 + 0.1) / 4)
    assert found["best"] == ["a", "b"]
    assert found["low"] < found["mean"] < found["high"]
    assert lead({"a": [1.0, 1.0], "ours": [0.5, 0.5]}, "ours")["high"] == -0.5


@pytest.mark.parametrize(("ours", "aim", "won", "behind", "lost"), [
    ([1.2, 1.21, 1.19, 1.2], "is at most", "above it in 1: cell;", "below it in 0;", "0.08: 0."),
    ([0.98, 0.981, 0.979, 0.98], "is at most", "above it in 0;", "below it in 1: cell (a);", "0.08: 0."),
    ([0.9, 0.91, 0.89, 0.9], "is not at most", "above it in 0;", "below it in 1: cell (a);", "0.08: 1: cell."),
])  # fmt: skip
def test_what_is_said_of_the_numbers(ours, aim, won, behind, lost):
    scores = {"a": [1.0, 1.001, 0.999, 1.0], "bc": [0.0, 0.0, 0.0, 0.0], OURS: ours}
    cells = {"cell": {"by_mean": scores, "sampled": scores, "kappa": 0.1}}
    numbers = {"proto": {"cells": cells, "left_out": {}, "chosen": {}, "summary": summary(cells)}}
    first, second, *sampled = SelectionStudy.verdict(numbers)
    assert aim in first
    assert all(words in second for words in (won, behind, lost))
    assert len(sampled) == 2


def test_cells_are_called_by_what_they_differ_in():
    proto = [cell.key for cell in SelectionProtocol().cells("proto")]
    assert list(cell_words(proto).values())[:2] == ["uniform 10 %", "uniform 2 %"]
    assert len(set(cell_words(proto).values())) == len(proto)
    models = [cell.key for cell in SelectionProtocol().cells("models")]
    assert cell_words(models)[models[0]] == "boredom_cascade uniform 5 % proto"
    assert cell_words([proto[0]]) == {proto[0]: "uniform 10 %"}
    assert cell_words(["cell"]) == {"cell": "cell"}


def test_regret_does_not_gain_by_picking_the_luckiest_of_many():
    """Sixty methods of equal worth: the best of all seeds looks 2.3 deviations better, and the regret's mean is 0.

    Over 200 cells of 10 seeds its standard error is sqrt(2 / 2000) = .032.
    """
    random = np.random.default_rng(0)
    draws = random.normal(size=(200, 60, 10))
    found = [regret({str(i): table[i].tolist() for i in range(60)}, "0")["mean"] for table in draws]
    assert abs(np.mean(found)) < 4 * 0.032


def test_a_method_that_is_best_has_no_regret_and_one_seed_is_judged_on_itself():
    assert regret({"ours": [1.0, 1.1, 1.2], "b": [0.5, 0.4, 0.3]}, "ours")["per_seed"] == [0.0, 0.0, 0.0]
    assert regret({"ours": [0.25], "b": [0.5]}, "ours")["mean"] == 0.25


def test_summary_names_what_is_lost():
    lost = {"a": [1.0, 1.01, 0.99, 1.0], "ours": [0.8, 0.81, 0.79, 0.8]}
    near = {"a": [1.0, 1.01, 0.99, 1.0], "ours": [0.95, 0.96, 0.94, 0.95]}
    found = summary({name: {"by_mean": each, "sampled": near} for name, each in (("far", lost), ("near", near))})
    assert found["ours"]["by_mean"]["lost"] == ["far"]
    assert found["ours"]["by_mean"]["worst"] == "far"
    assert found["ours"]["by_mean"]["mean"] == pytest.approx((0.2 + 0.05) / 2)
    assert found["ours"]["sampled"]["lost"] == []
    assert found["a"]["by_mean"]["mean"] == 0.0
    assert LOST == 0.08


# --- what is compared


def test_the_full_form_has_every_cell_that_has_a_meaning():
    full = SelectionStudy.forms["full"]
    assert full.experiments == EXPERIMENTS
    assert len(full.cells("proto") + full.cells("proto_more")) == len(full.cells("slates")) == 35
    assert {cell.fraction for cell in full.cells("proto")} == {0.1, 0.02, 0.005}
    assert set(full.compared("proto_more")) - set(full.compared("models")) == {"crr", "iql"}
    assert set(full.compared("slates")) - set(full.compared("models")) == set(SLATE_RIVALS)
    assert len(NOISES) * len(FRACTIONS) == 35
    assert len(full.cells("models")) == 4 * len(NOISES) * 2
    assert left_out("interest_evolution", "clickbait", "proto") is None
    assert "clickbait" in str(left_out("embedding_bandit", "clickbait", "proto"))


def test_rivals_have_four_settings_and_ours_one():
    for name in SelectionProtocol().methods:
        assert len(settings(name, 0.1)) == (1 if name in (OURS, "bc") else 4)
    assert [each.config.kappa for each in settings("filter_told", 0.16).values()] == [0.08, 0.04, 0.02, 0.01]
    grid = [(each.config.beta, each.config.min_share) for each in settings("drpo_exp", 0.1).values()]
    assert len({beta for beta, _ in grid}) == len({floor for _, floor in grid}) == 2
    assert all(each.config.in_deviations for each in settings("drpo_exp", 0.1).values())
    assert settings(OURS, 0.1) == settings(OURS, 0.5)


def test_many_seeds_where_it_was_promised(tmp_path):
    experiments = ("proto", "proto_more", "slates")
    study = SelectionStudy(replace(TINY, experiments=experiments, fractions=(0.1, 0.2)), range(1000, 1010), tmp_path)
    for unit in study.first_units():
        unit.run(lambda _: None)
    found = study._methods("proto") | study._methods("proto_more") | study._methods("slates")
    seeds = {(cell.fraction, cell.kind): len(methods[OURS]) for cell, methods in found.items()}
    assert seeds == {(0.1, "proto"): 10, (0.2, "proto"): 3, (0.1, "slate"): 3, (0.2, "slate"): 3}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"experiments": ("protos",)}, "experiments has protos; choose from proto, proto_more, slates, bandit, models"),
        ({"methods": ("best",)}, "methods has best; choose from bc, awr"),
        ({"noises": ("expert",)}, "noises has expert"),
        ({"fractions": (0.0,)}, "fractions=0"),
    ],
)
def test_the_protocol_refuses(changes, said):
    with pytest.raises(InvalidInput, match=said):
        replace(TINY, **changes)


def test_the_development_seed_is_not_reported(tmp_path):
    with pytest.raises(InvalidInput, match=r"the seed 100 chooses the settings, .* --first-seed 101"):
        SelectionStudy(TINY, range(99, 102), tmp_path)


# --- how settings are chosen


@pytest.mark.parametrize("kind", ["proto", "slate"])
def test_settings_are_chosen_in_every_world_of_an_experiment(kind):
    protocol = SelectionProtocol()
    chosen_on = protocol.development_cells(protocol.cells("models"), kind)
    assert [cell.world for cell in chosen_on] == list(OTHER_MODELS)
    assert {cell.kind for cell in chosen_on} == {kind}
    assert len({cell.noise for cell in chosen_on}) == 4
    few = [Cell(world, "uniform", 0.05, kind) for world in OTHER_MODELS]
    assert protocol.development_cells(few, kind) == few
    of_one = protocol.development_cells([replace(cell, kind=kind) for cell in protocol.cells("proto")], kind)
    assert (len({cell.noise for cell in of_one}), len({cell.fraction for cell in of_one})) == (3, 3)
    assert protocol.development_cells(few[:1], kind) == few[:1]


class Untrained(ChosenMethodUnit):
    def learned(self, method, progress):
        return {"objective": method.objective}


def test_a_world_of_large_returns_does_not_choose_alone(tmp_path):
    """In the world whose expert earns 500 a setting is better by 5, a hundredth, and loses half in the one of 6."""
    study = SelectionStudy(replace(TINY, experiments=("models",), noises=("uniform",)), [1], tmp_path)
    cells = [Cell("long_term_satisfaction", "uniform", 0.05, "proto"), Cell("multi_behavior", "uniform", 0.05, "proto")]
    unit = study._units(cells, cells[1], "awr", [1])[0]
    assert isinstance(unit, ChosenMethodUnit)
    better, worse = list(unit.tried)[2], list(unit.tried)[1]
    returns = {"long_term_satisfaction": {worse: 255.0, better: 250.0}, "multi_behavior": {worse: 1.0, better: 4.0}}
    for label, trials in unit.tried.items():
        for trial in trials:
            assert isinstance(trial, TrialUnit)
            world = trial.reference.cell.world
            earned = returns[world].get(label, 0.0)
            trial.folder.mkdir(parents=True, exist_ok=True)
            write_sealed_json(trial.result_file, {"by_mean": earned, "sampled": earned})
            best = {"long_term_satisfaction": 500.0, "multi_behavior": 6.0}[world]
            trial.reference.folder.mkdir(exist_ok=True)
            between = Reference(Interval(best, best, best), Interval(0.0, 0.0, 0.0))
            write_sealed_json(trial.reference.result_file, between.as_dict())
            assert trial.reference in trial.needs
    found = Untrained(unit.log, unit.method, "awr", unit.settings, unit.tried, unit.score).measure(lambda _: None)
    assert found["chosen"] == better
    assert found["grid"][better] == pytest.approx((0.5 + 4 / 6) / 2)


# --- end to end


def test_it_runs_and_says_what_the_numbers_say(tmp_path, capsys, monkeypatch):
    out = tmp_path / "runs"
    results = run_reproduction(SelectionStudy, Reproduction(out, num_seeds=2, workers=1, experiments=("bandit",)), TINY)
    assert results["command"].endswith("--form small --experiments bandit --first-seed 1000 --num-seeds 2")
    found = results["numbers"]["bandit"]
    assert sorted(found["cells"]) == ["embedding_bandit-uniform-0.1-proto", "embedding_bandit-uniform-0.1-slate"]
    assert sorted(found["left_out"]) == ["embedding_bandit-clickbait-0.1-proto", "embedding_bandit-clickbait-0.1-slate"]
    cell = found["cells"]["embedding_bandit-uniform-0.1-proto"]
    assert {len(scores) for way in ("by_mean", "sampled") for scores in cell[way].values()} == {2}
    assert 0.0 < cell["kappa"] <= 1.0
    assert set(found["chosen"]) == {"awr"}
    said = capsys.readouterr().out
    assert "bandit, by the mean: over 2 cells the regret of ours" in said
    page = (out / "report.html").read_text()
    assert "Regret: bandit" in page
    assert "Left out" in page
    assert page.count("<svg") == 2
    assert json.loads((out / "results.json").read_text())["numbers"] == results["numbers"]
    assert "**Regret: bandit**\n\n| method | regret by the mean |" in told_of(out, tmp_path)
    # Which cells have a meaning is found once, and kept.
    monkeypatch.setattr("recsession.experiments.selection_study.units.left_out", lambda *_: pytest.fail("measured"))
    run_reproduction(SelectionStudy, Reproduction(out, num_seeds=2, workers=1, experiments=("bandit",)), TINY)


def test_an_experiment_of_a_study_that_has_none_is_refused(tmp_path):
    from tests.recsession.experiments.test_reproduction import Counting

    with pytest.raises(InvalidInput, match="experiments has table; this study has but one, leave --experiments out"):
        run_reproduction(Counting, Reproduction(tmp_path / "out", experiments=("table",)))
