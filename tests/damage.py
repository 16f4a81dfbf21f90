"""Files that something has happened to: a bit flipped, an end cut off; datasets that are wrong, but whole."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from offline_data.store.dataset import file_digest
from offline_data.store.sealed_files import json_checksum

WRONG = (None, True, -1, 0, 2**31, 10**18, 1e308, -0.5, "", "x", "a:b", [], {}, [1], ["x"], {"a": 1})
"""What a field of a JSON file is replaced by."""


def flipped_bits(whole: bytes, count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield copies with one bit flipped each, at random places; every one of them if there are at most `count`."""
    places = np.random.default_rng(seed).permutation(8 * len(whole))[:count]
    for place in places.tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        yield bytes(flipped)


def cut_or_added_to(whole: bytes) -> Iterator[bytes]:
    """Yield what is empty, foreign, cut at either end or has something added at either end."""
    yield from (b"", b"\n", b"something else\n", whole[:-1], whole[: len(whole) // 2], whole[1:])
    yield from (whole + b"\n", whole + b"\0" * 4096, b"\0" + whole, whole + whole)


def alter_manifest(folder: Path, **changes: Any) -> None:
    """Change fields of a dataset's manifest, with its checksum: as another writer would, not as a disk spoils it."""
    file = folder / "manifest.json"
    manifest = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({**manifest, "checksum": json_checksum(manifest)}))


def alter_column(folder: Path, name: str, values: Any) -> None:
    """Change a column of a dataset, such as "rows/slate", with what its manifest says of it."""
    file, values = folder / f"{name}.npy", np.asarray(values)
    np.save(file, values)
    entry = {"dtype": str(values.dtype), "shape": list(values.shape), "bytes": file.stat().st_size}
    schema = json.loads((folder / "manifest.json").read_text())["schema"]
    alter_manifest(folder, schema={**schema, f"{name}.npy": {**entry, "sha256": file_digest(file)}})


def places(values: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the ways to all values of a JSON text."""
    if path:
        yield path
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def altered_json(values: Any, count: int, seed: int) -> Iterator[tuple[str, Any]]:
    """Yield what was done, and JSON values with one field replaced, removed or added."""
    rng, ways = np.random.default_rng(seed), list(places(values))
    for _ in range(count):
        path = ways[rng.integers(len(ways))]
        changed = copy.deepcopy(values)
        inner = changed
        for part in path[:-1]:
            inner = inner[part]
        deed = rng.integers(10)
        if deed == 0:
            del inner[path[-1]]
            yield f"without {path}", changed
        elif deed == 1 and isinstance(inner, dict):
            inner["another"] = 1
            yield f"another beside {path}", changed
        else:
            inner[path[-1]] = WRONG[rng.integers(len(WRONG))]
            yield f"{path} = {inner[path[-1]]!r}", changed
