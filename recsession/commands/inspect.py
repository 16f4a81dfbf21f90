"""`recsession inspect`: say what is in a logged dataset."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tyro
from tqdm import tqdm

from offline_data.behavior.base import ActionKind
from offline_data.describe.charts import readable
from offline_data.describe.dataset_page import bytes_text, count_text, interval_text, share_text, write_dataset_page
from offline_data.describe.dataset_summary import policy_name, summarize
from offline_data.describe.log_checks import CHECKS
from offline_data.dial.quality import as_spec, expert_spec, precise_reference
from offline_data.store.dataset import LoggedDataset
from recenv.world import make_world
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
    score: str | None = None
    """Behavior policy at normalised score 0, by name or as a JSON spec, in place of the noise that the log names; it
    and the expert are played in the simulator, a matter of a minute."""
    verify: bool = True
    """Compare every file with its checksum, which reads them whole."""

    def run(self) -> None:
        """Verify, count and print."""
        log = LoggedDataset.open(self.dataset)
        if self.verify:
            log.verify()
        summary = summarize(log, None if self.score is None else _references(log, self.score))
        # Before anything is printed: who reads that may stop reading.
        if self.html is not None:
            write_dataset_page(log, summary, self.html, verified=self.verify)
        if self.json:
            print(json.dumps({**summary, "verified": self.verify}, indent=1, allow_nan=False))
            return
        _print_table(summary, verified=self.verify)
        if self.html is not None:
            print(f"page: {self.html}")


def _references(log: LoggedDataset, noise: str) -> dict[str, Any]:
    """Return what a score is measured against: the log's own expert or its world's, and `noise`; both are played."""
    world, kind = make_world(log.config), cast(ActionKind, log.action_kind)
    given = as_spec(given_behavior("--score", noise, world, kind))
    expert = (log.manifest.get("quality") or {}).get("expert") or expert_spec(log.config.user_model.name)
    with tqdm(desc="measuring the score", unit="session", delay=0.1) as bar:
        reference = precise_reference(world, given, kind, expert=expert, progress=bar.update)
    return {
        "expert": expert,
        "noise": given,
        "expert_return": reference.expert_return.as_dict(),
        "noise_return": reference.noise_return.as_dict(),
    }


def _print_table(summary: Mapping[str, Any], *, verified: bool) -> None:
    size, checked = summary["size"], "as the manifest says" if verified else "not compared with their checksums"
    rows = [
        ("sessions, steps", f"{size['sessions']:,}, {size['steps']:,}; {size['users']:,} users"),
        *_source_rows(summary),
        ("session return", _distribution(summary["session_return"])),
        ("session length", _distribution(summary["session_length"])),
        ("ended by", _ends(summary["ends"])),
        *_answer_rows(summary),
        *_score_rows(summary),
        *_propensity_rows(summary),
        ("catalogue shown", _coverage(summary)),
        *_noise_rows(summary),
        ("on disk", ", ".join(f"{name} {bytes_text(count)}" for name, count in size["bytes"].items())),
        ("integrity", f"{size['files']} files {checked}"),
    ]
    for name, value in rows:
        print(textwrap.fill(value, _WIDTH, initial_indent=f"{name:<{_INDENT}}", subsequent_indent=" " * _INDENT))


def _source_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    source, size = summary["source"], summary["size"]
    behavior = source["behavior"]
    told = {
        "world hash": source["world_hash"],
        "user model": source["user_model"],
        "read in by": source["reader"],
        "lacking": "; ".join(source["lacking"]) or None,
        "slate, catalogue": f"{size['slate_size']:,} of {size['items']:,} items a step",
        "behavior": None
        if behavior is None
        else textwrap.shorten(json.dumps(behavior), 4 * _WIDTH, placeholder=" ..."),
        "action kind": source["action_kind"],
    }
    return [(name, text) for name, text in told.items() if text is not None]


def _distribution(item: Mapping[str, Any]) -> str:
    low, middle, high = (readable(item["quantiles"][key]) for key in ("p0", "p50", "p100"))
    return f"{interval_text(item['interval'])}, from {low} to {high}, median {middle}"


def _ends(ends: Mapping[str, int]) -> str:
    log_ends = f", end of the log {ends['log_ends']:,}" if ends["log_ends"] else ""
    return f"user {ends['left']:,}, time {ends['time_limit']:,}{log_ends}"


def _answer_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    rewards = [
        f"{each['name']} {readable(each['weighted_per_session'])} (weight {each['weight']:g})"
        for each in summary["rewards"]
    ]
    feedback = summary["feedback"]
    answers = [f"{name} {readable(mean)}" for name, mean in feedback["mean_per_shown_item"].items()]
    return [
        ("of a return", ", ".join(rewards)),
        ("clicks a step", f"{feedback['clicks_per_step']:.3f} of {feedback['shown_per_step']:.3f} items shown"),
        ("of a shown item", ", ".join(answers)),
    ]


def _score_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    score = summary["score"]
    if score is None:
        simulated = summary["source"]["user_model"] is not None
        return [("normalised score", "not measured; --score NOISE measures it")] if simulated else []
    noise, expert = (policy_name(score["quality"][name]) for name in ("noise", "expert"))
    value = f"{score['mean']:.3f} [{score['low']:.3f}, {score['high']:.3f}]"
    return [("normalised score", f"{value}   ({noise} = 0, {expert} = 1)")]


def _propensity_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    propensity, overlap, size = summary["propensity"], summary["overlap"], summary["size"]
    known = f"{propensity['known_steps']:,} of {size['steps']:,} steps have them"
    if propensity["log_prob"] is None:
        return [("propensities", f"{propensity['kind']}; no importance weights, evaluate off-policy by a model alone")]
    spread = propensity["log_prob"]["quantiles"]
    ends = f"from {readable(spread['p0'])} to {readable(spread['p100'])} nats, median {readable(spread['p50'])}"
    rows = [("propensities", f"{propensity['kind']}; {known}"), ("behavior log-prob", ends)]
    if overlap is None:
        return rows
    if overlap["uniform"] is not None:
        steps, sessions = (count_text(overlap["uniform"][name]) for name in ("steps", "sessions"))
        of_steps, of_sessions = f"{propensity['known_steps']:,} steps", f"{propensity['known_sessions']:,} sessions"
        told = f"{steps} of {of_steps}, {sessions} of {of_sessions}, to judge the uniform policy by importance weights"
        weight = readable(overlap["uniform"]["mean_weight"])
        rows.append(("effective sample", f"{told}; mean weight {weight}, near 1 if the log shows all that it would"))
    if overlap["reach"] == 0.0:
        few = f"{propensity['known_sessions']:,} sessions give no policy an effective sample of more than 100"
        return [*rows, ("reach", f"none: {few}")]
    reach = f"{readable(overlap['reach'])} nats a step from the logging policy"
    return [*rows, ("reach", f"{reach} (Renyi-2) leave whole sessions an effective sample of 100")]


def _coverage(summary: Mapping[str, Any]) -> str:
    coverage = summary["coverage"]
    shown = f"{coverage['items_shown']:,} of {summary['size']['items']:,} items, {coverage['items_clicked']:,} clicked"
    top = sum(item["share_of_exposure"] for item in coverage["top_items"])
    alike = (
        f"like {readable(coverage['effective_items'])} items shown alike (entropy), Gini {readable(coverage['gini'])}"
    )
    return f"{shown}; {alike}; top {len(coverage['top_items'])} take {share_text(top)}"


def _noise_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if summary["source"]["kind"] == "simulator":
        injected = [f"{name.replace('_', ' ')} {value:g}" for name, value in summary["injected"].items()]
        rows.append(("injected", ", ".join(injected) or "nothing"))
    if summary["latent"]:
        acted = [
            f"{part['component']} {share_text(part['share'])} ({part['sessions_alone']:,} whole sessions)"
            for part in summary["latent"]["components"]
        ]
        rows.append(("who acted", f"{', '.join(acted)}, by the latent labels, opened for this report alone"))
    wrong = [f"{count:,} {CHECKS[name]}" for name, count in summary["checks"].items() if count]
    return [*rows, ("contradictions", "; ".join(wrong) or "none")]
