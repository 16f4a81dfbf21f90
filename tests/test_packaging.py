"""What is declared, pinned, installed and shipped is the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.source_files import PACKAGES, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS = PROJECT["project"]["optional-dependencies"]
INSTALL_COMMAND = "pip install -c constraints.txt -e '.[agents,minari]' && recsession quickstart"
TEST_COMMAND = "pip install -c constraints.txt tox && tox"


def pins() -> dict[str, Version]:
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", f"constraints.txt: {line} is not an exact version"
            found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


def declared() -> list[Requirement]:
    groups = [entry for group in PROJECT["dependency-groups"].values() for entry in group if isinstance(entry, str)]
    optional = [entry for extra in EXTRAS.values() for entry in extra if not entry.startswith("recsession[")]
    entries = [*PROJECT["project"]["dependencies"], *optional, *PROJECT["build-system"]["requires"], *groups]
    return [Requirement(entry) for entry in entries]


def installed() -> dict[str, Version]:
    # A local part such as +cpu is the build of the same version.
    return {
        canonicalize_name(distribution.metadata["Name"]): Version(Version(distribution.version).public)
        for distribution in metadata.distributions()
    }


def needed(name: str, seen: set[str]) -> set[str]:
    """Return `name` and all that it needs here, as the installed metadata say."""
    if name in seen:
        return seen
    seen.add(name)
    for line in metadata.requires(name) or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            needed(canonicalize_name(requirement.name), seen)
    return seen


def test_every_declared_dependency_is_pinned_inside_its_range():
    versions = pins()
    for requirement in declared():
        pin = versions.get(canonicalize_name(requirement.name))
        assert pin is not None, f"constraints.txt pins no {requirement.name}"
        assert requirement.specifier.contains(pin), (
            f"constraints.txt pins {requirement.name} {pin}, declared is {requirement}"
        )


def test_tested_versions_of_the_torch_family():
    versions = pins()
    assert [str(versions[name]) for name in ("torch", "torchrl", "tensordict")] == ["2.13.0", "0.14.1", "0.14.3"]


def test_installed_versions_are_the_pins():
    if "TOX_ENV_NAME" not in os.environ:
        pytest.skip("outside tox: this environment was not installed from constraints.txt")
    versions, here = pins(), installed()
    both = here.keys() & versions
    assert {name: str(here[name]) for name in both} == {name: str(versions[name]) for name in both}
    # The whole runtime is here and pinned, down to the dependencies of dependencies; CUDA builds bring their own.
    runtime: set[str] = set()
    for dependency in (*PROJECT["project"]["dependencies"], *EXTRAS["agents"], *EXTRAS["minari"]):
        needed(canonicalize_name(Requirement(dependency).name), runtime)
    unpinned = {name for name in runtime - versions.keys() if not name.startswith(("nvidia-", "cuda-", "triton"))}
    assert not unpinned, f"constraints.txt pins no {sorted(unpinned)}"
    assert {"numpy", "llvmlite", "torch", "sympy"} <= runtime


def test_readme_starts_with_the_two_commands():
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    start = "\n".join(blocks[:3])
    assert INSTALL_COMMAND in start
    assert TEST_COMMAND in start
    assert start.index("venv") < start.index(INSTALL_COMMAND)
    assert f"command='{TEST_COMMAND}'\n" in (ROOT / ".ci" / "run").read_text()


def test_wheel_holds_every_file_of_the_packages(tmp_path: Path):
    skip = shutil.ignore_patterns("__pycache__", ".*")
    tree = tmp_path / "tree"
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tree / package, ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    wanted = {
        str(path.relative_to(tree)) for package in PACKAGES for path in (tree / package).rglob("*") if path.is_file()
    }
    command = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    run = subprocess.run(
        [sys.executable, "-c", command, str(tmp_path)], cwd=tree, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (entry_points,) = (name for name in held if name.endswith("entry_points.txt"))
        assert "recsession = recsession.__main__:main" in archive.read(entry_points).decode()
    assert wanted <= held
    tops = {name.split("/")[0] for name in held if ".dist-info" not in name}
    assert tops == set(PACKAGES)
