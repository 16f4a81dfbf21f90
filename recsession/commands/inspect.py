"""`recsession inspect`: say what is in a logged dataset."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import tyro
from tqdm import tqdm

from offline_data.behavior.base import ActionKind, expert_spec, make_behavior
from offline_data.describe.dataset_summary import summarize
from offline_data.describe.summary_rows import summary_rows
from offline_data.dial.quality import as_spec, precise_reference
from offline_data.store.dataset import LoggedDataset, contradicting
from recenv.errors import shown
from recenv.files.atomic_files import claimed_file
from recenv.registry import reading
from recsession.lines import say
from recsession.policy_names import given_behavior

_WIDTH = 120
_INDENT = 20


@dataclass(frozen=True)
class Inspect:
    """Say what is in a logged dataset, and compare its bytes with their checksums.

    Sizes, returns and lengths, rewards, the normalised score, propensities and what they allow off-policy, coverage of
    the catalogue, noise, and whether the log contradicts itself. The latent labels are opened to say who acted.
    """

    dataset: tyro.conf.Positional[Path]
    """Folder of a logged dataset."""
    html: Path | None = None
    """File for the same as a page with figures, self-contained."""
    json: bool = False
    """Print the numbers as JSON instead."""
    quality_of: str | None = None
    """Behavior policy at normalised score 0, by name or as a JSON spec, in place of the noise that the log names; it
    and the expert are played in the simulator, a matter of a minute."""
    verify: bool = True
    """Compare every file with its checksum, which reads them whole."""

    files: ClassVar = ("html",)

    def run(self) -> None:
        """Verify, count and print."""
        if self.html is None:
            summary = self._summarize()
        else:
            from offline_data.describe.pages import page_mark

            with claimed_file(self.html, mark=page_mark(self.html)):
                summary = self._summarize()
        if self.json:
            say(*json.dumps({**summary, "verified": self.verify}, indent=1, allow_nan=False).splitlines())
            return
        _print_table(summary, verified=self.verify)
        if self.html is not None:
            say(f"page: {self.html}")

    def _summarize(self) -> dict[str, Any]:
        """Return the numbers, and write the page before anything is printed: who reads that may stop reading."""
        log = self._sound_log()
        summary = summarize(log, None if self.quality_of is None else _references(log, self.quality_of))
        if self.html is not None:
            from offline_data.describe.dataset_page import write_dataset_page  # matplotlib, for who wants figures

            write_dataset_page(log, summary, self.html, verified=self.verify)
        return summary

    def _sound_log(self) -> LoggedDataset:
        """Return the dataset, or print each contradiction that it holds and refuse it.

        Raises:
            InvalidInput: if there is one.
        """
        log, found = LoggedDataset.look_into(self.dataset)
        if log is not None:
            found += log.contradicting_values() if not found else []
            found += log.changed_files() if self.verify else []
        say(*found)
        if log is None or found:
            raise contradicting(self.dataset, found)
        return log


def _references(log: LoggedDataset, noise: str) -> dict[str, Any]:
    """Return what 0 and 1 are measured by: `noise`, and the log's own expert or its world's; both are played."""
    world, kind = log.world, cast(ActionKind, log.action_kind)
    given = as_spec(given_behavior("--quality-of", noise, world, kind))
    expert = (log.manifest.get("quality") or {}).get("expert") or expert_spec(world.config)
    make_behavior(world, given, kind)  # the user's word, which is imported as such; the expert is named by the log
    with (
        reading(log.path, log.allow_imports),
        tqdm(desc="measuring the normalised score", unit="session", delay=0.1) as bar,
    ):
        reference = precise_reference(world, given, kind, expert=expert, progress=bar.update)
    return {
        "expert": expert,
        "noise": given,
        **reference.as_dict(),
    }


def _print_table(summary: Mapping[str, Any], *, verified: bool) -> None:
    checked = "as the manifest says" if verified else "not compared with their checksums"
    for name, value in [*summary_rows(summary), ("integrity", f"{summary['size']['files']} files {checked}")]:
        say(*textwrap.wrap(shown(value), _WIDTH, initial_indent=f"{name:<{_INDENT}}", subsequent_indent=" " * _INDENT))
