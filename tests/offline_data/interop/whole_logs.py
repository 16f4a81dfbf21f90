"""What a log that went out and came back must equal."""

from __future__ import annotations

import numpy as np

from offline_data.store.dataset import LoggedDataset


def assert_whole(back: LoggedDataset, log: LoggedDataset) -> None:
    """Compare every column, dtypes too, and the manifests but for where the logs come from."""
    for part in ("rows", "sessions", "events", "catalog"):
        mine, theirs = getattr(log, part), getattr(back, part)
        assert mine.keys() == theirs.keys()
        for name, values in mine.items():
            assert theirs[name].dtype == values.dtype, name
            np.testing.assert_array_equal(theirs[name], values, err_msg=name)
    changed = {"source", "schema", "checksum", "versions"}
    facts, told = ({k: v for k, v in each.manifest.items() if k not in changed} for each in (log, back))
    assert facts == told
