"""The console script `recsession`, and `python -m recsession`.

It stands outside the package `agents`: another package of that name would be imported in its place, and then no line of
ours would run to say so.
"""

from __future__ import annotations

import os
import sys
import warnings

_HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def main() -> int:
    """Run the command line and return its exit code; 2 if another package stands in the way, 130 after Ctrl-C."""
    _leave_working_folder()  # before anything is imported
    from recsession.ctrl_c import heeded

    try:
        with heeded():
            return _main()
    except KeyboardInterrupt:  # before the command began, or after its last word
        print("\nrecsession: stopped", file=sys.stderr)
        return 130


def _main() -> int:
    with warnings.catch_warnings():
        # Importing recenv may warn of the clash that is an error here.
        warnings.simplefilter("ignore", UserWarning)
        from recenv.name_clash import find_clash, find_rivals

    clash = find_clash()
    if clash is not None:
        print(f"recsession: {clash}", file=sys.stderr)
        return 2
    rivals = find_rivals()
    if rivals is not None:
        print(f"recsession: warning: {rivals}", file=sys.stderr)

    from recsession.cli import main as run

    _print_what_kernels_log()
    return run()


def _print_what_kernels_log() -> None:
    import logging

    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("recsession: %(message)s"))
    logger = logging.getLogger("recenv.kernels")  # which is not imported for it
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    logger.propagate = False


def _leave_working_folder() -> None:
    """Import nothing from the folder that is worked in, unless we lie there: it may be a stranger's log.

    `python -m` puts it first, where a `json.py` would hide Python's; the command line puts it last when a word names a
    MODULE:CLASS. Numba takes settings from a file there, the place of its cache among them, which it unpickles.
    """
    os.environ.setdefault("NUMBA_CACHE_DIR", "")
    try:
        here = os.getcwd()
    except FileNotFoundError:  # it is gone, and nothing can be imported from it
        return
    if here != _HOME:
        sys.path[:] = [folder for folder in sys.path if os.path.abspath(folder) != here]


if __name__ == "__main__":
    sys.exit(main())
