"""Tensors come back to the bit; what would unpack, spread out or run is refused before it does."""

from __future__ import annotations

import io
import zipfile

import pytest
import torch

from agents.nn.tensor_files import load_tensors, save_tensors
from offline_data.store.sealed_files import sealing
from recenv.errors import InvalidInput


def refusal(file) -> str:
    with pytest.raises(InvalidInput) as error:
        load_tensors(file, "thing", "make another")
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_content_comes_back(tmp_path):
    content = {
        "a": torch.arange(6.0).reshape(2, 3),
        "b": {"c": [torch.ones((), dtype=torch.bfloat16), 3, "text", None]},
    }
    save_tensors(tmp_path / "file", "thing", content)
    found = load_tensors(tmp_path / "file", "thing", "make another")
    assert torch.equal(found["a"], content["a"])
    assert found["b"]["c"][0].dtype == torch.bfloat16
    assert found["b"]["c"][1:] == [3, "text", None]
    assert torch.equal(torch.load(tmp_path / "file", weights_only=True)["a"], content["a"])  # PyTorch reads it too


def test_what_unpacks_to_more_than_the_file_is_refused(tmp_path):
    buffer, packed = io.BytesIO(), io.BytesIO()
    torch.save({"a": torch.zeros(1 << 20)}, buffer)
    with zipfile.ZipFile(buffer) as plain, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in plain.namelist():
            archive.writestr(name, plain.read(name))
    with sealing(tmp_path / "file", "thing") as stream:
        stream.write(packed.getvalue())
    assert "unpacks to 4,19" in refusal(tmp_path / "file")


@pytest.mark.parametrize(
    "content",
    [
        {"a": torch.zeros(1).expand(1 << 40)},
        {"a": [{"b": torch.zeros(2, 3).T}]},
        {"a": torch.eye(3).to_sparse()},
        [torch.zeros(1)],
    ],
)
def test_what_is_no_plain_tensor_is_refused(tmp_path, content):
    save_tensors(tmp_path / "file", "thing", content)
    refusal(tmp_path / "file")


def test_the_old_format_of_pytorch_is_refused(tmp_path):
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(3)}, buffer, _use_new_zipfile_serialization=False)
    with sealing(tmp_path / "file", "thing") as stream:
        stream.write(buffer.getvalue())
    assert "BadZipFile" in refusal(tmp_path / "file")
