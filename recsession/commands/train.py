"""`recsession train`: the list of objectives, which needs no torch, and the way to the run that does."""

from __future__ import annotations

from collections.abc import Sequence

from agents.families import OBJECTIVES
from agents.objectives.bases.needs import IN_WORDS
from recsession.lines import say


def run(words: Sequence[str]) -> None:
    """Parse `OBJECTIVE [OPTIONS]`, train, and say what was written.

    Args:
        words: the command line after `train`.

    Raises:
        InvalidInput: for bad input.
    """
    if words and words[0] not in ("-h", "--help"):
        from recsession.training_run import run_training

        run_training(words[0], words[1:])
        return
    say(
        "usage: recsession train OBJECTIVE --log FOLDER --out FOLDER [OPTIONS]",
        "",
        "Train a policy on a logged dataset. OBJECTIVE is one of these; in brackets what not every log gives:",
        "",
        *map(_line, OBJECTIVES.registered()),
        "",
        "`recsession train OBJECTIVE --help` says what each takes; with `--policy NAME` or `--encoder NAME` "
        "before --help, what that one does.",
    )


def _line(name: str) -> str:
    """Return what the list of objectives says of one: its name, what it is, its needs."""
    source = OBJECTIVES.source(name)
    if source is None:  # of another distribution: where its source lies is not known before it is imported
        return f"  {name}"
    needs = ", ".join(IN_WORDS[need] for need in sorted(source.literal("needs")) if need in IN_WORDS)
    return f"  {name:21}{source.meaning}{f' [{needs}]' if needs else ''}"
