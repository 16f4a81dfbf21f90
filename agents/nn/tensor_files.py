"""Tensors and plain values as sealed files that PyTorch reads, without a pickled class."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from offline_data.store.sealed_files import read_sealed, sealing
from recenv.errors import InvalidInput, require


def save_tensors(path: Path, kind: str, content: dict[str, Any]) -> None:
    """Write nested plain values and tensors as one file under a seal.

    Args:
        path: the file, which is written beside and renamed.
        kind: what it is, one word.
        content: by name.

    Raises:
        InvalidInput: if the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with sealing(path, kind) as stream:
        stream.write(buffer.getbuffer())


def load_tensors(path: Path, kind: str, remedy: str) -> dict[str, Any]:
    """Return what `save_tensors` wrote, on the CPU; no tensor is larger than the file, and none runs code.

    Args:
        path: the file.
        kind: what it must be.
        remedy: ends the refusal's sentence.

    Raises:
        InvalidInput: if it is missing, of another kind, damaged, or holds something else than tensors and plain values.
    """
    contents = read_sealed(path, kind, remedy)
    try:
        # What is not a zip archive PyTorch would read by its old format, which allocates what a number in it says.
        with zipfile.ZipFile(io.BytesIO(contents)) as archive:
            sizes = [entry.file_size for entry in archive.infolist()]
        require(sum(sizes) <= len(contents), f"it unpacks to {sum(sizes):,} bytes, more than it has")
        content = torch.load(io.BytesIO(contents), weights_only=True, map_location="cpu")
        require(isinstance(content, dict), f"it holds a {type(content).__name__}")
        for values in _tensors(content):
            fits = values.layout == torch.strided and values.is_contiguous() and not values.is_quantized
            require(fits, f"it holds a tensor {tuple(values.shape)} that does not lie in one piece")
    except Exception as error:
        why = str(error) if isinstance(error, InvalidInput) else type(error).__name__
        raise InvalidInput(f"{path} is not a {kind} file ({why}); {remedy}") from error
    return content


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _tensors(each)
