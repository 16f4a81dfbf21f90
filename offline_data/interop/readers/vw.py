"""Vowpal Wabbit's dsjson: decisions of contextual bandits, with exact propensities.

Source: Vowpal Wabbit's wiki, pages "DSJSON", "Conditional Contextual Bandit" and "Slates".
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np

from offline_data.families import READERS
from offline_data.interop.dsjson import Broken, Decision, Feature, Unread, decision_of, feature_text
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.interactions import Ids, Interactions, Lists, entries_of, place_of
from offline_data.interop.item_columns import embeddings_of
from offline_data.interop.readers.base import LogReader
from offline_data.interop.table_files import file_lines
from offline_data.interop.table_parts import parts_of
from offline_data.interop.tables import Progress
from offline_data.interop.times import parsed_times
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require, unknown_name
from recenv.files.json_text import parse_json

_MOST_FEATURES: Final = 1000
_TOLD_EVERY: Final = 1000


@READERS.register("vw")
@dataclass(frozen=True, kw_only=True)
class VwReader(LogReader):
    """Read Vowpal Wabbit's dsjson, one decision a line: contextual bandits, and slots and slates (CCB).

    `path` is a file, plain or packed, a folder or a pattern. A cost is a negative reward: the reward is minus
    `_label_cost`, of the item where each slot has its own. Propensities are `_label_probability`, or each slot's `_p`.
    The actions of a decision are its candidates; what they share is the context, in which an absent number is 0. Each
    decision is a session, unless `--user` says which feature names the user. Lines without a decision or a cost, and
    those with `_skipLearn`, are left out and counted.
    """

    item: str | None = None
    """Feature that names an action, as `TAction.topic`; None for its `_tag`, or its feature `id`, or all of them."""
    user: str | None = None
    """Feature of the context that names the user, as `GUser.id`: decisions of one user are then visits by time."""
    context: tuple[str, ...] = ()
    """Features, or namespaces, of the context that are read, as `GUser Geo.country`; none for all."""
    broken: Literal["refuse", "drop"] = "refuse"
    """What is done with decisions that contradict themselves, as by probabilities that do not sum to one: refused, or
    left out and counted."""
    dropped: Literal["refuse", "thin", "keep"] = "refuse"
    """What is done where some decisions were kept more often than others (`pdrop`): refused; thinned out to the rate of
    the least kept, which is unbiased; or kept as they are."""

    unit: ClassVar[str] = "line"

    def __post_init__(self) -> None:
        for name, allowed in (("broken", ("refuse", "drop")), ("dropped", ("refuse", "thin", "keep"))):
            if getattr(self, name) not in allowed:
                raise unknown_name(f"way with what is {name}", getattr(self, name), allowed)

    @classmethod
    def write_example(cls, folder: Path) -> Mapping[str, Any]:
        """See `LogReader.write_example`."""
        line = (
            '{"_label_cost":-1,"_label_probability":0.75,"_label_Action":2,"_labelIndex":1,"a":[2,1],"p":[0.75,0.25],'
            '"Timestamp":"2024-05-01T12:00:00.5Z","c":{"User":{"age":30},"_multi":[{"_tag":"a","i":{"price":2}},'
            '{"_tag":"b","i":{"price":3}}]}}\n'
        )
        (folder / "log.dsjson").write_text(line + line.replace("-1", "0", 1))
        return {"path": folder / "log.dsjson"}

    def read(self, out: Path, progress: Progress | None = None) -> LoggedDataset:
        """See `LogReader.read`."""
        found = self._decisions(progress)
        counts = found.counts
        told = "; ".join(f"{count:,} {why}" for why, count in found.left.items())
        require(len(found.decisions) > 0, f"{self.path} has no decision with an outcome ({told}); give another file")
        lines, decisions, remarks = self._evenly_kept(np.array(found.lines), found.decisions)
        kinds = {each.kind for each in decisions}
        require(
            kinds == {"slates"} or "slates" not in kinds,
            f"{self.path} has decisions with a cost for each slot, and others with one for all; import them apart",
        )
        remarks = ["a cost is a negative reward: the reward is minus _label_cost", *remarks]
        if told:
            remarks.append(f"lines that are left out: {told}")
        size = np.array([len(each.chosen) for each in decisions])
        entry = np.repeat(np.arange(len(decisions)), size)  # the decision of each entry
        item = found.items(decisions)
        embeddings, made, left = embeddings_of(found.features(), self.options.item_features)
        if found.varying:
            count = len(found.varying)
            remarks.append(f"{count:,} of {len(item.source):,} items have other features later: the first are kept")
        if left:
            remarks.append(f"features of the actions that tell them not apart: {', '.join(left)}")
        context = self._context(decisions)
        times, time_remarks = _times(decisions, counts, lines)
        user = context.pop(self.user) if self.user is not None else None
        users = Ids(np.arange(len(decisions)), np.arange(len(decisions)))
        if self.user is not None:
            users = _named_users(user, self.user)
        rank = np.arange(len(decisions))
        if times is not None:
            rank[np.argsort(times, kind="stable")] = np.arange(len(decisions))
        cost = np.concatenate([np.broadcast_to(each.cost, len(each.chosen)) for each in decisions])
        reward = {"reward": 0.0 - cost}
        log = Interactions(
            files=counts,
            data_row=lines[entry],
            user=users.only(entry),
            item=item,
            feedback={"click": (cost < 0.0).astype(np.float64)},
            step=rank[entry],
            position=np.arange(len(entry)) - np.repeat(np.cumsum(size) - size, size) if size.max() > 1 else None,
            timestamp=None if times is None else times[entry],
            reward=reward if kinds == {"slates"} else None,
            item_reward=None if kinds == {"slates"} else reward,
            prefix_log_prob=np.concatenate([np.cumsum(np.log(each.probability)) for each in decisions]),
            candidates=_candidates(decisions, item.source, entry),
            context={name: entries_of(each, entry) for name, each in context.items()},
            catalog={} if embeddings is None else {"embeddings": embeddings},
            item_features=made,
        )
        lacking = ["feedback: a click is reward > 0"]
        if self.user is None:
            lacking.append("users: each decision is a session of its own")
        return import_interactions(
            out,
            log,
            "vw",
            options=self.options,
            lacking=lacking,
            remarks=[*remarks, *time_remarks],
            facts={name: getattr(self, name) for name in ("item", "user", "context", "broken", "dropped")},
        )

    def _decisions(self, progress: Progress | None) -> _Found:
        found, total = _Found(), 0
        for part in parts_of(self.path):
            count = 0
            for line in file_lines(part.file):
                count += 1
                if progress and count % _TOLD_EVERY == 0:
                    progress(_TOLD_EVERY)
                if not line.strip():
                    continue
                place = f"{part.file}: line {count}"
                try:
                    found.add(decision_of(parse_json(line, place, "mend it, or leave out the line"), self.item))
                    found.lines.append(total + count - 1)
                except Unread as what:
                    found.left[str(what)] += 1
                except Broken as why:
                    require(self.broken == "drop", f"{place}: {why}; mend it, or leave such out with --broken drop")
                    found.left["contradict themselves"] += 1
            if progress:
                progress(count % _TOLD_EVERY)
            found.counts.append((part.file, count))
            total += count
        return found

    def _evenly_kept(
        self, lines: np.ndarray, decisions: list[Decision]
    ) -> tuple[np.ndarray, list[Decision], list[str]]:
        """Return the decisions such that each was kept with the same probability, or as they are if that is asked."""
        kept = np.array([each.kept for each in decisions])
        least, most = float(kept.min()), float(kept.max())
        if most - least < 1e-9:
            return lines, decisions, []
        told = f"decisions were kept with probabilities from {least:.6g} to {most:.6g} (1 - pdrop)"
        require(
            self.dropped != "refuse",
            f"{self.path}: {told}, so that their mean is none of all decisions; say --dropped thin, which keeps as few "
            "of each, or --dropped keep",
        )
        if self.dropped == "keep":
            return lines, decisions, [f"warning: {told}, and means over the log are none of all decisions"]
        chance = np.array([_uniform(line) for line in lines.tolist()])
        stay = np.flatnonzero(chance < least / kept)
        require(len(stay) > 0, f"{self.path}: none of {len(kept):,} decisions is left by --dropped thin; say keep")
        remark = f"{told}: {len(stay):,} of {len(kept):,} are taken, each with the same probability"
        return lines[stay], [decisions[n] for n in stay], [remark]

    def _context(self, decisions: list[Decision]) -> dict[str, Any]:
        """Return the columns of the context that are asked for, by name, and that of the user."""
        seen = dict.fromkeys(name for each in decisions for name in each.shared)
        for wanted in self.context:
            if not any(_within(name, wanted) for name in seen):
                raise unknown_name("feature of the context", wanted, seen)
        require(
            self.user is None or self.user in seen,
            f"{self.path} has no feature {self.user} in its context; it has {', '.join(list(seen)[:30]) or 'none'}",
        )
        names = [
            name
            for name in seen
            if name != self.user and (not self.context or any(_within(name, w) for w in self.context))
        ]
        require(
            len(names) <= _MOST_FEATURES,
            f"{self.path} has {len(names):,} features in its context, more than {_MOST_FEATURES:,}; say which are "
            f"read, as --context {''.join(names[:1])}",
        )
        names += [self.user] if self.user is not None else []
        return {name: _column([each.shared.get(name) for each in decisions], name == self.user) for name in names}


@dataclass(eq=False)
class _Found:
    """What files tell; the actions of all decisions are held once."""

    counts: list[tuple[Path, int]] = field(default_factory=list)
    """The files, and how many lines each has."""
    lines: list[int] = field(default_factory=list)
    """Of each decision, over all files."""
    decisions: list[Decision] = field(default_factory=list)
    """Without the features of their actions."""
    left: Counter[str] = field(default_factory=Counter)
    """How many lines are left out, by why."""
    known: dict[str, Mapping[str, Feature]] = field(default_factory=dict)
    """Features of each action, by its name, as they are first."""
    varying: set[str] = field(default_factory=set)
    """Actions whose features are others later."""
    offered: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)
    """Names of the actions of decisions, each list once."""

    def add(self, decision: Decision) -> None:
        """Take a decision."""
        for name, features in zip(decision.names, decision.features, strict=True):
            if self.known.setdefault(name, features) != features:
                self.varying.add(name)
        names = tuple(decision.names)
        self.decisions.append(replace(decision, names=self.offered.setdefault(names, names), features=()))

    def items(self, decisions: list[Decision]) -> Ids:
        """Return the chosen items of decisions as codes into all actions."""
        source = np.array(sorted(self.known), np.str_)
        place = {name: code for code, name in enumerate(source.tolist())}
        return Ids(np.array([place[each.names[action]] for each in decisions for action in each.chosen]), source)

    def features(self) -> dict[str, np.ndarray]:
        """Return the features of all actions [N], by name."""
        names = dict.fromkeys(name for features in self.known.values() for name in features)
        return {name: _plain([self.known[item].get(name) for item in sorted(self.known)]) for name in names}


def _within(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith((f"{wanted}.", f"{wanted}["))


def _column(values: list[Feature | None], as_text: bool = False) -> np.ndarray | Ids:
    """Return a feature's values [n]: numbers, 0 where it is absent, or categories."""
    plain = _plain(values)
    if plain.dtype != object and not as_text:
        return plain
    return Ids.of(np.array(["" if value is None else feature_text(value) for value in values])).categories()


