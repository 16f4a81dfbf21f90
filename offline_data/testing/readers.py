"""What every reader of a log of others promises."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from offline_data.families import READERS
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput
from recenv.testing.contract import Contract, config_is_frozen_and_documented, part_is_a_documented_class

check_reader: Final = Contract("check_reader", READERS, (part_is_a_documented_class, config_is_frozen_and_documented))
"""The contract of readers; what they read is written by their `write_example`."""


def read_example(part: Any, folder: Path, name: str = "out", progress: Any = None) -> LoggedDataset:
    """Return what a reader makes of its own example.

    Args:
        part: its class.
        folder: where source and dataset are written.
        name: of the dataset's folder.
        progress: as `LogReader.read` takes it.
    """
    (folder / "source").mkdir(exist_ok=True)
    options = part.write_example(folder / "source")
    if options is None:
        pytest.skip("it has no write_example, and there is nothing of its format to read")
    return part(**options).read(folder / name, progress)


@check_reader.promise
def reads_its_example(part: Any) -> None:
    """Its example becomes a dataset whose slates, feedback, sessions and manifest are whole."""
    with tempfile.TemporaryDirectory() as folder:
        log = read_example(part, Path(folder))
        assert log.num_rows > 0
        again = LoggedDataset.open(log.path)
        assert again.num_rows == log.num_rows
        assert log.manifest["source"]["kind"] == "import"
        assert log.manifest["source"]["files"], "the manifest names no file that was read"
        slate, feedback = log.rows["slate"][:], log.rows["feedback"][:]
        assert ((slate >= 0) & (slate < log.num_items)).all()
        assert ((feedback >= 0.0) & (feedback <= 1.0)).all()
        assert np.isfinite(log.reward()).all()
        starts = np.repeat(log.offsets[:-1], np.diff(log.offsets))
        np.testing.assert_array_equal(log.rows["step"][:], np.arange(log.num_rows) - starts)


@check_reader.promise
def reads_the_same_bytes_again(part: Any) -> None:
    """Read twice, a source gives the same files, but for `run.json`, which tells when."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = (
            {
                file.relative_to(log.path): hashlib.sha256(file.read_bytes()).hexdigest()
                for file in sorted(log.path.rglob("*"))
                if file.is_file() and file.name != "run.json"
            }
            for log in (read_example(part, Path(folder), name) for name in ("first", "second"))
        )
        assert first == second


@check_reader.promise
def progress_counts_what_is_read(part: Any) -> None:
    """Its progress is told whole numbers, more than zero in all."""
    ticks: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        read_example(part, Path(folder), progress=ticks.append)
    assert all(isinstance(tick, int | np.integer) for tick in ticks)
    assert sum(ticks) > 0


@check_reader.promise
def a_source_that_is_not_there_is_refused(part: Any) -> None:
    """What does not exist is refused by name, in one sentence or as the file system says it; nothing is written."""
    with tempfile.TemporaryDirectory() as folder:
        absent, out = Path(folder) / "absent", Path(folder) / "out"
        (Path(folder) / "source").mkdir()
        options = part.write_example(Path(folder) / "source")
        if options is None:
            fields = [field for field in dataclasses.fields(part) if field.name != "path"]
            options = {
                field.name: ()
                for field in fields
                if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            }
        with pytest.raises((InvalidInput, FileNotFoundError)) as refusal:
            part(**{**options, "path": absent}).read(out)
        if isinstance(refusal.value, InvalidInput):
            assert "\n" not in str(refusal.value)
        assert not out.exists()
