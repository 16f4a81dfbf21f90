"""The main job at a small size: what it writes, and that neither stops nor processes change it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents.nn.networks import NetworkConfig
from agents.policies.files import load_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.training.evaluation import roll_out
from agents.training.trainer import TrainerConfig
from agents.values.critics import CriticConfig
from offline_data.store.dataset import LoggedDataset
from offline_data.store.folder_claim import sole_writer
from recenv.errors import InvalidInput
from recenv.files.atomic_files import write_json
from recenv.session_config import SessionConfig
from recenv.world import make_world
from recsession.experiments import quickstart
from recsession.experiments.quickstart import Quickstart, run_quickstart
from recsession.experiments.report import format_table
from tests.damage import cut_or_added_to, flipped_bits
from tests.folder_tree import tree

NETWORK = NetworkConfig((16,))
FIT = CriticConfig(NETWORK, num_rounds=2, steps_per_round=20, batch_size=64)
TRAINER = TrainerConfig(
    num_steps=30,
    batch_size=64,
    log_interval=5,
    evaluate_interval=10,
    checkpoint_interval=10,
    policy=GaussianPolicyConfig(NETWORK),
)
METHODS = ["bc", "awr", "robust_filter", "signed_pg", "drpo", "drpo_exp"]
FILTERS = ("robust_filter",)
CURVE = {"step", "loss", "surprisal_mean", "surprisal_max", "score_function_norm_max", "normalized_score"}


def request(out: Path, **changes: Any) -> Quickstart:
    tiny: dict[str, Any] = {"num_seeds": 2, "num_sessions": 200, "good_fraction": 0.1, "num_judge_sessions": 40}
    tiny |= {"num_evaluation_sessions": 40, "workers": 1, "trainer": TRAINER, "critic": FIT, "judge": FIT}
    return Quickstart(out=out, **{**tiny, **changes})


def results_of(out: Path) -> bytes:
    return (out / "results.json").read_bytes()


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of an undisturbed run in one process."""
    out = tmp_path_factory.mktemp("quickstart") / "runs" / "one"
    run_quickstart(request(out))
    return out


@pytest.fixture
def results(finished) -> dict[str, Any]:
    return json.loads(results_of(finished))


def assert_interval(found: dict[str, Any], num_seeds: int = 2) -> None:
    assert found["low"] <= found["mean"] <= found["high"]
    assert len(found["per_seed"]) == num_seeds
    assert found["mean"] == pytest.approx(np.mean(found["per_seed"]))


# --- what it writes


def test_results_have_the_reports_schema(results):
    assert results["seeds"] == [0, 1]
    assert results["good_fraction"] == 0.1
    assert results["noise"] == "clickbait"
    assert results["world_hash"] == SessionConfig().world_hash()
    assert results["config"]["num_sessions"] == 200
    for name in ("expert_return", "noise_return"):
        assert set(results["reference"][name]) == {"mean", "low", "high"}
    assert results["reference"]["expert_return"]["mean"] > results["reference"]["noise_return"]["mean"]
    for way in ("normalized_score", "normalized_score_sampled"):
        for judged in (results["ceiling"], *results["methods"].values()):
            assert_interval(judged[way])
    assert list(results["methods"]) == sorted(METHODS)
    for name, method in results["methods"].items():
        assert method["stopped"] == [None, None]
        assert len(method["truth"]) == len(method["max_surprisal"]) == len(method["max_score_function_norm"]) == 2
        assert (method["filter_precision"] is not None) == (name in FILTERS)
        for estimates, truth in zip(method["ope"], method["truth"], strict=True):
            assert [entry["log"] + entry["estimator"] for entry in estimates] == ["mixedsnips", "mixeddr", "ownpdsnips"]
            for entry in estimates:
                assert entry.keys() >= {"value", "low", "high", "ess", "trusted"}
                assert 1.0 - 1e-9 <= entry["ess"] <= 40.0
                assert entry["trusted"] == (entry["ess"] >= 100)
            assert truth["low"] < truth["value"] < truth["high"]
    for name in FILTERS:
        precision = results["methods"][name]["filter_precision"]
        assert_interval(precision)
        assert all(0.0 <= share <= 1.0 for share in precision["per_seed"])


