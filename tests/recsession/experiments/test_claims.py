"""The register of claims and the tests that show them: every claim has a test, and every mark names a claim."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from recenv.errors import InvalidInput
from recsession.experiments.theory.claims import register
from recsession.experiments.theory.claims.base import Claim
from recsession.experiments.theory.claims.register import all_claims, markdown
from tests.source_files import ROOT, sources

# Of a file whose properties are in a list, what runs them all.
DRIVERS = {"test_theory_holds", "test_a_wrong_implementation_is_noticed"}
PAGE = ROOT / "docs" / "theory.md"
BEGIN, END = "<!-- claims -->\n", "\n<!-- end of the claims -->"


def marks(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield a test's name with its parameters, and what it is marked to show: "" for none, the code for no literal."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Claim" and node.args:
            check = ast.unparse(node.args[0]).removeprefix("check_")
            shown = next((k.value for k in node.keywords if k.arg == "shows"), ast.Constant(""))
            yield f"test_theory_holds[{check}]", literal(shown)
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_") or node.name in DRIVERS:
            continue
        calls = [n for d in node.decorator_list for n in ast.walk(d) if isinstance(n, ast.Call)]
        shown = [literal(n.args[0]) for n in calls if ast.unparse(n.func) == "pytest.mark.claim" and n.args]
        for each in shown or [""]:
            yield node.name, each


def literal(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ast.unparse(node)


def complaints_of(files: dict[str, str], claims: list[Claim]) -> list[str]:
    """Say where sources of tests by path and a register are out of step."""
    found = [(path, name, shown) for path, text in files.items() for name, shown in marks(ast.parse(text))]
    known = {claim.id for claim in claims}
    complaints = [
        f"{path}::{name} shows {shown!r}, which is no claim of recsession/experiments/theory/claims"
        for path, name, shown in found
        if shown and shown not in known
    ]
    complaints += [
        f"{path}::{name} shows no claim: register one and mark it"
        for path, name, shown in found
        if not shown and path.endswith("_claims.py")
    ]
    for claim in claims:
        showing = [f"{path}::{name}" for path, name, shown in found if shown == claim.id]
        if claim.test not in showing and claim.test.partition("[")[0] not in showing:
            complaints.append(f"claim {claim.id!r} is not shown by its test {claim.test}, but by {showing or 'none'}")
    return complaints


@pytest.fixture(scope="module")
def test_sources() -> dict[str, str]:
    paths = [path for path in sources("tests") if path.name.startswith("test_") and path != Path(__file__)]
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in paths}


def test_every_claim_has_a_test_and_every_mark_a_claim(test_sources):
    complaints = complaints_of(test_sources, all_claims())
    assert not complaints, "\n".join(complaints)


PROPERTY, FUNCTION = "Claim(check_rank, scores(), ours, mutant{})", "{}\ndef test_ranks(): ..."


@pytest.mark.parametrize(
    ("test", "source", "complaint"),
    [
        ("test_theory_holds[rank]", PROPERTY.format(", shows='ranks'"), None),
        ("test_ranks", FUNCTION.format("@pytest.mark.claim('ranks')"), None),
        ("test_ranks[a]", FUNCTION.format("@pytest.mark.claim('ranks')"), None),
        ("test_ranks[a]", FUNCTION.format("@every([pytest.param(1, marks=pytest.mark.claim('ranks'))])"), None),
        ("test_ranks", FUNCTION.format("@pytest.mark.claim('rnks')"), "shows 'rnks', which is no claim"),
        ("test_ranks", FUNCTION.format("@pytest.mark.claim(RANKS)"), "shows 'RANKS', which is no claim"),
        ("test_theory_holds[rank]", PROPERTY.format(""), "shows no claim: register one"),
        ("test_ranks", FUNCTION.format(""), "shows no claim: register one"),
        (
            "test_other",
            FUNCTION.format("@pytest.mark.claim('ranks')"),
            "is not shown by its test x_claims.py::test_oth",
        ),
    ],
)
def test_what_is_out_of_step_is_told(test, source, complaint):
    claim = Claim("ranks", "", "", "", "holds", f"x_claims.py::{test}")
    found = complaints_of({"x_claims.py": source}, [claim])
    assert any(complaint in each for each in found) if complaint else not found


def test_ids_are_unique():
    claims = all_claims()
    assert len({claim.id for claim in claims}) == len(claims)


def test_the_documents_table_is_the_registers():
    """Put what `recsession.experiments.theory.claims.register.markdown()` returns between the two comments."""
    told = PAGE.read_text()
    assert told[told.index(BEGIN) + len(BEGIN) : told.index(END)] == markdown()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"id": "Ranks"}, "id='Ranks' is not lower-case words"),
        ({"verdict": "maybe"}, "verdict='maybe' is none; choose 'holds', 'holds if', 'false'"),
        ({"verdict": "false"}, "condition=''; say one"),
        ({"condition": "n > 1"}, "condition='n > 1'; say one unless it simply holds"),
    ],
)
def test_a_claim_without_sense_is_refused(change, sentence):
    proper = {"id": "ranks", "sentence": "", "source": "", "place": "", "verdict": "holds", "test": ""}
    with pytest.raises(InvalidInput, match=sentence):
        Claim(**(proper | change))


def test_a_bar_of_an_absolute_value_does_not_end_a_cell(monkeypatch):
    monkeypatch.setattr(register, "TOPICS", {"One": [Claim("ranks", "|s| > 0", "a", "b", "holds", "t")]})
    assert markdown().splitlines()[-1] == r"| ranks | holds | \|s\| > 0 | a, b |"
