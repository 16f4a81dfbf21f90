"""A folder is one run's and one process's; another request is told what differs, and `fresh` removes runs alone."""

from __future__ import annotations

import pytest

from offline_data.store import folder_claim
from offline_data.store.folder_claim import FolderClaim, as_json, first_difference, sole_writer
from recenv.errors import InvalidInput
from tests.folder_tree import tree

REQUEST = {"seed": 1, "trainer": {"steps": 10, "rate": 0.5}}
OTHER = {"seed": 1, "trainer": {"steps": 20, "rate": 0.5}}


def test_an_equal_request_goes_on(tmp_path):
    claim = FolderClaim(tmp_path / "a" / "run", REQUEST)
    assert not claim.check()
    assert not (tmp_path / "a").exists()
    with claim.held():
        (claim.folder / "work").write_text("half")
    assert claim.check()
    with FolderClaim(tmp_path / "a" / "run", dict(reversed(REQUEST.items()))).held():
        assert (claim.folder / "work").read_text() == "half"


@pytest.mark.parametrize(
    ("claim", "message"),
    [
        (OTHER, r"work of another request \(trainer.steps 10 there, 20 here\); remove it or choose another --out"),
        ({**REQUEST, "log": None}, r"work of another request; remove it"),
        ({}, r"work of another request \(seed 1 there, null here\); remove it or choose another --out"),
    ],
)
def test_another_request_is_refused_and_nothing_touched(tmp_path, claim, message):
    with FolderClaim(tmp_path / "run", REQUEST).held():
        pass
    (tmp_path / "run" / "lock").unlink()
    before = tree(tmp_path)
    with pytest.raises(InvalidInput, match=message), FolderClaim(tmp_path / "run", claim).held():
        pytest.fail("another request was let in")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("text", [b"", b'{"a', b"\xff\xfe"])
def test_a_damaged_request_is_told(tmp_path, text):
    (tmp_path / "request.json").write_bytes(text)
    with pytest.raises(InvalidInput, match=r"request\.json is not (JSON|UTF-8) \(.*\); it is damaged, mend it"):
        FolderClaim(tmp_path, REQUEST, remedy="mend it").check()


def test_fresh_empties_a_run(tmp_path):
    (tmp_path / "run").mkdir()
    for request in (REQUEST, OTHER):  # an empty folder, then another's
        with FolderClaim(tmp_path / "run", request, fresh=True).held():
            assert sorted(tree(tmp_path / "run")) == ["lock", "request.json"]
            (tmp_path / "run" / "below").mkdir()
            (tmp_path / "run" / "below" / "work").write_text("done")
    assert FolderClaim(tmp_path / "run", OTHER).check()


def test_fresh_that_is_stopped_half_way_leaves_what_is_still_known_for_a_run(tmp_path, monkeypatch):
    with FolderClaim(tmp_path, REQUEST).held():
        (tmp_path / "z").mkdir()

    def stop(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(folder_claim.shutil, "rmtree", stop)
        with pytest.raises(KeyboardInterrupt), FolderClaim(tmp_path, OTHER, fresh=True).held():
            pytest.fail("it was not stopped")
    assert not FolderClaim(tmp_path, OTHER, fresh=True).check()


def test_fresh_removes_nothing_that_is_no_runs(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InvalidInput, match=r"holds no earlier run \(no request\.json\), and would be emptied; choose"):
        FolderClaim(tmp_path, REQUEST, fresh=True).check()
    assert tree(tmp_path) == {"thesis.txt": b"years of work"}


def test_fresh_removes_nothing_of_another_command(tmp_path):
    with FolderClaim(tmp_path, {**REQUEST, "log": "log"}).held():
        (tmp_path / "policy").write_text("trained")
    before = tree(tmp_path)
    for request in (REQUEST, {"seed": 1}):
        with pytest.raises(InvalidInput, match="holds another command's work, and would be emptied; remove it or"):
            FolderClaim(tmp_path, request, fresh=True).check()
    assert tree(tmp_path) == before
    (tmp_path / "request.json").write_text("{")  # a damaged request is what it is for
    assert not FolderClaim(tmp_path, REQUEST, fresh=True).check()


def test_a_folder_has_one_writer_at_a_time(tmp_path):
    refusal = pytest.raises(InvalidInput, match="another process; wait for it or choose another --out")
    with sole_writer(tmp_path), refusal, FolderClaim(tmp_path, REQUEST).held():
        pytest.fail("a second writer was let in")
    with sole_writer(tmp_path):  # the first is gone
        pass


def test_what_is_no_json_is_refused(tmp_path):
    assert as_json({"a": (1, 2)}) == {"a": [1, 2]}
    with pytest.raises(InvalidInput, match=r"the request holds what JSON does not: .*; give plain values"):
        as_json({"a": tmp_path})


def test_the_first_difference_is_named():
    assert first_difference(REQUEST, REQUEST) == ""
    assert first_difference(None, REQUEST) == ""
    assert first_difference({"a": {"b": 1}}, {"a": {"b": [2]}}) == " (a.b 1 there, [2] here)"
    assert first_difference({"a": 1}, {"a": 1, "b": None}) == ""


def test_what_is_asked_first_is_told_first(tmp_path):
    FolderClaim(tmp_path, {"study": "one", "config": {"steps": 1}}).begin()
    with pytest.raises(InvalidInput, match=r'\(study "one" there, "two" here\)'):
        FolderClaim(tmp_path, {"study": "two", "config": {"steps": 2}}).check()
