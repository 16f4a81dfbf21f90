"""A disk that is full, whenever it is: one sentence, exit code 2, and every file that is there is whole."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.folder_tree import tree
from tests.recsession.cli_cases import BUDGET, FIT, ROOT, split

TABLE = "uid,vid,ts,clicked\n" + "".join(
    f"{user},{(user * 7 + visit) % 5},{visit * 10_000},{visit % 2}\n" for user in range(100) for visit in range(6)
)
COMMANDS = {
    "collect": "collect --num-sessions 300 --out out/x --set num_items=50 max_steps=8 slate_size=3",
    "import": "import table --path log.csv --out out/x --map user_id=uid item_id=vid timestamp=ts feedback.c=clicked",
    "split": "split log --out out/x",
    "parquet": "export log --to parquet --out out/x",
    "minari": "export log --to minari --out out --id shop/x-v0",
    "card": "export log --to card --out out/x.md",
    "onnx": "export policy --to onnx --out out/x.onnx",
    "inspect": "inspect log --html out/x.html",
    "fit": "fit --log log --out out/x.json",
    "simulate": "simulate --render rgb_array --set max_steps=2 --out out/x.gif",
    "train": " ".join(["train robust_filter --log log --out out/x", *FIT, *BUDGET]),
    "theory": "theory --out out/x",
    "ope": " ".join(["ope --log log --policies policy --estimators snips dr --out out/x", *FIT]),
}
_NOT_COMPARED = {"run.json"}  # when and where


@pytest.fixture
def inputs(made, tmp_path):
    for name in ("log", "policy"):
        (tmp_path / name).symlink_to(made / name)
    (tmp_path / "log.csv").write_text(TABLE)


def written(folder: Path) -> dict[str, bytes | None]:
    return {name: text for name, text in tree(folder).items() if Path(name).name not in _NOT_COMPARED}


@pytest.mark.parametrize("limit", [0, 1000, 12_000])
@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("theory", "onnx")])
def test_a_file_that_cannot_grow(inputs, run, tmp_path, command, limit):
    words = split(COMMANDS[command])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        code, _, err = run(*words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    there = written(tmp_path / "out") if (tmp_path / "out").exists() else {}
    if code == 0:  # what it writes is small
        assert limit > 0
        return
    assert code == 2
    last = err.splitlines()[-1]  # after what a progress bar has drawn
    assert "cannot write" in last
    assert "File too large; choose" in last
    assert not [name for name in there if ".recsession" in name]
    assert run(*words)[0] == 0
    whole = written(tmp_path / "out")
    assert {name for name in there if there[name] != whole.get(name, b"")} <= {"x.partial", *partial(there)}


def partial(there: dict[str, bytes | None]) -> set[str]:
    """Return what an unfinished collection goes on from: whole ranges, and what it is for."""
    return {name for name in there if name.startswith("x.partial/")}


@pytest.mark.nightly
@pytest.mark.parametrize("size", ["4k", "32k", "96k"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_small_disk(inputs, tmp_path, command, size):
    """A file system of its own, which only the command and its shell see."""
    (tmp_path / "out").mkdir()
    script = f"mount -t tmpfs -o size={size} tmpfs out || exit 77; {sys.executable} -m recsession {COMMANDS[command]}"
    script += "; code=$?; find out -name '.*recsession*' -o -size 0 -name 'x*' -type f; exit $code"
    done = subprocess.run(
        ["unshare", "--mount", "bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode in (1, 77) and "recsession:" not in done.stderr:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    assert done.returncode in (0, 2), done.stderr
    if done.returncode == 2:
        assert "No space left on device" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
        assert "out/" not in done.stdout  # nothing that was found
    assert not list((tmp_path / "out").iterdir())
