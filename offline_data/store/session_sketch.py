"""Which sessions a log holds, in some kilobytes: enough to tell what share of them another log holds too.

A session's content is hashed: who, when and what was shown at each step, and what was clicked where nobody says when.
It is told by the ids of the source, not by their place in this log, so that a copy, a part or a second import of it,
with other feedback too, has the same hash. A sketch keeps the smallest hashes (Beyer, Haas, Reinwald, Sismanis and
Gemulla 2007, "On synopses for distinct-value estimation under multiset operations"): below the smaller of two sketches'
limits, both know all of their contents.

Sessions of one step and few items are alike by chance. Let a of n sessions in the one log have some content, and b of
c n in the other: there are a b pairs across, and a (a - 1) / 2 and b (b - 1) / 2 within. Of logs that share nothing and
are drawn alike, `y = a b - (c a (a - 1) + b (b - 1) / c) / 2` is 0 on average, with the variance t (t - 1) / 2 given
t = a + b; each session that they share adds 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import SessionBlock, session_blocks
from recenv.errors import require
from recenv.mixed_bits import mixed_bits

SKETCH_SIZE: Final = 4096
"""Contents that a sketch keeps."""

_ROWS_AT_ONCE: Final = 1 << 14
# Standard deviations that chance passes in one of 30,000 comparisons.
_BEYOND_CHANCE: Final = 4.0


@dataclass(frozen=True, eq=False)
class SessionSketch:
    """The contents of a log's sessions with the smallest hashes.

    Examples:
        >>> from offline_data import LogRequest, SessionSketch, collect
        >>> one, two = (collect(f"log{seed}", LogRequest(num_sessions=8, dataset_seed=seed)) for seed in (0, 1))
        >>> sketch = SessionSketch.of_log(one)
        >>> sketch.share_of(SessionSketch.of_log(one)), sketch.share_of(SessionSketch.of_log(two))
        (1.0, 0.0)
    """

    hashes: np.ndarray
    """[k] uint64, strictly rising; fewer than `SKETCH_SIZE` are all that the log has."""
    counts: np.ndarray
    """[k] int64, sessions of each content."""
    num_sessions: int
    """Of the log."""
    told_apart: bool
    """Whether a content says when its session was, or its seed: two sessions are hardly ever alike by chance."""

    def __post_init__(self) -> None:
        """Refuse what no log gives, as a stranger's file may say it."""
        hashes, counts = self.hashes, self.counts
        require(
            hashes.dtype == np.uint64
            and counts.dtype == np.int64
            and hashes.ndim == 1
            and hashes.shape == counts.shape,
            f"a sketch of sessions has hashes {hashes.dtype} {hashes.shape} and counts {counts.dtype} {counts.shape}; "
            "pass uint64 and int64 of one shape [k]",
        )
        whole = type(self.num_sessions) is int and type(self.told_apart) is bool
        whole = whole and 0 < len(hashes) <= SKETCH_SIZE and bool((hashes[1:] > hashes[:-1]).all())
        whole = whole and bool((counts > 0).all()) and int(counts.sum()) <= self.num_sessions
        require(
            whole,
            f"a sketch of {self.num_sessions} sessions has {len(hashes):,} hashes of {counts.sum():,}; pass 1 to "
            f"{SKETCH_SIZE:,}, rising, each of one session or more",
        )

    @staticmethod
    def of_log(dataset: LoggedDataset) -> SessionSketch:
        """Return the sketch of a log's sessions; what is read at a time is a block, and memory does not grow.

        Args:
            dataset: a sound log, see `LoggedDataset.require_sound`.
        """
        hashes, counts = np.empty(0, np.uint64), np.empty(0, np.int64)
        items = _item_keys(dataset)
        for block in session_blocks(dataset, _ROWS_AT_ONCE):
            found = _content_hashes(dataset, block, items)
            if len(hashes) == SKETCH_SIZE:
                found = found[found <= hashes[-1]]
            hashes, place = np.unique(np.concatenate([hashes, found]), return_inverse=True)
            together = np.concatenate([counts, np.ones(len(found), np.int64)])
            counts = np.zeros(len(hashes), np.int64)
            np.add.at(counts, place, together)
            hashes, counts = hashes[:SKETCH_SIZE], counts[:SKETCH_SIZE]
        return SessionSketch(hashes, counts, dataset.num_sessions, _tells_apart(dataset))

    def share_of(self, other: SessionSketch) -> float:
        """Return what share of another log's sessions are in this one too, in [0, 1]; 0 where chance may explain it.

        Args:
            other: sketch of the other log.
        """
        limit = min(self._limit, other._limit)
        mine, theirs = (sketch.hashes[sketch.hashes <= limit] for sketch in (self, other))
        contents = np.union1d(mine, theirs)
        a, b = np.zeros((2, len(contents)))
        a[np.searchsorted(contents, mine)] = self.counts[: len(mine)]
        b[np.searchsorted(contents, theirs)] = other.counts[: len(theirs)]
        ratio, total = other.num_sessions / self.num_sessions, a + b
        beyond = a * b - (ratio * a * (a - 1.0) + b * (b - 1.0) / ratio) / 2.0
        # A content of many sessions says no more of a share than one of few, and varies by more.
        weight = 1.0 / np.maximum(total - 1.0, 1.0)
        shared, seen = float(weight @ beyond), float(weight @ b)
        if shared <= 0.0 or seen == 0.0:
            return 0.0
        certain = self.told_apart and other.told_apart and a.max() <= 1.0 and b.max() <= 1.0
        chance = float(np.sqrt(weight**2 @ (total * (total - 1.0)) / 2.0))
        return min(shared / seen, 1.0) if certain or shared > _BEYOND_CHANCE * chance else 0.0

    @property
    def _limit(self) -> np.uint64:
        """Up to which hash it knows all contents."""
        return self.hashes[-1] if len(self.hashes) == SKETCH_SIZE else np.uint64(2**64 - 1)


