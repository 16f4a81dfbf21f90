from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recenv.name_clash import MARK, find_clash, find_rivals, warn_of_clash

ROOT = Path(__file__).parents[2]
# A name that nothing else has: the functions look at this process's own path.
PACKAGE = "recsession_clash_probe"


def write_package(folder: Path, text: str = "", package: str = PACKAGE) -> Path:
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(text)
    return folder


def write_distribution(folder: Path, name: str, package: str = PACKAGE) -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "top_level.txt").write_text(f"{package}\n")


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    return write_package(tmp_path / "ours", f'"""{MARK}."""\n')


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return write_package(tmp_path / "other")


def test_no_clash_where_our_package_comes_first(ours: Path, other: Path, monkeypatch: pytest.MonkeyPatch):
    write_distribution(other, "rival-agents")
    monkeypatch.syspath_prepend(other)
    monkeypatch.syspath_prepend(ours)
    assert find_clash(PACKAGE, ours) is None
    assert find_rivals(PACKAGE, ours) is None
    warn_of_clash(PACKAGE, ours)


def test_distribution_in_front_is_named(ours: Path, other: Path, monkeypatch: pytest.MonkeyPatch):
    write_distribution(other, "rival-agents")
    monkeypatch.syspath_prepend(ours)
    monkeypatch.syspath_prepend(other)
    clash = find_clash(PACKAGE, ours)
    assert clash == (
        f"the package {PACKAGE} at {other / PACKAGE}, of the distribution rival-agents, hides RecSession's at "
        f"{ours / PACKAGE}; uninstall rival-agents, or give each its own venv"
    )
    assert PACKAGE not in sys.modules
    with pytest.warns(UserWarning, match="of the distribution rival-agents, hides"):
        warn_of_clash(PACKAGE, ours)


def test_overwritten_package_names_the_other_distribution(other: Path, monkeypatch: pytest.MonkeyPatch):
    write_distribution(other, "rival-agents")
    write_distribution(other, "recsession")
    monkeypatch.syspath_prepend(other)
    clash = find_clash(PACKAGE, other)
    assert clash is not None
    assert "was overwritten by the distribution rival-agents; uninstall rival-agents and reinstall recsession" in clash


def test_shared_folder_names_the_rival(ours: Path, monkeypatch: pytest.MonkeyPatch):
    write_distribution(ours, "recsession")
    monkeypatch.syspath_prepend(ours)
    assert find_rivals(PACKAGE, ours) is None
    write_distribution(ours, "rival-agents")
    assert find_clash(PACKAGE, ours) is None
    assert "the distribution rival-agents has files in RecSession's package" in str(find_rivals(PACKAGE, ours))


@pytest.mark.parametrize("kind", ["package", "folder", "module"])
def test_folder_of_the_user_is_a_clash_but_no_warning(
    kind: str, ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
):
    user = tmp_path / "user"
    user.mkdir()
    place = user / (f"{PACKAGE}.py" if kind == "module" else PACKAGE)
    if kind == "module":
        place.write_text("")
    elif kind == "folder":
        place.mkdir()
    else:
        write_package(user)
    # A folder without __init__.py gives way to a package further down the path, but not to an editable install.
    if kind != "folder":
        monkeypatch.syspath_prepend(ours)
    monkeypatch.syspath_prepend(user)
    clash = find_clash(PACKAGE, ours)
    assert clash == (
        f"{place} hides RecSession's package {PACKAGE} at {ours / PACKAGE}; rename it, or start Python where it is not "
        "on the path"
    )
    warn_of_clash(PACKAGE, ours)
    assert not recwarn.list


def test_missing_package_is_said(ours: Path, tmp_path: Path):
    assert "is not at" in str(find_clash(PACKAGE, tmp_path))


def test_our_own_package_is_marked():
    assert find_clash() is None


def run_from(folder: Path, *path: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    command = [sys.executable, "-m", "recsession", "--help"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)


def test_command_line_names_the_clash_in_one_line_and_exits_with_2(tmp_path: Path):
    other = write_package(tmp_path / "other", "raise RuntimeError('imported')\n", package="agents")
    write_distribution(other, "rival-agents", package="agents")
    run = run_from(tmp_path, other, ROOT)
    assert run.returncode == 2
    assert run.stdout == ""
    assert len(run.stderr.splitlines()) == 1, run.stderr
    assert run.stderr.startswith(
        f"recsession: the package agents at {other / 'agents'}, of the distribution rival-agents, hides RecSession's"
    )


def test_command_line_runs_where_there_is_no_clash(tmp_path: Path):
    run = run_from(tmp_path, ROOT)
    assert run.returncode == 0, run.stderr
    assert "quickstart" in run.stdout
