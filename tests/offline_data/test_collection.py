"""Collection: the same request gives the same bytes, whatever stopped it on the way; anything else is refused."""

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

import numpy as np
import pytest

from offline_data import collection, dataset_writer
from offline_data.behavior.uniform import UniformConfig, UniformPolicy
from offline_data.collection import LogRequest, collect
from offline_data.histories import ObservationBuilder
from offline_data.quality import mixture_spec
from offline_data.rollout import play_sessions
from recenv.errors import InvalidInput
from recenv.session_batch import SessionBatch
from recenv.world import make_world

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_ranges(monkeypatch):
    """Forty sessions are five ranges."""
    monkeypatch.setattr(collection, "SESSIONS_PER_RANGE", 8)


@pytest.fixture(scope="module")
def expected(small_request, compared_bytes, tmp_path_factory):
    """The bytes of the dataset of `small_request`, collected in one range."""
    path = tmp_path_factory.mktemp("expected") / "log"
    collect(path, small_request)
    assert not path.with_name("log.partial").exists()
    return compared_bytes(path)


def partial_of(path):
    return path.with_name(path.name + ".partial")


def tree(folder):
    """Return every path below a folder, with the bytes of the files."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in sorted(folder.rglob("*"))}


# --- the same bytes


@pytest.mark.parametrize("sessions_per_range", [3, 8, 40, 41])
def test_the_same_request_gives_the_same_bytes(
    small_request, compared_bytes, expected, tmp_path, monkeypatch, sessions_per_range
):
    """In ranges of any size, with the keys of the behavior's spec in any order; of `run.json` nothing is promised."""
    monkeypatch.setattr(collection, "SESSIONS_PER_RANGE", sessions_per_range)
    shuffled = replace(small_request, behavior=dict(reversed(small_request.behavior.items())))
    collect(tmp_path / "log", shuffled)
    assert compared_bytes(tmp_path / "log") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("change", [{"dataset_seed": 6}, {"group_size": 1}, {"behavior": "uniform"}])
def test_another_request_gives_other_bytes(small_request, compared_bytes, expected, tmp_path, change):
    collect(tmp_path / "log", replace(small_request, **change))
    other = compared_bytes(tmp_path / "log")
    assert other.keys() == expected.keys()
    assert other["rows/slate.npy"] != expected["rows/slate.npy"]
    assert other["manifest.json"] != expected["manifest.json"]


def test_progress_tells_every_session_once(small_request, tmp_path):
    told: list[int] = []
    collect(tmp_path / "log", small_request, progress=told.append)
    assert told == [8] * 5
    told.clear()
    collect(tmp_path / "log", small_request, progress=told.append)
    assert told == [40]


def test_what_is_there_is_not_collected_again(small_request, tmp_path, monkeypatch):
    collect(tmp_path / "log", small_request)
    before = tree(tmp_path)
    monkeypatch.setattr(collection, "make_world", None)
    dataset = collect(str(tmp_path / "log"), small_request)
    assert dataset.num_sessions == 40
    assert tree(tmp_path) == before


def test_missing_folders_on_the_way_are_made(small_request, compared_bytes, expected, tmp_path):
    collect(tmp_path / "a" / "b" / "log", small_request)
    assert compared_bytes(tmp_path / "a" / "b" / "log") == expected


def test_an_empty_folder_is_taken_for_the_dataset(small_request, compared_bytes, expected, tmp_path):
    (tmp_path / "log").mkdir()
    collect(tmp_path / "log", small_request)
    assert compared_bytes(tmp_path / "log") == expected


class Boastful(UniformPolicy):
    """Adds to the log-probability of all that it does."""

    def act(self, view, draws, memory):
        decision = super().act(view, draws, memory)
        return replace(decision, log_prob=decision.log_prob + self.boast)


@pytest.mark.parametrize(
    ("kind", "boast", "message"),
    [
        ("slate", 50.0, r"gives log_prob=\[\d+.* with prefix_log_prob=.*; return what falls from item to item and"),
        ("slate", -1e-3, r"gives log_prob=\[-.* with prefix_log_prob=.*; return what falls from item to item and ends"),
        ("proto", np.nan, r"acts, and gives log_prob=\[nan\] for it; return the log-probability of what was done"),
        ("slate", -np.inf, r"acts, and gives log_prob=\[-inf\] for it; return the log-probability of what was done"),
    ],
)
def test_log_probs_that_cannot_be_are_refused(small_request, tmp_path, monkeypatch, kind, boast, message):
    """Of a policy of the caller's own."""
    monkeypatch.setattr(Boastful, "boast", boast, raising=False)
    monkeypatch.setattr(collection, "make_behavior", lambda world, spec, kind: Boastful(world, UniformConfig(), kind))
    request = replace(small_request, behavior="uniform", action_kind=kind)
    with pytest.raises(InvalidInput, match=message):
        collect(tmp_path / "log", request)
    assert not (tmp_path / "log").exists()


