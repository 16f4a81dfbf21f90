from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_data.store import session_sketch
from offline_data.store.dataset import LoggedDataset
from offline_data.store.session_sketch import SessionSketch
from recenv.errors import InvalidInput


def log_of(item: np.ndarray, click: np.ndarray, lengths: Any = 1, **columns: np.ndarray) -> LoggedDataset:
    """Return a log in memory: sessions of one item a step, with further columns of its rows or sessions."""
    sizes = np.broadcast_to(lengths, len(item) if np.ndim(lengths) == 0 else len(lengths))
    slate = item.reshape(len(item), -1)
    rows: dict[str, Any] = {
        "slate": slate.astype(np.int32),
        "shown": np.ones(slate.shape, np.bool_),
        "feedback": click.astype(np.float32).reshape(*slate.shape, 1),
    }
    sessions: dict[str, Any] = {"offsets": np.append(0, sizes.cumsum())}
    catalog = {"source_id": columns.pop("source_id")} if "source_id" in columns else {}
    for name, values in columns.items():
        (rows if len(values) == len(item) and name == "timestamp" else sessions)[name] = values
    manifest = {"num_rows": len(item), "num_sessions": len(sizes), "num_items": 80}
    return LoggedDataset(Path("log"), manifest, rows, sessions, {}, catalog)


def drawn(count: int, seed: int, *, users: int = 0, times: bool = False) -> LoggedDataset:
    rng = np.random.default_rng(seed)
    columns: dict[str, Any] = {"source_user_id": rng.integers(users, size=count)} if users else {}
    columns |= {"timestamp": 1.7e9 + rng.integers(10**7, size=count).astype(np.float64)} if times else {}
    popularity = 1.0 / np.arange(1, 81)
    items = rng.choice(80, count, p=popularity / popularity.sum())
    return log_of(items, rng.random(count) < 0.05, **columns)


def only(log: LoggedDataset, keep: np.ndarray) -> LoggedDataset:
    """Return some sessions of a log of one step each, in the order that is asked for."""
    rows = {name: values[keep] for name, values in log.rows.items()}
    sessions = {name: values[keep] for name, values in log.sessions.items() if name != "offsets"}
    sessions["offsets"] = np.arange(len(keep) + 1)
    manifest = {**log.manifest, "num_rows": len(keep), "num_sessions": len(keep)}
    return replace(log, manifest=manifest, rows=rows, sessions=sessions)


def share(one: LoggedDataset, two: LoggedDataset) -> float:
    return SessionSketch.of_log(one).share_of(SessionSketch.of_log(two))


