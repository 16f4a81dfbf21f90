"""The console script `recsession`, and `python -m recsession`.

It stands outside the package `agents`: another package of that name would be imported in its place, and then no line of
ours would run to say so.
"""

from __future__ import annotations

import sys
import warnings


def main() -> int:
    """Run the command line and return its exit code; 2 if another package stands in the way."""
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

    return run()


if __name__ == "__main__":
    sys.exit(main())
