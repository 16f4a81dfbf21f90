"""Files of strangers: what is right comes back, what is not is refused before anything is allocated for it."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from recenv import Catalog
from recenv.errors import InvalidInput
from recenv.files.array_files import map_npy, read_arrays

RIGHT = {
    "floats": np.arange(12.0).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    "whole": np.array([1, 2, 3], np.int64),
    "flags": np.array([True, False, True]),
    "words": np.array(["one", "zwei", "três"]),
    "none": np.empty((0, 4)),
}


def header(descr: str = "'<f8'", shape: str = "(10,)", order: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def test_arrays_come_back(tmp_path: Path):
    np.savez(tmp_path / "a.npz", **RIGHT)
    np.savez_compressed(tmp_path / "b.npz", **RIGHT)
    for file in ("a.npz", "b.npz"):
        found = read_arrays(tmp_path / file)
        assert list(found) == list(RIGHT)
        for name, values in RIGHT.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values)
    for name, values in RIGHT.items():
        np.save(tmp_path / f"{name}.npy", values)
        mapped = map_npy(tmp_path / f"{name}.npy")
        np.testing.assert_array_equal(mapped, values)
        assert not mapped.flags.writeable


def test_columns_of_parquet_come_back(tmp_path: Path):
    columns = {
        "embeddings": pa.array([[1.0, 2.0], [3.0, 4.0]], pa.list_(pa.float32())),
        "fixed": pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2)),
        "topic": pa.array(["news", "sport"]).dictionary_encode(),
        "name": ["Straße", ""],
        "length": [1.5, None],
        "flag": [True, False],
    }
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = read_arrays(tmp_path / "a.parquet")
    np.testing.assert_array_equal(found["embeddings"], np.array([[1, 2], [3, 4]], np.float32))
    np.testing.assert_array_equal(found["fixed"], [[1, 2], [3, 4]])
    assert found["topic"].tolist() == ["news", "sport"]
    assert found["name"].tolist() == ["Straße", ""]
    np.testing.assert_array_equal(found["length"], [1.5, np.nan])
    assert found["flag"].tolist() == [True, False]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no .npy array"),
        (b"\x93NUMPY\x09\x00\x02\x00{}", "a header of unknown form"),
        (header() + b"\0" * 79, "take 147 bytes, and has 146"),
        (header() + b"\0" * 81, "take 147 bytes, and has 148"),
        (header(shape="(10**9,)"), "damaged header"),
        (header(shape="(1000000000, 16)"), "take 128,000,000,0"),
        (header(shape="(4294967296, 4294967296)"), "it is damaged"),
        (header(shape="(-1,)"), r"the shape \(-1,\)"),
        (header(shape="(True,)"), r"the shape \(True,\)"),
        (header(descr="'|O'") + b"\0" * 80, "neither booleans, numbers nor text"),
        (header(descr="'<M8[s]'") + b"\0" * 80, "neither booleans, numbers nor text"),
        (header(descr="[('a', '<f8')]") + b"\0" * 80, "neither booleans, numbers nor text"),
        (header(descr="'<f7'"), "which is no dtype"),
        (header(order="1"), "the shape"),
        (header(descr="(" * 5000), "damaged header"),
    ],
)
def test_a_header_that_cannot_be_is_refused(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(InvalidInput, match=message):
        map_npy(tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", content)
    with pytest.raises(InvalidInput, match=message):
        read_arrays(tmp_path / "a.npz")


def bomb(file: Path) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("quality.npy", "w") as stream:
        stream.write(header(shape="(25000000,)"))
        for _ in range(25):
            stream.write(bytes(8_000_000))


def liar(file: Path) -> None:
    """A member whose real size is another than the one that its archive says."""
    np.savez_compressed(file, quality=np.zeros(1000))
    content = bytearray(file.read_bytes())
    told = struct.pack("<L", 8128)
    for place in (content.find(told), content.rfind(told)):
        content[place : place + 4] = struct.pack("<L", 8128 - 800)
    file.write_bytes(bytes(content))


def twice(file: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("quality.npy", stream.getvalue())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("quality.npy", stream.getvalue())


def flipped(file: Path) -> None:
    np.savez(file, quality=np.zeros(1000))
    content = bytearray(file.read_bytes())
    content[4000] ^= 1
    file.write_bytes(bytes(content))


def forgotten(file: Path) -> None:
    """A list of members whose first has a comment that is longer than the rest of the list."""
    np.savez(file, quality=np.zeros(3), names=np.array(["a", "b", "c"]))
    content = bytearray(file.read_bytes())
    content[content.find(b"PK\x01\x02") + 33] = 8
    file.write_bytes(bytes(content))


def run_of_equals(file: Path) -> None:
    parquet.write_table(pa.table({"quality": pa.array(np.zeros(20_000_000, np.float32))}), file)


def long_names(file: Path) -> None:
    names = pa.array(["x" * 100_000] + ["y"] * 999)
    parquet.write_table(pa.table({"name": names}), file)


def lists_of_lists(file: Path) -> None:
    parquet.write_table(pa.table({"embeddings": [[[1.0]]]}), file)


def ragged(file: Path) -> None:
    parquet.write_table(pa.table({"embeddings": [[1.0, 2.0, 3.0], [4.0]]}), file)


def nothing(file: Path) -> None:
    pass


def folder(file: Path) -> None:
    file.mkdir()


def pipe(file: Path) -> None:
    os.mkfifo(file)


def text(file: Path) -> None:
    file.write_text("quality\n1\n")


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (bomb, "a.npz", "a.npz unpacks to 200,000,0"),
        (liar, "a.npz", "it is damaged, copy it again"),
        (twice, "a.npz", "twice; name each array once"),
        (flipped, "a.npz", "is damaged or no .npz file"),
        (text, "a.npz", "is damaged or no .npz file"),
        (forgotten, "a.npz", "its list of arrays is not of those it holds"),
        (text, "a.parquet", "is damaged or no Parquet file"),
        (text, "a.csv", "is none of .npz, .parquet, .pq"),
        (run_of_equals, "a.parquet", "unpacks to 160,"),
        (long_names, "a.parquet", "column 'name' unpacks to 400,000,000"),
        (lists_of_lists, "a.parquet", "neither booleans, numbers, text nor lists of numbers"),
        (ragged, "a.parquet", "column 'embeddings': lists of different lengths"),
        (nothing, "a.npz", "does not exist"),
        (folder, "a.npz", "is no regular file"),
        (pipe, "a.npz", "is no regular file"),
    ],
)
def test_a_file_that_is_none_or_too_much_is_refused(
    tmp_path: Path, make: Callable[[Path], None], name: str, message: str
):
    make(tmp_path / name)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInput, match=message):
            read_arrays(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_file_that_changed_is_refused_or_says_the_same(tmp_path: Path, kind: str):
    numbers = np.random.default_rng(0)
    file = tmp_path / f"items.{kind}"
    items = Catalog.from_arrays(numbers.normal(size=(20, 4)), [f"topic {n % 3}" for n in range(20)]).save(file)
    content, refused = file.read_bytes(), 0
    for count in range(150):
        changed, place = bytearray(content), int(numbers.integers(len(content)))
        changed[place] ^= 1 << int(numbers.integers(8))
        file.write_bytes(bytes(changed if count % 5 else changed[:place]))
        try:
            assert Catalog.load(file) == items
        except InvalidInput:
            refused += 1
    assert refused > 75
