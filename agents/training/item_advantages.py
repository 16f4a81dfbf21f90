"""What each item of a logged slate was worth by its own feedback: 1, -1 or 0.

The best quarter by watch time of the items of about the same duration (an octave of minutes) has 1, what was disliked
has -1, whatever else, and the rest 0. A quarter is of what was watched at all: where a user picks one item of a slate,
the others were not watched badly.

A log has the feedback that it has. Time watched is `watch_fraction` times the item's length; without it, `engagement`,
`long_view`, `like` or else the click stands for it: the first of these, of which what is above 0 and as good as all but
a quarter has 1, be it all. A dislike is `dislike` or `hate`; without them no item has -1. Items of a log that does not
say how long they are count as of one duration.

Source: OneRec-V2 (arXiv:2508.20900); the shares by duration and the three values are confirmed by a reproduction [c].
That durations are bucketed by octaves over the whole log, and all that is taken for a missing feedback, is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from torch import Tensor

from agents.batches.replay import mapped_column
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_blocks import SessionBlock, session_blocks
from recenv.errors import require

_WATCHED: Final = ("watch_fraction", "engagement", "long_view", "like")
_DISLIKED: Final = ("dislike", "hate")


@dataclass(frozen=True)
class FeedbackChannels:
    """Which feedback of a log says that an item was good, and which that it was bad."""

    positive: str
    """Name of the first."""
    negative: str | None
    """Name of the second; None where nothing does."""
    by_duration: bool = True
    """Whether the log says how long its items are."""

    def describe(self, top_share: float) -> str:
        """Return a sentence for the user.

        Args:
            top_share: see `item_advantages`.
        """
        of = "time watched (watch_fraction)" if self.positive == "watch_fraction" else self.positive
        those = "those of its duration that have any" if self.by_duration else "all that have any"
        good = f"an item's advantage is 1 in the top {top_share:.0%} by {of} of {those}"
        if self.negative is None:
            return f"{good}; no feedback of this log is a dislike: no item has -1, unless negative names one"
        return f"{good}, and -1 for {self.negative}"


def feedback_channels(dataset: LoggedDataset, positive: str = "auto", negative: str = "auto") -> FeedbackChannels:
    """Return which feedback of a log is taken; see the module.

    Args:
        dataset: a log of slates.
        positive: a feedback of the log, or "auto".
        negative: a feedback of the log, "auto", or "none".

    Raises:
        InvalidInput: for a name that no feedback of the log has.
    """
    names = dataset.manifest["feedback_names"]
    for field, name, others in (("positive", positive, "auto"), ("negative", negative, "auto or none")):
        require(
            name in (*names, *others.split(" or ")),
            f"{field}={name!r} is no feedback of {dataset.path}; choose of {', '.join(names)}, or {others}",
        )
    if positive == "auto":
        positive = next((name for name in _WATCHED if name in names), names[0])
    if negative == "auto":
        negative = next((name for name in _DISLIKED if name in names), "none")
    require(positive != negative, f"positive and negative are both {positive!r}; choose another for one, or none")
    return FeedbackChannels(positive, None if negative == "none" else negative, "length" in dataset.catalog)


def item_advantages(dataset: LoggedDataset, channels: FeedbackChannels, top_share: float) -> Tensor:
    """Return the advantage of each item of each slate, [N, K] float32 in a temporary file.

    Args:
        dataset: a log of slates.
        channels: see `feedback_channels`.
        top_share: of the items watched at all, by duration, the share that has 1, in (0, 1]; more where they tie.

    Raises:
        InvalidInput: if no item of the log has an advantage but 0.
    """
    times, octaves = [], []
    for block in session_blocks(dataset):
        time, octave = _watched(dataset, channels, block)
        times.append(time[time > 0])
        octaves.append(octave[time > 0])
    watched, octave = np.concatenate(times), np.concatenate(octaves)
    least = {
        each: kept[len(kept) - max(1, math.ceil(top_share * len(kept) - 1e-9))]
        for each in np.unique(octave).tolist()
        for kept in (np.sort(watched[octave == each]),)
    }
    advantages, found = mapped_column(dataset.num_rows, dataset.slate_size), False
    out = advantages.numpy()
    for block in session_blocks(dataset):
        time, octave = _watched(dataset, channels, block)
        good = np.zeros(time.shape, np.bool_)
        for each, bound in least.items():
            good |= (octave == each) & (time >= bound) & (time > 0)
        out[block.rows] = good
        if channels.negative is not None:
            out[block.rows][_feedback(dataset, channels.negative, block) > 0] = -1.0
        found = found or bool(out[block.rows].any())
    of = channels.positive if channels.negative is None else f"{channels.positive} or {channels.negative}"
    require(
        found,
        f"no item of {dataset.path} has {of} above 0, so that there is nothing to learn; choose another feedback by "
        'positive and negative, or unit="slate"',
    )
    return advantages


def _feedback(dataset: LoggedDataset, name: str, block: SessionBlock) -> np.ndarray:
    """Return one feedback of a block's items, [B, K]; 0 of what was not shown."""
    channel = dataset.manifest["feedback_names"].index(name)
    values = np.asarray(dataset.rows["feedback"][block.rows, :, channel])
    return np.where(dataset.rows["shown"][block.rows], values, 0.0)


def _watched(dataset: LoggedDataset, channels: FeedbackChannels, block: SessionBlock) -> tuple[np.ndarray, np.ndarray]:
    """Return how long, or how well, a block's items were watched, and the octaves of their durations, [B, K] each."""
    value = _feedback(dataset, channels.positive, block)
    if not channels.by_duration:
        return value, np.zeros(value.shape, np.int64)
    length = dataset.catalog["length"][np.maximum(dataset.rows["slate"][block.rows], 0)].astype(np.float64)
    octave = np.floor(np.log2(np.maximum(length, 1e-30))).astype(np.int64)
    return value * length if channels.positive == "watch_fraction" else value, octave
