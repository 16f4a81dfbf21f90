"""A command that is killed at any moment and run again gives what an undisturbed one gives, and leaves nothing over."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.folder_tree import shared_memory_of, tree
from tests.recsession.cli_cases import BUDGET, FIT, ROOT, split

# The modules come first, and the numbers of the threads: what is killed is the work.
RUNNER = """
import importlib, os, signal, sys

from recsession.cli import _MODULES, main

importlib.import_module(_MODULES[sys.argv[2]])
later = {"train": ["recsession.training_run"], "ope": ["recsession.policy_page"]}
later["export"] = ["h5py", "minari", "pyarrow.parquet"]
for name in later.get(sys.argv[2], []):
    importlib.import_module(name)

at, count, here = int(sys.argv[1]), 0, os.getcwd()
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate", "os.chmod", "fcntl.flock", "shutil.rmtree"}


def hook(event, arguments):
    global count
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
    if event in CHANGES or (writes and str(arguments[0]).startswith(here)):
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)


print("ready", flush=True)
sys.addaudithook(hook)
code = main(sys.argv[2:])
print("changes", count, flush=True)
sys.exit(code)
"""
TABLE = "uid,vid,ts,clicked\n" + "".join(
    f"{user},{(user * 7 + visit) % 5},{visit * 10_000},{visit % 2}\n" for user in range(200) for visit in range(30)
)
COMMANDS = {
    "import": split(
        "import table --path ../log.csv --out out --map user_id=uid item_id=vid timestamp=ts feedback.click=clicked"
    ),
    "split": split("split ../log --out out"),
    "export parquet": split("export ../log --to parquet --out out"),
    "export minari": split("export ../log --to minari --out out --id shop/log-v0"),
    "fit": split("fit --log ../log --out out.json"),
    "theory": split("theory --out out"),
    "collect": split("collect --out out --num-sessions 9000 --workers 2 --set num_items=50 max_steps=8 slate_size=3"),
    "train": [*split("train robust_filter --log ../log --out out"), *FIT, *BUDGET],
    "ope": [*split("ope --log ../log --policies ../policy --truth --num-truth-sessions 20 --out out"), *FIT],
    "quickstart": split(
        "quickstart --out out --num-seeds 1 --num-sessions 60 --num-judge-sessions 40 --num-evaluation-sessions 10"
    )
    + split("--critic.num-rounds 1 --critic.steps-per-round 5 --judge.num-rounds 1 --judge.steps-per-round 5")
    + split("--trainer.num-steps 10 --trainer.checkpoint-interval 4 --trainer.batch-size 32"),
}
# When and where it was made.
_NOT_COMPARED = {"run.json"}


class Command:
    """A command in a folder of its own, whose temporary files lie there, too."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self.words, self.folder = words, folder
        (folder / "tmp").mkdir(parents=True)
        self.changes = 0

    def start(self, at: int = 0) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.folder / "tmp")}
        process = subprocess.Popen(
            [sys.executable, "-c", RUNNER, str(at), *self.words],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "ready\n", process.communicate()[1]
        return process

    def run(self) -> tuple[int, float, str]:
        """Return the exit code, the seconds of the work and what was said."""
        process, begun = self.start(), time.monotonic()
        out, err = process.communicate()
        told = [line for line in out.splitlines() if line.startswith("changes ")]
        self.changes = int(told[0].split()[1]) if told else 0
        return process.returncode, time.monotonic() - begun, err

    def kill(self, *, at: int = 0, after: float = 0.0) -> int:
        """Kill it before the change `at` or, if that is 0, `after` so many seconds; return its number."""
        process = self.start(at)
        if not at:
            time.sleep(after)
            process.kill()
        process.communicate()
        assert process.returncode in (0, -signal.SIGKILL)
        return process.pid

    def left(self) -> dict[str, object]:
        """Return every path with what is in it."""
        found: dict[str, object] = dict(tree(self.folder))
        found |= {name: hdf5(self.folder / name) for name in found if name.endswith(".hdf5")}
        found |= {name: tensors(self.folder / name) for name in found if Path(name).name == "checkpoint"}
        return {name: content for name, content in found.items() if Path(name).name not in _NOT_COMPARED}


def hdf5(file: Path) -> dict[str, object]:
    """Return the arrays and attributes of a file, which has the times of its making in it besides."""
    import h5py

    found: dict[str, object] = {}
    with h5py.File(file) as store:
        store.visititems(lambda name, each: found.update({name: (value_of(each), dict(each.attrs))}))
    return found


def tensors(file: Path) -> str:
    """Return what is in a checkpoint; its bytes tell which of its words were one object, too."""
    import torch
    from torch.utils._pytree import tree_map

    content = torch.load(io.BytesIO(file.read_bytes()), weights_only=True)
    with np.printoptions(threshold=sys.maxsize, floatmode="unique"):
        return repr(tree_map(lambda each: each.numpy() if isinstance(each, torch.Tensor) else each, content))


def value_of(each: Any) -> bytes | None:
    return each[()].tobytes() if hasattr(each, "dtype") else None


def check_kills(command: str, folder: Path, num_kills: int) -> None:
    """Kill a command, half of the times before a change of the file system, half after any time, and run it again."""
    whole = Command(COMMANDS[command], folder / "whole")
    code, seconds, err = whole.run()
    assert code == 0, err
    expected, changes = whole.left(), whole.changes
    rng = np.random.default_rng(zlib.crc32(command.encode()))
    for kill in range(num_kills):
        killed = Command(COMMANDS[command], folder / f"kill-{kill}")
        at, after = int(rng.integers(1, changes + 1)), float(rng.uniform(0.0, seconds))
        moment = f"change {at} of {changes}" if kill % 2 else f"{after} of {seconds} s"
        number = killed.kill(at=at if kill % 2 else 0, after=after)
        code, _, err = killed.run()
        # What was made is not made over: an export or import that had ended is told so.
        assert code == 0 or (code == 2 and "exists" in err), (moment, err)
        left = killed.left()
        assert sorted(left) == sorted(expected), moment
        assert {name for name in left if left[name] != expected[name]} == set(), moment
        assert not shared_memory_of(number), moment


@pytest.fixture
def inputs(made, tmp_path):
    for name in ("log", "policy"):
        (tmp_path / name).symlink_to(made / name)
    (tmp_path / "log.csv").write_text(TABLE)


@pytest.mark.parametrize("command", ["import", "export parquet"])
def test_a_command_that_is_killed_twice(inputs, tmp_path, command):
    check_kills(command, tmp_path, 2)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_twenty_times(inputs, tmp_path, command):
    check_kills(command, tmp_path, 20)
