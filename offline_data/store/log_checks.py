"""Where the values of a log contradict one another: what no simulator, reader or copy of a file leaves behind."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from offline_data.store.manifest import require_todays_world, whole_sessions
from offline_data.store.session_blocks import SessionBlock, session_blocks
from recenv.errors import InvalidInput, require
from recenv.random_streams import derive_seeds

if TYPE_CHECKING:
    from offline_data.store.dataset import LoggedDataset

CHECKS: Final = {
    "sessions_out_of_place": "sessions without rows, or whose rows or events do not follow those of the one before",
    "rows_of_another_session": "rows whose session_id is not that of the session that they lie in",
    "steps_out_of_order": "rows whose step is not their place in the session",
    "bytes_that_are_no_truth": "rows with a byte for true or false that is neither 0 nor 1",
    "items_outside_the_catalogue": "positions whose item is not in the catalogue",
    "shown_and_no_candidates": "rows that show what is none of their candidates, or name one twice",
    "items_shown_twice": "shown positions whose item stands at an earlier position too",
    "answers_where_nothing_was_shown": "positions with feedback that were not shown",
    "numbers_not_finite": "rows whose reward, feedback or proto-action is not finite",
    "numbers_out_of_range": "rows whose feedback is outside [0, 1], or whose day, visit or position cannot be",
    "context_not_as_said": "rows whose context is no value of the columns that the manifest tells of",
    "consumed_not_clicked": "rows whose count of consumed items is not that of the clicks before them",
    "events_not_clicked": "events that are not the clicks of the rows, in order",
    "probabilities_out_of_range": "rows whose propensity is zero, infinite, or of a slate and above one",
    "probabilities_not_as_said": "rows whose propensity is missing, or there, against what the manifest says",
    "prefixes_out_of_order": "rows whose prefixes have probabilities that rise, or end at another than the slate's",
    "rows_after_the_end": "rows after the user left or time was up",
    "sessions_of_wrong_length": "sessions longer than max_steps, or simulated ones that end before user and time do",
    "users_out_of_range": "sessions of users, groups or episodes that cannot be",
    "seeds_of_another_request": "sessions whose seed, or whose policy's, is not that of the manifest's request",
    "profiles_not_finite": "profiles that are not finite",
    "items_of_another_world": "columns of the items, or weights of the reward, that are not their world's",
}
"""What a log can contradict itself in, and what is counted then."""

REMARKS_OF_IMPORTS: Final = {"items_shown_twice"}
"""What the shops that logs are read in from do, and no simulated world."""

_ROWS_AT_ONCE: Final = 1 << 11  # which stay in the cache, and are less than a critic reads at once
_RELEASED: Final = 1 << 16  # rows, after which the pages that were read are let go
# A probability of 1 may come out of a log-sum-exp an ulp above it, and prefixes are sums of single-precision numbers.
_ULPS: Final = 1e-9
_ROUNDING: Final = 1e-5


def contradictions(dataset: LoggedDataset) -> dict[str, int]:
    """Return how often the log contradicts itself, by the names of `CHECKS`; a sound log has zeros.

    Every value is read, in blocks of whole sessions. Where sessions are out of place, nothing else can be told.

    Args:
        dataset: the log, whose manifest and shapes are right.
    """
    found = dict.fromkeys(CHECKS, 0)
    found["sessions_out_of_place"] = _misplaced(dataset)
    if found["sessions_out_of_place"]:
        return found
    found["items_of_another_world"] = _foreign_items(dataset)
    most = {} if found["items_of_another_world"] else _latest(dataset)
    for block in session_blocks(dataset, _ROWS_AT_ONCE):
        rows = {name: np.asarray(values[block.rows]) for name, values in dataset.rows.items()}
        for name, wrong in _row_contradictions(dataset, block, rows, most):
            found[name] += int(np.count_nonzero(wrong))
        for name, wrong in _session_contradictions(dataset, block, rows):
            found[name] += int(np.count_nonzero(wrong))
        found["events_not_clicked"] += _wrong_events(dataset, block, rows)
        if block.sessions.stop == dataset.num_sessions or block.rows.stop // _RELEASED > block.rows.start // _RELEASED:
            _release(dataset)
    return found


def _latest(dataset: LoggedDataset) -> dict[str, float]:
    """Return the latest day, and the number of the last visit, of a world that has them."""
    if not dataset.has_world:
        return {}
    visits = getattr(dataset.world.config.retention, "max_sessions", 1)
    return {"day": dataset.world.pieces.last_day, "session_number": visits}


def _release(dataset: LoggedDataset) -> None:
    """Let go of the pages that were read: they are the file's, and would count as memory of ours."""
    for columns in (dataset.rows, dataset.sessions, dataset.events):
        for values in columns.values():
            pages = getattr(values, "_mmap", None)
            if pages is not None:
                pages.madvise(mmap.MADV_DONTNEED)