def test_curves_belong_to_their_methods(results):
    assert set(results["curves"]) == set(METHODS)
    for name, per_seed in results["curves"].items():
        assert len(per_seed) == 2
        method = results["methods"][name]
        for seed, curve in enumerate(per_seed):
            assert [point["step"] for point in curve] == [0, 5, 10, 15, 20, 25, 29]
            assert all(point.keys() >= CURVE for point in curve)
            evaluated = [point["step"] for point in curve if point["normalized_score"] is not None]
            assert evaluated == [0, 10, 20, 29]
            assert max(point["surprisal_max"] for point in curve) == method["max_surprisal"][seed]
            assert max(point["score_function_norm_max"] for point in curve) == method["max_score_function_norm"][seed]
            assert ("kappa" in curve[-1]) == (name in (*FILTERS, "drpo", "drpo_exp"))
    first_batches = {name: per_seed[0][0]["surprisal_mean"] for name, per_seed in results["curves"].items()}
    assert len(set(first_batches.values())) == 1  # the same network and the same batches for every method


def test_scores_are_on_the_scale_of_the_references(finished, results):
    low, high = (results["reference"][name]["mean"] for name in ("noise_return", "expert_return"))
    for name, method in results["methods"].items():
        for seed in (0, 1):
            unit = json.loads((finished / f"seed-{seed}" / f"{name}.json").read_text())
            for way in ("normalized_score", "normalized_score_sampled"):
                assert unit[way] == method[way]["per_seed"][seed]
            assert unit["normalized_score_sampled"] == pytest.approx((unit["truth"]["value"] - low) / (high - low))
            assert low - 10 < unit["truth"]["value"] < high + 10
    # Cloning the expert alone beats cloning of a log that is nine parts noise.
    for way, by_ceiling in results["ceiling"].items():
        assert by_ceiling["mean"] > results["methods"]["bc"][way]["mean"] + 0.1


