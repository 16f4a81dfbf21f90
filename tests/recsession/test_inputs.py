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


def test_a_pattern_that_the_shell_has_spelled_out_is_named(run, tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("user,item,click\n1,2,1\n")
    words = ("--out", tmp_path / "log", "--map", "user_id=user", "item_id=item", "feedback.click=click")
    code, _, err = run("import", "table", "--path", tmp_path / "a.csv", tmp_path / "b.csv", *words)
    assert code == 2
    assert "a pattern of files stands between quotes, as --path 'shop/*.csv'; see" in err
    assert run("import", "table", "--path", tmp_path / "*.csv", *words)[0] == 0
