"""Folders that are whole or absent, also when the disk is full."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from offline_data.collection import LogRequest, collect
from offline_data.dataset import LoggedDataset
from offline_data.interop.minari import export_minari
from offline_data.interop.new_folder import new_folder
from offline_data.interop.parquet import export_parquet
from recenv.errors import InvalidInput


def test_a_folder_appears_whole(tmp_path):
    with new_folder(tmp_path / "deep" / "out") as folder:
        (folder / "file").write_text("x")
        assert not (tmp_path / "deep" / "out").exists()
    assert (tmp_path / "deep" / "out" / "file").read_text() == "x"
    assert [each.name for each in (tmp_path / "deep").iterdir()] == ["out"]


def test_or_not_at_all(tmp_path):
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "out") as folder:
        _ = 1 / (folder / "file").write_text("")
    assert not list(tmp_path.iterdir())
    (tmp_path / "out").mkdir()
    with pytest.raises(InvalidInput, match="exists; choose another place"), new_folder(tmp_path / "out"):
        pass
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidInput, match="cannot write"), new_folder(tmp_path / "file" / "out"):
        pass


@pytest.fixture(scope="module")
def log(small_request, tmp_path_factory):
    return collect(tmp_path_factory.mktemp("log") / "log", LogRequest(**{**vars(small_request), "num_sessions": 200}))


@pytest.mark.parametrize(
    "export",
    [lambda log, root: export_parquet(log, root / "out"), lambda log, root: export_minari(log, "out-v0", root)],
    ids=["parquet", "minari"],
)
def test_a_full_disk_is_said_in_one_line(log, tmp_path, export: Callable[[LoggedDataset, Path], object]):
    """No file may grow beyond 8 kB while the log is written."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    try:
        with pytest.raises(InvalidInput, match="cannot write") as caught:
            export(log, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    export(log, tmp_path)
