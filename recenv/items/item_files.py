"""A catalogue as a file: `.npz`, or Parquet with a row an item; written by ours, or made of a shop's own tables."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np

from recenv.errors import InvalidInput, require, unknown_name
from recenv.files.array_files import PARQUET, map_npy, read_arrays
from recenv.files.atomic_files import replacing
from recenv.items.item_columns import NUMBERS, TEXTS

_SYNONYMS: Final = {"topic": "topics", "name": "names", "item_id": "source_id", "topic_name": "topic_names"}
_KINDS: Final = (".npz", *PARQUET)
_DIMENSION: Final = re.compile(r"embedding_(0|[1-9][0-9]{0,4})")


def read_columns(file: str | Path) -> dict[str, np.ndarray]:
    """Return the columns of an items file, by the names that `Catalog.from_arrays` takes.

    Args:
        file: `.npy`, embeddings alone; or `.npz` or Parquet with an entry an item: embeddings in `embeddings`,
            [N, d] or a list column, or in embedding_0, embedding_1, ...; `topic`, `name`, `topic_name` and `item_id`
            are other words for `topics`, `names`, `topic_names` and `source_id`.

    Raises:
        InvalidInput: for a file that is missing, damaged or too large, has no embeddings, or a column that no catalogue
            has.
    """
    columns: dict[str, np.ndarray] = {}
    dimensions: dict[int, np.ndarray] = {}
    rows: np.ndarray | None = None
    alone = Path(file).suffix.lower() == ".npy"
    for given, values in ({"embeddings": map_npy(file)} if alone else read_arrays(file)).items():
        dimension = _DIMENSION.fullmatch(given)
        name = _SYNONYMS.get(given, given)
        if dimension:
            dimensions[int(dimension[1])] = values
            continue
        known = ("embeddings", *NUMBERS, *TEXTS)
        if name not in known:
            raise InvalidInput(f"{file}: {unknown_name('column of items', given, known)}, or leave it out")
        if name == "source_id" and given != name and np.array_equal(values, np.arange(len(values))):
            rows = values  # as a log's items are exported, beside the ids of their source
            continue
        require(name not in columns, f"{file} has {name} twice, once as {given}; leave one of them out")
        columns[name] = values
    if rows is not None:
        columns.setdefault("source_id", rows)
    if dimensions:
        require("embeddings" not in columns, f"{file} has embeddings and embedding_0; leave one of them out")
        missing = sorted(set(range(max(dimensions) + 1)) - set(dimensions))
        require(not missing, f"{file} has embedding_{max(dimensions)} and no embedding_{missing[:1]}; add it")
        shapes = {values.shape for values in dimensions.values()}
        require(len(shapes) == 1, f"{file}: embedding_0, embedding_1, ... have the shapes {shapes}; give each [N]")
        columns["embeddings"] = np.stack([dimensions[j] for j in range(len(dimensions))], axis=-1)
    require(
        "embeddings" in columns,
        f"{file} has no embeddings; add an array or list column `embeddings`, or columns embedding_0, embedding_1, ...",
    )
    return columns


def check_kind(path: Path) -> None:
    """Refuse a path that does not say by its end what kind of file it is.

    Raises:
        InvalidInput: naming the kinds.
    """
    require(path.suffix.lower() in _KINDS, f"{path} is none of {', '.join(_KINDS)}; name it by its kind")


def replace_file(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write columns as an items file beside its place, and rename it there.

    Raises:
        InvalidInput: for a file of another kind, or as `replacing` does.
    """
    check_kind(path)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        if path.suffix.lower() == ".npz":
            np.savez(stream, **dict[str, Any](columns))
        else:
            _write_parquet(stream, columns)


def _write_parquet(stream: BinaryIO, columns: Mapping[str, np.ndarray]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    def column(values: np.ndarray) -> pa.Array:
        flat = pa.array(values.reshape(-1))
        return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])

    table = pa.table({name: column(values) for name, values in columns.items()})
    parquet.write_table(table, stream, write_page_checksum=True)