# --- stopped


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
        (collection, "write_json", 1),  # the claim of the folder
        (collection, "store_arrays", 1),
        (collection, "store_arrays", 3),
        (collection, "_join", 1),
        (dataset_writer, "_chunks", 1),
        (dataset_writer, "_chunks", 90),
        (os, "fsync", 1),
        (dataset_writer, "write_json", 1),  # the manifest
        (dataset_writer, "write_json", 2),  # run.json
        (collection, "place_folder", 1),
        (shutil, "rmtree", 2),  # the dataset is in its place, the ranges are not yet removed
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
import json, sys, time
from offline_data import collection

if __name__ == "__main__":
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
from offline_data import collection

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
def test_spawned_workers_give_the_same_bytes(small_request, compared_bytes, expected, tmp_path, workers):
    path = tmp_path / "log"
    with start_script(path, small_request, workers) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "8\n" * 5
        assert process.wait() == 0
    assert compared_bytes(path) == expected
    assert not partial_of(path).exists()


def test_workers_die_with_a_killed_parent_and_the_next_run_goes_on(small_request, compared_bytes, expected, tmp_path):
    path = tmp_path / "log"
    many = replace(small_request, num_sessions=8 * 400)
    with start_script(path, many, 2) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "8\n"
        workers = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
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


def test_a_worker_that_dies_is_told_and_the_next_run_goes_on(small_request, tmp_path):
    def kill_workers(_):
        for worker in multiprocessing.active_children():
            worker.kill()

    many = replace(small_request, num_sessions=8 * 400)
    with pytest.raises(InvalidInput, match="workers=2: a worker process has died, for want of memory or"):
        collect(tmp_path / "log", many, workers=2, progress=kill_workers)
    assert not (tmp_path / "log").exists()
    assert collect(tmp_path / "log", many).num_sessions == 3200


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


