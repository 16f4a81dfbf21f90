"""Datasets by name, after D4RL and Minari: `recsession/VARIANT/LEVEL-NOISE-v0`, collected where one is first asked for.

A name fixes the world, the behavior, the number of sessions and the seed, and so the bytes: nothing is downloaded. What
`-v0` means does not change; another world or another behavior under the same words would be a `-v1`. The logs of DRPO's
scenarios, whose noise is `exposure` and uniform together, are `recsession/VARIANT/SCENARIO-v0`.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from offline_data.behavior.base import NOISES, ActionKind, undefined
from offline_data.behavior.three_part import SCENARIOS, SUBOPTIMAL, noise_of
from offline_data.collection.collection import LogRequest, collect, manifest_request
from offline_data.dial.quality import Spec, as_spec
from offline_data.dial.target_score import at_fraction, at_target_score, dial_request
from offline_data.store.dataset import LoggedDataset
from offline_data.store.folder_claim import as_json
from recenv.envs.registration import model_variants, model_version
from recenv.errors import InvalidInput, require
from recenv.families import USER_MODELS
from recenv.session_config import SessionConfig

VARIANTS: Final = model_variants()
"""What each variant changes in the default world: the user model, and so on; the rest is the model's own."""

MEDIUM: Final = "medium"
MEDIUM_TARGET_SCORE: Final = 0.5
GOOD_FRACTIONS: Final = {
    "expert": 1.0,
    "random": 0.0,
    "mixed-50": 0.5,
    "mixed-20": 0.2,
    "mixed-10": 0.1,
    "mixed-05": 0.05,
    "mixed-01": 0.01,
}
"""The good fraction of each level but `medium`, whose own normalised score is `MEDIUM_TARGET_SCORE`."""

_LEVELS: Final = ("expert", MEDIUM, *(level for level in GOOD_FRACTIONS if level != "expert"))

NUM_SESSIONS: Final = 10_000
ACTION_KIND: Final[ActionKind] = "proto"


@dataclass(frozen=True)
class NamedDataset:
    """What a name stands for.

    Examples:
        >>> from offline_data import find_named
        >>> named = find_named("recsession/default/mixed-10-clickbait-v0")
        >>> named.meaning
        "10% of the steps the expert's, the rest clickbait"
    """

    variant: str
    """The world, a key of `VARIANTS`."""
    level: str
    """How good the log is: `medium`, or a key of `GOOD_FRACTIONS`; without a noise, a scenario."""
    noise: str | None
    """Behavior policy of what is not the expert's; None in a scenario, a key of `SCENARIOS`."""

    @property
    def name(self) -> str:
        """The name, such as "recsession/default/mixed-10-clickbait-v0"."""
        words = self.level if self.noise is None else f"{self.level}-{self.noise}"
        return f"recsession/{self.variant}/{words}-v{model_version(VARIANTS[self.variant]['user_model'])}"

    @property
    def meaning(self) -> str:
        """What is in it, in a few words."""
        if self.noise is None:
            expert, suboptimal, uniform = SCENARIOS[self.level]
            return (
                f"{expert:.0%} of the steps the expert's, {suboptimal:.0%} {SUBOPTIMAL}, {uniform:.0%} uniform: DRPO's "
                f"scenario {self.level}"
            )
        if self.level == MEDIUM:
            return f"as much expert among {self.noise} as has the normalised score {MEDIUM_TARGET_SCORE}"
        good_fraction = GOOD_FRACTIONS[self.level]
        if good_fraction in (0.0, 1.0):
            return (
                f"{self.noise} alone"
                if good_fraction == 0.0
                else f"the expert alone, {self.noise} at normalised score 0"
            )
        return f"{good_fraction:.0%} of the steps the expert's, the rest {self.noise}"

    @property
    def config(self) -> SessionConfig:
        """The world."""
        return SessionConfig().override(**VARIANTS[self.variant])

    def request(self, progress: Callable[[int], object] | None = None) -> LogRequest:
        """Return what is logged: the references are measured for it, and the good fraction of `medium` is sought.

        Args:
            progress: called with the number of sessions of each batch that is played.
        """
        log, (fraction, noise) = self._log, self._dial
        if fraction is None:
            log = at_target_score(log, MEDIUM_TARGET_SCORE, noise, progress=progress)
        else:
            log = at_fraction(log, fraction, noise, progress=progress)
        return replace(log, quality={**(log.quality or {}), "dataset": self.name})

    def fits(self, dataset: LoggedDataset) -> bool:
        """Return whether a dataset was collected by what `request` returns, but for what is measured for that.

        Args:
            dataset: of a simulated world.
        """
        quality = dataset.manifest.get("quality") or {}
        (set_fraction, noise), target = self._dial, None
        fraction = quality.get("good_fraction") if set_fraction is None else set_fraction
        if fraction is None or "request" not in dataset.manifest["source"] or dataset.part is not None:
            return False
        request = dial_request(self._log, fraction, noise)
        target = MEDIUM_TARGET_SCORE if set_fraction is None else None
        told = {"noise": as_json(as_spec(noise)), "good_fraction": fraction, "target_score": target}
        same = all(quality.get(name) == value for name, value in told.items())
        return same and dataset.manifest["source"]["request"] == manifest_request(request)

    @property
    def _dial(self) -> tuple[float | None, Spec | str]:
        """The good fraction, None where it is sought, and the noise."""
        if self.noise is None:
            return noise_of(SCENARIOS[self.level])
        return (None if self.level == MEDIUM else GOOD_FRACTIONS[self.level]), self.noise

    @property
    def _log(self) -> LogRequest:
        """What is logged, but for who acts."""
        seed = int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:8], "big") >> 1
        return LogRequest(self.config, action_kind=ACTION_KIND, num_sessions=NUM_SESSIONS, dataset_seed=seed)


