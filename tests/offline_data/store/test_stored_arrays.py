"""Arrays in a file: what comes back is what went in, and any change of a byte is seen."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.store import stored_arrays
from offline_data.store.stored_arrays import StoredArray, as_bytes, store_arrays
from recenv.errors import InvalidInput

ARRAYS = {
    "rows/slate": np.arange(12, dtype=np.int32).reshape(4, 3),
    "rows/log_prob": np.array([-1.5, np.nan, -np.inf, 0.0]),
    "rows/shown": np.array([[True, False], [False, True]]),
    "empty": np.zeros((0, 3), np.float32),
    "strided": np.arange(10, dtype=np.uint64)[::3],
    "transposed": np.arange(6.0, dtype=np.float32).reshape(2, 3).T,
    "text": np.array(["a", "bcd", "é"]),
}


@pytest.fixture
def file(tmp_path):
    with (tmp_path / "arrays").open("wb") as stream:
        store_arrays(stream, ARRAYS)
    return tmp_path / "arrays"


def load_all(file):
    return {name: array.load() for name, array in StoredArray.all_of(file).items()}


@pytest.mark.parametrize("buffer_bytes", [1, 7, 1 << 19])
def test_what_comes_back_is_what_went_in(file, monkeypatch, buffer_bytes):
    monkeypatch.setattr(stored_arrays, "_BUFFER_BYTES", buffer_bytes)
    stored = StoredArray.all_of(file)
    assert list(stored) == list(ARRAYS)
    for name, values in ARRAYS.items():
        assert (stored[name].dtype, stored[name].shape) == (values.dtype, values.shape)
        loaded = stored[name].load()
        assert loaded.dtype == values.dtype
        np.testing.assert_array_equal(loaded, values)
        assert b"".join(bytes(chunk) for chunk in stored[name].chunks()) == values.tobytes() == bytes(as_bytes(values))


def test_any_changed_or_missing_byte_is_seen(file):
    sound = file.read_bytes()
    for place in range(len(sound)):
        for damaged in (sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :], sound[:place]):
            file.write_bytes(damaged)
            with pytest.raises(InvalidInput, match="arrays is damaged; remove it and run the same command again"):
                load_all(file)


def test_a_file_cut_while_it_is_read_is_seen(file):
    stored = StoredArray.all_of(file)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match="is damaged"):
        stored["text"].load()