@pytest.mark.parametrize("text", [b"", b'{"a', b"\xff\xfe"])
def test_a_damaged_request_of_unfinished_work_is_refused(small_request, tmp_path, text):
    path = tmp_path / "log"
    partial_of(path).mkdir()
    (partial_of(path) / "request.json").write_bytes(text)
    with pytest.raises(InvalidInput, match=r"request\.json is damaged; remove .*log\.partial and run the same command"):
        collect(path, small_request)


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
    with pytest.raises(InvalidInput, match=r"the log request holds what JSON does not: .*; give plain values"):
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
    script.write_text(SCRIPT.replace("    collection.SESSIONS", f"    {limit}    collection.SESSIONS"))
    words = [sys.executable, str(script), str(path), json.dumps(small_request.to_dict()), "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "1"}
    run = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert run.returncode == 1
    assert "InvalidInput: cannot write" in run.stderr
    assert "File too large" in run.stderr
    assert not path.exists()
    collect(path, small_request)
    assert compared_bytes(path) == expected


# --- refused


def another_request(path, request):
    collect(path, replace(request, dataset_seed=6))


def unfinished_work(path, request):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(path, replace(request, dataset_seed=6), progress=stop)


def foreign_folder(path, _):
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")


def file_in_the_way(path, _):
    path.write_text("notes")


def link_to_nowhere(path, _):
    path.symlink_to("nowhere")


def file_in_the_way_of_the_partial(path, _):
    partial_of(path).write_text("notes")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (
            another_request,
            "{path} holds a dataset of another request (dataset_seed 6 there, 5 here); choose another --out or remove",
        ),
        (
            unfinished_work,
            "{path}.partial holds unfinished work of another request (dataset_seed 6 there, 5 here); remove it "
            "or choose another --out",
        ),
        (foreign_folder, "{path} holds something else (no manifest.json); choose another --out, or an empty folder"),
        (file_in_the_way, "{path} is a file; choose another --out"),
        (link_to_nowhere, "{path} is a link to nowhere; remove it or choose another --out"),
        (
            file_in_the_way_of_the_partial,
            "cannot write {path}.partial: File exists; choose a path in a folder that you can write",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_something_else_at_the_path_is_refused_and_left_as_it_is(small_request, tmp_path, prepare, message):
    path = tmp_path / "log"
    prepare(path, small_request)
    before = tree(tmp_path)
    with pytest.raises(InvalidInput) as refusal:
        collect(path, small_request)
    assert message.format(path=path) in str(refusal.value)
    assert tree(tmp_path) == before


def test_a_path_that_cannot_be_written_is_refused(small_request, tmp_path):
    (tmp_path / "file").write_text("notes")
    with pytest.raises(InvalidInput, match=r"cannot write .*file/log\.partial: Not a directory; choose a path"):
        collect(tmp_path / "file" / "log", small_request)
    assert tree(tmp_path) == {"file": b"notes"}


def test_a_second_writer_is_refused_and_the_first_goes_on(small_request, compared_bytes, expected, tmp_path):
    path = tmp_path / "log"
    refusals: list[str] = []

    def try_to_write_too(_):
        with pytest.raises(InvalidInput) as refusal:
            collect(path, small_request)
        refusals.append(str(refusal.value))

    collect(path, small_request, progress=try_to_write_too)
    sentence = f"{path}.partial is being written by another process; wait for it or choose another --out"
    assert refusals == [sentence] * 5
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


def test_a_writer_that_comes_as_another_finishes_takes_its_dataset(
    small_request, compared_bytes, expected, tmp_path, monkeypatch
):
    path = tmp_path / "log"

    def meanwhile(config):
        with monkeypatch.context() as patch:
            patch.setattr(collection, "make_world", make_world)
            collect(path, small_request)
        return make_world(config)

    make_world = collection.make_world
    monkeypatch.setattr(collection, "make_world", meanwhile)
    told: list[int] = []
    assert collect(path, small_request, progress=told.append).num_sessions == 40
    assert told == [40]
    assert compared_bytes(path) == expected
    assert not partial_of(path).exists()


def test_the_name_of_unfinished_work_is_refused(small_request, tmp_path):
    """A log of the name without it would take this one for its own."""
    with pytest.raises(InvalidInput, match=r"log\.partial is the name of unfinished work; choose another --out"):
        collect(tmp_path / "log.partial", small_request)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"behavior": "clickbat"}, "unknown behavior policy 'clickbat'; did you mean 'clickbait'?"),
        ({"behavior": mixture_spec(0.5, "clickbat")}, "did you mean 'clickbait'?"),
        ({"action_kind": "item"}, "unknown action kind 'item'"),
        ({"action_kind": None}, "unknown action kind None"),
        ({"behavior": None}, "behavior spec None has no 'name'"),
    ],
)
def test_an_unknown_name_leaves_nothing_behind(small_request, tmp_path, change, message):
    with pytest.raises(InvalidInput) as refusal:
        collect(tmp_path / "log", replace(small_request, **change))
    assert message in str(refusal.value)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_sessions", 0, "num_sessions=0 is outside"),
        ("num_sessions", 2.0, "num_sessions=2.0 is not an integer"),
        ("num_sessions", 2**40, "num_sessions=1099511627776 is outside"),
        ("dataset_seed", -1, "dataset_seed=-1 is outside"),
        ("dataset_seed", 2**63, "dataset_seed=9223372036854775808 is outside"),
        ("group_size", 0, "group_size=0 is outside"),
        ("group_size", 3, "num_sessions=40 is not a multiple of group_size=3; change one of them"),
    ],
)
def test_a_request_out_of_range_is_refused(small_request, field, value, message):
    with pytest.raises(InvalidInput) as refusal:
        replace(small_request, **{field: value})
    assert message in str(refusal.value)


@pytest.mark.parametrize("good_fraction", [-0.1, 1.1, float("nan")])
def test_a_good_fraction_out_of_range_is_refused(good_fraction):
    with pytest.raises(InvalidInput, match=r"good_fraction=.*set good_fraction to a number in \[0\.0, 1\.0\]"):
        mixture_spec(good_fraction, "clickbait")


# --- seeds and labels


