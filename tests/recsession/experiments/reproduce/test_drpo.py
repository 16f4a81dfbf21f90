"""DRPO's paper at a tiny size, end to end: what is asked of whom, and that neither stops nor processes change it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.nn.encoders.flat import FlatConfig
from agents.nn.networks import NetworkConfig
from agents.policies.gaussian import GaussianPolicyConfig
from agents.training.trainer import TrainerConfig
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput
from recsession.experiments import reproduction
from recsession.experiments.drpo_paper import published
from recsession.experiments.drpo_paper.protocol import EXPERIMENTS, Protocol, filtered_advantage, settings
from recsession.experiments.learning_units import ChosenMethodUnit
from recsession.experiments.reproduce.drpo import DrpoStudy
from recsession.experiments.reproduction import Reproduction, run_reproduction
from tests.filled_guide import told_of

TRAINER = TrainerConfig(
    num_steps=12,
    batch_size=32,
    learning_rate=3e-3,
    final_rate=1.0,
    log_interval=6,
    checkpoint_interval=6,
    policy=GaussianPolicyConfig(NetworkConfig((16,), FlatConfig())),
)
METHODS = ("bc", "awr", "drpo")


def tiny(*experiments: str, **changes: Any) -> Protocol:
    sizes: dict[str, Any] = {"methods": METHODS, "num_sessions": 200, "num_evaluation_sessions": 20}
    return Protocol(experiments, **{**sizes, "development_seeds": (100,), "trainer": TRAINER, **changes})


def run(out: Path, config: Protocol, **changes: Any) -> dict[str, Any]:
    options = {"first_seed": 101, "num_seeds": 2, "workers": 1, **changes}
    return run_reproduction(DrpoStudy, Reproduction(out, **options), config)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("drpo") / "one"
    run(out, tiny("table"))
    return out


@pytest.fixture
def numbers(finished) -> dict[str, Any]:
    return json.loads((finished / "results.json").read_text())["numbers"]


def test_the_table_has_both_scenarios_and_the_papers_numbers(numbers):
    assert set(numbers["table"]) == {"medium", "extreme"}
    for scenario, found in numbers["table"].items():
        assert set(found["methods"]) == set(METHODS)
        for name, each in found["methods"].items():
            assert each["paper"] == published.TABLE[scenario][name]
            assert len(each["by_mean"]["per_seed"]) == len(each["sampled"]["per_seed"]) == 2
            assert all(0.0 <= reward <= 1.0 for reward in each["by_mean"]["per_seed"])
            assert ("chosen" in each) == (name == "awr")
        assert -1.0 <= found["rank_agreement"]["tau"] <= 1.0
        assert [(e["of"], e["over"]) for e in found["improvements"]] == [("drpo", n) for n in ("bc", "awr")]
    behaviors = numbers["behaviors"]
    assert behaviors["expert"]["mean"] > behaviors["suboptimal"]["mean"] > behaviors["random"]["mean"]


def test_the_setting_is_the_best_on_development_seeds(finished, numbers):
    grid = numbers["table"]["medium"]["methods"]["awr"]["grid"]
    assert set(grid) == set(settings("awr", 12))
    folder = finished / "medium" / "seed-100"
    for label, mean in grid.items():
        file = folder / f"awr-{label.replace(',', '').replace(' ', '-').replace('+', '')}.json"
        assert json.loads(file.read_text())["by_mean"] == mean
    chosen = numbers["table"]["medium"]["methods"]["awr"]["chosen"]
    assert grid[chosen] == max(grid.values())
    assert json.loads((finished / "medium" / "seed-101" / "awr.json").read_text())["chosen"] == chosen
    assert not (folder / "bc.json").exists()  # nothing is to be chosen


def test_logs_are_the_papers_mixtures_of_one_step(finished):
    for scenario, shares in (("medium", (0.1, 0.6, 0.3)), ("extreme", (0.05, 0.05, 0.9))):
        log = LoggedDataset.open(finished / scenario / "seed-101" / "log")
        assert log.num_rows == log.num_sessions == 200
        behavior = log.manifest["source"]["request"]["behavior"]
        assert behavior["weights"] == pytest.approx(shares)
        assert [part["name"] for part in behavior["components"]] == ["expert", "exposure", "uniform"]
        assert np.array_equal(np.load(finished / scenario / "seed-101" / "scores.npy"), log.reward().astype(np.float32))


def test_the_page_says_what_the_numbers_say(finished, numbers):
    page = (finished / "report.html").read_text()
    told = DrpoStudy.verdict(numbers)
    assert re.match(r"Of 4 comparisons .*: \d holds, \d reversed, \d open\.", told[0])
    for text in ("Table 1, the medium scenario", "The main comparisons", "beta 0.05, cap 20", "in brackets"):
        assert (text in page) == (text != "in brackets")  # no ablation was run
    assert page.count("<svg") == 2


BRIEF = tiny("table", methods=("awr",), trainer=replace(TRAINER, num_steps=30, checkpoint_interval=10))


def test_the_guide_says_what_the_numbers_say(finished, numbers, tmp_path):
    told = told_of(finished, tmp_path)
    for sentence in DrpoStudy.verdict(numbers):
        assert f"\n* {sentence}\n" in told
    assert "**Table 1, the medium scenario**\n\n| method |" in told
    assert "reproduce drpo --form small --first-seed 101 --num-seeds 2" in told


@pytest.fixture(scope="module")
def brief(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("drpo") / "brief"
    run(out, BRIEF, num_seeds=1)
    return out


def test_stopped_it_ends_with_the_same_bytes(brief, tmp_path, monkeypatch):
    plain, out = reproduction.tqdm, tmp_path / "stopped"
    for limit in (28, 33, 250):  # in a training of the grid, at its end, in one of the other scenario

        class Interrupted(plain):
            def update(self, n=1, limit=limit):
                super().update(n)
                if self.n >= limit:
                    raise KeyboardInterrupt

        monkeypatch.setattr(reproduction, "tqdm", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(out, BRIEF, num_seeds=1)
        assert not (out / "results.json").exists()
    monkeypatch.setattr(reproduction, "tqdm", plain)
    run(out, BRIEF, num_seeds=1)
    assert (out / "results.json").read_bytes() == (brief / "results.json").read_bytes()


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(brief, tmp_path):
    run(tmp_path / "two", BRIEF, num_seeds=1, workers=2)
    for name in ("results.json", "report.html"):
        assert (tmp_path / "two" / name).read_bytes() == (brief / name).read_bytes()


def test_every_experiment_is_run_and_told(tmp_path):
    config = tiny("noise", "ablation", "sensitivity", "phantom", methods=("bc",))
    numbers = run(tmp_path / "all", config, num_seeds=1)["numbers"]
    assert set(numbers["noise"]) == {"bc", "asymre"}
    assert list(numbers["noise"]["bc"]["rewards"]) == ["0", "0.2", "0.4", "0.6", "0.8"]
    loss = numbers["noise"]["bc"]["rewards"]
    assert numbers["noise"]["bc"]["loss"]["mean"] == pytest.approx(loss["0"]["mean"] - loss["0.8"]["mean"])
    assert {row: each["paper"] for row, each in numbers["ablation"].items()} == pytest.approx(
        {
            "hard filter alone": 0.024,
            "soft base": 0.23,
            "soft base, fixed filter": 0.262,
            "soft base, adaptive filter": 0.284,
        }
    )
    assert [(c["policy_noise"], c["reward_noise"], c["share"], c["paper"]) for c in numbers["sensitivity"]][:4] == [
        (0.1, 0.0, 0.05, 1.69 / 5),
        (0.1, 0.0, 0.4, 1.69 / 5),
        (0.1, 0.0, 1.0, 1.35 / 5),
        (0.1, 0.5, 0.05, 1.29 / 5),
    ]
    assert len(numbers["sensitivity"]) == 18
    curve = numbers["phantom"]["curve"]
    assert [point["step"] for point in curve] == list(range(12))
    growth = curve[-1]["negative_both"] / curve[0]["negative_both"]
    assert numbers["phantom"]["growth"]["mean"] == pytest.approx(growth)
    told = " ".join(DrpoStudy.verdict(numbers))
    for words in ("From 0 % to 80 % of random items", "Ablation, with", "6 pairs of policy", "Phantom gradients"):
        assert words in told
    assert (tmp_path / "all" / "report.html").read_text().count("<svg") == 4
    spread = LoggedDataset.open(tmp_path / "all" / "policy-0.5-reward-1" / "seed-101" / "log")
    request = spread.manifest["source"]["request"]
    assert request["config"]["user_model"]["rating_noise"] == 1.0
    assert {each["proto_scale"] for each in request["behavior"]["components"] if "proto_scale" in each} == {0.5}


def test_phantoms_stopped_in_the_middle_go_on_from_their_checkpoint(tmp_path):
    trainer = replace(TRAINER, num_steps=60, log_interval=1, checkpoint_interval=20)
    log, phantom = DrpoStudy(tiny("phantom", trainer=trainer), [101], tmp_path).units()[-2:]
    assert (log.name, phantom.name) == ("log", "phantom")
    log.run(lambda _: None)
    whole = phantom.measure(lambda _: None)
    assert [point["step"] for point in whole["curve"]] == list(range(60))
    ticks: list[int] = []

    class Stop(Exception):
        pass

    def stop(done: int) -> None:
        raise Stop

    with pytest.raises(Stop):
        phantom.run(stop)
    phantom.run(ticks.append)
    assert ticks == [20, 5, 25, 10]
    assert phantom.result() == whole
    assert not list(phantom.folder.glob("*.checkpoint"))


def test_the_full_form_is_all_of_it(tmp_path):
    full = DrpoStudy(DrpoStudy.forms["full"], range(1000, 1010), tmp_path)
    assert full.config.experiments == EXPERIMENTS
    units = full.units()
    names = [unit.result_file for unit in units]
    assert len(set(names)) == len(names)
    places = {file: place for place, file in enumerate(names)}
    assert all(places[need.result_file] < places[unit.result_file] for unit in units for need in unit.needs)
    chosen = [unit for unit in units if isinstance(unit, ChosenMethodUnit)]
    assert {unit.name: len(unit.tried) for unit in chosen} == {"crr": 3, "bppo": 3, "awr": 6, "iql": 3}
    used = {unit.log.seed for each in chosen for units in each.tried.values() for unit in units}
    assert used == set(full.config.development_seeds)
    small = DrpoStudy(DrpoStudy.forms["small"], range(1000, 1003), tmp_path)
    assert small.config.trainer == full.config.trainer
    assert small.config.methods == tuple(published.TABLE["extreme"])


def test_seeds_that_choose_settings_are_not_reported(tmp_path):
    with pytest.raises(InvalidInput, match=r"the seed 100 chooses .*; pass --first-seed 101 or more") as refusal:
        run(tmp_path / "out", tiny("table"), first_seed=99)
    assert not (tmp_path / "out").exists()
    remedy = int(re.findall(r"--first-seed (\d+)", str(refusal.value))[0])
    DrpoStudy(tiny("table"), range(remedy, remedy + 2), tmp_path)
    for first in (99, 100, 101):
        with pytest.raises(InvalidInput, match=r"the seeds 100 and 101 choose .*; pass --first-seed 102 or more"):
            DrpoStudy(DrpoStudy.forms["full"], range(first, first + 2), tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"experiments": ("tables",)}, "experiments has tables; choose from table, noise"),
        ({"methods": ("bc", "drpq")}, "methods has drpq; choose from bc, crr"),
        ({"development_seeds": (-1,)}, "development_seeds=-1 is "),
    ],
)
def test_protocol_out_of_range_is_refused(changes, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        Protocol(**changes)


def test_the_filter_alone_keeps_the_best_around_their_mean():
    import torch

    reward = torch.tensor([0.1, 0.9, 0.5, 0.5, 0.0, 0.3])
    advantage = filtered_advantage(reward, 0.5)
    kept = torch.tensor([0.9, 0.5, 0.5])
    assert advantage.tolist() == pytest.approx([0.0, *(kept - kept.mean()).tolist(), 0.0, 0.0])
    assert float(advantage.mean()) == pytest.approx(0.0, abs=1e-7)
