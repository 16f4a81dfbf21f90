"""What is in a log as named rows of text: what `recsession inspect` prints, and what stands on the log's page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from typing import Any, Final

from offline_data.describe.dataset_summary import policy_name
from offline_data.describe.number_words import bytes_text, count_text, interval_text, readable, share_text
from offline_data.interop.times import range_text
from offline_data.store.log_checks import CHECKS

_LONGEST: Final = 480  # letters of a behavior policy's spec


def summary_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return names and texts, in the order in which they are read; what the log has not is left out.

    Args:
        summary: what `summarize` says about a dataset.
    """
    size = summary["size"]
    return [
        ("sessions, steps", f"{size['sessions']:,}, {size['steps']:,}; {size['users']:,} users"),
        *_source_rows(summary),
        ("session return", _distribution(summary["session_return"])),
        ("session length", _distribution(summary["session_length"])),
        ("ended by", _ends(summary["ends"])),
        *_answer_rows(summary),
        *_normalized_score_rows(summary),
        *_propensity_rows(summary),
        ("catalogue shown", _coverage(summary)),
        *_noise_rows(summary),
        ("on disk", ", ".join(f"{name} {bytes_text(count)}" for name, count in size["bytes"].items())),
    ]


def _source_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    source, size, times = summary["source"], summary["size"], summary["times"]
    behavior = source["behavior"]
    told = {
        "world hash": source["world_hash"],
        "user model": source["user_model"],
        "own items": None if source["own_items"] is None else f"SHA-256 {source['own_items']}",
        "read in by": source["reader"],
        "part": None if source["part"] is None else _part(source["part"]),
        "lacking": "; ".join(source["lacking"]) or None,
        "remarks": "; ".join(source["remarks"]) or None,
        "context": ", ".join(source["context"]) or None,
        "clock": None if source["reader"] is None else f"a share of max_steps={source['max_steps']}",
        "times": None if times is None else range_text(times["first"], times["last"]),
        "slate, catalogue": f"{size['slate_size']:,} of {_offered(size)} items a step",
        "behavior": None if behavior is None else textwrap.shorten(json.dumps(behavior), _LONGEST, placeholder=" ..."),
        "action kind": source["action_kind"],
    }
    return [(name, text) for name, text in told.items() if text is not None]


def _part(part: Mapping[str, Any]) -> str:
    """Return which part of what log it is, and how that was split."""
    whole, drawn = part["of"], "" if part["by"] == "time" else f", seed {part['seed']}"
    return (
        f"{part['name']} of {whole['folder']} ({whole['num_sessions']:,} sessions, split by {part['by']}, "
        f"a share of {part['share']:g} to train on{drawn})"
    )


def _offered(size: Mapping[str, Any]) -> str:
    at_most = "" if size["candidates"] is None else f"at most {size['candidates']:,} candidates, of "
    return f"{at_most}{size['items']:,}"


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


def _normalized_score_rows(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    normalized = summary["normalized_score"]
    if normalized is None:
        simulated = summary["source"]["user_model"] is not None
        return [("normalised score", "not measured; --quality-of NOISE measures it")] if simulated else []
    noise, expert = (policy_name(normalized["quality"][name]) for name in ("noise", "expert"))
    value = f"{normalized['mean']:.3f} [{normalized['low']:.3f}, {normalized['high']:.3f}]"
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
        rows.append(("effective sample", f"{steps} of {of_steps}, {sessions} of {of_sessions}, for the uniform policy"))
        weight = f"{readable(overlap['uniform']['mean_weight'])} for the uniform policy"
        rows.append(("mean weight", f"{weight}; near 1 where propensities are right and every item had its chance"))
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
