"""Where nobody can read: an output that is full, closed or left by its reader is told, and the exit code says so."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

from tests.recsession.cli_cases import ROOT


def process(words: str, redirection: str, cwd, limit: int | None = None) -> tuple[int, str]:
    """Run a command by a shell and return its exit code and what it said on standard error."""

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {sys.executable} -m recsession {words} {redirection}"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=restrict,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("words", ["datasets", "--help", "simulate --help", "--version"])
def test_a_full_standard_output_is_one_sentence(tmp_path, words):
    """No file may grow: the file that takes what is printed is full at once."""
    code, err = process(words, "> full", tmp_path, limit=0)
    assert (code, err) == (2, "recsession: standard output: File too large\n")


def test_a_closed_standard_output_is_refused(tmp_path):
    code, err = process("datasets", ">&-", tmp_path)
    assert (code, err) == (2, "recsession: standard output is closed; send it somewhere, as in > results.txt\n")


@pytest.mark.parametrize(("redirection", "expected"), [("2>&-", 2), ("< /dev/null 2>&-", 2), ("<&-", 2)])
def test_where_errors_go_nowhere_the_exit_code_is_left(tmp_path, redirection, expected):
    assert process("datasets nowhere", redirection, tmp_path)[0] == expected
    assert process("datasets medium expert", redirection, tmp_path)[0] in (0, expected)


@pytest.mark.parametrize("words", ["datasets", "simulate --help"])
def test_a_reader_that_has_gone_is_no_error(tmp_path, words):
    code, err = process(words, "| true", tmp_path)
    assert code in (0, 141)
    assert err == ""