def test_groups_share_their_user_and_not_their_luck(small_request, tmp_path):
    dataset = collect(tmp_path / "log", replace(small_request, group_size=4))
    seeds = np.asarray(dataset.sessions["session_seed"]).reshape(10, 4)
    assert (seeds == seeds[:, :1]).all()
    assert len(set(seeds[:, 0].tolist())) == 10
    assert len(set(np.asarray(dataset.sessions["behavior_seed"]).tolist())) == 40
    profile = np.asarray(dataset.sessions["profile"]).reshape(10, 4, -1)
    assert (profile == profile[:, :1]).all()
    first = np.asarray(dataset.rows["slate"])[np.asarray(dataset.offsets[:-1])].reshape(10, 4, -1)
    assert (first != first[:, :1]).any(axis=(1, 2)).all()
    session_id = np.repeat(np.arange(40), np.diff(dataset.offsets))
    np.testing.assert_array_equal(dataset.rows["session_id"], session_id)
    for name in ("group_id", "user_id"):
        np.testing.assert_array_equal(dataset.sessions[name], np.arange(40) // 4)
    np.testing.assert_array_equal(dataset.sessions["episode_id"], 0)


def test_two_datasets_share_no_seed(small_request, tmp_path):
    seeds: list[int] = []
    for number, dataset_seed in enumerate((0, 1, 2, 2**62, 2**63 - 1)):
        request = replace(small_request, dataset_seed=dataset_seed, group_size=1)
        dataset = collect(tmp_path / str(number), request)
        seeds += np.asarray(dataset.sessions["session_seed"]).tolist()
        seeds += np.asarray(dataset.sessions["behavior_seed"]).tolist()
    assert len(set(seeds)) == len(seeds) == 400


def test_rows_are_the_sessions_played_from_their_seeds(small_world, small_request, tmp_path):
    """The latent label is which component acted; the reward is left out, being a sum of what is there."""
    dataset = collect(tmp_path / "log", small_request)
    world = small_world(12, 3)
    seeds = (np.asarray(dataset.sessions[name]) for name in ("session_seed", "behavior_seed"))
    played = play_sessions(world, small_request.policy(world), *seeds)
    component, reward = played.columns.pop("component"), played.columns.pop("reward")
    assert set(component.tolist()) == {0, 1}
    np.testing.assert_array_equal(dataset.open_latent_labels(), component)
    assert reward.max() > 0
    np.testing.assert_array_equal(dataset.reward(), reward)
    np.testing.assert_array_equal(dataset.session_returns(), np.add.reduceat(reward, played.offsets[:-1]))
    np.testing.assert_array_equal(dataset.offsets, played.offsets)
    np.testing.assert_array_equal(dataset.sessions["profile"], played.profile)
    assert dataset.rows.keys() == played.columns.keys() | {"session_id", "consumed"}
    for name, values in played.columns.items():
        assert dataset.rows[name].dtype == values.dtype
        np.testing.assert_array_equal(dataset.rows[name], values)


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        ("slate", {}),
        ("slate", {"num_candidates": 5, "retention": {"max_sessions": 3}, "leave_hazard": {"hazard": 0.3}}),
        ("proto", {"freshness": {"horizon": 200.0}}),
        ("proto", {"freshness": {"horizon": 200.0}, "num_candidates": 5, "satisfaction": True}),
    ],
)
def test_observations_are_rebuilt_from_the_disk(small_request, tmp_path, kind, pieces):
    """With memory-mapped columns and the seeds that collection gives, all 64 bits of them."""
    request = replace(small_request, config=small_request.config.override(**pieces), action_kind=kind)
    dataset = collect(tmp_path / "log", request)
    builder = ObservationBuilder(dataset)
    world = make_world(request.config)
    # What was logged was offered: no behavior policy shows what it knows to be hidden.
    assert np.asarray(dataset.rows["shown"]).all()
    count = dataset.num_sessions
    batch = SessionBatch(world, count)
    batch.start(np.arange(count), np.asarray(dataset.sessions["session_seed"]), np.zeros(count, np.uint64))
    sessions = np.arange(count)
    while batch.active.any():
        rows = np.asarray(dataset.offsets[:-1])[sessions] + batch.steps.astype(np.int64)
        expected = batch.observe()
        for name, values in builder.observe(rows).items():
            assert type(values) in (np.ndarray, np.memmap)
            np.testing.assert_array_equal(values, expected[name])
        batch.step(np.asarray(dataset.rows["slate"])[rows])
        expected = batch.observe()
        for name, values in builder.observe(rows, after=True).items():
            np.testing.assert_array_equal(values, expected[name])
        going_on = batch.active.copy()
        batch, sessions = batch.take(going_on), sessions[going_on]


def test_quality_dial():
    spec = mixture_spec(0.25, "uniform", "session")
    assert spec["components"] == [{"name": "expert"}, {"name": "uniform"}]
    assert spec["weights"] == [0.25, 0.75]
    assert spec["mixing"] == "session"
    assert mixture_spec(0.1, "clickbait")["mixing"] == "step"


def test_default_ranges_cover_every_session_once(monkeypatch):
    monkeypatch.undo()
    ranges = LogRequest(num_sessions=5000).ranges()
    assert [len(r) for r in ranges] == [4096, 904]
    assert [session for r in ranges for session in r] == list(range(5000))
