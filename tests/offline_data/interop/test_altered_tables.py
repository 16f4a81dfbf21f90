"""Tables that are altered at random are read or refused in one sentence: never a traceback, and nothing is left."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zipfile
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.readers.vw import VwReader
from offline_data.interop.tables import read_tables
from recenv.errors import InvalidInput

ROWS = [
    f"u{user},{100 + (3 * user + step) % 7},{1_700_000_000 + 50_000 * user + 60 * step},{step},{place},{place % 2},"
    f"0.{place + 2},{place}.5"
    for user in range(4)
    for step in range(3)
    for place in (1, 2)
]
LOG = "\n".join(["user,item,ts,step,pos,click,p,paid", *ROWS, ""])
ITEMS = "\n".join(["item,price,embedding_0", *(f"{100 + n},{n}.5,{n}" for n in range(7)), ""])
ROLES = ColumnMap.of(
    {"user_id": "user", "item_id": "item", "timestamp": "ts", "step": "step", "position": "pos", "propensity": "p"}
    | {"feedback.click": "click", "item_reward.paid": "paid"}
)
CELLS = (
    *("", "NULL", "nan", "-1", "+1", "1e999", "inf", "0x1", '"', "\\N", "é", "\0", "1;2", "9" * 20, "[1,2]", "true"),
    *("2024-01-01", "00", " ", "1.5", "\x1b[0m", "\r", ",", "a" * 2000),
)


def altered(text, rng):
    """Return the bytes of a table with a cell, a column, a few bytes or bits, or its end or a row changed."""
    lines = [line.split(",") for line in text.split("\n")[:-1]]
    way, cell = rng.integers(6), CELLS[rng.integers(len(CELLS))]
    row, column = rng.integers(len(lines)), rng.integers(len(lines[0]))
    if way == 0:
        lines[row][column] = cell
    elif way == 1:
        for line in lines[1:]:
            line[column] = cell
    elif way == 2:
        lines.insert(row, lines[rng.integers(len(lines))])
    raw = "".join(",".join(line) + "\n" for line in lines).encode()
    if way == 3:
        return raw[: rng.integers(len(raw))]
    content = bytearray(gzip.compress(raw, mtime=0) if way == 4 else raw)
    if way >= 4:
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    return bytes(content)


@pytest.mark.parametrize("seeds", [range(60), pytest.param(range(60, 700), marks=pytest.mark.nightly)])
def test_what_is_altered_is_read_or_refused(tmp_path, seeds):
    log, items, read, refusals = tmp_path / "log", tmp_path / "items", 0, []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        log.write_bytes(altered(LOG, rng) if seed % 3 else LOG.encode())
        items.write_bytes(ITEMS.encode() if seed % 3 else altered(ITEMS, rng))
        options = ImportOptions(duplicates="drop", propensity_of="item") if seed % 2 else None
        missing = "drop" if seed % 5 else "refuse"
        try:
            made = import_table(log, tmp_path / f"{seed}", ROLES, items=items, missing=missing, options=options)
            read += made.num_rows > 0
        except InvalidInput as error:
            refusals.append(str(error))
    assert [text for text in refusals if "\n" in text] == []
    assert len(list(tmp_path.iterdir())) == 2 + read  # a refusal leaves nothing
    assert 0 < read < len(seeds)


def zipped(raw):
    with io.BytesIO() as out:
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as into:
            into.writestr(zipfile.ZipInfo("log.csv"), raw)
        return out.getvalue()


def as_parquet(raw):
    with pa.BufferOutputStream() as out:
        parquet.write_table(csv.read_csv(io.BytesIO(raw)), out, compression="none")
        return out.getvalue().to_pybytes()


def as_json(raw):
    return "".join(json.dumps(row) + "\n" for row in csv.read_csv(io.BytesIO(raw)).to_pylist()).encode()


@pytest.mark.parametrize("seeds", [range(25), pytest.param(range(25, 500), marks=pytest.mark.nightly)])
@pytest.mark.parametrize(
    "kind",
    [zipped, lzma.compress, as_parquet, as_json, lambda raw: raw.decode().encode("utf-16")],
    ids=["zip", "xz", "parquet", "json", "utf-16"],
)
def test_bytes_of_other_kinds_of_files_that_are_altered(tmp_path, kind, seeds):
    kinds: dict[str, Any] = {"user": "id", "item": "id", "ts": "time", "step": "step", "paid": "number"}
    content, file, refusals = kind(LOG.encode()), tmp_path / "log", []
    for seed in seeds:
        file.write_bytes(with_a_byte_changed(content, np.random.default_rng(seed)))
        try:
            read_tables([file], kinds)
        except InvalidInput as error:
            refusals.append(str(error))
    assert [text for text in refusals if "\n" in text] == []
    assert refusals


def with_a_byte_changed(content, rng):
    changed = bytearray(content)
    changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed[: rng.integers(len(changed))] if rng.integers(3) == 0 else changed)


@pytest.mark.parametrize("seeds", [range(40), pytest.param(range(40, 700), marks=pytest.mark.nightly)])
def test_decisions_that_are_altered(tmp_path, seeds):
    (tmp_path / "source").mkdir()
    file = VwReader.write_example(tmp_path / "source")["path"]
    content, refusals = file.read_bytes(), []
    for seed in seeds:
        file.write_bytes(with_a_byte_changed(content, np.random.default_rng(seed)))
        try:
            VwReader(path=file).read(tmp_path / f"{seed}")
        except InvalidInput as error:
            refusals.append(str(error))
    assert [text for text in refusals if "\n" in text] == []
    assert 0 < len(refusals) < len(seeds)
