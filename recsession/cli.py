"""The console script `recsession`: each sub-command is imported only when it is called, so that `--help` is quick."""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from recenv.errors import InvalidInput, require, shown, unknown_name
from recenv.extras import require_extra
from recenv.outside_code import blaming_outside_code
from recenv.registry import permit_imports
from recsession.ctrl_c import is_stop

COMMANDS: Final = {
    "quickstart": "simulate, log, learn and judge: the main job end to end, with a report",
    "import": "read a table of your own, KuaiRand, MovieLens, Open Bandit, RecBole, Vowpal Wabbit or Minari",
    "inspect": "say what is in a logged dataset, as a table, JSON or a page, and check its bytes",
    "split": "split a logged dataset in two: a part to train on, and a part to judge by",
    "train": "train a policy on a logged dataset with a registered objective",
    "ope": "estimate a policy's value from a log of another, or read the Open Bandit Dataset",
    "export": "write a log for Minari, as Parquet, or its card in Markdown; a policy as an ONNX model",
    "collect": "log sessions to a folder: of a quality dial, of any policy, or a named dataset",
    "datasets": "list the named datasets and what each is",
    "simulate": "play sessions of a policy and show them, as text or as a picture",
    "evaluate": "roll a policy out in the simulator",
    "fit": "fit a user model to a log, with intervals and a held-out judgement",
    "items": "say what is in a file of your own items, and draw the columns that it lacks",
    "options": "list the options of a session: what each means, and its default",
    "theory": "every claim with its verdict, and the theory of repulsion in controlled experiments, with a page",
    "reproduce": "run a paper's experiments anew, each number beside the paper's own",
    "check": "check a part of your own against what every part of its family promises",
}

_MODULES: Final = {name: f"recsession.commands.{name}" for name in COMMANDS} | {
    "quickstart": "recsession.experiments.quickstart",
    "import": "recsession.commands.import_log",
}

_MODULE_CLASS: Final = re.compile(r"[^\W\d]\w*:[^\W\d]")
_LEARNERS: Final = frozenset({"quickstart", "train", "ope", "theory", "reproduce"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one sub-command and return its exit code.

    It is 0, 1 where `check` finds a part wrong, 2 for input that the user can mend, 130 after Ctrl-C, and 141 where the
    reader of a pipe has gone.

    Args:
        arguments: the words after `recsession`; None takes the process's own.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _check_streams()
        try:
            code = _answer(words)
        except SystemExit:  # after --help
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    except BaseException as error:
        ended = _stopped() if is_stop(error) else _failed(error)
        if ended is None:
            raise
        return ended
    return code


def _failed(error: BaseException) -> int | None:
    """Say in a sentence what is no fault of ours, and return the exit code; None of any other error."""
    match error:
        case InvalidInput():
            _tell(f"recsession: {error}")
            return 2
        case BrokenPipeError():
            _stdout_is_lost()  # whoever reads, such as `head`, has seen enough
            return 141
        case OSError():
            what = error.filename or ("standard output" if _stdout_is_lost() else "file system")
            _tell(f"recsession: {shown(what)}: {shown(error.strerror or error)}")
            return 2
    return None


def _answer(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_usage())
    elif words[0] == "--version":
        from importlib.metadata import version

        print(f"recsession {version('recsession')}")
    else:
        _check_words(words)
        words, allowed = _allowed_imports(words)
        if (allowed or any(map(_MODULE_CLASS.search, words))) and str(Path.cwd()) not in sys.path:
            sys.path.append(str(Path.cwd()))  # last, so that nothing there hides a package
        name = words[0]
        if name not in COMMANDS:
            raise unknown_name("command", name, COMMANDS)
        with permit_imports(allowed), blaming_outside_code():
            return _run(name, words[1:])
    return 0


def _check_words(words: list[str]) -> None:
    """Refuse what a shell makes of a variable that is not set, and what no file can be called or hold."""
    for place, word in enumerate(words, 1):
        empty = word == "" or (word.startswith("--") and word.endswith("="))
        require(not empty, f"word {place}, {word!r}, has no value; give one, or leave the option out")
        require("\0" not in word, f"word {place}, {word!r}, has a NUL in it; leave it out")
        # Of what is no UTF-8, Python makes halves of surrogate pairs.
        halves = not word.isascii() and re.search("[\ud800-\udfff]", word)
        require(not halves, f"word {place}, {word!r}, is no UTF-8; rename it")


def _check_streams() -> None:
    """Refuse a standard output that is closed, whose number the next file would get; errors may go nowhere."""
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
            if number == 2:
                sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (as long as the process lives)
    require(sys.stdout is not None, "standard output is closed; send it somewhere, as in > results.txt")


def _tell(sentence: str) -> None:
    with suppress(OSError):  # what nobody can be told is in the exit code
        print(sentence, file=sys.stderr)


def _stdout_is_lost() -> bool:
    """Return whether standard output takes no more; Python would complain when it flushes for the last time."""
    try:
        print(flush=True)  # without a buffer there is nothing left to flush
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _allowed_imports(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the words without `--allow-import MODULE`, wherever it stands, and the modules."""
    left, modules, rest = [], [], iter(words)
    for word in rest:
        option, equals, module = word.partition("=")
        if option != "--allow-import":
            left.append(word)
            continue
        module = module if equals else next(rest, "")
        require(
            all(part.isidentifier() for part in module.split(".")),
            f"--allow-import {module!r} is no module's dotted name; pass one, as in --allow-import shops",
        )
        modules.append(module)
    require(bool(left), "--allow-import stands alone; add a command, see `recsession --help`")
    return left, modules


def _stopped() -> int:
    _tell("\nrecsession: stopped; run the same command again to go on")
    return 130


def _run(name: str, words: Sequence[str]) -> int:
    if name in _LEARNERS:
        require_extra("agents")
    module = importlib.import_module(_MODULES[name])
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)  # two threads can collapse on small networks and shared cores
    if name in ("train", "import", "reproduce"):
        return module.run(words) or 0
    from recsession.inputs import parse

    return parse(getattr(module, name.capitalize()), name, words).run() or 0


def _usage() -> str:
    rows = "\n".join(f"  {name:<12}{text}" for name, text in COMMANDS.items())
    return (
        "usage: recsession COMMAND [OPTIONS]\n\n"
        "Learn a recommendation policy from logs that are mostly bad, and know whether it worked.\n\n"
        f"commands:\n{rows}\n\n"
        "`recsession COMMAND --help` says what a command takes. Begin with `recsession quickstart`; or, from a table\n"
        "of your own, with `recsession import table`, then inspect, split, train, ope and export (docs/your_log.md).\n"
        "Parts of your own are named MODULE:CLASS; one that a file names needs --allow-import MODULE."
    )


if __name__ == "__main__":
    sys.exit(main())
