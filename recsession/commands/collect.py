"""`recsession collect`: log sessions to a folder."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Literal

import tyro
from tqdm import tqdm

from offline_data.behavior.base import default_noise
from offline_data.collection.collection import LogRequest, collect, to_be_collected
from offline_data.collection.corruption import Corruption
from offline_data.describe.dataset_card import write_card
from offline_data.describe.dataset_summary import policy_name
from offline_data.dial.named_datasets import default_path, load_named
from offline_data.dial.quality import Reference, Spec, mixture_spec
from offline_data.dial.target_score import at_target_score
from recenv.errors import InvalidInput, require, require_range
from recenv.world import make_world
from recsession.inputs import SetWords, given_config
from recsession.lines import say
from recsession.policy_names import given_behavior

_RANGES: Final = {
    "num_sessions": (1, 2**32, True),
    "good_fraction": (0.0, 1.0, False),
    "target_score": (-1e3, 1e3, False),
    "seed": (0, 2**63 - 1, True),
    "group_size": (1, 2**20, True),
    "workers": (1, 1024, True),
}
_DIAL: Final = ("--good-fraction", "--target-score", "--noise", "--mixing", "--expert")


@dataclass(frozen=True)
class Collect:
    """Log sessions to a folder; run it again to go on after a stop.

    Who acts is the quality dial, a mixture of an expert and noise (--good-fraction, or --target-score, with --noise,
    --mixing and --expert), or any one policy (--behavior). A named dataset (--dataset) fixes all of that.
    """

    out: Path | None = None
    """Folder of the dataset; a named one may leave it out."""
    dataset: str | None = None
    """Collect a named dataset, such as recsession/default/mixed-10-clickbait-v0; `recsession datasets` lists them. It
    lies below $RECSESSION_DATASETS, or else ~/.recsession/datasets, unless --out says where."""
    num_sessions: int | None = None
    """Sessions to log; 1,000 unless given."""
    good_fraction: float | None = None
    """Weight of the expert, in [0, 1]; the rest is noise. 0.1 unless given."""
    target_score: float | None = None
    """Find the good fraction at which the log's own normalised score is this (noise = 0, expert = 1), to within 0.02 at
    95 % confidence; the sessions are played some ten times for it."""
    noise: str | None = None
    """Behavior policy of the rest, by name or as a JSON spec; clickbait unless given, or uniform where the world's
    users know no clickbait. Uniform noise averages away; popularity, clickbait, stale and adversarial are one coherent
    wrong mode each."""
    mixing: Literal["step", "session", "position"] = "step"
    """Draw who acts at every step, once a session, or for every position of a slate."""
    expert: str | None = None
    """The expert, by name or as a JSON spec; unless given, the one of the world's user model."""
    behavior: str | None = None
    """Log this behavior policy, by name or as a JSON spec, in place of the dial."""
    action_kind: Literal["slate", "proto"] = "proto"
    """Log slates, or proto-actions over embedding space."""
    seed: int | None = None
    """Root seed of users and behavior; 0 unless given."""
    group_size: int = 1
    """Sessions that share a user under different behavior seeds, for group-relative methods."""
    corruption: tyro.conf.OmitArgPrefixes[Corruption] = field(default_factory=Corruption)
    """What is spoilt on the way to the disk."""
    config: Path | None = None
    """JSON file of a session config, or what `recsession fit` writes, in place of the default world."""
    set: SetWords = ()
    """Options of the world as NAME=VALUE, for example `--set slate_size=5 choice.no_click_utility=1`; `recsession
    options` lists them."""
    workers: int = 1
    """Processes that log at the same time; the bytes are the same for any number."""

    def __post_init__(self) -> None:
        # At once: a request comes to be after an hour of seeking, if need be.
        for name, (low, high, integer) in _RANGES.items():
            if getattr(self, name) is not None:
                require_range(name, getattr(self, name), low, high, integer=integer)

    def run(self) -> None:
        """Collect and say what was written."""
        if self.dataset is not None:
            free = {"--dataset", "--out", "--workers"}
            self._refuse_beside("--dataset", "fixes what is logged", set(self._given()) - free)
            out = default_path(self.dataset) if self.out is None else self.out
            with to_be_collected(out), tqdm(unit="session", delay=0.1) as bar:
                dataset = load_named(self.dataset, out, workers=self.workers, progress=bar.update)
            if not (out / "README.md").exists():
                write_card(dataset)
        else:
            if self.out is None:
                raise InvalidInput("--out is missing; say which folder to write, as in --out runs/log")
            out = self.out
            with to_be_collected(out):
                request = self._request()
                with tqdm(total=request.num_sessions, unit="session", delay=0.1) as bar:
                    dataset = collect(out, request, workers=self.workers, progress=bar.update)
        say(f"{out}: {dataset.num_sessions:,} sessions, {dataset.num_rows:,} steps")
        quality = dataset.manifest["quality"]
        if quality is not None:
            normalized = Reference.of(quality).normalized_score_interval(float(dataset.session_returns().mean()))
            noise, expert = policy_name(quality["noise"]), policy_name(quality["expert"])
            say(
                f"good fraction {quality['good_fraction']}, normalised score {normalized:.3f} "
                f"({noise} = 0, {expert} = 1)"
            )
        say(f"look at it with `recsession inspect {out}`")

    def _request(self) -> LogRequest:
        config = given_config(self.config, self.set)
        given: dict[str, Any] = {} if self.num_sessions is None else {"num_sessions": self.num_sessions}
        given |= {} if self.seed is None else {"dataset_seed": self.seed}
        request = LogRequest(
            config, action_kind=self.action_kind, group_size=self.group_size, corruption=self.corruption, **given
        )
        world = make_world(config)
        if self.behavior is not None:
            self._refuse_beside("--behavior", "says who acts", _DIAL)
            return replace(request, behavior=given_behavior("--behavior", self.behavior, world, self.action_kind))
        noise = given_behavior("--noise", self.noise or default_noise(config), world, self.action_kind)
        expert: Spec | str | None = None
        if self.expert is not None:
            expert = given_behavior("--expert", self.expert, world, self.action_kind)
        if self.target_score is None:
            good_fraction = 0.1 if self.good_fraction is None else self.good_fraction
            return replace(request, behavior=mixture_spec(good_fraction, noise, self.mixing, expert=expert))
        self._refuse_beside("--target-score", "finds the good fraction", {"--good-fraction"})
        with tqdm(desc="seeking the good fraction", unit="session", delay=0.1, leave=False) as bar:
            return at_target_score(
                request, self.target_score, noise, mixing=self.mixing, expert=expert, progress=bar.update
            )

    def _given(self) -> list[str]:
        """Return the options that differ from their default, as they are written."""
        own = [f.name for f in fields(self) if f.name != "corruption" and getattr(self, f.name) != f.default]
        return [f"--{name.replace('_', '-')}" for name in (*own, *self.corruption.recorded())]

    def _refuse_beside(self, option: str, why: str, others: Collection[str]) -> None:
        too_much = " and ".join(given for given in self._given() if given in others)
        require(not too_much, f"{option} {why}; leave out {too_much}, or {option} itself")
