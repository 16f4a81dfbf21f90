"""What a path to a table is: a file, a folder of parts as Spark writes them, or a pattern of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

from recenv.errors import InvalidInput, require

_PATTERN: Final = re.compile(r"[*?\[]")
_NUMBER: Final = re.compile(r"(\d+)")
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
_LAKES: Final = {"_delta_log": "Delta Lake", ".hoodie": "Hudi"}
_LAKE_REMEDY: Final = "which may hold files that are no longer of it; write it as plain Parquet or CSV"


@dataclass(frozen=True)
class Part:
    """A file of a table."""

    file: Path
    """Where it lies."""
    held: Mapping[str, str | None] = field(default_factory=dict)
    """Columns whose one value its folders' names say, `date=2024-01-01`, by name; None where they say that there is
    none."""


def parts_of(path: Path) -> list[Part]:
    """Return the files of a table, in the order of their names, in which numbers count as numbers.

    Of a folder, what is hidden, begins with an underscore (`_SUCCESS`) or is empty is no part.

    Args:
        path: a file, a folder of files, or a pattern such as `shop/*.csv`, in which `**` is any folders.

    Raises:
        InvalidInput: for what does not exist, a folder without files, and one with folders that name no column.
    """
    try:
        if path.is_dir():
            parts = list(_in_folder(path, {}))
            require(len(parts) > 0, f"{path} is a folder without a file that holds anything; give that of the table")
            return parts
        found = [] if path.exists() or not _PATTERN.search(str(path)) else _matches(path)
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{path} cannot be read ({error}); give the path of a file, or of a folder") from error
    if found is None:
        raise InvalidInput(f"{path} is the pattern of no file; mend it, as in 'shop/*.csv', with its quotes")
    return found or [Part(path)]


def part_names(files: Sequence[Path]) -> list[str]:
    """Return names that tell files apart: their own, or, where several have one, their paths in their common folder."""
    names = [file.name for file in files]
    if len(set(names)) == len(set(files)):
        return names
    common = os.path.commonpath([os.path.abspath(file.parent) for file in files])
    return [Path(os.path.relpath(file, common)).as_posix() for file in files]


def _in_folder(folder: Path, held: Mapping[str, str | None]) -> Iterator[Part]:
    for name, lake in _LAKES.items():
        require(not (folder / name).is_dir(), f"{folder} is a table of {lake}, {_LAKE_REMEDY}")
    snapshots = (folder / "metadata").is_dir() and any((folder / "metadata").glob("*.metadata.json"))
    require(not snapshots, f"{folder} is a table of Iceberg, {_LAKE_REMEDY}")
    for each in sorted(folder.iterdir(), key=_natural):
        name, equals, value = each.name.partition("=")
        if each.name.startswith(".") or (each.name.startswith("_") and not equals):
            continue
        if not each.is_dir():
            require(each.is_file(), f"{each} is no regular file; give a pattern of those that are, as {folder}/*.csv")
            if each.stat().st_size > 0:
                yield Part(each, held)
            continue
        require(
            equals != "" and name != "",
            f"{folder} holds a folder {each.name}, which names no column as date=2024-01-01 does; give the folder of "
            f"the table's files alone, or a pattern with folders, as '{folder}/**/*.csv'",
        )
        name = unquote(name)
        require(name not in held, f"{each} names the column {name} a second time; rename the folder")
        yield from _in_folder(each, {**held, name: None if value == _NO_VALUE else unquote(value)})


def _matches(pattern: Path) -> list[Part] | None:
    """Return the files that a pattern finds, or None; of folders that it finds their files."""
    at = next(n for n, word in enumerate(pattern.parts) if _PATTERN.search(word))
    root = Path(*pattern.parts[:at])
    found = [each for each in root.glob(str(Path(*pattern.parts[at:]))) if not _is_apart(each.relative_to(root))]
    parts: list[Part] = []
    for each in sorted(found, key=lambda file: [_natural(word) for word in (*file.parents, file)]):
        held = _said(each.relative_to(root).parts[:-1])
        if each.is_dir() and "**" not in pattern.parts:
            parts += _in_folder(each, {**held, **_said([each.name])})
        elif not each.is_dir() and (not each.is_file() or each.stat().st_size > 0):
            parts.append(Part(each, held))
    return parts or None


def _is_apart(file: Path) -> bool:
    return any(word.startswith(".") or (word.startswith("_") and "=" not in word) for word in file.parts)


def _said(words: Sequence[str]) -> dict[str, str | None]:
    """Return the columns that folders' names say."""
    pairs = [word.partition("=") for word in words if "=" in word[1:]]
    return {unquote(name): None if value == _NO_VALUE else unquote(value) for name, _, value in pairs}


def _natural(file: Path) -> list[tuple[int, Any]]:
    words = _NUMBER.split(file.name)
    return [(0, int(word)) if n % 2 else (1, word) for n, word in enumerate(words)]
