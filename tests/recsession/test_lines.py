"""What is printed: one line is one line, and nothing of it moves a terminal's cursor or turns its text."""

from __future__ import annotations

import ast
import io
import json
import shutil
from pathlib import Path

import pytest

from offline_data.store.sealed_files import json_checksum
from recsession.lines import say
from tests.recsession.cli_cases import ROOT

EVIL = "a\x1b[2J\x07\nb\u202ec\u200b|`<script>alert(1)</script>[x](javascript:y)$"
SHOWN = r"a\x1b[2J\x07\nb\u202ec\u200b"


def test_each_line_is_one(capsys):
    say("plain é 日本", EVIL, 3, Path("x\ny"))
    out = capsys.readouterr().out
    assert out.splitlines() == ["plain é 日本", f"{SHOWN}{EVIL[EVIL.index('|') :]}", "3", r"x\ny"]


def test_letters_that_stdout_has_not_are_escaped(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr("sys.stdout", stream)
    say("é 日")
    stream.flush()
    assert stream.buffer.getvalue() == b"\\xe9 \\u65e5\n"  # type: ignore[attr-defined]


def test_the_application_prints_by_one_function():
    """But for what comes before anything of ours can be imported, stderr's lines, and pictures of sessions as text."""
    allowed = {"lines.py", "cli.py", "__main__.py", "simulate.py"}
    for file in (ROOT / "recsession").rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        prints = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]
        assert not prints or file.name in allowed, f"{file} prints at line {prints[0].lineno}; use say"


@pytest.fixture
def evil_log(made, tmp_path) -> Path:
    """A log whose folder and manifest hold what should move no terminal and make no page."""
    log = tmp_path / f"log {EVIL.replace('/', '')}"
    shutil.copytree(made / "log", log)
    manifest = json.loads((log / "manifest.json").read_text())
    old = manifest["feedback_names"]
    manifest["feedback_names"] = [old[0], f"{EVIL}1", *old[2:]]
    manifest["reward_names"][0] = f"{EVIL}2"
    manifest["reward_weights"] = dict(zip(manifest["reward_names"], manifest["reward_weights"].values(), strict=True))
    manifest["source"]["reader"] = EVIL
    manifest["source"]["lacking"] = [EVIL]
    manifest["source"]["request"]["behavior"] = {"name": EVIL, "x": EVIL}
    manifest["checksum"] = json_checksum(manifest)
    (log / "manifest.json").write_text(json.dumps(manifest))
    return log


@pytest.mark.parametrize("words", [[], ["--json"], ["--html", "page.html"]])
def test_a_log_moves_no_terminal(run, evil_log, words):
    code, out, err = run("inspect", evil_log, *words)
    assert code in (0, 2)
    for text in (out, err.replace("\r", "")):
        assert all(line.isprintable() for line in text.split("\n")), text


def test_paths_move_no_terminal(run, evil_log, tmp_path):
    for words in (
        ("export", evil_log, "--to", "card", "--out", f"{EVIL.replace('/', '')}.md"),
        ("collect", "--out", f"new {EVIL.replace('/', '')}", "--num-sessions", 2, "--set", "num_items=20"),
        ("inspect", f"absent {EVIL}"),
        ("simulate", "--policy", EVIL),
        ("train", EVIL, "--log", EVIL),
        (EVIL,),
        ("datasets", EVIL),
        ("collect", f"--{EVIL}", EVIL),
    ):
        code, out, err = run(*words)
        assert code in (0, 2)
        for text in (out, err.replace("\r", "")):
            assert all(line.isprintable() for line in text.split("\n")), text
        if code == 2:
            assert len(err.splitlines()) == 1
