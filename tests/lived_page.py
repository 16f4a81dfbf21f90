"""A page that is lived through: its commands are run, its Python too, and what they print is what it shows."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n", flags=re.DOTALL | re.MULTILINE)
_LEARNED = re.compile(r"'[^'\n]*'|   (?:untrusted|doubtful|is not 1).*")
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


@dataclass(frozen=True)
class Shown:
    """A block `text` of a page, and what the block before it printed."""

    source: str
    """The commands, or the Python."""
    text: str
    """What the page shows."""
    printed: str
    """What it is."""

    def differences(self, tolerance: float) -> list[str]:
        """Return the lines that differ in words, or in a number by more than a share of it (and of 1).

        Args:
            tolerance: 0 for what is the same everywhere. Else something was learned: what stands in quotes may be
                another item, and whether a number is doubted depends on its digits.
        """
        texts = (_LEARNED.sub("", text) if tolerance else text for text in (self.text, self.printed))
        shown, printed = (text.splitlines() for text in texts)
        if len(shown) != len(printed):
            return [f"{len(printed)} lines, not {len(shown)}:\n{self.printed}"]
        return [f"{a!r} is {b!r}" for a, b in zip(shown, printed, strict=True) if not _alike(a, b, tolerance)]


def live(page: str, name: str) -> list[Shown]:
    """Run a page's blocks bash and python in order, in the present folder, and return what they showed.

    Args:
        page: its text. Each command must succeed; of those of one block, the output is joined.
        name: of the page, for tracebacks.
    """
    from recsession.cli import main

    names: dict[str, object] = {"__name__": "page"}
    found, source, printed = [], "", ""
    for language, block in _FENCE.findall(page):
        if language == "text":
            found.append(Shown(source, block, printed))
            continue
        source, out = block, io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(io.StringIO()) as errors:
            if language == "python":
                exec(compile(block, name, "exec", dont_inherit=True), names)  # the page's own words
            elif language == "bash":
                for words in command_lines(block):
                    assert words[0] == "recsession", f"{name} runs {words[0]}"
                    assert main(words[1:]) == 0, f"{shlex.join(words)}: {errors.getvalue()}"
        printed = out.getvalue()
    return found


def command_lines(block: str) -> list[list[str]]:
    """Return the words of each command of a bash block."""
    lines = (shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines())
    return [words for words in lines if words]


def rewritten(page: str, shown: list[Shown]) -> str:
    """Return the page with what its blocks print now in the place of what it shows."""
    rest = iter(shown)

    def put(match: re.Match[str]) -> str:
        return match[0] if match[1] != "text" else f"```text\n{next(rest).printed}```\n"

    return _FENCE.sub(put, page)


def _alike(shown: str, printed: str, tolerance: float) -> bool:
    if " ".join(_NUMBER.sub("#", shown).split()) != " ".join(_NUMBER.sub("#", printed).split()):
        return False
    pairs = zip(*(map(_value, _NUMBER.findall(line)) for line in (shown, printed)), strict=True)
    return all(abs(a - b) <= tolerance * max(abs(a), 1.0) for a, b in pairs)


def _value(number: str) -> float:
    return float(number.replace(",", ""))


def write(path: Path, name: str) -> None:
    """Bring what a page shows up to date; run it in the folder that the page is lived in."""
    page = path.read_text()
    path.write_text(rewritten(page, live(page, name)))
