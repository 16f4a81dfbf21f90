"""Collection that is stopped, killed, damaged or shared on the way ends with the same bytes, or is refused."""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_data.behavior.uniform import UniformPolicy
from offline_data.collection import collection
from offline_data.collection.collection import collect
from offline_data.collection.rollout import play_sessions
from offline_data.store import dataset_writer, folder_claim
from recenv.errors import InvalidInput
from tests.folder_tree import tree

ROOT = Path(__file__).parents[3]


pytestmark = pytest.mark.usefixtures("small_ranges")


def partial_of(path):
    return path.with_name(path.name + ".partial")


@pytest.mark.parametrize("num_done", [1, 3, 5])
def test_stopped_between_ranges_it_goes_on(small_request, compared_bytes, expected, tmp_path, monkeypatch, num_done):
    path = tmp_path / "log"
    told: list[int] = []

    def stop(count):
        told.append(count)
        if len(told) == num_done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(path, small_request, progress=stop)
    assert not path.exists()
    assert len(list(partial_of(path).glob("range-*"))) == num_done
    played: list[int] = []

    def count_sessions(world, policy, session_seeds, behavior_seeds):
        played.append(len(session_seeds))
        return play_sessions(world, policy, session_seeds, behavior_seeds)

    monkeypatch.setattr(collection, "play_sessions", count_sessions)
    collect(path, small_request)
    assert played == [8] * (5 - num_done)
    assert compared_bytes(path) == expected
    assert not partial_of(path).exists()


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        (folder_claim, "write_json", 1),
        (collection, "store_arrays", 1),
        (collection, "store_arrays", 3),
        (collection, "_join", 1),
        (dataset_writer, "_chunks", 1),
        (dataset_writer, "_chunks", 90),
        (os, "fsync", 1),
        (dataset_writer, "write_json", 1),  # the manifest
        (dataset_writer, "write_json", 2),  # run.json
        (collection, "place_folder", 1),
        (shutil, "rmtree", 3),  # the dataset is in its place, the ranges are not yet removed
    ],
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")], ids=["stop", "full"])
def test_stopped_anywhere_it_leaves_nothing_half_written_and_goes_on(
    small_request, compared_bytes, expected, tmp_path, monkeypatch, module, name, call, error
):
    path = tmp_path / "log"
    calls: list[object] = []
    original = getattr(module, name)

    def fail(*arguments, **options):
        calls.append(arguments)
        if len(calls) == call:
            if name == "store_arrays":  # half of a range is on the disk
                arguments[0].write(b"half")
            raise error
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        with pytest.raises((KeyboardInterrupt, InvalidInput, OSError)) as stop:
            collect(path, small_request)
    if name in ("store_arrays", "_chunks", "fsync") and error is not KeyboardInterrupt:
        assert stop.type is InvalidInput
        assert str(path.name) in str(stop.value)
        assert "No space left on device; choose a path in a folder that you can write" in str(stop.value)
    assert len(calls) >= call
    assert path.exists() == (name == "rmtree")
    collect(path, small_request)
    assert compared_bytes(path) == expected


SCRIPT = """
import json, sys
from offline_data.collection import collection

collection.SESSIONS_PER_RANGE = 8
path, request, workers = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
told = lambda count: print(count, flush=True)
collection.collect(path, collection.LogRequest.from_dict(request), workers=workers, progress=told)
"""


def start_script(path, request, workers=1):
    script = path.with_suffix(".py")
    script.write_text(SCRIPT)
    words = [sys.executable, str(script), str(path), json.dumps(request.to_dict()), str(workers)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, cwd=path.parent, env=environment, stdout=subprocess.PIPE, text=True)


