"""Units of work: each is done once, by any number of processes, whatever is killed on the way."""

from __future__ import annotations

import json
import multiprocessing
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from offline_data.units import DEATHS_BORNE, Progress, run_units
from recenv.errors import InvalidInput
from recenv.registry import permit_imports, permitted_imports
from tests.folder_tree import shared_memory_of

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sum:
    """Adds its number to those of its needs; may kill its worker, fail or take its time on the way."""

    folder: Path
    number: int
    needs: tuple[Sum, ...] = ()
    kills: int = 0
    fails: bool = False
    seconds: float = 0.0
    cost: int = 10

    @property
    def title(self) -> str:
        return f"sum {self.number}"

    @property
    def file(self) -> Path:
        return self.folder / f"{self.number}.json"

    def is_done(self) -> bool:
        return self.file.exists()

    def run(self, progress: Progress) -> None:
        for _ in range(self.cost):
            time.sleep(self.seconds / self.cost)
            progress(1)
        attempt = len(list(self.folder.glob(f"{self.number}-attempt-*")))
        (self.folder / f"{self.number}-attempt-{attempt}").write_text(str(os.getpid()))
        if attempt < self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails:
            raise InvalidInput(f"sum={self.number} is none; choose another")
        total = self.number + sum(json.loads(need.file.read_text())["total"] for need in self.needs)
        threads = [os.environ.get(f"{name}_NUM_THREADS") for name in ("OMP", "MKL", "OPENBLAS", "NUMBA")]
        hears_interrupt = signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
        result = {"total": total, "pid": os.getpid(), "threads": threads, "hears_interrupt": hears_interrupt}
        half = self.file.with_suffix(".half")
        half.write_text(json.dumps(result))
        half.rename(self.file)


