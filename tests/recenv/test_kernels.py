"""Kernels run wherever they can be kept or not, and what that costs is said once."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
from types import ModuleType

import pytest
from numba.core import caching, config

from recenv import kernels
from recenv.kernels import COMPILING, MANY
from tests.source_files import ROOT

KERNEL = """
@njit(cache=True, error_model="numpy")
def add_{number}(value):
    return value + {number}
"""
SOURCE = "from recenv.kernels import njit" + "".join(KERNEL.format(number=number) for number in range(MANY + 1))
pytestmark = pytest.mark.skipif(bool(vars(config)["DISABLE_JIT"]), reason="nothing is compiled")


@pytest.fixture
def load(tmp_path, monkeypatch):
    """Import two kernels that nobody has compiled, as a process would that has said nothing yet."""
    file = tmp_path / "kernels_of_a_test.py"
    file.write_text(SOURCE)
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))

    def again() -> ModuleType:
        monkeypatch.setattr(kernels, "_told", set())
        monkeypatch.setattr(kernels, "_missed", 0)
        spec = importlib.util.spec_from_file_location("kernels_of_a_test", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return again


@pytest.fixture
def said(caplog):
    caplog.set_level(logging.INFO, "recenv.kernels")
    return lambda: [(record.levelname, record.getMessage()) for record in caplog.records]


def test_that_much_is_compiled_is_told_once_and_in_a_warm_cache_never(load, said):
    module = load()
    for number in range(MANY + 1):
        assert said() == ([("INFO", COMPILING)] if number >= MANY else [])
        assert getattr(module, f"add_{number}")(2) == 2 + number
    again = load()  # another process, which finds it
    assert [getattr(again, f"add_{number}")(2) for number in range(MANY + 1)] == list(range(2, MANY + 3))
    assert said() == [("INFO", COMPILING)]


def test_without_a_folder_kernels_are_compiled_in_memory_with_one_warning(load, said, monkeypatch):
    for locator in vars(caching).values():
        if isinstance(locator, type) and issubclass(locator, caching._CacheLocator):
            monkeypatch.setattr(locator, "from_function", classmethod(lambda *_: None))
    module = load()
    assert said() == []  # nothing is compiled yet
    assert (module.add_1(2), module.add_2(2)) == (3, 4)
    ((level, message),) = said()
    assert level == "WARNING"
    assert message.endswith("set NUMBA_CACHE_DIR to a folder that can be written")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), PermissionError(13, "denied")])
def test_a_cache_that_cannot_be_written_is_warned_of_once(load, said, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", fail)
    module = load()
    assert (module.add_1(2), module.add_1(2.5), module.add_2(2)) == (3, 3.5, 4)
    ((level, message),) = said()
    assert level == "WARNING"
    assert error.strerror in message
    assert "NUMBA_CACHE_DIR" in message


def test_a_torn_cache_is_compiled_anew(load, said, tmp_path):
    load().add_1(2)
    (index,) = (tmp_path / "cache").rglob("*.nbi")
    index.write_bytes(index.read_bytes()[:20])
    assert load().add_1(2) == 3


def test_another_fault_of_a_kernel_is_no_fault_of_the_cache():
    with pytest.raises(TypeError):
        kernels.njit(cache=True)(3)  # type: ignore[arg-type]


def test_a_read_only_install_without_a_home_draws(tmp_path):
    """The package's folders cannot be written to, not by root either: a file lies where the cache would."""
    shutil.copytree(ROOT / "recenv", tmp_path / "site" / "recenv", ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [each for each in (tmp_path / "site").rglob("*") if each.is_dir()]:
        (folder / "__pycache__").touch()
    nowhere = str(tmp_path / "site" / "recenv" / "__pycache__" / "none")
    environment = {**os.environ, "HOME": nowhere, "XDG_CACHE_HOME": nowhere, "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"PYTHONPATH": str(tmp_path / "site"), "NUMBA_CACHE_DIR": ""}
    program = "import numpy, recenv; one = numpy.ones(1, 'u8'); print(recenv.uniforms(one, 0, one, one, 3).shape)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "(1, 3)\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("kernels are compiled anew in every run")
    assert "set NUMBA_CACHE_DIR" in line
