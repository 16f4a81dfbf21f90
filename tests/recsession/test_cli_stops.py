"""What stops a command, and the process itself."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from offline_data.store.dataset import LoggedDataset
from tests.recsession.cli_cases import BUDGET, FIT, ROOT

# --- stops and the process itself


def test_control_c_is_told_and_gives_130(run, made, tmp_path, monkeypatch):
    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("recsession.training_run.train", stopped)
    code, _, err = run("train", "bc", "--log", made / "log", "--out", "run", *BUDGET)
    assert code == 130
    assert err.splitlines()[-1] == "recsession: stopped; run the same command again to go on"
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    code, _, err = run("train", "bc", "--log", made / "log", "--out", "run", *BUDGET)
    assert code == 0


def test_control_c_is_told_where_tensordict_makes_another_error_of_it(run, made, monkeypatch):
    def stopped(*args, **kwargs):
        try:
            raise KeyboardInterrupt
        finally:
            raise RuntimeError("Converting a tensordict to boolean value is not permitted")

    monkeypatch.setattr("recsession.training_run.train", stopped)
    code, _, err = run("train", "bc", "--log", made / "log", "--out", "run", *BUDGET)
    assert code == 130
    assert err.splitlines()[-1] == "recsession: stopped; run the same command again to go on"

    def failed(*args, **kwargs):
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("recsession.training_run.train", failed)
    with pytest.raises(RuntimeError, match="a mistake of ours"):
        run("train", "bc", "--log", made / "log", "--out", "run", *BUDGET)


def test_stop_in_the_middle_of_training_leaves_the_same_policy(run, made, tmp_path, monkeypatch):
    words = ["train", "robust_filter", "--log", made / "log", *FIT, *BUDGET]
    assert run(*words, "--out", "whole")[0] == 0
    from recsession import training_run as command

    plain = command.tqdm

    class Interrupted(plain):
        def update(self, n=1):
            shown = super().update(n)
            if self.desc == "robust_filter":
                raise KeyboardInterrupt
            return shown

    monkeypatch.setattr(command, "tqdm", Interrupted)
    assert run(*words, "--out", "stopped")[0] == 130
    assert not (tmp_path / "stopped" / "policy").exists()
    monkeypatch.setattr(command, "tqdm", plain)
    assert run(*words, "--out", "stopped")[0] == 0
    for name in ("policy", "metrics.jsonl", "scores.npy"):
        assert (tmp_path / "stopped" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_what_the_file_system_refuses_is_one_line(run, made, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device", "run/policy")

    monkeypatch.setattr("recsession.commands.evaluate.evaluate_returns", full)
    code, _, err = run("evaluate", "--policy", made / "policy")
    assert (code, err) == (2, "recsession: run/policy: No space left on device\n")


def as_process(*words: object, cwd: Path, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "recsession", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def test_process_collects(tmp_path, world_options):
    done = as_process("collect", "--out", "log", "--num-sessions", 20, *world_options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("log: 20 sessions, ")
    assert "Traceback" not in done.stderr
    assert LoggedDataset.open(tmp_path / "log").num_sessions == 20


def test_process_refuses_in_one_line(tmp_path):
    for words, encoding, fragment in (
        (["evaluate", "--policy", "absent"], "utf-8", "unknown policy 'absent'"),
        (["trian"], "utf-8", "did you mean 'train'?"),
        # The reason is read out of what tyro prints, which is drawn otherwise where stdout is not UTF-8.
        (["collect", "--out", "new", "--nois", "uniform"], "utf-8", "options: --nois, uniform; did you mean --noise?"),
        (["collect", "--out", "new", "--nois", "uniform"], "ascii", "options: --nois, uniform; did you mean --noise?"),
    ):
        done = as_process(*words, cwd=tmp_path, encoding=encoding)
        assert done.returncode == 2
        assert re.fullmatch(r"recsession: [^\n]+\n", done.stderr)
        assert fragment in done.stderr
    assert not any(tmp_path.iterdir())


def test_a_run_of_an_older_version_is_refused_with_its_objectives_name_of_today(run, made, tmp_path):
    words = ["train", "robust_filter", "--log", made / "log", *FIT, *BUDGET]
    assert run(*words, "--out", "old")[0] == 0
    file = tmp_path / "old" / "request.json"
    asked = json.loads(file.read_text())
    del asked["format"]
    asked["objective"]["name"] = "drpo"
    file.write_text(json.dumps(asked))
    code, _, err = run(*words, "--out", "old")
    assert code == 2
    assert err.splitlines() == [
        "recsession: old is of an older format, and this RecSession has format 3, in which drpo is now "
        "robust_filter; remove it or choose another --out"
    ]
    assert json.loads(file.read_text()) == asked
