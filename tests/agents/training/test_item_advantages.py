from __future__ import annotations

import math

import numpy as np
import pytest

from agents.testing.objective_cases import objective_log
from agents.training.item_advantages import FeedbackChannels, feedback_channels, item_advantages
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput


class FewRows:
    """A log's columns under the names that are read."""

    def __init__(self, names: list[str], feedback: np.ndarray, slate: np.ndarray, length: list[float]) -> None:
        self.path, self.manifest = "log", {"feedback_names": names}
        self.rows = {"feedback": feedback.astype(np.float32), "slate": slate, "shown": slate >= 0}
        self.catalog = {"length": np.array(length, np.float32)}
        self.num_rows, self.slate_size = slate.shape
        self.num_sessions, self.offsets = self.num_rows, np.arange(self.num_rows + 1)


def few(names: list[str], *columns: list[list[float]], slate: list[list[int]], length: list[float]) -> LoggedDataset:
    found: object = FewRows(names, np.stack([np.array(c) for c in columns], -1), np.array(slate), length)
    return found  # type: ignore[return-value]


def plain(watch: np.ndarray, octave: np.ndarray, share: float) -> np.ndarray:
    """1 where fewer than a share of the octave's watched items were watched longer."""
    good = np.zeros(watch.shape)
    for place in np.argwhere(watch > 0):
        rivals = watch[(octave == octave[tuple(place)]) & (watch > 0)]
        good[tuple(place)] = np.mean(rivals > watch[tuple(place)]) < share
    return good


def test_best_quarter_by_duration_worked_by_hand():
    """Lengths 1 and 5 minutes are two octaves: of .2, .4, .6, .8 of a minute the last; of 1, 2 the last, disliked."""
    names = ["click", "watch_fraction", "hate"]
    watch = [[0.2, 0.4, 0.2], [0.6, 0.8, 0.4], [0.0, 0.9, 0.0]]
    hate = [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    log = few(
        names, np.zeros((3, 3)).tolist(), watch, hate, slate=[[0, 0, 1], [0, 0, 1], [0, -1, 1]], length=[1.0, 5.0]
    )
    channels = feedback_channels(log)
    assert channels == FeedbackChannels("watch_fraction", "hate")
    found = item_advantages(log, channels, 0.25)
    assert found.tolist() == [[0.0, 0.0, 0.0], [0.0, 1.0, -1.0], [-1.0, 0.0, 0.0]]
    halves = item_advantages(log, channels, 0.5)
    assert halves.tolist() == [[0.0, 0.0, 0.0], [1.0, 1.0, -1.0], [-1.0, 0.0, 0.0]]
    assert item_advantages(log, FeedbackChannels("watch_fraction", None), 0.5)[1].tolist() == [1.0, 1.0, 1.0]


def test_ties_are_kept_together():
    log = few(["click"], [[1.0, 0.0], [1.0, 1.0]], slate=[[0, 1], [1, 0]], length=[4.0, 4.0])
    channels = feedback_channels(log)
    assert channels == FeedbackChannels("click", None)
    assert item_advantages(log, channels, 0.1).tolist() == [[1.0, 0.0], [1.0, 1.0]]


@pytest.mark.parametrize("share", [0.1, 0.25, 1.0])
def test_a_simulated_log_equals_the_plain_count(share, monkeypatch):
    log = objective_log("slate")
    monkeypatch.setattr("offline_data.store.session_blocks.ROWS_AT_ONCE", 100)
    found = item_advantages(log, feedback_channels(log), share).numpy()
    slate, shown = np.asarray(log.rows["slate"]), np.asarray(log.rows["shown"])
    length = log.catalog["length"][slate].astype(np.float64)
    watch = np.where(shown, log.rows["feedback"][..., 1], 0.0).astype(np.float64) * length
    np.testing.assert_array_equal(found, plain(watch, np.floor(np.log2(length)), share))
    assert share * (watch > 0).sum() <= found.sum() <= (watch > 0).sum()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["click", "watch_fraction", "like"], ("watch_fraction", None)),
        (["click", "engagement"], ("engagement", None)),
        (["click", "long_view", "like", "hate"], ("long_view", "hate")),
        (["view", "like", "dislike", "hate"], ("like", "dislike")),
        (["view", "cart"], ("view", None)),
    ],
)
def test_what_stands_for_missing_feedback(names, expected):
    log = few(names, *[[[0.0]]] * len(names), slate=[[0]], length=[1.0])
    assert feedback_channels(log) == FeedbackChannels(*expected)
    assert feedback_channels(log, negative="none").negative is None
    chosen = feedback_channels(log, names[1], names[0])
    assert chosen == FeedbackChannels(names[1], names[0])
    assert chosen.describe(0.25).endswith(f", and -1 for {names[0]}")


def test_feedback_that_is_not_there_is_refused():
    log = few(["click", "like"], [[0.0]], [[0.0]], slate=[[0]], length=[1.0])
    with pytest.raises(InvalidInput, match="positive='hate' is no feedback of log; choose of click, like, or auto"):
        feedback_channels(log, "hate")
    with pytest.raises(InvalidInput, match=r"negative='hate' is no feedback of log; .* like, or auto or none"):
        feedback_channels(log, "auto", "hate")
    with pytest.raises(InvalidInput, match="positive and negative are both 'like'"):
        feedback_channels(log, "auto", "like")
    with pytest.raises(InvalidInput, match="no item of log has like above 0, so that there is nothing to learn"):
        item_advantages(log, feedback_channels(log), 0.25)


def test_a_log_that_does_not_know_how_long_items_are():
    """All are of one duration: the best half of the four that were watched."""
    log = few(["click", "watch_fraction"], [[0.0]] * 4, [[0.1], [0.2], [0.8], [0.9]], slate=[[0]] * 4, length=[1.0])
    log.catalog.pop("length")  # type: ignore[attr-defined]
    channels = feedback_channels(log)
    assert channels == FeedbackChannels("watch_fraction", None, by_duration=False)
    assert "50% by time watched (watch_fraction) of all that have any" in channels.describe(0.5)
    assert item_advantages(log, channels, 0.5)[:, 0].tolist() == [0.0, 0.0, 1.0, 1.0]


def test_lengths_of_nothing_are_one_octave():
    log = few(["click", "watch_fraction"], [[1.0]], [[math.ulp(1.0)]], slate=[[0]], length=[0.0])
    with pytest.raises(InvalidInput, match="nothing to learn"):
        item_advantages(log, feedback_channels(log), 0.25)
