"""What an output may replace, who may write it, and what becomes of what a killed writer has left."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from offline_data.store.folder_claim import FolderClaim, sole_writer
from recenv.errors import InvalidInput
from recenv.files.atomic_files import (
    check_output,
    claimed,
    claimed_file,
    claimed_folder,
    locked,
    new_folder,
    replacing,
    require_free,
    write_json,
)
from tests.folder_tree import tree
from tests.obstacles import KINDS, PRECIOUS, seen, stand_in_the_way

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("kind", KINDS)
def test_only_a_regular_file_is_replaced(tmp_path, kind):
    path = tmp_path / "out"
    stand_in_the_way(path, kind)
    before = seen(tmp_path)
    for writer in (replacing, claimed_file):
        with pytest.raises(InvalidInput, match=r"cannot write .*out: it is a .*; choose another path"), writer(path):
            pytest.fail("it was let in")
    for writer in (new_folder, claimed_folder):
        with pytest.raises(InvalidInput, match=r"out exists; choose another --out or remove it"), writer(path):
            pytest.fail("it was let in")
    assert seen(tmp_path) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_lock_is_neither_followed_nor_cut(tmp_path, kind):
    stand_in_the_way(tmp_path / "lock", kind)
    before = seen(tmp_path)
    with pytest.raises(InvalidInput, match=r"cannot write .*lock: it is a .*; remove it"), sole_writer(tmp_path):
        pytest.fail("it was let in")
    assert seen(tmp_path) == before


def test_a_lock_that_holds_something_keeps_it(tmp_path):
    (tmp_path / "lock").write_text(PRECIOUS)
    with sole_writer(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == PRECIOUS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["request.json", "policy"])
def test_a_runs_files_are_looked_at_before_its_work(tmp_path, kind, name):
    (tmp_path / "run").mkdir()
    stand_in_the_way(tmp_path / "run" / name, kind)
    before = seen(tmp_path)
    claim = FolderClaim(tmp_path / "run", {}, files=("policy",))
    with pytest.raises(InvalidInput, match=f"cannot write .*{name}: it is a "), claim.held():
        pytest.fail("it was let in")
    assert seen(tmp_path) == before


def test_a_run_does_not_write_over_files_of_no_run(tmp_path):
    (tmp_path / "policy").write_text(PRECIOUS)
    claim = FolderClaim(tmp_path, {}, files=("policy",))
    with pytest.raises(InvalidInput, match=r"holds policy of no earlier run \(no request\.json\)"), claim.held():
        pytest.fail("it was let in")
    assert tree(tmp_path) == {"policy": PRECIOUS.encode()}


def test_fresh_removes_a_link_and_not_what_it_leads_to(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text(PRECIOUS)
    with FolderClaim(tmp_path / "run", {}).held():
        (tmp_path / "run" / "link").symlink_to(tmp_path / "kept")
    with FolderClaim(tmp_path / "run", {}, fresh=True).held():
        assert sorted(tree(tmp_path / "run")) == ["lock", "request.json"]
    assert (tmp_path / "kept" / "file").read_text() == PRECIOUS


def test_another_name_of_the_file_keeps_the_old_one(tmp_path):
    (tmp_path / "other").write_text(PRECIOUS)
    (tmp_path / "out").hardlink_to(tmp_path / "other")
    write_json(tmp_path / "out", 1)
    assert (tmp_path / "other").read_text() == PRECIOUS


def test_a_link_among_the_folders_above_is_followed(tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    write_json(tmp_path / "link" / "below" / "out", 1)
    with new_folder(tmp_path / "link" / "folder"):
        pass
    assert sorted(tree(tmp_path / "disk")) == ["below", "below/out", "folder"]


@pytest.mark.parametrize("name", ["x" * 300, "x" * 246, "a\0b", "file/below", ".", "..", "", "nowhere/below"])
def test_a_path_that_cannot_be_is_refused_before_anything_is_made(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text(PRECIOUS)
    (tmp_path / "nowhere").symlink_to("absent")
    before = seen(tmp_path)
    for writer in (replacing, new_folder):
        with pytest.raises(InvalidInput, match=r"cannot write|exists; choose"), writer(Path(name)):
            pytest.fail("it was let in")
    assert seen(tmp_path) == before


def test_somebody_elses_file_is_kept(tmp_path):
    path = tmp_path / "page.html"
    for text in (PRECIOUS, "a, mark"):
        path.write_text(text)
        if "mark" in text:
            check_output(path, mark=b"mark")
        else:
            with pytest.raises(InvalidInput, match="the file there is of another kind; choose another path, or remove"):
                check_output(path, mark=b"mark")
        assert path.read_text() == text
    path.write_text("")
    check_output(path, mark=b"mark")


def test_a_path_has_one_writer_at_a_time_and_its_thread_may_claim_again(tmp_path):
    path, told = tmp_path / "new" / "out", []

    def other():
        try:
            write_json(path, "other")
        except InvalidInput as error:
            told.append(str(error))

    with claimed_file(path):
        for _ in range(2):
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
        write_json(path, "first")
        write_json(path, "second")
    assert told == [f"{path} is being written by another process; wait for it or choose another path"] * 2
    assert tree(tmp_path) == {"new": None, "new/out": b'"second"\n'}


def test_who_fails_leaves_no_folders_that_it_made(tmp_path):
    (tmp_path / "old").mkdir()
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "old" / "new" / "newer" / "out"):
        _ = 1 / 0
    assert tree(tmp_path) == {"old": None}


def test_the_last_folder_that_is_made_does_not_pass_for_a_finished_one(tmp_path):
    """Who comes while a folder is made is refused; who comes when it is there is told so."""
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("x")
        told = []
        thread = threading.Thread(target=lambda: told.append(enter(new_folder, tmp_path / "out")))
        thread.start()
        thread.join()
    assert "is being written" in told[0]
    assert "exists" in enter(new_folder, tmp_path / "out")


def enter(writer, path) -> str:
    try:
        with writer(path):
            return ""
    except InvalidInput as error:
        return str(error)


KILLED = """
import os, signal, sys
from pathlib import Path
from recenv.files import atomic_files

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