def _named_users(user: Any, name: str) -> Ids:
    missing = int((user.codes < 0).sum())
    require(missing == 0, f"{missing:,} of {len(user.codes):,} decisions have no {name}; leave --user out")
    return user


def _plain(values: list[Feature | None]) -> np.ndarray:
    """Return a feature of items [N]: numbers, 0 where it is absent, or texts and None."""
    if all(value is None or isinstance(value, int | float) for value in values):
        return np.array([value or 0.0 for value in values], np.float64)
    out = np.empty(len(values), object)
    out[:] = [None if value is None else feature_text(value) for value in values]
    return out


def _candidates(decisions: list[Decision], source: np.ndarray, entry: np.ndarray) -> Lists:
    """Return the actions of each entry's decision; equal sets of them are held once."""
    place = {name: code for code, name in enumerate(source.tolist())}
    sets: dict[tuple[int, ...], int] = {}
    index = [sets.setdefault(tuple(sorted({place[name] for name in each.names})), len(sets)) for each in decisions]
    lengths = np.array([len(each) for each in sets])
    return Lists(np.array(index)[entry], np.append(0, np.cumsum(lengths)), np.concatenate([np.array(s) for s in sets]))


def _times(
    decisions: list[Decision], counts: list[tuple[Path, int]], lines: np.ndarray
) -> tuple[np.ndarray | None, list[str]]:
    """Return the decisions' times [n], seconds since 1970, and remarks; None where one has none."""
    texts = [each.time for each in decisions]
    absent = sum(text is None for text in texts)
    if absent:
        told = f"{absent:,} of {len(texts):,} decisions have no Timestamp, and none of them is used"
        return None, [told] if absent < len(texts) else []

    def place(number: int) -> str:
        return place_of(counts, int(lines[number])).replace("data row", "line")

    return parsed_times([str(text) for text in texts], None, place)[0], []


def _uniform(number: int) -> float:
    """Return a number in [0, 1) that is drawn by a line's number: the same in each import."""
    return int.from_bytes(hashlib.sha256(f"pdrop {number}".encode()).digest()[:7], "big") / 2.0**56
