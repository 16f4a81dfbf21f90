"""The quickstart's results on one self-contained HTML page; the same for any methods."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from offline_data.describe.number_words import interval_text, percent
from offline_data.describe.pages import Alarm, Page, Section, Table, write_page
from recsession.experiments.report import (
    BEST,
    METHOD_HEADER,
    OPE_HEADER,
    OPE_MEANING,
    check_results,
    doubt_sentences,
    method_rows,
    ope_points,
    ope_rows,
    stop_sentences,
)
from recsession.experiments.report_figures import draw_figures, normalized_score_chart


def write_report(results: dict[str, Any], path: Path) -> Path:
    """Write the results as one self-contained HTML file and return its path.

    Args:
        results: the quickstart's results. Optional keys: `reference` and `score_histogram`; `command` (str) and
            `versions` (name to version), which default to "not recorded".
        path: the file to write; its folder is made when missing.

    Returns:
        `path`.

    Raises:
        InvalidInput: if `results` lacks a required key, or if `path` cannot be written.
    """
    check_results(results)
    seeds, good, points = results["seeds"], results["good_fraction"], ope_points(results)
    page = Page(
        f"Learning from a log that is {percent(good)} good and {percent(1 - good)} {results['noise']}",
        f"quickstart · {_count(seeds)}",
        "Every method learned from the same logs, scores and budget, and acts in both ways: by the mean of its policy, "
        "and sampled from it.",
        sections=[_normalized_scores(results), *_estimates(points), *draw_figures(results, points), _making(results)],
    )
    return write_page(path, page)


def _normalized_scores(results: dict[str, Any]) -> Section:
    seeds, reference = results["seeds"], results.get("reference")
    ends = ""
    if reference:
        noise, expert = (interval_text(reference[name]) for name in ("noise_return", "expert_return"))
        ends = f"Normalised score 0 is the noise policy's return per session, {noise}; 1 is the expert's, {expert}. "
    one, seeds = len(seeds) == 1, _count(seeds)
    note = (
        f"{'' if one else f'{BEST}. '}{ends}The ceiling is behavior cloning on 100 % good data. Intervals are over "
        f"{'the roll-outs of ' if one else ''}{seeds}; a surprisal or score-function norm is the largest of any seed."
    )
    table = Table(_joined(METHOD_HEADER), _alarmed(method_rows(results)), note=note)
    seen = "Filled marks act by the mean of the policy, hollow ones are sampled from it; bars are 95 % intervals."
    return Section("Normalised scores", [seen, [normalized_score_chart(results)], table, *stop_sentences(results)])


def _estimates(points: list[dict[str, Any]]) -> list[Section]:
    if not points:
        return []
    note = (
        '"Interval on truth" counts the trusted intervals that contain the true value, of all trusted ones; ESS is the '
        "effective sample size, in sessions: with less than 100 an estimate is untrusted."
    )
    table = Table(_joined(OPE_HEADER), _alarmed(ope_rows(points)), note=note)
    doubts = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in doubt_sentences(points)]
    return [Section("Off-policy estimates, means over seeds", [OPE_MEANING, table, *doubts])]


def _making(results: dict[str, Any]) -> Section:
    versions = ", ".join(f"{name} {number}" for name, number in results.get("versions", {}).items())
    facts = [
        ("command", results.get("command") or "not recorded"),
        ("world hash", results["world_hash"]),
        ("seeds", ", ".join(map(str, results["seeds"]))),
        ("versions", versions or "not recorded"),
    ]
    told = (
        "One command made the log, trained the learners and judged them; nothing on this page was edited by hand. The "
        "same versions and seeds draw the same log. Every seed's numbers stand in results.json beside it."
    )
    config = Table((), list(results["config"].items()), "The whole configuration", folded=True)
    return Section("How it was made", [told, Table((), facts), config])


def _joined(header: tuple[tuple[str, str], ...]) -> list[str]:
    return [f"{first} {second}".strip() for first, second in header]


def _alarmed(rows: list[list[str]]) -> list[list[str]]:
    """Return rows whose cells warn where they say that a run diverged, or that an estimate is not to be trusted."""
    return [[Alarm(cell) if cell.startswith(("diverged", "untrusted")) else cell for cell in row] for row in rows]


def _count(seeds: list[int]) -> str:
    return "one seed" if len(seeds) == 1 else f"{len(seeds)} seeds"
