"""The command line: help, every command's way through at a tiny size, stops, and the process itself."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from agents.families import OBJECTIVES
from agents.nn.networks import NetworkConfig
from agents.objectives.bases.needs import IN_WORDS
from agents.policies.files import load_policy
from agents.training.evaluation import usual_estimators
from offline_data.families import READERS
from offline_data.store.dataset import LoggedDataset
from recsession.cli import COMMANDS, main
from recsession.commands.collect import Collect
from recsession.commands.datasets import Datasets
from recsession.commands.evaluate import Evaluate
from recsession.commands.export import Export
from recsession.commands.fit import Fit
from recsession.commands.ope import Ope
from recsession.commands.options import Options
from recsession.commands.simulate import Simulate
from recsession.commands.split import Split
from recsession.experiments.quickstart import Quickstart
from tests.recsession.cli_cases import BUDGET, FIT, ROOT, split

# --- help


def test_help_names_every_command(run):
    for words in ((), ("--help",), ("-h",)):
        code, out, err = run(*words)
        assert (code, err) == (0, "")
        assert all(re.search(rf"^  {name} ", out, flags=re.MULTILINE) for name in COMMANDS)


def test_version(run):
    code, out, _ = run("--version")
    assert code == 0
    assert re.fullmatch(r"recsession \d+\.\d+\.\d+\S*\n", out)


@pytest.mark.parametrize(
    ("words", "options"),
    [
        (["collect"], Collect),
        (["datasets"], Datasets),
        (["evaluate"], Evaluate),
        (["export"], Export),
        (["fit"], Fit),
        (["ope"], Ope),
        (["options"], Options),
        (["quickstart"], Quickstart),
        (["simulate"], Simulate),
        (["split"], Split),
        (["inspect"], None),
        *((["import", name], READERS.get(name)) for name in READERS.registered()),
        *((["train", name], OBJECTIVES.get(name).Config) for name in OBJECTIVES.registered()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_help_of_a_command_says_what_it_takes(capsys, words, options):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert f"usage: recsession {' '.join(words)}" in out
    for field in dataclasses.fields(options) if options else ():
        assert field.name.replace("_", "-") in out


def test_help_of_train_names_the_objectives(run):
    for words in (("train",), ("train", "--help")):
        code, out, _ = run(*words)
        assert code == 0
        listed = re.findall(r"^  (\w+) +(\w[^\[\n]*?)(?: \[([\w, -]+)\])?$", out, re.MULTILINE)
    assert [name for name, _, _ in listed] == list(OBJECTIVES.registered())
    # It is read from the sources, and is what the classes say.
    for name, meaning, needs in listed:
        assert (OBJECTIVES.get(name).__doc__ or "").startswith(meaning)
        wanted = sorted(OBJECTIVES.get(name).needs & IN_WORDS.keys())
        assert needs == ", ".join(IN_WORDS[need] for need in wanted)


def test_every_command_is_documented_where_it_is_listed():
    # A module named `import` could not be imported.
    modules = {path.stem for path in (ROOT / "recsession" / "commands").glob("[!_]*.py")}
    listed = {name.removesuffix("_log") for name in modules} | {"quickstart"}
    assert set(COMMANDS) == listed


def test_help_does_not_wait_for_torch_nor_matplotlib():
    program = (
        "import sys; from recsession.cli import main; main(['--help']); main(['nope']); "
        "main(['train', '--help']); main(['options']); main(['datasets']); "
        "print({'torch', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")


# --- the way through


def first_words(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines()]


def test_from_a_log_to_an_estimate(run, tmp_path, world_options):
    code, out, _ = run(
        "collect", "--out", "log", "--num-sessions", 60, "--good-fraction", 0.3, "--seed", 7, *world_options
    )
    assert code == 0
    log = LoggedDataset.open(tmp_path / "log")
    assert log.num_sessions == 60
    assert log.config.slate_size == 3
    assert log.manifest["source"]["request"]["dataset_seed"] == 7
    assert log.manifest["source"]["request"]["behavior"]["weights"] == [0.3, 0.7]
    assert f"log: 60 sessions, {log.num_rows:,} steps" in out

    code, out, _ = run("inspect", "log")
    assert code == 0
    assert f"60, {log.num_rows:,}" in out
    assert log.manifest["world_hash"] in out
    assert re.search(rf"ended by +user {log.rows['terminated'].sum()}, time {log.rows['truncated'].sum()}", out)

    code, out, err = run(
        "train", "robust_filter", "--log", "log", "--out", "run", "--objective.kappa", 0.3, *FIT, *BUDGET
    )
    assert code == 0
    assert "Traceback" not in err
    assert "over 1,000 simulated sessions" in out
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "lock", "checkpoint", "metrics.jsonl", "policy", "request.json", "scores.npy"
    }  # fmt: skip
    curve = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [point["step"] for point in curve] == [0, 19]
    assert curve[-1]["kappa"] <= 1.0
    trained = load_policy(tmp_path / "run" / "policy")
    assert trained.space.session == log.config
    assert trained.config.network == NetworkConfig((16,))

    code, out, _ = run("evaluate", "--policy", "run/policy", "--num-sessions", 50)
    assert code == 0
    assert re.search(r"session return +-?\d+\.\d+ \[.*\] +\(50 sessions\)", out)
    assert "clickbait = 0, expert = 1, as proto actions" in out
    sampled = run("evaluate", "--policy", "run/policy", "--num-sessions", 50, "--stochastic")[1]
    assert sampled.splitlines()[0] != out.splitlines()[0]
    assert sampled.splitlines()[2:] == out.splitlines()[2:]

    code, out, _ = run("ope", "--log", "log", "--policy", "run/policy", *FIT, "--num-bootstrap", 50)
    assert code == 0
    assert first_words(out) == ["warning:", "judge", "the", "mean", *usual_estimators()]
    weighed = [line for line in out.splitlines()[4:] if "by the model alone" not in line]
    assert all("effective sample size" in line and "of 60" in line for line in weighed)
    assert len(weighed) >= 5
    assert re.search(r"^snips .*untrusted: effective sample size below 100", out, flags=re.MULTILINE)
    code, out, _ = run("ope", "--log", "log", "--policy", "run/policy", *FIT, "--estimators", "wdr", "snips")
    assert first_words(out)[4:] == ["wdr", "snips"]


def test_commands_can_be_given_again(run, made, tmp_path, folder_tree):
    words = ("train", "bc", "--log", made / "log", "--out", "run", *BUDGET)
    assert run(*words)[0] == 0
    before = folder_tree(tmp_path / "run")
    assert run(*words)[0] == 0
    assert folder_tree(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        (["--seed", 1], "seed 0"),
        (["--critic.learning-rate", 0.01], "critic.learning_rate 0.001"),
        (["--trainer.learning-rate", 0.01], "trainer.learning_rate 0.004"),
        (["--encoder", "flat"], 'trainer.policy.network.encoder.name "pooled"'),
        (["--objective.temperature", 0.5], "objective.temperature 1.0"),
    ],
)
def test_another_run_is_refused_before_anything_changes(run, made, tmp_path, folder_tree, changes, what):
    words = ["train", "awr", "--log", made / "log", "--out", "run", *FIT, *BUDGET]
    assert run(*words)[0] == 0
    before = folder_tree(tmp_path / "run")
    code, _, err = run(*words, *changes)
    assert code == 2
    assert err.startswith(f"recsession: run holds work of another request ({what} there, ")
    assert err.endswith(" here); remove it or choose another --out\n")
    assert folder_tree(tmp_path / "run") == before


@pytest.mark.parametrize(
    ("policy", "encoder"),
    [(None, None), ("plackett_luce", "flat"), ("generative", "gru"), ("generative", "transformer")],
)
def test_a_log_of_slates_is_learned_from_and_judged(run, made, tmp_path, policy, encoder):
    words = ["train", "robust_filter", "--log", made / "slates", "--out", "run", *FIT, *BUDGET]
    words += [] if policy is None else ["--policy", policy, f"--encoder={encoder}"]
    code, out, err = run(*words)
    assert code == 0, err
    assert "over 1,000 simulated sessions" in out
    trained = load_policy(tmp_path / "run" / "policy")
    assert trained.config.name == (policy or "plackett_luce")
    assert trained.config.network.encoder.name == (encoder or "pooled")
    code, out, _ = run("evaluate", "--policy", "run/policy", "--num-sessions", 20, "--stochastic")
    assert code == 0
    assert "clickbait = 0, expert = 1, as slate actions" in out
    code, out, _ = run("ope", "--log", made / "slates", "--policy", "run/policy", *FIT, "--num-bootstrap", 50)
    assert code == 0
    assert first_words(out)[4:] == list(usual_estimators())
    # What it learned can log.
    spec = json.dumps({"name": "agents.serving.behavior_adapter:AgentBehavior", "policy": "run/policy"})
    kind = ("--action-kind", "slate", "--behavior", spec)
    config = tmp_path / "world.json"
    config.write_text(LoggedDataset.open(made / "slates").config.to_json())
    code, _, err = run("collect", "--out", "next", "--num-sessions", 10, "--config", config, *kind)
    assert code == 0, err
    assert np.isfinite(LoggedDataset.open("next").rows["prefix_log_prob"]).all()


def test_options_follow_the_chosen_policy_and_encoder(run, capsys):
    for words, shown in (
        ([], "--trainer.policy.scale-floor"),
        (["--policy", "plackett_luce"], "--trainer.policy.num-sampled"),
        (["--policy=generative"], "--trainer.policy.ids.codebook-size"),
        (["--encoder", "transformer"], "--critic.network.encoder.num-heads"),
    ):
        with pytest.raises(SystemExit) as stop:
            run("train", "bc", *words, "--help")
        assert stop.value.code == 0
        assert shown in capsys.readouterr().out


def test_slates_can_be_collected_and_inspected(run, made):
    code, out, _ = run("inspect", made / "slates")
    assert code == 0
    assert re.search(r"action kind +slate", out)
    assert re.search(r"user model +interest_evolution", out)
    assert re.search(r"slate, catalogue +3 of 50 items a step", out)


def test_own_policy_can_be_evaluated(run, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "class Top:\n"
        "    def act(self, observation):\n"
        "        return np.tile(np.arange(10), (len(observation['profile']), 1))\n"
    )
    code, out, _ = run("evaluate", "--policy", "mine:Top", "--num-sessions", 20, "--noise", "uniform")
    sys.modules.pop("mine")
    assert code == 0
    assert "uniform = 0, expert = 1, as slate actions" in out


def test_quickstart_at_a_tiny_size(run, tmp_path):
    judge = [word.replace("--critic", "--judge") for word in FIT]
    sizes = split("--num-seeds 1 --num-sessions 100 --num-judge-sessions 20 --num-evaluation-sessions 20 --workers 1")
    words = ["quickstart", "--out", "out", "--seed", 3, "--good-fraction", 0.2, *sizes, *FIT, *judge, *BUDGET]
    code, out, _ = run(*words)
    assert code == 0
    assert out.splitlines()[-1] == "report: out/report.html"
    assert json.loads((tmp_path / "out" / "results.json").read_text())["seeds"] == [3]
    code, _, err = run(*words, "--seed", 4)
    assert code == 2
    assert err == (
        "recsession: out holds work of another request (seed 3 there, 4 here); pass --fresh to start over, or choose "
        "another --out\n"
    )


@pytest.fixture
def open_bandit() -> Path:
    """The published sample: in RECSESSION_DATA, or beside the checkout."""
    folder = Path(os.environ.get("RECSESSION_DATA", ROOT.parent / "shared" / "data")) / "open_bandit"
    if not folder.is_dir():
        pytest.skip(f"no Open Bandit sample at {folder}; set RECSESSION_DATA to the folder that holds open_bandit/")
    return folder


def test_open_bandit(run, open_bandit):
    words = ("ope", "--log", "open-bandit", "--path", open_bandit, "--campaign", "all", "--num-bootstrap", 100)
    code, out, err = run(*words)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    heads = [n for n, line in enumerate(lines) if not line.startswith(" ")]
    assert [lines[n].split(",")[0].split(":")[0] for n in heads] == ["Thompson sampling", "uniform random"]
    number = r"(\d\.\d{5}) \[(-?\d\.\d{5}), (\d\.\d{5})\]"
    for n, log in zip(heads, ("random", "bts"), strict=True):
        assert lines[n + 1] == f"  from the {log} log, with the error relative to that:"
        for line in (lines[n], *lines[n + 2 : n + 2 + (len(lines) - 4) // 2]):
            found = re.search(number, line)
            if "by the model alone" in line:
                assert found is None, line
                continue
            assert found, line
            value, low, high = map(float, found.groups())
            assert -0.001 < low < value < high < 0.02
    assert re.search(
        r"  snips +\S+ \[\S+ \S+\]   error \d+ % \[\d+, \d+\]   effective sample size [\d,.]+ of 10,000", out
    )
    assert run(*words)[1] == out