def _tells_apart(dataset: LoggedDataset) -> bool:
    return "timestamp" in dataset.rows or "session_seed" in dataset.sessions


def _content_hashes(dataset: LoggedDataset, block: SessionBlock, items: np.ndarray) -> np.ndarray:
    """Return a hash of the content of each session of a block, [B] uint64.

    Args:
        dataset: the log.
        block: of its sessions.
        items: [N] uint64 key of each item.
    """
    rows = {name: np.asarray(dataset.rows[name][block.rows]) for name in ("slate", "shown")}
    size = rows["slate"].shape[1]
    content = np.where(rows["shown"], items.take(rows["slate"], mode="clip"), np.uint64(0)) @ _salts(0, size)
    if not _tells_apart(dataset):  # what counts as a click may be another column in another import
        clicked = np.asarray(dataset.rows["feedback"][block.rows, :, 0]) > 0
        content += clicked.astype(np.uint64) @ _salts(1, size)
    if "timestamp" in dataset.rows:  # to the second, since another unit rounds otherwise; and 0 has one form
        content += _mixed((np.rint(dataset.rows["timestamp"][block.rows]) + 0.0).view(np.uint64))
    step = np.arange(len(content)) - np.repeat(block.first, block.lengths)
    session = np.add.reduceat(_mixed(content) * _salts(2, int(step.max()) + 1)[step], block.first)
    for place, name in enumerate(("source_user_id", "session_seed", "behavior_seed"), 3):
        if name in dataset.sessions:
            session += _keys(np.asarray(dataset.sessions[name][block.sessions])) * _salts(place, 1)
    return _mixed(session)


def _item_keys(dataset: LoggedDataset) -> np.ndarray:
    """Return a key of each item, [N] uint64: of its id in the source, or of its index where it has none."""
    return _keys(np.asarray(dataset.catalog.get("source_id", np.arange(dataset.num_items))))


def _keys(ids: np.ndarray) -> np.ndarray:
    """Return a hash of each id as text, [n] uint64, whatever its dtype: 17 and "17" are the same."""
    text = np.ascontiguousarray(ids if ids.dtype.kind == "U" else ids.astype("U"))
    letters = text.view(np.uint32).reshape(len(text), -1)
    total = np.zeros(len(text), np.uint64)
    for place, column in enumerate(letters.T):  # a short text ends in letters 0, and so would a wider column's
        there = column > 0
        total[there] += _mixed(column[there].astype(np.uint64) + np.uint64(place << 32))
    return _mixed(total)


def _salts(place: int, count: int) -> np.ndarray:
    """Return odd numbers, [count] uint64, other ones for each place: what is multiplied by them is told apart."""
    return _mixed(np.arange(count, dtype=np.uint64) + np.uint64((place + 1) << 40)) | np.uint64(1)


def _mixed(words: np.ndarray) -> np.ndarray:
    """Return words mixed, 0 too, [...] uint64: SplitMix64's next of each."""
    return mixed_bits((words + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64))