@pytest.mark.parametrize("told", [{}, {"users": 500}, {"users": 500, "times": True}], ids=str)
@pytest.mark.parametrize("count", [20, 400, 20_000])
def test_disjoint_parts_share_nothing_however_alike_their_sessions_are(told: dict[str, Any], count: int):
    """One step, 80 items, a click or none: of 20,000 sessions nearly all are like others. Four sd are 1 of 30,000."""
    for seed in range(10):
        log, order = drawn(count, seed, **told), np.random.default_rng(seed).permutation(count)
        assert share(only(log, order[: count // 2]), only(log, order[count // 2 :])) == 0.0
        assert share(only(log, order[: count // 10]), only(log, order[count // 10 :])) == 0.0


@pytest.mark.parametrize("told", [{}, {"users": 500}, {"users": 500, "times": True}], ids=str)
def test_a_copy_is_known_in_any_order(told: dict[str, Any]):
    log = drawn(20_000, 3, **told)
    again = only(log, np.random.default_rng(1).permutation(20_000))
    assert share(log, again) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("shared", [0.002, 0.1, 0.5, 0.9])
def test_the_share_is_estimated(shared: float):
    """Of 4,096 contents at most; a binomial share's four standard deviations."""
    log, count = drawn(40_000, 5, users=10**6, times=True), 20_000
    start = round(count * (1.0 - shared))
    found = share(only(log, np.arange(count)), only(log, np.arange(start, start + count)))
    assert found == pytest.approx(shared, abs=4.0 * np.sqrt(shared * (1.0 - shared) / 2000))
    assert found > 0.0


def test_a_part_is_known_in_the_whole_and_the_whole_in_a_part():
    log = drawn(20_000, 6, users=10**6, times=True)
    part = only(log, np.arange(2000))
    assert share(log, part) == 1.0
    assert share(part, log) == pytest.approx(0.1, abs=0.03)


def test_one_session_among_others_is_known_where_they_tell_their_times():
    log = drawn(4000, 7, users=10**6, times=True)
    assert share(only(log, np.arange(2001)), only(log, np.arange(2000, 4000))) == pytest.approx(1 / 2000)


def test_a_session_is_what_was_shown_when_to_whom_and_what_was_clicked():
    item, click, lengths = np.array([3, 5, 5, 3, 7]), np.array([0, 1, 0, 1, 1]), np.array([2, 2, 1])
    times, users = np.array([10.0, 20.0, 30.0, 40.0, 50.0]), np.array([1, 2, 3])
    log = log_of(item, click, lengths, timestamp=times, source_user_id=users)
    hashes = SessionSketch.of_log(log).hashes
    assert len(hashes) == 3
    changes: list[dict[str, Any]] = [
        {"item": np.array([5, 3, 5, 3, 7])},
        {"lengths": np.array([1, 3, 1])},
        {"timestamp": times + np.array([0.0, 1.0, 0.0, 0.0, 0.0])},
        {"source_user_id": np.array([4, 2, 3])},
        {"source_id": np.where(np.arange(80) == 3, 99, np.arange(80))},
    ]
    given = {"item": item, "click": click, "lengths": lengths, "timestamp": times, "source_user_id": users}
    for change in changes:
        other = SessionSketch.of_log(log_of(**{**given, **change})).hashes
        assert 0 < len(np.setdiff1d(other, hashes)) < 3, change


def test_clicks_tell_sessions_apart_where_nothing_else_does():
    """What is imported as a click may be a view the next time: it is the same session where it tells its time."""
    item, click, times = np.array([3, 5]), np.array([0, 1]), np.array([10.0, 20.0])
    one, two = (SessionSketch.of_log(log_of(item, each)) for each in (click, 1 - click))
    assert not np.intersect1d(one.hashes, two.hashes).size
    one, two = (SessionSketch.of_log(log_of(item, each, timestamp=times)) for each in (click, 1 - click))
    assert np.array_equal(one.hashes, two.hashes)


def test_a_second_import_has_the_same_contents():
    """Other dtypes, other indices of items and users, wider texts, positions that nothing fills."""
    item, click = np.array([[0, 1], [2, 0]]), np.array([[0, 1], [1, 0]])
    one = log_of(item, click, source_id=np.arange(7, 10), source_user_id=np.array(["17", "ab"]))
    two = log_of(
        2 - item, click, source_id=np.array(["9", "8", "7", "x" * 30]), source_user_id=np.array(["17", "ab"], "U90")
    )
    two.rows["slate"] = np.pad(two.rows["slate"], ((0, 0), (0, 1)), mode="edge").astype(np.int64)
    two.rows["shown"] = np.pad(two.rows["shown"], ((0, 0), (0, 1)))
    two.rows["feedback"] = np.pad(two.rows["feedback"], ((0, 0), (0, 1), (0, 2)))
    assert np.array_equal(SessionSketch.of_log(one).hashes, SessionSketch.of_log(two).hashes)
    three = log_of(item, click, source_id=np.array(["7", "8", "9"]), source_user_id=np.array([17, 18]))
    assert len(np.intersect1d(SessionSketch.of_log(one).hashes, SessionSketch.of_log(three).hashes)) == 1


def test_a_sketch_is_the_smallest_of_all_hashes(monkeypatch):
    """Found block by block, of any size."""
    log, sketches = drawn(3000, 8, users=40), []
    whole = SessionSketch.of_log(log)
    assert whole.counts.sum() == 3000
    for rows in (7, 100_000):
        monkeypatch.setattr(session_sketch, "SKETCH_SIZE", 50)
        monkeypatch.setattr(session_sketch, "_ROWS_AT_ONCE", rows)
        sketches.append(SessionSketch.of_log(log))
    for sketch in sketches:
        assert np.array_equal(sketch.hashes, whole.hashes[:50])
        assert np.array_equal(sketch.counts, whole.counts[:50])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hashes": np.array([1.0, 2.0])}, "pass uint64 and int64"),
        ({"counts": np.ones(3, np.int64)}, "pass uint64 and int64"),
        ({"hashes": np.array([5, 5], np.uint64)}, "rising"),
        ({"counts": np.array([1, 0])}, "rising"),
        ({"num_sessions": 1}, "a sketch of 1 sessions has 2 hashes of 2"),
        ({"hashes": np.empty(0, np.uint64), "counts": np.empty(0, np.int64)}, "0 hashes"),
        ({"told_apart": 3}, "rising"),
    ],
)
def test_what_no_log_gives_is_refused(changes: dict[str, Any], message: str):
    sketch = SessionSketch(np.array([5, 9], np.uint64), np.array([1, 1]), 2, told_apart=True)
    with pytest.raises(InvalidInput, match=message):
        replace(sketch, **changes)