def require_offsets(dataset: LoggedDataset) -> None:
    """Raise `InvalidInput` unless each session has rows and events that follow those of the session before.

    Args:
        dataset: the log.
    """
    wrong = _misplaced(dataset)
    require(
        not wrong,
        f"{dataset.path} contradicts itself: {wrong:,} {CHECKS['sessions_out_of_place']}; collect the dataset again",
    )


def _misplaced(dataset: LoggedDataset) -> int:
    wrong = 0
    sizes = (("offsets", dataset.num_rows, 1), ("event_offsets", len(dataset.events["item"]), 0))
    for name, count, least in sizes:
        offsets = np.asarray(dataset.sessions[name])
        # Compared and not subtracted, which may overflow.
        wrong += int(np.count_nonzero(offsets[1:] < offsets[:-1] + least))
        wrong += int(offsets[0] != 0) + int(offsets[-1] != count)
    return wrong


def _foreign_items(dataset: LoggedDataset) -> int:
    if not dataset.has_world:
        embeddings = dataset.catalog.get("embeddings", np.zeros(0))
        return int(not np.isfinite(embeddings).all())
    try:
        world = dataset.world
    except InvalidInput:
        return 1
    require_todays_world(dataset.path, dataset.manifest, world.config)
    weights = dict(zip(world.reward_names, world.reward_weights.tolist(), strict=True))
    other_hash = world.config.world_hash() != dataset.manifest["world_hash"]
    return int(weights != dataset.manifest["reward_weights"]) + int(other_hash)


def _row_contradictions(
    dataset: LoggedDataset, block: SessionBlock, rows: dict[str, np.ndarray], most: dict[str, float]
) -> Iterator[tuple[str, Any]]:
    count = len(rows["step"])
    session = np.repeat(np.arange(block.sessions.start, block.sessions.stop), block.lengths)
    begin = np.repeat(block.first, block.lengths)
    yield "rows_of_another_session", rows["session_id"] != session
    yield "steps_out_of_order", rows["step"] != np.arange(count) - begin
    truths = [rows[name] for name in ("shown", "terminated", "truncated", "is_rand") if name in rows]
    for values in truths:
        if values.dtype == np.bool_ and values.view(np.uint8).max() > 1:
            yield "bytes_that_are_no_truth", (values.view(np.uint8).reshape(count, -1) > 1).any(axis=1)
            return  # NumPy counts such a byte as it likes
    slate, shown, feedback = rows["slate"], rows["shown"], rows["feedback"]
    yield "items_outside_the_catalogue", (slate < 0) | (slate >= dataset.num_items)
    if "candidates" in rows:
        candidates = rows["candidates"]
        yield "items_outside_the_catalogue", (candidates < -1) | (candidates >= dataset.num_items)
        ordered = np.sort(candidates, axis=1)
        wrong = ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)).any(axis=1)
        for k in range(slate.shape[1]):
            wrong |= shown[:, k] & (slate[:, k : k + 1] != candidates).all(axis=1)
        yield "shown_and_no_candidates", wrong
    for k in range(1, slate.shape[1]):
        twice = slate[:, :k] == slate[:, k : k + 1]
        if twice.any():  # of positions that are not shown, mostly
            yield "items_shown_twice", (twice & shown[:, :k]).any(axis=1) & shown[:, k]
    if not shown.all():
        yield "answers_where_nothing_was_shown", (feedback[~shown] != 0).any(axis=1)
    numbers = [
        rows[name] for name in ("reward_vector", "item_reward", "feedback", "proto", "day", "timestamp") if name in rows
    ]
    infinite = np.zeros(count, np.bool_)
    for values in numbers:
        if not np.isfinite(values).all():  # by rows only where there is something to find: that is slow
            infinite |= ~np.isfinite(values.reshape(count, -1)).all(axis=1)
    yield "numbers_not_finite", infinite
    outside = np.zeros(count, np.bool_)
    if feedback.min(initial=0.0) < 0.0 or feedback.max(initial=0.0) > 1.0:
        outside |= ((feedback < 0.0) | (feedback > 1.0)).reshape(count, -1).any(axis=1)
    for name in ("day", "session_number", "position"):
        if name in rows:
            outside |= rows[name] < 0
    for name in most.keys() & rows.keys():
        outside |= rows[name] > most[name]
    yield "numbers_out_of_range", outside
    start = 0
    for column in dataset.context:
        encoded = rows["context"][:, start : start + column.width]
        yield "context_not_as_said", column.unlike(encoded)
        start += column.width
    clicks = np.append(0, np.count_nonzero(feedback[:, :, 0] > 0, axis=1).cumsum())[:-1]
    yield "consumed_not_clicked", rows["consumed"] != clicks - clicks[begin]
    yield from _wrong_probabilities(dataset, rows)
    ended = rows["terminated"] | rows["truncated"]
    ended[block.last] = False
    yield "rows_after_the_end", ended


