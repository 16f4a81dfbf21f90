"""`recsession import`: read a public log, a table of one's own, or a Minari dataset."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from offline_data.describe.dataset_summary import time_range
from offline_data.families import READERS
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.readers.base import LogReader
from offline_data.interop.times import range_text
from offline_data.store.dataset import LoggedDataset
from recenv.errors import shown
from recenv.files.atomic_files import claimed_folder
from recsession.inputs import parse, refuse_given
from recsession.lines import say


def run(words: Sequence[str]) -> None:
    """Parse `READER [OPTIONS]`, import, and say what was written.

    Args:
        words: the command line after `import`.

    Raises:
        InvalidInput: for bad input.
    """
    if not words or words[0] in ("-h", "--help"):
        readers = {name: READERS.get(name) for name in READERS.registered()}
        say(
            "usage: recsession import READER --path PATH --out FOLDER [OPTIONS]",
            "",
            "Read a log of others into a dataset, and say what it lacks. READER is one of these, or MODULE:CLASS:",
            "",
            *(f"  {name:<13}{(reader.__doc__ or '').splitlines()[0]}" for name, reader in readers.items()),
            "",
            "`recsession import READER --help` says what each takes.",
        )
        return
    reader = READERS.resolve(words[0].replace("-", "_"))
    options = make_dataclass(
        "Import",
        [
            ("out", Annotated[Path, tyro.conf.arg(help="Folder of the dataset.")]),
            ("reader", tyro.conf.OmitArgPrefixes[reader]),  # type: ignore[valid-type]
        ],
        frozen=True,
    )
    chosen: Any = parse(options, f"import {words[0]}", words[1:], inspect.cleandoc(reader.__doc__ or ""))
    _import(chosen.reader, chosen.out)


def _import(reader: LogReader, out: Path) -> None:
    """Import and say what was written."""
    if not reader.options.estimate_propensities:
        refuse_given(reader.options, ("seed",), "without --estimate-propensities nothing is drawn")
    with claimed_folder(out), tqdm(unit=shown(reader.unit), unit_scale=True, delay=0.1) as bar:
        log = reader.read(out, bar.update)
    say(f"{out}: {log.num_sessions:,} sessions, {log.num_rows:,} steps, {log.num_items:,} items")
    say(*_size_lines(log, reader.options))
    say(_reward_line(log))
    source: dict[str, Any] = log.manifest["source"]
    times = time_range(log)
    if times is not None:
        say(f"times: {range_text(times['first'], times['last'])}{_future(times['last'])}")
    for remark in source.get("remarks", ()):
        say(remark if remark.startswith("warning: ") else f"note: {remark}")
    if "embeddings" not in log.catalog:
        say(
            "items have no embeddings: a policy tells them apart by what stands together in the log that it learns from"
        )
    if source["lacking"]:
        say(f"the source does not say: {'; '.join(source['lacking'])}")
    report = source.get("propensity_estimate")
    if report is not None:
        say(*_estimate_lines(report))
    elif reader.options.estimate_propensities:
        say("every row of the source has its propensity: there was nothing to estimate")
    elif log.propensities in ("missing", "partial"):
        say(f"propensities are {log.propensities}: estimate them with --estimate-propensities")
    say(f"look at it with `recsession inspect {out}`")


def _reward_line(log: LoggedDataset) -> str:
    """Return what policies will earn, and what the log tells and the reward leaves out."""
    weights: dict[str, float] = log.manifest["reward_weights"]
    left = [name for name in log.manifest["feedback_names"] if name not in weights]
    line = f"the reward is {' + '.join(f'{weight:g} {name}' for name, weight in weights.items())}"
    return f"{line}, without {', '.join(left)}: --reward-weights weighs anew" if left else line


def _future(last: float) -> str:
    return "; note that the last lies in the future" if last > time.time() else ""


def _size_lines(log: LoggedDataset, options: ImportOptions) -> list[str]:
    """Return which sizes a log must share with a policy's other logs, and which options make them share these."""
    slots = f", slates have {log.slate_size} slots" if log.slate_size > 1 else ""
    lines = [f"sessions have at most {log.max_steps} steps{slots}"]
    found = {
        "session": f"--max-steps {log.max_steps}" if options.max_steps is None else "",
        "slate": f"--slate-size {log.slate_size}" if options.slate_size is None and log.slate_size > 1 else "",
    }
    found = {name: option for name, option in found.items() if option}
    if found and not log.has_world:
        lines.append(
            f"import other logs for the same policy with {' '.join(found.values())}, this log's longest "
            f"{' and '.join(found)}"
        )
    return lines


def _estimate_lines(report: dict[str, Any]) -> tuple[str, ...]:
    model, popularity, uniform = (report[f"log_loss{of}"] for of in ("", "_of_popularity", "_of_uniform"))
    misplaced, chance = report["calibration_error"], report["calibration_error_of_chance"]
    return (
        f"propensities are estimated: {report['model']}, judged on {report['judged_rows']:,} held-out steps",
        f"log-loss, nats a choice  {model:.4f}; popularity alone has {popularity:.4f}, uniform {uniform:.4f}",
        f"misplaced probability    {misplaced:.4f}; chance alone would give {chance:.4f}",
    )