writer, path, moment = sys.argv[1:]
if moment != "inside":
    setattr(atomic_files.Path, moment, die)
with getattr(atomic_files, writer)(Path(path)) as new:
    (new / "file" if writer == "new_folder" else new).write_text("half")
    if moment == "inside":
        die()
"""


@pytest.mark.parametrize("writer", [replacing, new_folder])
@pytest.mark.parametrize("moment", ["inside", "replace", "unlink", "rmdir"])
def test_what_a_killed_writer_has_left_goes_with_the_next(tmp_path, writer, moment):
    path = tmp_path / "out"
    words = [sys.executable, "-c", KILLED, writer.__name__, path, moment]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    # A file's lock is renamed with it, a folder's is unlinked; neither removes a folder.
    ends = moment == "rmdir" or (moment == "unlink" and writer is replacing)
    assert done.returncode == (0 if ends else -signal.SIGKILL), done.stderr.decode()
    there = path.exists()
    assert there == (ends or moment == "unlink")
    if writer is new_folder and there:
        assert "exists" in enter(writer, path)
    else:
        with writer(path) as new:
            (new / "file" if writer is new_folder else new).write_text("whole")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("writer", [replacing, new_folder])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG])
@pytest.mark.parametrize("call", ["fsync", "close", "inside"])
def test_what_the_disk_says_is_one_sentence_and_nothing_is_left(tmp_path, monkeypatch, writer, number, call):
    error = OSError(number, os.strerror(number))

    def refuse(*_):
        raise error

    with ExitStack() as stack:
        stack.enter_context(
            pytest.raises(InvalidInput, match=rf"cannot write .*out: {os.strerror(number)}; choose a path in")
        )
        new = stack.enter_context(writer(tmp_path / "new" / "out"))
        (new / "file" if writer is new_folder else new).write_text("half")
        if call == "inside":
            raise error
        if call == "close":  # as a file system over a network does: when a file is closed
            with (new / "file" if writer is new_folder else new).open("w") as file:
                file.write("half")
            refuse()
        monkeypatch.setattr(os, "fsync", refuse)
    assert not list(tmp_path.iterdir())


def test_an_error_of_a_file_that_is_read_is_told_of_that_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"), replacing(tmp_path / "out"):
        (tmp_path / "absent").read_text()
    assert not list(tmp_path.iterdir())


def test_a_lock_that_its_holder_has_removed_is_no_lock(tmp_path, monkeypatch):
    """Between opening and locking the last holder removes the file: it is opened anew."""
    import fcntl

    flock, removed = fcntl.flock, []

    def late(handle, how):
        if not removed:
            removed.append(handle)
            (tmp_path / "lock").unlink()
        flock(handle, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path / "lock", "refused"):
        assert removed
        assert "refused" in enter(lambda lock: locked(lock, "refused"), tmp_path / "lock")


def test_an_empty_folder_is_free(tmp_path):
    (tmp_path / "out").mkdir()
    require_free(tmp_path / "out")