def _wrong_probabilities(dataset: LoggedDataset, rows: dict[str, np.ndarray]) -> Iterator[tuple[str, Any]]:
    log_prob, prefix = rows["behavior_log_prob"], rows.get("prefix_log_prob")
    missing = np.isnan(log_prob)
    # A density may be above 1.
    yield "probabilities_out_of_range", np.isinf(log_prob) | ((log_prob > _ULPS) & (dataset.action_kind == "slate"))
    if dataset.propensities != "partial":
        yield "probabilities_not_as_said", missing != (dataset.propensities == "missing")
    if prefix is None:
        return
    wrong = (prefix > _ULPS).any(axis=1) | np.isinf(prefix).any(axis=1)
    for k in range(1, prefix.shape[1]):
        wrong |= prefix[:, k] > prefix[:, k - 1] + _ROUNDING
    if dataset.manifest["source"]["kind"] == "simulator":
        wrong |= (prefix[:, -1] != log_prob) & ~(missing & np.isnan(prefix).all(axis=1))
    yield "prefixes_out_of_order", wrong


def _session_contradictions(
    dataset: LoggedDataset, block: SessionBlock, rows: dict[str, np.ndarray]
) -> Iterator[tuple[str, Any]]:
    wrong = block.lengths > dataset.max_steps
    if dataset.has_world:
        left, stopped = rows["terminated"][block.last], rows["truncated"][block.last]
        wrong |= ~left & ~(stopped & (block.lengths == dataset.max_steps))
    yield "sessions_of_wrong_length", wrong
    ids = ("user_id", "group_id", "episode_id", "profile", "session_seed", "behavior_seed", "whole_session")
    sessions = {"whole_session": np.arange(block.sessions.start, block.sessions.stop)}
    sessions |= {name: np.asarray(dataset.sessions[name][block.sessions]) for name in ids if name in dataset.sessions}
    outside = sessions["episode_id"] < 0
    for name in ("whole_session", "user_id", "group_id"):
        outside |= (sessions[name] < 0) | (sessions[name] >= whole_sessions(dataset.manifest))
    if dataset.manifest["source"]["kind"] == "simulator":
        group = sessions["whole_session"] // dataset.manifest["source"]["request"]["group_size"]
        outside |= (sessions["user_id"] != group) | (sessions["group_id"] != group) | (sessions["episode_id"] != 0)
        root = dataset.manifest["source"]["request"]["dataset_seed"]
        yield "seeds_of_another_request", sessions["session_seed"] != derive_seeds(root, "session", group)
        if "behavior_seed" in sessions:
            drawn = derive_seeds(root, "behavior", sessions["whole_session"])
            yield "seeds_of_another_request", sessions["behavior_seed"] != drawn
    yield "users_out_of_range", outside
    if "profile" in sessions:
        yield "profiles_not_finite", ~np.isfinite(sessions["profile"]).all(axis=1)


def _wrong_events(dataset: LoggedDataset, block: SessionBlock, rows: dict[str, np.ndarray]) -> int:
    start, stop = dataset.sessions["event_offsets"][[block.sessions.start, block.sessions.stop]].tolist()
    feedback = rows["feedback"]
    row, position = np.nonzero(feedback[:, :, 0] > 0)
    item, answer = dataset.events["item"][start:stop], dataset.events["feedback"][start:stop]
    if len(row) != stop - start:
        return abs(len(row) - (stop - start))
    wrong: Any = (item != rows["slate"][row, position]) | (answer != feedback[row, position, 1:]).any(axis=1)
    clicks = np.bincount(row, minlength=len(feedback)).astype(np.int64)
    ends = np.append(0, clicks.cumsum())[block.offsets]
    events = np.asarray(dataset.sessions["event_offsets"][block.sessions.start : block.sessions.stop + 1]) - start
    return int(np.count_nonzero(wrong)) + int(np.count_nonzero(events != ends))
