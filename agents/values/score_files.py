"""The scores of a log's rows as a file: a sealed `.npy` that NumPy reads too."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from agents.values.scores.base import Judgement
from offline_data.store.sealed_files import read_sealed, sealing
from recenv.errors import require

_KIND: Final = "scores"


def save_scores(path: Path, scores: Tensor) -> None:
    """Write scores.

    Args:
        path: the file, which is written beside and renamed.
        scores: [N] float32 on the CPU.

    Raises:
        InvalidInput: if the file cannot be written.
    """
    values = np.ascontiguousarray(scores.numpy(), np.float32)
    with sealing(path, _KIND) as stream:
        stream.write(_header(len(values)))
        stream.write(values.data)


def load_scores(path: Path, num_rows: int) -> Tensor:
    """Return the scores of a log, [N] float32.

    Args:
        path: what `save_scores` wrote.
        num_rows: N.

    Raises:
        InvalidInput: if the file is missing or damaged, is of another number of rows, or holds what is not finite.
    """
    remedy = "remove it, and run the same command again to find the scores anew"
    contents, header = read_sealed(path, _KIND, remedy), _header(num_rows)
    require(
        contents[: len(header)] == header and len(contents) == len(header) + 4 * num_rows,
        f"{path} does not hold {num_rows:,} scores of single precision, one a row of the log; {remedy}",
    )
    scores = torch.frombuffer(contents, dtype=torch.float32, offset=len(header))
    require(bool(torch.isfinite(scores).all()), f"{path} holds a score that is not finite; {remedy}")
    return scores


def kept_judgement(folder: Path, num_rows: int, judge: Callable[[], Judgement]) -> Judgement:
    """Return the scores of a log and what its rows earned, found once and kept in a folder.

    Args:
        folder: of `scores.npy` and `advantages.npy`; the latter is missing where nobody knows.
        num_rows: N.
        judge: finds them.

    Raises:
        InvalidInput: as `save_scores` and `load_scores` do; if what was found is not one finite number a row.
    """
    files = folder / "scores.npy", folder / "advantages.npy"
    if not files[0].exists():
        judged = judge()
        for name, column in judged._asdict().items():
            if column is not None:
                _check_new(name, column, num_rows)
        if judged.advantages is not None:
            save_scores(files[1], judged.advantages)
        save_scores(files[0], judged.scores)  # last: where it is, the other is
    return Judgement(load_scores(files[0], num_rows), load_scores(files[1], num_rows) if files[1].exists() else None)


def _check_new(name: str, column: Tensor, num_rows: int) -> None:
    """Refuse before it is kept what would be refused when it is read, with the remedy of another time."""
    require(
        tuple(column.shape) == (num_rows,),
        f"what the score gives as {name} has shape {tuple(column.shape)}; give one number for each of the log's "
        f"{num_rows:,} rows",
    )
    wrong = int((~torch.isfinite(column)).sum())
    require(wrong == 0, f"what the score gives as {name} is not finite in {wrong:,} rows; mend it there")


def _header(count: int) -> bytes:
    header = io.BytesIO()
    layout = {"descr": "<f4", "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(header, layout)
    return header.getvalue()
