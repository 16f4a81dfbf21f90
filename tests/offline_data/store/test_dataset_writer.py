"""What is written: the bytes that NumPy writes, whole or not at all."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from offline_data.store import dataset_writer
from offline_data.store.dataset import file_digest
from offline_data.store.dataset_writer import consumed_events, write_dataset
from offline_data.store.stored_arrays import StoredArray, store_arrays
from recenv.errors import InvalidInput

FACTS = {
    "source": {"kind": "import", "reader": "test"},
    "config": None,
    "world_hash": None,
    "action_kind": "slate",
    "num_items": 4,
    "history_length": 2,
    "max_steps": 3,
    "feedback_names": ["click"],
    "reward_names": ["click"],
    "reward_weights": {"click": 1.0},
    "propensities": "missing",
    "injected": {},
}


def columns(num_rows=5, slate_size=2):
    rng = np.random.default_rng(0)
    offsets = np.array([0, 2, num_rows])
    slate = rng.integers(4, size=(num_rows, slate_size)).astype(np.int32)
    feedback = (rng.uniform(size=(num_rows, slate_size, 1)) < 0.5).astype(np.float32)
    return {
        "rows/session_id": np.repeat([0, 1], np.diff(offsets)),
        "rows/step": np.concatenate([np.arange(n) for n in np.diff(offsets)]).astype(np.int32),
        "rows/slate": slate,
        "rows/shown": np.ones(slate.shape, np.bool_),
        "rows/feedback": feedback,
        "rows/reward_vector": feedback.sum(axis=1),
        "rows/terminated": np.zeros(num_rows, np.bool_),
        "rows/truncated": np.zeros(num_rows, np.bool_),
        "rows/behavior_log_prob": np.full(num_rows, np.nan),
        "sessions/offsets": offsets,
        "sessions/user_id": np.arange(2),
        "sessions/group_id": np.arange(2),
        "sessions/episode_id": np.zeros(2, np.int64),
        **consumed_events(slate, feedback, offsets),
    }


def test_bytes_are_those_of_numpy(tmp_path):
    arrays = columns() | {
        "catalog/source_id": np.array(["a", "bcd", "", "é"]),
        "catalog/empty": np.zeros((4, 0), np.float32),
        "catalog/fortran": np.asfortranarray(np.arange(12.0).reshape(4, 3)),
        "catalog/strided": np.arange(20)[::5],
    }
    log = write_dataset(tmp_path / "log", arrays, FACTS)
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert (log.num_rows, log.num_sessions, log.num_items, log.slate_size) == (5, 2, 4, 2)
    for name, values in arrays.items():
        reference = tmp_path / "reference.npy"
        np.save(reference, np.ascontiguousarray(values))
        file = log.path / f"{name}.npy"
        assert file.read_bytes() == reference.read_bytes(), name
        entry = log.manifest["schema"][f"{name}.npy"]
        assert entry["sha256"] == file_digest(file)
        assert (entry["dtype"], entry["shape"]) == (str(values.dtype), list(values.shape))
    assert {name: log.manifest[name] for name in FACTS} == FACTS
    log.verify()


@pytest.mark.parametrize("bytes_at_once", [1, 7, 1 << 22])
@pytest.mark.parametrize("workers", [1, 4])
def test_pieces_of_any_kind_are_joined_in_order(tmp_path, monkeypatch, bytes_at_once, workers):
    monkeypatch.setattr(dataset_writer, "_BYTES_AT_ONCE", bytes_at_once)
    whole = columns()
    with (tmp_path / "stored").open("wb") as stream:
        store_arrays(stream, {name: values[2:] for name, values in whole.items()})
    stored = StoredArray.all_of(tmp_path / "stored")
    pieces = {name: [values[:1], values[1:2], stored[name]] for name, values in whole.items()}
    log = write_dataset(tmp_path / "pieces", pieces, FACTS, workers=workers)
    expected = write_dataset(tmp_path / "whole", whole, FACTS)
    assert log.manifest == expected.manifest


def test_pieces_that_do_not_belong_together_are_a_mistake_of_ours(tmp_path):
    with pytest.raises(ValueError, match=r"pieces of slate\.npy have the dtypes and shapes"):
        write_dataset(tmp_path / "log", columns() | {"rows/slate": [np.zeros((2, 2)), np.zeros((3, 3))]}, FACTS)
    assert not (tmp_path / "log").exists()


def test_what_is_there_is_left_alone(tmp_path):
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "notes").write_text("mine")
    with pytest.raises(InvalidInput, match="log exists; choose another --out or remove it"):
        write_dataset(tmp_path / "log", columns(), FACTS)
    assert [file.name for file in (tmp_path / "log").iterdir()] == ["notes"]
    assert [file.name for file in tmp_path.iterdir()] == ["log"]


def test_consumed_events_equal_a_plain_loop():
    rng = np.random.default_rng(1)
    offsets = np.array([0, 1, 1 + 4, 12])
    slate = rng.integers(9, size=(12, 3)).astype(np.int32)
    feedback = (rng.uniform(size=(12, 3, 2)) * (rng.uniform(size=(12, 3, 1)) < 0.4)).astype(np.float32)
    items, others, consumed, event_offsets = [], [], [], [0]
    for start, stop in pairwise(offsets):
        before = 0
        for row in range(start, stop):
            consumed.append(before)
            for k in range(3):
                if feedback[row, k, 0] > 0:
                    items.append(slate[row, k])
                    others.append(feedback[row, k, 1:])
                    before += 1
        event_offsets.append(len(items))
    found = consumed_events(slate, feedback, offsets)
    assert len(items) > 5
    np.testing.assert_array_equal(found["events/item"], items)
    np.testing.assert_array_equal(found["events/feedback"], others)
    np.testing.assert_array_equal(found["rows/consumed"], consumed)
    np.testing.assert_array_equal(found["sessions/event_offsets"], event_offsets)
