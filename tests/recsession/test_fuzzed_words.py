"""Command lines spoilt at random: one line and exit code 2, or the work is done; nothing else is seen or left."""

from __future__ import annotations

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsession.cli import main
from tests.folder_tree import tree
from tests.strategies.command_lines import COMMANDS, spoilt, stays_inside

SECONDS = 60


@pytest.fixture
def place(made, tmp_path, monkeypatch) -> Path:
    """A folder to work in, with logs, a policy and what is none of them; all links in it stay in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    for name in ("log", "slates"):
        shutil.copytree(made / name, folder / name)
    shutil.copy(made / "policy", folder / "policy")
    (folder / "file").write_text("mine\n")
    (folder / "list.json").write_text("[1]\n")
    (folder / "empty").write_text("")
    (folder / "log.csv").write_text("user,item,time,click\n1,1,1700000000,0\n1,2,1700000100,1\n2,1,1700000000,1\n")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("file")
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(autouse=True)
def in_time() -> Iterator[None]:
    """Fail where a command goes on for long: what is huge is to be refused before any work."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def judge(words: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run a command line, and look at all that came of it."""
    assert all(map(stays_inside, words))
    outside = {path: path.stat().st_mtime_ns for path in place.parent.iterdir() if path != place}
    before = tree(place)
    capsys.readouterr()
    try:
        code = main(words)
    except SystemExit as stop:  # after help
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    assert code in ((0, 1, 2) if words[0] == "check" else (0, 2)), err
    assert "Traceback" not in err
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u202e\u2028\udce9]", out), out
    lines = [line for line in re.split(r"[\r\n]+", err) if line and "it/s" not in line]
    if code == 2:
        assert lines, out
        assert lines[-1].startswith("recsession: ")
        assert lines[-1].isprintable()
        assert len([line for line in lines if line.startswith("recsession: ")]) == 1
        assert tree(place) == before
    after = tree(place)
    assert {name: after.get(name) for name in before if not name.startswith("new")} == {
        name: value for name, value in before.items() if not name.startswith("new")
    } or code == 0
    assert not [name for name in after if Path(name).name.startswith(".") and name not in before]
    assert {path: path.stat().st_mtime_ns for path in place.parent.iterdir() if path != place} == outside


def test_no_word_leads_out_of_the_folder():
    for word in ("/etc/passwd", "../x", "a/../../b", "--out=/tmp", "~/x", "x=../y", '{"policy":"/dev/null"}'):
        assert not stays_inside(word)
    for seed in range(2000):
        assert all(map(stays_inside, spoilt(seed, COMMANDS[:2])))


@pytest.mark.parametrize("seed", range(60))
def test_spoilt_command_lines(place, capsys, seed):
    judge(spoilt(seed), place, capsys)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(60, 1060))
def test_a_thousand_spoilt_command_lines(place, capsys, seed):
    judge(spoilt(seed), place, capsys)
