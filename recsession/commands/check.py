"""`recsession check`: run a family's contract and property tests on a part of one's own."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from recenv.errors import InvalidInput, require, shown, unknown_name
from recenv.extras import require_extra
from recenv.registry import Registry, import_class
from recsession.lines import say

PACKAGES = ("recenv", "offline_data", "agents")


@dataclass(frozen=True)
class Check:
    """Check that a part keeps what every part of its family promises, with property tests among it.

    One line for each promise; exit code 1 if one is broken.
    """

    part: tyro.conf.Positional[str]
    """MODULE:CLASS, or a registered name."""
    family: str = ""
    """Of the part, as in user_model; by default the one whose base class it has."""

    def run(self) -> int:
        """Run the checks, print what became of them, and return the exit code."""
        require_extra("testing")
        family = _family_of(self.part, self.family)
        if family.package.startswith("agents."):
            require_extra("agents")
        from hypothesis import configuration

        from recenv.testing.contract import contract_of

        part = family.resolve(self.part)
        contract = contract_of(family)
        failed = 0
        with tempfile.TemporaryDirectory() as scratch:
            configuration.set_hypothesis_home_dir(Path(scratch))
            with tqdm(total=len(contract.checks), unit="check", delay=0.5) as bar:
                for outcome in contract.outcomes(part):
                    failed += outcome.state == "failed"
                    bar.write(shown(f"{outcome.state:<8}{outcome.name}: {outcome.sentence}"))
                    bar.update()
        word = f"breaks {failed} of" if failed else "keeps all"
        say(f"{self.part} as {family.kind}: {word} {len(contract.checks)} promises")
        return int(failed > 0)


def families() -> Iterator[Registry[Any]]:
    """Yield every family; nothing else of a package is imported."""
    for package in PACKAGES:
        try:
            module = importlib.import_module(f"{package}.families")
        except InvalidInput:  # the package's extra is not installed
            continue
        yield from (value for value in vars(module).values() if isinstance(value, Registry))


def _family_of(part: str, given: str) -> Registry[Any]:
    """Return the family that is given, whose base class the part has, or where its name is registered."""
    known = {family.kind.replace(" ", "_"): family for family in families()}
    name = given.replace(" ", "_").replace("-", "_")
    if given:
        if name not in known:
            raise unknown_name("family", given, known)
        return known[name]
    if ":" in part:
        found = import_class("part", part)
        bases = {(base.__module__, base.__name__) for base in getattr(found, "__mro__", ())}
        fitting = [family for family in known.values() if (f"{family.package}.base", family.base_name) in bases]
        what = f"{part} is of no family: its class has no base out of {', '.join(f.base_name for f in known.values())}"
        require(bool(fitting), f"{what}; derive it from one")
    else:
        fitting = [family for family in known.values() if part in family.registered()]
        require(bool(fitting), f"no family has a part {part!r}; pass MODULE:CLASS")
    kinds = " or ".join(family.kind.replace(" ", "_") for family in fitting)
    require(len(fitting) == 1, f"{part} may be a {kinds}; say which by --family")
    return fitting[0]
