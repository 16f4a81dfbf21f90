"""`recsession reproduce`: the list of studies, which needs no torch, and the way to the run that does."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

from recsession.families import STUDIES
from recsession.inputs import parse
from recsession.lines import say


def run(words: Sequence[str]) -> None:
    """Parse `STUDY [OPTIONS]`, run the study, and say what came out.

    Args:
        words: the command line after `reproduce`.

    Raises:
        InvalidInput: for bad input.
    """
    if not words or words[0] in ("-h", "--help"):
        say(
            "usage: recsession reproduce STUDY --out FOLDER [OPTIONS]",
            "",
            "Run a paper's experiments anew, each number beside the paper's own. STUDY is one of these:",
            "",
            *map(_line, STUDIES.registered()),
            "",
            "`recsession reproduce STUDY --help` says what it measures, and what it takes.",
        )
        return
    study = STUDIES.resolve(words[0].replace("-", "_"))
    from recsession.experiments.reproduction import Reproduction, run_reproduction

    chosen = parse(Reproduction, f"reproduce {words[0]}", words[1:], inspect.cleandoc(study.__doc__ or ""))
    run_reproduction(study, chosen)


def _line(name: str) -> str:
    source = STUDIES.source(name)
    return f"  {name:<13}{source.meaning if source else ''}".rstrip()