def test_histogram_counts_every_row_once(finished, results):
    for seed, histogram in enumerate(results["score_histogram"]):
        log = LoggedDataset.open(finished / f"seed-{seed}" / "log")
        scores = np.load(finished / f"seed-{seed}" / "scores.npy")
        good = log.open_latent_labels() == 0
        assert sum(histogram["good"]) == good.sum()
        assert sum(histogram["noise"]) == (~good).sum()
        assert len(histogram["edges"]) == len(histogram["good"]) + 1 == len(histogram["noise"]) + 1
        assert histogram["edges"][0] == pytest.approx(scores.min())
        assert histogram["edges"][-1] == pytest.approx(scores.max())
        # The threshold of the filter: a tenth of the rows lie above.
        assert (scores >= histogram["threshold"]).mean() == pytest.approx(0.1, abs=2 / len(scores))
        retained = scores.argsort()[-len(scores) // 40 :]  # a quarter of the good fraction, which the method keeps
        precision = results["methods"]["robust_filter"]["filter_precision"]["per_seed"][seed]
        assert good[retained].mean() == pytest.approx(precision, abs=0.02)


def test_logs_are_as_asked_and_no_two_share_a_session(finished):
    seeds: list[int] = []
    for seed in (0, 1):
        folder = finished / f"seed-{seed}"
        logs = {name: LoggedDataset.open(folder / name) for name in ("log", "judge-log", "good-log", "awr-log")}
        assert [log.num_sessions for log in logs.values()] == [200, 40, 50, 40]
        assert all(log.action_kind == "proto" for log in logs.values())
        log, judge = (logs[name].manifest["source"]["request"]["behavior"] for name in ("log", "judge-log"))
        assert (log["mixing"], log["weights"][0]) == ("step", 0.1)
        assert [component["name"] for component in log["components"]] == ["expert", "clickbait"]
        assert (judge["mixing"], judge["weights"][0]) == ("session", 0.5)
        assert logs["good-log"].manifest["source"]["request"]["behavior"] == {"name": "expert"}
        seeds += [int(s) for log in logs.values() for s in log.sessions["session_seed"]]
    assert len(set(seeds)) == len(seeds) == 2 * 330


def test_a_policys_own_log_is_of_the_policy_and_now_and_then_a_uniform_step(finished, results):
    log = LoggedDataset.open(finished / "seed-1" / "awr-log")
    behavior = log.manifest["source"]["request"]["behavior"]
    assert (behavior["name"], behavior["epsilon"]) == ("epsilon_greedy", 0.05)
    assert Path(behavior["base"]["policy"]) == finished / "seed-1" / "awr.policy"
    *far, own = results["methods"]["awr"]["ope"][1]
    assert own["logged"] == pytest.approx(log.reward().sum() / 40)
    assert own["ess"] > 2 * max(entry["ess"] for entry in far)


def test_a_seed_redraws_everything(results):
    for method in results["methods"].values():
        first, second = method["normalized_score"]["per_seed"]
        assert first != second
    assert results["score_histogram"][0]["edges"] != results["score_histogram"][1]["edges"]
    assert len(set(results["ceiling"]["normalized_score"]["per_seed"])) == 2


def test_policies_left_behind_are_those_that_were_judged(finished, results):
    low, high = (results["reference"][name]["mean"] for name in ("noise_return", "expert_return"))
    for name, method in results["methods"].items():
        actor = load_policy(finished / "seed-1" / f"{name}.policy")
        world = make_world(SessionConfig())
        assert actor.space.session == SessionConfig()
        assert actor.config == TRAINER.policy
        best = roll_out(actor, world, 40, 1, deterministic=True).mean()
        assert method["normalized_score"]["per_seed"][1] == pytest.approx((best - low) / (high - low))
        # Off-policy evaluation is of the policy as it samples, and so is the truth beside it.
        sampled = roll_out(actor, world, 40, 1, deterministic=False, role="truth").mean()
        assert method["truth"][1]["value"] == pytest.approx(sampled)
        assert sampled != best
        assert [entry["num_sessions"] for entry in method["ope"][1]] == [40, 40, 40]


def test_report_and_table_are_of_the_results(finished, results, capsys):
    capsys.readouterr()
    again = run_quickstart(request(finished))
    printed = capsys.readouterr().out
    assert json.loads(json.dumps(again)) == results
    assert printed == f"{format_table(again)}\nreport: {finished / 'report.html'}\n"
    page = (finished / "report.html").read_text()
    assert "<html" in page
    assert f"{results['ceiling']['normalized_score']['mean']:.2f}" in page


def test_nothing_half_written_is_left(finished):
    names = [path.name for path in finished.rglob("*")]
    assert not [name for name in names if name.endswith(".partial") or name.startswith(".")]
    assert sorted(path.name for path in finished.iterdir()) == [
        "lock",
        "reference.json",
        "report.html",
        "request.json",
        "results.json",
        "seed-0",
        "seed-1",
    ]


# --- stops, processes, options


def test_stopped_again_and_again_it_ends_with_the_same_results(finished, tmp_path, monkeypatch):
    out, plain = tmp_path / "stopped", quickstart.tqdm
    # In the critic, in training, at a unit's border, in a fitted Q, in the second seed's critic and later.
    for limit in (10, 50, 110, 200, 240, 390, 500, 700):

        class Interrupted(plain):
            def update(self, n=1, limit=limit):
                shown = super().update(n)
                if self.n >= limit:
                    raise KeyboardInterrupt
                return shown

        monkeypatch.setattr(quickstart, "tqdm", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_quickstart(request(out))
        assert not (out / "results.json").exists()
        assert not list(out.rglob(".*"))
    done = {path: path.stat().st_mtime_ns for path in out.glob("seed-*/*.json")}
    assert done
    monkeypatch.setattr(quickstart, "tqdm", plain)
    run_quickstart(request(out))
    assert results_of(out) == results_of(finished)
    assert {path: path.stat().st_mtime_ns for path in done} == done  # no unit was run twice


def test_progress_adds_up(tmp_path, monkeypatch):
    bars = []

    class Watched(quickstart.tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            bars.append(self)

    monkeypatch.setattr(quickstart, "tqdm", Watched)
    small = request(tmp_path / "out", num_seeds=1)
    run_quickstart(small)
    # The critic; the ceiling; training and fitted Q of each method.
    assert bars[-1].total == bars[-1].n == 40 + 30 + len(METHODS) * (30 + 40)
    (tmp_path / "out" / "seed-0" / "awr.json").unlink()
    run_quickstart(small)
    assert bars[-1].total == bars[-1].n


@pytest.mark.slow
def test_two_processes_give_the_same_bytes(finished, tmp_path):
    out = tmp_path / "two"
    run_quickstart(request(out, workers=2))
    assert results_of(out) == results_of(finished)


def test_what_fails_in_a_process_is_told_as_it_is(tmp_path):
    out = tmp_path / "out"
    (out / "seed-0" / "log").mkdir(parents=True)
    (out / "seed-0" / "log" / "notes").write_text("mine")
    with pytest.raises(InvalidInput, match=r"seed-0/log holds something else \(no manifest.json\)"):
        run_quickstart(request(out, num_seeds=1, workers=2))


def test_folder_of_another_request_is_refused_and_left(finished):
    before = tree(finished)
    for changes in ({"num_sessions": 201}, {"seed": 1}, {"good_fraction": 0.2}, {"noise": "uniform"}):
        with pytest.raises(InvalidInput, match=r"work of another request \(.* there, .* here\); pass --fresh"):
            run_quickstart(request(finished, **changes))
    other_trainer = dataclasses.replace(TRAINER, learning_rate=0.1)
    with pytest.raises(InvalidInput, match=r"request \(trainer.learning_rate"):
        run_quickstart(request(finished, trainer=other_trainer))
    assert tree(finished) == before


def test_fresh_starts_over(finished, tmp_path):
    out = tmp_path / "out"
    first = request(out, num_seeds=1, seed=0)
    run_quickstart(first)
    (out / "seed-0" / "leftover").write_text("")
    asked = first.to_dict() | {"methods": {"drpo": {"objective": "drpo"}}}
    write_json(out / "request.json", {name: asked[name] for name in asked if name != "format"})
    with pytest.raises(InvalidInput, match=r"older format, .* drpo is now robust_filter; pass --fresh to start over"):
        run_quickstart(first)
    run_quickstart(dataclasses.replace(first, seed=5, fresh=True))
    assert sorted(path.name for path in out.glob("seed-*")) == ["seed-5"]
    assert (results := json.loads(results_of(out)))["seeds"] == [5]
    assert results["ceiling"] != json.loads(results_of(finished))["ceiling"]


def test_second_process_in_the_folder_is_refused(finished):
    before = tree(finished)
    with sole_writer(finished), pytest.raises(InvalidInput, match="is being written by another process; wait for it"):
        run_quickstart(request(finished))
    assert tree(finished) == before


@pytest.mark.parametrize("text", ["{", "{}"])
def test_damaged_reference_is_told(tmp_path, text):
    write_json(tmp_path / "request.json", request(tmp_path).to_dict())
    (tmp_path / "reference.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"reference.json (is not|has no) .*; pass --fresh to start over"):
        run_quickstart(request(tmp_path))


def test_results_that_have_changed_are_refused(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "run")
    for name in ("reference.json", "seed-0/prepare.json", "seed-0/bc.json", "seed-1/ceiling.json"):
        sound = (out / name).read_bytes()
        for changed in (*flipped_bits(sound, 3), *cut_or_added_to(sound)):
            (out / name).write_bytes(changed)
            if changed.split() != sound.split():
                with pytest.raises(InvalidInput, match=rf"{name}.*; (remove it|pass --fresh)"):
                    run_quickstart(request(out))
        (out / name).write_bytes(sound)
    assert run_quickstart(request(out)) == json.loads(results_of(finished))


@pytest.mark.parametrize("noise", ["expert", "mixture"])
@pytest.mark.parametrize("fresh", [False, True])
def test_noise_without_a_scale_is_refused_before_anything_is_touched(finished, tmp_path, noise, fresh):
    before = tree(finished)
    with pytest.raises(InvalidInput, match=r"does not exceed the noise's|mixture has 0 components"):
        run_quickstart(request(tmp_path / "new", noise=noise, fresh=fresh))
    assert not (tmp_path / "new").exists()
    if fresh:
        with pytest.raises(InvalidInput):
            run_quickstart(request(finished, noise=noise, fresh=True))
        assert tree(finished) == before


def test_unwritable_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="cannot write"):
        run_quickstart(request(tmp_path / "file" / "out"))


def test_device_is_looked_for_first(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InvalidInput, match="device='cuda' needs CUDA"):
        run_quickstart(request(tmp_path / "out", device="cuda"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seed", -1),
        ("seed", 2**31),
        ("workers", 0),
        ("workers", 257),
        ("num_seeds", 0),
    ],
)
def test_option_out_of_range_is_refused(field, value):
    with pytest.raises(InvalidInput, match=f"{field}={value} is "):
        Quickstart(**{field: value})


def test_defaults_are_the_issues():
    default = Quickstart()
    assert default.seeds == [0, 1, 2]
    assert default.out == Path("runs/quickstart")


def test_results_depend_on_what_the_request_says_they_do(tmp_path):
    plain = request(tmp_path)
    for changes in ({"out": tmp_path / "x"}, {"fresh": True}, {"workers": 2}):
        assert dataclasses.replace(plain, **changes).to_dict() == plain.to_dict()
    for changes in ({"num_seeds": 1}, {"device": "cuda"}, {"critic": CriticConfig()}, {"judge": CriticConfig()}):
        assert dataclasses.replace(plain, **changes).to_dict() != plain.to_dict()
    assert json.loads(json.dumps(plain.to_dict())) == plain.to_dict()