KILLING = """
import json, os, shutil, signal, sys, time
import numpy as np
from offline_data.collection import collection

collection.SESSIONS_PER_RANGE = 8
path, request = sys.argv[1], collection.LogRequest.from_dict(json.loads(sys.argv[2]))
began = time.perf_counter()
collection.collect(path, request)  # the kernels are compiled now, and the time that a run takes is known
seconds = time.perf_counter() - began
shutil.rmtree(path)
rng = np.random.default_rng(int(sys.argv[3]))
stages = []
for _ in range(20):
    if os.path.exists(path):
        shutil.rmtree(path)
    child = os.fork()
    if child == 0:
        collection.collect(path, request)
        os._exit(0)
    time.sleep(rng.uniform(0.0, seconds))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    partial = path + ".partial"
    ranges = [name for name in os.listdir(partial) if name.startswith("range-")] if os.path.exists(partial) else []
    finished = os.path.exists(path)
    if finished:
        collection.LoggedDataset.open(path).verify()
    stages.append("finished" if finished else len(ranges))
print(json.dumps(stages))
"""


@pytest.mark.nightly
def test_killed_at_twenty_random_points_it_goes_on_to_the_same_bytes(small_request, compared_bytes, expected, tmp_path):
    """SIGKILL falls where it falls; whatever it leaves, the next run takes up, and the last one ends undisturbed."""
    path = tmp_path / "log"
    words = [sys.executable, "-c", KILLING, str(path), json.dumps(small_request.to_dict()), "7"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    stages = json.loads(run.stdout)
    assert len(stages) == 20
    assert any(stage != "finished" for stage in stages)
    collect(path, small_request)
    assert compared_bytes(path) == expected
    assert [file.name for file in tmp_path.iterdir() if file.name != "log.partial"] == ["log"]


@pytest.mark.parametrize("workers", [2, 3])
def test_workers_give_the_same_bytes(small_request, compared_bytes, expected, tmp_path, workers):
    told: list[int] = []
    collect(tmp_path / "log", small_request, workers=workers, progress=told.append)
    assert told == [8] * 5
    assert compared_bytes(tmp_path / "log") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_ranges_of_a_killed_worker_are_played_again(small_request, compared_bytes, expected, tmp_path):
    killed: list[Any] = []

    def kill_a_worker(_):
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    collect(tmp_path / "log", small_request, workers=2, progress=kill_a_worker)
    assert killed
    assert compared_bytes(tmp_path / "log") == expected


@pytest.mark.nightly
def test_a_killed_run_leaves_no_worker_and_the_next_one_goes_on(small_request, compared_bytes, expected, tmp_path):
    path = tmp_path / "log"
    many = replace(small_request, num_sessions=8 * 400)
    with start_script(path, many, 2) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "8\n"
        of_threads = Path(f"/proc/{process.pid}/task").glob("*/children")
        workers = [child for file in of_threads for child in file.read_text().split()]
        assert workers
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 30.0
    while any(Path(f"/proc/{worker}").exists() for worker in workers):
        assert time.monotonic() < deadline, "a worker outlives its parent"
        time.sleep(0.05)
    num_done = len(list(partial_of(path).glob("range-*")))
    assert 1 <= num_done < 400
    shutil.rmtree(partial_of(path))
    collect(path, small_request)
    assert compared_bytes(path) == expected


def test_a_range_damaged_on_the_disk_is_refused(small_request, compared_bytes, expected, tmp_path):
    """As a power cut may leave it: the archive's own checksum tells."""
    path = tmp_path / "log"
    told: list[int] = []

    def stop(count):
        told.append(count)
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(path, small_request, progress=stop)
    file = collection.RangeWriter(partial_of(path), small_request).file(range(8, 16))
    sound = file.read_bytes()
    for spoilt in (b"", sound[:-100], sound[:3000] + bytes([sound[3000] ^ 1]) + sound[3001:]):
        file.write_bytes(spoilt)
        with pytest.raises(InvalidInput) as refusal:
            collect(path, small_request)
        assert str(refusal.value) == f"{file} is damaged; remove it and run the same command again"
        assert not path.exists()
    file.unlink()
    collect(path, small_request)
    assert compared_bytes(path) == expected


def test_ranges_of_another_request_are_never_joined(small_request, compared_bytes, expected, tmp_path):
    """A distributed engine that was given another seed, or the rest of a folder that was being removed."""
    path = tmp_path / "log"
    partial_of(path).mkdir()
    other = collection.RangeWriter(partial_of(path), replace(small_request, dataset_seed=6))
    for sessions in other.request.ranges():
        other.write(sessions)
    collect(path, small_request)
    assert compared_bytes(path) == expected


def test_ranges_of_another_version_are_played_again(small_request, compared_bytes, expected, tmp_path, monkeypatch):
    path = tmp_path / "log"
    with monkeypatch.context() as patch:
        patch.setattr(collection, "versions", lambda: {"recsession": "0.0"})
        writer = collection.RangeWriter(partial_of(path), small_request)
        writer.write(range(8))
        writer.file(range(8)).write_bytes(b"what that version made of it")
    collect(path, small_request)
    assert compared_bytes(path) == expected


def test_a_distributed_engine_writes_ranges_in_any_order(small_request, compared_bytes, expected, tmp_path):
    path = tmp_path / "log"
    writers = [collection.RangeWriter(partial_of(path), small_request) for _ in range(2)]
    for index, sessions in enumerate(reversed(small_request.ranges())):
        writers[index % 2].write(sessions)
        assert writers[0].write(sessions) == len(sessions)
    collect(path, small_request)
    assert compared_bytes(path) == expected


def test_what_a_stop_before_the_last_step_leaves_is_removed(small_request, tmp_path):
    path = tmp_path / "log"
    collect(path, small_request)
    partial_of(path).mkdir()
    (partial_of(path) / "range-000000000008-0").write_bytes(b"")
    collect(path, small_request)
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


def test_the_working_folder_itself_is_a_path(small_request, compared_bytes, expected, tmp_path, monkeypatch):
    collect(tmp_path / "log", small_request)
    monkeypatch.chdir(tmp_path / "log")
    assert collect(".", small_request).num_sessions == 40
    assert compared_bytes(tmp_path / "log") == expected


def test_numpy_values_are_plain_ones(small_request, compared_bytes, tmp_path):
    plain = {"name": "mixture", "components": ["expert", "uniform"], "weights": [0.5, 0.5], "mixing": "step"}
    of_numpy = {**plain, "components": ("expert", "uniform"), "weights": np.array([0.5, 0.5], np.float32)}
    paths = [tmp_path / "plain", tmp_path / "numpy"]
    for path, behavior in zip(paths, (plain, dict(reversed(of_numpy.items()))), strict=True):
        collect(path, replace(small_request, behavior=behavior))
    assert compared_bytes(paths[0]) == compared_bytes(paths[1])
    collect(paths[0], replace(small_request, behavior=of_numpy))


def test_what_is_no_json_is_refused(small_request, tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class OddConfig:
        where: Path = ROOT

    monkeypatch.setattr(UniformPolicy, "Config", OddConfig)
    behavior = {"name": "offline_data.behavior.uniform:UniformPolicy"}
    with pytest.raises(InvalidInput, match=r"the request holds what JSON does not: .*; give plain values"):
        collect(tmp_path / "log", replace(small_request, behavior=behavior))
    assert tree(tmp_path) == {}


def test_what_cannot_be_written_for_want_of_space_is_told(small_request, compared_bytes, expected, tmp_path):
    """A limit on the size of a file stands for a full disk: the kernel refuses the write in the middle of it."""
    path = tmp_path / "log"
    limit = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    )
    script = tmp_path / "full.py"
    script.write_text(SCRIPT.replace("collection.SESSIONS", f"{limit}collection.SESSIONS"))
    words = [sys.executable, str(script), str(path), json.dumps(small_request.to_dict()), "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}
    run = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "InvalidInput: cannot write" in run.stderr
    assert "File too large" in run.stderr
    assert not path.exists()
    collect(path, small_request)
    assert compared_bytes(path) == expected


def test_a_lock_held_by_another_process_is_respected(small_request, compared_bytes, expected, tmp_path):
    path = tmp_path / "log"
    partial_of(path).mkdir()
    with (partial_of(path) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with start_script(path, small_request) as process:
            assert process.wait() == 1
        assert [file.name for file in partial_of(path).iterdir()] == ["lock"]
    collect(path, small_request)  # a lock dies with its holder
    assert compared_bytes(path) == expected
