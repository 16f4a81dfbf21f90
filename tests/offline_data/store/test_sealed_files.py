"""A sealed file is read as it was written or refused in one line: no bit of it may change."""

from __future__ import annotations

import hashlib
import os

import pytest

from offline_data.store.sealed_files import read_sealed, sealing
from recenv.errors import InvalidInput
from tests.damage import cut_or_added_to, flipped_bits

CONTENTS = b"what was written \x00\xff\n"


@pytest.fixture
def file(tmp_path):
    with sealing(tmp_path / "deep" / "file", "thing") as stream:
        stream.write(CONTENTS[:5])
        stream.write(memoryview(CONTENTS)[5:])
    return tmp_path / "deep" / "file"


def refusal(file, kind: str = "thing") -> str:
    with pytest.raises(InvalidInput) as error:
        read_sealed(file, kind, "make another")
    assert str(error.value).startswith(str(file))
    assert str(error.value).endswith("; make another")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_contents_come_back_and_the_seal_is_the_last_line(file):
    assert bytes(read_sealed(file, "thing", "make another")) == CONTENTS
    digest = hashlib.sha256(CONTENTS).hexdigest()
    assert file.read_bytes() == CONTENTS + f"\nrecsession thing {digest}\n".encode()
    assert [path.name for path in file.parent.iterdir()] == ["file"]


def test_every_single_flipped_bit_is_refused(file):
    whole = file.read_bytes()
    every = list(flipped_bits(whole, 10_000))
    assert len(set(every)) == 8 * len(whole)
    for contents in every:
        file.write_bytes(contents)
        refusal(file)


def test_what_is_cut_added_to_or_foreign_is_refused(file):
    for contents in cut_or_added_to(file.read_bytes()):
        file.write_bytes(contents)
        refusal(file)
    for contents in (b"", CONTENTS, file.read_bytes()[:-1]):
        file.write_bytes(contents)
        assert "does not end with the seal of a thing file" in refusal(file)


def test_another_kind_is_refused(file):
    assert "is not a other file" in refusal(file, "other")


def test_what_is_no_file_is_refused(file, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "missing", tmp_path, tmp_path / "fifo"):
        assert "is missing, or is no file" in refusal(path)


def test_a_file_larger_than_memory_is_refused_by_its_end(file):
    with file.open("r+b") as stream:
        stream.truncate(1 << 42)  # sparse: it takes no room
    refusal(file)


def test_nothing_is_written_where_something_fails(tmp_path):
    def fail() -> None:
        with sealing(tmp_path / "file", "thing") as stream:
            stream.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(tmp_path.iterdir()) == []