@cache
def named_datasets() -> dict[str, NamedDataset]:
    """Return every named dataset by its name, variant after variant."""
    every: list[NamedDataset] = []
    for variant in VARIANTS:
        undefined_behaviors = _undefined_behaviors(variant)
        noises = [noise for noise in NOISES if noise not in undefined_behaviors]
        every += [NamedDataset(variant, level, noise) for level in _LEVELS for noise in noises]
        every += [NamedDataset(variant, scenario, None) for scenario in SCENARIOS]
    return {named.name: named for named in every}


def _undefined_behaviors(variant: str) -> dict[str, str]:
    """Return the behavior policies that are not defined in a variant's world, and why; no model is imported."""
    source = USER_MODELS.source(VARIANTS[variant]["user_model"])
    return {} if source is None else source.literal("undefined_behaviors") or {}


def find_named(name: str) -> NamedDataset:
    """Return what a name stands for.

    Raises:
        InvalidInput: for an unknown name, the nearest one is suggested; a noise that its world does not define; or a
            name of an earlier version of its world.
    """
    known = named_datasets()
    if name in known:
        return known[name]
    words = re.fullmatch(rf"recsession/({'|'.join(VARIANTS)})/(?:{'|'.join(_LEVELS)})-({'|'.join(NOISES)})-v\d+", name)
    reasons = {} if words is None else _undefined_behaviors(words[1])
    if words is not None and words[2] in reasons:
        raise undefined(words[2], VARIANTS[words[1]]["user_model"], reasons)
    word, _, version = name.rpartition("-v")
    for other in known:
        base, _, current = other.rpartition("-v")
        require(
            base != word or not version.isdecimal() or int(version) > int(current),
            f"{name} is of a world that has changed since, and is no longer collected; its successor is {other}",
        )
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise InvalidInput(f"unknown dataset {name!r}; {hint}`recsession datasets` lists all {len(known)}")


def default_path(name: str) -> Path:
    """Return where a named dataset lies: below $RECSESSION_DATASETS, or else ~/.recsession/datasets.

    Raises:
        InvalidInput: if there is neither that variable nor a home.
    """
    root = os.environ.get("RECSESSION_DATASETS")
    if root:
        return Path(root) / name
    try:
        return Path.home() / ".recsession" / "datasets" / name
    except RuntimeError as error:
        raise InvalidInput(
            f"there is no home folder for the dataset {name}; set RECSESSION_DATASETS to a folder, or say which (path, "
            "--out)"
        ) from error


def load_named(
    name: str,
    path: str | Path | None = None,
    *,
    workers: int = 1,
    progress: Callable[[int], object] | None = None,
) -> LoggedDataset:
    """Return a named dataset, collected first if it is not there.

    Args:
        name: such as "recsession/default/mixed-10-clickbait-v0"; `named_datasets` has them all.
        path: its folder; None for `default_path`.
        workers: processes that collect it; the bytes are the same for any number.
        progress: called with the number of sessions of each batch that is played.

    Raises:
        InvalidInput: for an unknown name, or where `path` holds something else or cannot be written.
    """
    named = find_named(name)
    path = default_path(name) if path is None else Path(path)
    if path.exists():
        dataset = LoggedDataset.open(path)
        there = (dataset.manifest.get("quality") or {}).get("dataset")
        require(there == name, f"{path} holds {there or 'a dataset without a name'}, not {name}; choose another --out")
        require(
            dataset.manifest.get("world_hash") == named.config.world_hash(),
            f"{path} was collected in a world that is no longer that of {name}; remove it and collect it again",
        )
        require(
            named.fits(dataset),
            f"{path} has the name {name}, and was collected otherwise; remove it and collect it again",
        )
        dataset.verify(again=False)
        dataset.require_sound()
    else:
        dataset = collect(path, named.request(progress), workers=workers, progress=progress)
    return dataset
