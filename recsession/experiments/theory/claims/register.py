"""All claims by topic, in the order of the page, and the table of them in docs/theory.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Final

from recsession.experiments.theory.claims import (
    divergence_balls,
    hard_filter,
    one_family,
    published_drpo,
    ratio_losses,
    remoteness,
    repulsion,
    restraint,
    selection,
)
from recsession.experiments.theory.claims.base import VERDICTS, Claim
from recsession.experiments.theory.comparison import Plot

TOPICS: Final[Mapping[str, Sequence[Claim]]] = {
    "Repulsion": repulsion.CLAIMS,
    "What holds repulsion": restraint.CLAIMS,
    "Remoteness": remoteness.CLAIMS,
    "The hard filter": hard_filter.CLAIMS,
    "One family": one_family.CLAIMS,
    "How many rows to keep": selection.CLAIMS,
    "DRPO as published": published_drpo.CLAIMS,
    "Divergence balls": divergence_balls.CLAIMS,
    "Losses in probability ratios": ratio_losses.CLAIMS,
}
"""A topic's heading and its claims."""

HEADER: Final = ("claim", "verdict", "what is claimed", "source", "test")


def all_claims() -> list[Claim]:
    """Return every claim, topic by topic."""
    return [claim for claims in TOPICS.values() for claim in claims]


def cells(claim: Claim) -> tuple[str, ...]:
    """Return a claim's cells under `HEADER`.

    Args:
        claim: of the register.
    """
    joint = {"holds": "", "holds if": " It holds if ", "false": " Instead: "}[claim.verdict]
    said = f"{claim.sentence}{joint}{claim.condition}"
    return claim.id, claim.verdict, said, f"{claim.source}, {claim.place}", claim.test


def pictures() -> dict[str, Plot]:
    """Return the plot of every claim that has one of its own, by the claim's id."""
    return {claim.id: claim.picture() for claim in all_claims() if callable(claim.picture)}


def as_dict(claim: Claim, plots: Mapping[str, Plot]) -> dict[str, Any]:
    """Return a claim as JSON-able values; its picture is a plot, the name of the experiment that draws it, or None.

    Args:
        claim: of the register.
        plots: what `pictures` returned.
    """
    plain = {field.name: getattr(claim, field.name) for field in fields(claim)}
    return plain | ({"picture": plots[claim.id].as_dict()} if claim.id in plots else {})


def summary() -> str:
    """Return how many claims have which verdict, in one sentence."""
    verdicts = [claim.verdict for claim in all_claims()]
    counts = [verdicts.count(verdict) for verdict in VERDICTS]
    return "Of {} claims {} hold, {} hold on a condition that their source leaves out, and {} are false.".format(
        len(verdicts), *counts
    )


def markdown() -> str:
    """Return the tables of docs/theory.md."""
    lines = [summary()]
    for title, claims in TOPICS.items():
        lines += ["", f"### {title}", "", f"| {' | '.join(HEADER[:4])} |", "|---|---|---|---|"]
        lines += [
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells(claim)[:4])} |" for claim in claims
        ]
    return "\n".join(lines)
