"""README is run: its Python blocks are one program."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_python_blocks_run_in_order(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    blocks = python_blocks(README.read_text())
    assert len(blocks) >= 5
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)  # README's own words
    assert "[0.5000, 0.0000, 0.2500, 0.2500]" in capsys.readouterr().out


def test_a_block_that_fails_would_be_seen():
    assert python_blocks("x\n```python\nraise KeyError\n```\n") == ["raise KeyError\n"]