class Opener(Sum):
    """Opens a file as it comes out of its pickle; leaves what it may import because the file says so."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, seen=sorted(permitted_imports()))

    def run(self, progress: Progress) -> None:
        self.file.write_text(json.dumps([self.__dict__["seen"], sorted(permitted_imports())]))


def test_workers_may_import_what_their_sender_may(tmp_path):
    with permit_imports(["shops"]):
        run_units([Opener(tmp_path, 1), Opener(tmp_path, 2)], workers=2, folder=tmp_path)
    for number in (1, 2):
        assert json.loads((tmp_path / f"{number}.json").read_text()) == [["shops"], ["shops"]]


def run(units: list[Any], workers: int, told: Callable[[int], object] | None = None) -> list[dict[str, Any]]:
    folder = units[0].folder
    run_units(units, workers=workers, folder=folder, progress=told)
    assert not (folder / "under-way").exists()
    assert not multiprocessing.active_children()
    return [json.loads(unit.file.read_text()) for unit in units]


def a_diamond(folder: Path) -> list[Sum]:
    first = Sum(folder, 1, seconds=0.5)
    sides = Sum(folder, 2, (first,)), Sum(folder, 3, (first,))
    return [first, *sides, Sum(folder, 4, sides), Sum(folder, 100)]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_what_is_needed_is_done_before_and_every_tick_is_told_once(tmp_path, workers):
    told: list[int] = []
    results = run(a_diamond(tmp_path), workers, told.append)
    assert [result["total"] for result in results] == [1, 3, 4, 11, 100]
    assert sum(told) == 50
    assert len(list(tmp_path.glob("*-attempt-0"))) == 5
    assert not list(tmp_path.glob("*-attempt-1"))
    here = {os.getpid()}
    pids = {result["pid"] for result in results}
    assert pids == here if workers == 1 else 1 <= len(pids - here) == len(pids) <= workers
    if workers > 1:
        assert all(result["threads"] == ["1"] * 4 and not result["hears_interrupt"] for result in results)


def test_what_is_done_is_told_and_not_done_again(tmp_path):
    units = a_diamond(tmp_path)
    run(units[:2], 1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    told: list[int] = []
    run(units, 2, told.append)
    assert told[:2] == [10, 10]
    assert sum(told) == 50
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_titles_of_what_is_under_way_are_told(tmp_path):
    titles: list[str] = []
    run_units(a_diamond(tmp_path), workers=2, folder=tmp_path, describe=titles.append)
    assert "sum 1, sum 100" in titles or "sum 1" in titles
    assert "sum 4" not in ", ".join(titles[:1])


def test_units_of_a_dead_worker_are_done_again(tmp_path):
    told: list[int] = []
    units = [Sum(tmp_path, number, kills=DEATHS_BORNE * (number == 2), seconds=0.2) for number in range(4)]
    results = run(units, 2, told.append)
    assert [result["total"] for result in results] == [0, 1, 2, 3]
    assert len(list(tmp_path.glob("2-attempt-*"))) == DEATHS_BORNE + 1
    assert sum(told) == 40  # a second time over the same ticks is no news


def test_a_unit_that_kills_its_worker_each_time_is_named(tmp_path):
    units = [Sum(tmp_path, number, kills=99 * (number == 1), seconds=0.2) for number in range(3)]
    with pytest.raises(InvalidInput, match=r"workers=2: a worker process has died on sum 1, 3 times, .*; lower worker"):
        run(units, 2)
    assert not units[1].is_done()
    assert not (tmp_path / "under-way").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_unit_raises_is_raised_and_stops_the_others(tmp_path, workers):
    units = [Sum(tmp_path, 0, fails=True), Sum(tmp_path, 1, seconds=60.0)]
    with pytest.raises(InvalidInput, match="sum=0 is none; choose another"):
        run(units, workers)
    assert not units[1].is_done()
    assert not multiprocessing.active_children()


def test_what_the_caller_raises_on_the_way_stops_all(tmp_path):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([Sum(tmp_path, number, seconds=60.0) for number in range(3)], 2, stop)
    assert not multiprocessing.active_children()
    assert [path.name for path in tmp_path.iterdir()] == []


SCRIPT = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from offline_data.units import run_units
from tests.offline_data.test_units import Sum

folder = Path(sys.argv[1])
told = lambda count: print("ticks", flush=True)
run_units([Sum(folder, number, seconds=60.0, cost=600) for number in range(4)], workers=2, folder=folder, progress=told)
"""


def gone_soon(pids: set[str]) -> bool:
    deadline = time.monotonic() + 30.0
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def children(pid: int) -> set[str]:
    """Return the processes that any of a process's threads has started."""
    return {child for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()}


@pytest.mark.parametrize("presses", [1, 3])
def test_ctrl_c_in_a_terminal_ends_all_at_once(tmp_path, presses):
    """The terminal sends it to the workers too, which must not answer for themselves."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT, str(tmp_path)])
    shown = b""
    while b"ticks" not in shown:
        shown += os.read(terminal, 4096)
    workers = children(pid)
    assert len(workers) >= 2
    for _ in range(presses):
        os.write(terminal, b"\x03")
        time.sleep(0.02)
    try:
        while data := os.read(terminal, 4096):
            shown += data
    except OSError:  # Linux tells so that the other side is closed
        pass
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == -signal.SIGINT
    assert gone_soon(workers)
    assert not shared_memory_of(pid)
    if presses == 1:  # more may also fall into what this process does on its way out
        assert shown.count(b"Traceback") == 1
        assert not (tmp_path / "under-way").exists()


@pytest.mark.nightly
@pytest.mark.parametrize("seconds", [0.0, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0])
def test_a_killed_parent_leaves_no_worker(tmp_path, seconds):
    """While workers start, while they are idle, while they work."""
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    with subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) as script:
        while len(workers := children(script.pid)) < 2 + 2 * (seconds > 1.0):
            time.sleep(0.01)
        time.sleep(seconds)
        workers = children(script.pid)
        script.kill()
    assert gone_soon(workers)
    assert not shared_memory_of(script.pid)
    assert not list((tmp_path / "tmp").iterdir())
