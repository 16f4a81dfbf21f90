"""One claim of the theory, as the register holds it.

A test says which claim it shows by the mark `@pytest.mark.claim("its-id")`, or by `shows="its-id"` in the
`tests.properties.Claim` of a property; tests/recsession/experiments/test_claims.py keeps the two in step. Who proves a
claim adds it to its topic's module here; a new topic takes a line in `register.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

from recenv.errors import require
from recsession.experiments.theory.comparison import Plot

Verdict = Literal["holds", "holds if", "false"]
VERDICTS: Final = get_args(Verdict)


@dataclass(frozen=True)
class Claim:
    """A sentence that is true, true on a condition that its source leaves out, or false.

    Examples:
        >>> from recsession.experiments.theory.claims.base import Claim
        >>> where = ("a blog", "line 3", "false", "tests/test_x.py::test_a_tie_is_split")
        >>> Claim("tie-is-whole", "A tie is kept whole.", *where, condition="two equal scores keep half each.").verdict
        'false'
    """

    id: str
    """Lower-case words joined by hyphens, unique in the register."""
    sentence: str
    """What is claimed, with the conditions that its source itself states."""
    source: str
    """Who claims it: a paper with its number, or "ours"."""
    place: str
    """Where: a theorem, an equation, a section of docs/theory.md."""
    verdict: Verdict
    """Whether it holds as it is said; "holds if" where it needs more than is said."""
    test: str
    """The first of the tests that show it, as pytest names it: `tests/folder/test_file.py::test_name[parameters]`."""
    condition: str = ""
    """What it needs besides, of "holds if"; the smallest counterexample found and what is true instead, of "false"."""
    picture: Callable[[], Plot] | str | None = None
    """What draws it, or the name of the experiment of `recsession theory` whose figures show it."""

    def __post_init__(self) -> None:
        require(
            re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.id) is not None,
            f"id={self.id!r} is not lower-case words joined by hyphens",
        )
        require(self.verdict in VERDICTS, f"verdict={self.verdict!r} is none; choose {', '.join(map(repr, VERDICTS))}")
        require(
            (self.verdict == "holds") != bool(self.condition),
            f"claim {self.id!r} that {self.verdict!r} has condition={self.condition!r}; say one unless it simply holds",
        )
