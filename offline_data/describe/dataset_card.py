"""A dataset's card in Markdown: what it is, its numbers, its columns, how to load and to make it again, its caveats."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from offline_data.describe.dataset_summary import policy_name, summarize
from offline_data.describe.log_checks import CHECKS
from offline_data.store.atomic_files import replacing
from offline_data.store.dataset import LoggedDataset

_CITATION = """@software{{recsession,
  title = {{RecSession: recommendation sessions, simulated, logged, learned from and judged}},
  author = {{{{The RecSession authors}}}},
  version = {{{version}}},
}}"""


def card(dataset: LoggedDataset) -> str:
    """Return the card of a dataset, for a `README.md` beside its manifest; equal datasets have equal cards.

    Its numbers are those of `summarize`. The front matter is of the kind that dataset hubs read.

    Args:
        dataset: the log.
    """
    summary = summarize(dataset)
    sections = [
        ("", _front_matter(summary)),
        (f"# {_plain(summary['source']['name'])}", _about(dataset, summary)),
        ("## Numbers", _numbers(summary)),
        ("## How to load it", _loading(summary)),
        ("## How it was made", _making(dataset)),
        ("## Columns", _columns(summary)),
        ("## Caveats", "\n".join(f"* {line}" for line in _caveats(summary))),
        ("## License and citation", _license(dataset)),
    ]
    return "\n\n".join("\n\n".join(part for part in section if part) for section in sections) + "\n"


def write_card(dataset: LoggedDataset, file: Path | None = None) -> Path:
    """Write the card of a dataset to a file, whole or not at all, and return the file.

    Args:
        dataset: the log.
        file: where; None for `README.md` in the dataset's folder, where no checksum counts it.

    Raises:
        InvalidInput: if the file cannot be written.
    """
    file = dataset.path / "README.md" if file is None else file
    with replacing(file) as temporary:
        temporary.write_text(card(dataset))
    return file


def _front_matter(summary: Mapping[str, Any]) -> str:
    simulated = summary["source"]["kind"] == "simulator"
    tags = ["recommendation", "off-policy-evaluation", "offline-reinforcement-learning"]
    lines = {
        "pretty_name": summary["source"]["name"],
        "license": "mit" if simulated else "other",
        "tags": [*tags, "simulated"] if simulated else tags,
    }
    # JSON is YAML.
    return "\n".join(["---", *(f"{key}: {json.dumps(value)}" for key, value in lines.items()), "---"])


def _about(dataset: LoggedDataset, summary: Mapping[str, Any]) -> str:
    size, source = summary["size"], summary["source"]
    slates = f"slates of {size['slate_size']:,} from {size['items']:,} items"
    if source["kind"] != "simulator":
        reader = dataset.manifest["source"].get("reader")
        return (
            f"A log of recommendation sessions, read in by RecSession's reader `{_plain(reader)}`: "
            f"{size['sessions']:,} sessions of {size['users']:,} users, {size['steps']:,} steps, {slates}."
        )
    text = (
        f"Simulated recommendation sessions of the user model `{source['user_model']}`: {size['sessions']:,} sessions, "
        f"{size['steps']:,} steps, {slates}."
    )
    latent = summary["latent"]
    if latent is None or latent["mixing"] is None:
        return f"{text} Logged by `{_plain(policy_name(source['behavior']))}`."
    parts = [f"`{_plain(part['component'])}` {100.0 * part['share']:.1f} %" for part in latent["components"]]
    shares = f"by share of the actions: {', '.join(parts)}; drawn anew per {latent['mixing']}"
    return f"{text} Logged by a mixture, {shares}. Which of them acted is latent."


def _numbers(summary: Mapping[str, Any]) -> str:
    returns, lengths, coverage = summary["session_return"], summary["session_length"], summary["coverage"]
    rows = [
        ("sessions", f"{summary['size']['sessions']:,}"),
        ("users", f"{summary['size']['users']:,}"),
        ("steps", f"{summary['size']['steps']:,}"),
        ("items", f"{summary['size']['items']:,}, of which {coverage['items_shown']:,} were shown"),
        ("items of a slate", f"{summary['size']['slate_size']:,}"),
        ("actions", f"{summary['source']['action_kind']}s"),
        ("session return, mean [95 %]", _interval(returns["interval"])),
        ("session return, median", f"{returns['quantiles']['p50']:.4g}"),
        ("session length, mean [95 %]", _interval(lengths["interval"])),
        ("clicks a step", f"{summary['feedback']['clicks_per_step']:.4g}"),
        ("propensities", summary["propensity"]["kind"]),
    ]
    if summary["score"] is not None:
        quality = summary["score"]["quality"]
        rows += [
            ("normalised score [95 %]", f"{_interval(summary['score'], '.3f')}"),
            ("return of the expert, score 1", _interval(quality["expert_return"])),
            ("return of the noise, score 0", _interval(quality["noise_return"])),
        ]
        if quality.get("target_score") is not None:
            rows.append(("target score", f"{quality['target_score']:g}"))
    return _table(("quantity", "value"), rows)


def _loading(summary: Mapping[str, Any]) -> str:
    name = summary["source"]["name"]
    lines = [
        "from offline_data.store.dataset import LoggedDataset",
        "",
        f"log = LoggedDataset.open({json.dumps(name)})",
    ]
    if name.startswith("recsession/"):
        lines = ["from offline_data.dial.named_datasets import load_named", "", f"log = load_named({json.dumps(name)})"]
    return _fenced("python", [*lines, 'print(log.num_rows, log.session_returns().mean(), log.rows["slate"][:3])'])


def _making(dataset: LoggedDataset) -> str:
    source = dataset.manifest["source"]
    request = source.get("request")
    if request is None:
        return f"It was read in, as follows.\n\n{_fenced('json', [json.dumps(source, indent=1)])}"
    quality = dataset.manifest.get("quality") or {}
    if "dataset" in quality:
        return _fenced("bash", [f"recsession collect --dataset {shlex.quote(quality['dataset'])}"])
    options = {
        "config": "manifest.json",
        "behavior": json.dumps(request["behavior"]),
        "action-kind": request["action_kind"],
        "num-sessions": request["num_sessions"],
        "seed": request["dataset_seed"],
        "group-size": request["group_size"],
        **{name.replace("_", "-"): value for name, value in dataset.manifest["injected"].items()},
    }
    words = " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in options.items())
    told = "In the dataset's folder this makes the same columns again, byte for byte:"
    return f"{told}\n\n{_fenced('bash', [f'recsession collect --out ../again {words}'])}"


def _columns(summary: Mapping[str, Any]) -> str:
    rows = [
        (f"`{each['name']}`", each["dtype"], " x ".join(f"{size:,}" for size in each["shape"]), each["meaning"])
        for each in summary["columns"]
    ]
    return _table(("column", "dtype", "shape", "meaning"), rows)


def _caveats(summary: Mapping[str, Any]) -> list[str]:
    source, propensity = summary["source"], summary["propensity"]
    found = []
    if source["kind"] == "simulator":
        found += [
            "Its users are simulated: what works on it need not work on people.",
            "The latent labels in `latent/` say who acted. They are for diagnosis; a method that reads them is void.",
        ]
    else:
        found.append("There is no simulator behind it: no policy's true return is known, and no normalised score.")
    if source["lacking"]:
        found.append(f"It lacks {_plain('; '.join(source['lacking']))}.")
    if summary["score"] is not None:
        found.append(
            "Score 1 is an expert that reads hidden state, not what can be learned from a log: put beside every score "
            "that of cloning a log with a good fraction of 1."
        )
    if source["action_kind"] == "proto":
        found.append(
            "Propensities are densities of proto-actions; the slate that the nearest items make has no tractable mass."
        )
    if propensity["kind"] != "exact":
        known, steps = propensity["known_steps"], summary["size"]["steps"]
        found.append(f"Propensities are {propensity['kind']}: {known:,} of {steps:,} steps have them.")
    told = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in summary["injected"].items())
    if told:
        found.append(f"It was spoilt on purpose: {told}.")
    wrong = "; ".join(f"{count:,} {CHECKS[name]}" for name, count in summary["checks"].items() if count)
    if wrong:
        found.append(f"It contradicts itself: {wrong}.")
    if summary["overlap"] is not None and summary["overlap"]["reach"] == 0.0:
        found.append(
            f"With {propensity['known_sessions']:,} sessions that have propensities, no policy keeps an effective "
            "sample size of more than 100 by whole sessions."
        )
    elif summary["overlap"] is not None:
        found.append(
            f"Whole sessions keep an effective sample size of 100 only for policies within "
            f"{summary['overlap']['reach']:.2g} nats a step (Rényi divergence of order 2) of the one that logged."
        )
    return found


def _license(dataset: LoggedDataset) -> str:
    simulated = dataset.manifest["source"].get("kind") == "simulator"
    terms = "MIT." if simulated else "That of its source; RecSession adds no terms, and grants no rights to it."
    return f"{terms}\n\n{_fenced('bibtex', [_CITATION.format(version=dataset.manifest['versions']['recsession'])])}"


def _interval(item: Mapping[str, float], digits: str = ".4g") -> str:
    return f"{item['mean']:{digits}} [{item['low']:{digits}}, {item['high']:{digits}}]"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines)


def _fenced(language: str, lines: Sequence[str]) -> str:
    return "\n".join([f"```{language}", *lines, "```"])


def _plain(text: object) -> str:
    """Return text that Markdown takes for nothing else: one line, no tags, no column's end."""
    return html.escape(" ".join(str(text).split()), quote=False).replace("|", "\\|")
