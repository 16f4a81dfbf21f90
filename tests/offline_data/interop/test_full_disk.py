"""Exports when the disk is full: one line, and nothing half-written."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.interop.minari import export_minari
from offline_data.interop.parquet import export_parquet
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput


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
