"""What the words of a command mean: help that reads as sentences."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest


@pytest.mark.parametrize("words", [("import", "table"), ("collect",)])
def test_help_breaks_a_line_only_where_the_next_word_does_not_fit(run, capsys, monkeypatch, words):
    """A field's string is written over several lines of source: where it breaks there says nothing here."""
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        run(*words, "--help")
    lines = [line[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith(("│", " "))]
    margin = next(line.index("show this help") for line in lines if "--help" in line)  # help stands beside the names
    goes_on = [(line.rstrip(), more) for line, more in pairwise(lines) if more.strip() and not more[:margin].strip()]
    pairs = [(line, more.split()[0]) for line, more in goes_on if re.match(r".*  \S", line[: margin + 1])]
    assert len(pairs) > 3
    assert [(line, word) for line, word in pairs if len(line) + len(word) + 2 <= len(lines[0])] == []
