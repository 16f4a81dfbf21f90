"""Blocks of whole sessions: in order, none twice, and no larger than memory is given."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.collection.collection import collect
from offline_data.store import session_blocks as module
from offline_data.store.session_blocks import session_blocks


@pytest.fixture(scope="module")
def log(small_request, tmp_path_factory):
    return collect(tmp_path_factory.mktemp("log") / "log", small_request)


@pytest.mark.parametrize("block_bytes", [1, 1000, 1 << 27])
def test_blocks_cover_the_log_in_the_memory_that_is_given(log, monkeypatch, block_bytes):
    whole = np.add.reduceat(log.reward(), log.offsets[:-1])
    monkeypatch.setattr(module, "BLOCK_BYTES", block_bytes)
    blocks = list(session_blocks(log))
    assert [s for block in blocks for s in range(log.num_sessions)[block.sessions]] == list(range(log.num_sessions))
    assert [r for block in blocks for r in range(log.num_rows)[block.rows]] == list(range(log.num_rows))
    each = sum(column.nbytes for column in log.rows.values()) // log.num_rows
    for block in blocks:
        assert len(block.lengths) == 1 or block.lengths.sum() * each <= block_bytes
    assert len(blocks) == {1: log.num_sessions, 1 << 27: 1}.get(block_bytes, len(blocks))
    np.testing.assert_array_equal(log.session_returns(), whole)
