"""Claims of the theory: each is checked on the real implementation, and shown to fail on a deliberately wrong one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, given, settings
from hypothesis.strategies import SearchStrategy

FEWEST_EXAMPLES: Final = 500


@dataclass(frozen=True)
class Claim:
    """One statement of the theory.

    Attributes:
        check: called with an implementation and a problem; raises AssertionError where the statement does not hold.
            Its docstring is the statement, with its conditions.
        problems: what it holds for.
        real: the implementation that users call.
        mutant: the same with one mistake, which the check must notice.
        shows: the id of the register's claim that it is, a literal, as in `@pytest.mark.claim`; "" if none.
    """

    check: Callable[[Any, Any], None]
    problems: SearchStrategy[Any]
    real: Any
    mutant: Any
    shows: str = ""

    def holds(self) -> None:
        """Check the statement on at least 500 problems; nightly on 10,000."""
        self._run(self.real, settings(max_examples=max(FEWEST_EXAMPLES, settings.default.max_examples)))  # type: ignore[union-attr]

    def catches_the_mutant(self) -> None:
        """Check that the statement is found wrong of the mutant."""
        quick = settings(
            max_examples=FEWEST_EXAMPLES,
            phases=[Phase.generate],
            database=None,
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
        )
        with pytest.raises(AssertionError):
            self._run(self.mutant, quick)

    def _run(self, implementation: Any, how: settings) -> None:
        @settings(how, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
        @given(self.problems)
        def run(problem: Any) -> None:
            self.check(implementation, problem)

        run()


def every_claim(claims: list[Claim]) -> Any:
    """Return the parametrisation of a test by claims, named by their checks.

    Args:
        claims: of one file.
    """
    parameters = [
        pytest.param(
            claim,
            id=claim.check.__name__.removeprefix("check_"),
            marks=[pytest.mark.claim(claim.shows)] if claim.shows else [],
        )
        for claim in claims
    ]
    return pytest.mark.parametrize("claim", parameters)
