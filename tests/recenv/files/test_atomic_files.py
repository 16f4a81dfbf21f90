"""A file is whole or absent: errors leave the old one, or nothing; equal values give equal bytes."""

from __future__ import annotations

import json
import os
import stat

import pytest

from recenv.errors import InvalidInput
from recenv.files.atomic_files import (
    check_output,
    make_folder,
    new_folder,
    replacing,
    require_free,
    unwritable,
    write_json,
)


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "file.txt"
    with replacing(path) as temporary:
        assert temporary.parent == path.parent  # the same file system: the rename is one step
        temporary.write_text("whole")
        assert not path.exists()
    assert path.read_text() == "whole"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "file").read_text() == "x"
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["out"]


def test_an_empty_folder_waits_for_its_contents(tmp_path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as folder:
        (folder / "file").write_text("x")
    assert (tmp_path / "out" / "file").read_text() == "x"
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_a_folder_is_left_out_where_it_cannot_be_whole(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as folder:
        _ = 1 / (folder / "file").write_text("")
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes").write_text("mine")
    with pytest.raises(InvalidInput, match="exists; choose another --out"), new_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / "notes").read_text() == "mine"
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput, match="cannot write"), new_folder(tmp_path / "file" / "out"):
        pass


def test_a_file_is_replaced(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("bad"), KeyboardInterrupt(), SystemExit(3)])
@pytest.mark.parametrize("old", [None, "old"])
def test_an_error_inside_leaves_what_was_there(tmp_path, error, old):
    path = tmp_path / "file.txt"
    if old is not None:
        path.write_text(old)

    def write_half():
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)) as raised:
        write_half()
    assert raised.value is error
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == ({} if old is None else {"file.txt": old})


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path):
    with (
        pytest.raises(InvalidInput, match=r"cannot write .*file\.txt: No space left on device; choose a path in"),
        replacing(tmp_path / "file.txt"),
    ):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_it(tmp_path):
    """A temporary file is its owner's alone; what takes its place is not."""
    with replacing(tmp_path / "file.txt") as temporary:
        pass
    assert stat.S_IMODE((tmp_path / "file.txt").stat().st_mode) == 0o644
    assert not temporary.exists()


def test_a_file_in_the_way_of_its_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("notes")
    sentence = "cannot write .*: (Not a directory|File exists); choose a path in a folder that you can write"
    with pytest.raises(InvalidInput, match=sentence), replacing(tmp_path / "file" / "below.txt"):
        raise AssertionError("the block was entered")
    with pytest.raises(InvalidInput, match=sentence):
        write_json(tmp_path / "file" / "below.json", {})
    with pytest.raises(InvalidInput, match=sentence):
        make_folder(tmp_path / "file" / "below")
    with pytest.raises(InvalidInput, match=sentence):
        make_folder(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "notes"


def test_a_folder_at_the_files_place_is_refused_and_kept(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(InvalidInput, match=r"cannot write .*taken: it is a folder"), replacing(tmp_path / "taken"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, monkeypatch):
    """Root may write anywhere, so the refusal is the file system's own sentence, said by hand."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    sentence = "cannot write .*: Permission denied; choose a path in a folder that you can write"
    with pytest.raises(InvalidInput, match=sentence), replacing(tmp_path / "file.txt"):
        raise AssertionError("the block was entered")
    monkeypatch.setattr(os, "access", lambda *_: False)
    for make in (make_folder, check_output, require_free):
        with pytest.raises(InvalidInput, match=sentence):
            make(tmp_path / "below")
    assert list(tmp_path.iterdir()) == []


def test_make_folder_makes_it_once_and_leaves_nothing_in_it(tmp_path):
    folder = make_folder(tmp_path / "a" / "b")
    assert folder == tmp_path / "a" / "b"
    (folder / "kept").write_text("kept")
    assert [file.name for file in make_folder(folder).iterdir()] == ["kept"]


def test_equal_values_give_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 0.1], "a": {"y": None, "x": "é"}})
    write_json(tmp_path / "b.json", {"a": {"x": "é", "y": None}, "b": [1, 0.1]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text()) == {"b": [1, 0.1], "a": {"y": None, "x": "é"}}
    assert (tmp_path / "a.json").read_bytes().endswith(b"}\n")


def test_a_value_that_json_does_not_know_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_an_error_without_a_reason_is_told_whole(tmp_path):
    assert "cannot write x: odd; choose" in str(unwritable(tmp_path.__class__("x"), OSError("odd")))
