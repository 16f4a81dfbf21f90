"""A part inside the project is one source and one test file: one of each family is added to a copy of the tree."""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from recenv.registry import Registry, config_of

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("recenv", "offline_data", "agents")
FAMILIES: dict[str, tuple[str, Registry[Any]]] = {
    f"from {package}.families import {name}\n": (name, family)
    for package in PACKAGES
    for name, family in vars(importlib.import_module(f"{package}.families")).items()
    if isinstance(family, Registry)
}
FUTURE = "from __future__ import annotations\n\n"
# Of the part alone; what its family promises is asked of it where it is asked of all.
TEST = '{line}\n\ndef test_it_is_found_by_its_name():\n    assert {family}.get("{name}").__name__ == "{part}"\n'


def add_part(source: Path, tree: Path) -> str:
    """Register an outside part in its family's folder and write its test file; return its name."""
    module = importlib.import_module(f"tests.outside_parts.{source.stem}")
    own = [kind for kind in vars(module).values() if getattr(kind, "__module__", None) == module.__name__]
    ((line, family, part),) = (
        (line, family, kind)
        for line, (_, family) in FAMILIES.items()
        for kind in own
        if isinstance(kind, type) and issubclass(kind, family.base)
    )
    variable, name = FAMILIES[line][0], getattr(config_of(part), "name", source.stem)
    text = source.read_text()
    node = next(n for n in ast.parse(text).body if isinstance(n, ast.ClassDef) and n.name == part.__name__)
    lines = text.splitlines(keepends=True)
    lines.insert(min(n.lineno for n in (node, *node.decorator_list)) - 1, f'@{variable}.register("{name}")\n')
    folder = Path(*family.package.split("."))
    (tree / folder / source.name).write_text("".join(lines).replace(FUTURE, FUTURE + line, 1))
    test = tree / "tests" / folder / f"test_{source.name}"
    test.parent.mkdir(parents=True, exist_ok=True)
    test.write_text(TEST.format(line=line, family=variable, name=name, part=part.__name__))
    return name


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_one_of_each_family_is_a_source_and_a_test_file(tmp_path: Path):
    for name in (*PACKAGES, "recsession", "tests", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".*", "site"))
    for name in ("pyproject.toml", "README.md", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    sources = sorted((ROOT / "tests" / "outside_parts").glob("*.py"))
    assert len(sources) == len(FAMILIES)
    names = [add_part(source, tmp_path) for source in sources]
    # What is asked of a part by its name, and what is asked of all parts at once.
    asked = " or ".join(
        [*names, *(f"test_{file}.py" for file in ("contracts", "structure", "cli", "options", "session_pieces"))]
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "-v", "-p", "no:cacheprovider", "-k", asked, "tests"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "numba")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-6000:]
    for name in names:
        assert f"[{name}-part_is_a_documented_class] PASSED" in run.stdout
