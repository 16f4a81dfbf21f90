"""Each contradiction is found where it was put, and a sound log has none; blocks are whole sessions in order."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.store import log_checks, session_blocks
from offline_data.store.columns import COLUMNS
from offline_data.store.dataset import LoggedDataset
from offline_data.store.log_checks import CHECKS, contradictions
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world
from tests.damage import alter_manifest

pytestmark = pytest.mark.kernels


@pytest.fixture(scope="module")
def log(small_request, tmp_path_factory):
    return collect(tmp_path_factory.mktemp("checks") / "log", small_request)


@pytest.fixture(autouse=True, params=[1, 1 << 18])
def _rows_at_once(request, monkeypatch):
    monkeypatch.setattr(log_checks, "_ROWS_AT_ONCE", request.param)


def test_a_sound_log_has_none(log):
    assert contradictions(log) == dict.fromkeys(CHECKS, 0)


CONTRADICTIONS = {
    "sessions_out_of_place": ("sessions__offsets", [0, 4, 3, 6, 7]),
    "rows_of_another_session": ("rows__session_id", [0, 0, 1, 1, 2, 2, 2**40]),
    "answers_where_nothing_was_shown": ("rows__shown", [[0], [1], [1], [1], [1], [1], [1]]),
    "items_outside_the_catalogue": ("rows__slate", [[3], [0], [-1], [1], [3], [6], [4]]),
    "numbers_not_finite": ("rows__reward_vector", [[0], [0], [np.nan], [0], [0], [np.inf], [0]]),
    "numbers_out_of_range": ("rows__position", [0, 0, -1, 0, 0, 0, 0]),
    "steps_out_of_order": ("rows__step", [0, 2, 1, 0, 0, 1, 1]),
    "rows_after_the_end": ("rows__terminated", [1, 1, 1, 1, 0, 0, 0]),
    "consumed_not_clicked": ("rows__consumed", [0, 1, 1, 0, 0, 0, 0]),
    "events_not_clicked": ("events__item", [3, 1, 2**30, 4]),
    "probabilities_out_of_range": ("rows__behavior_log_prob", [0.1, -np.inf, -1.0, -1.0, np.nan, -1.0, -1.0]),
    "probabilities_not_as_said": ("rows__behavior_log_prob", [np.nan, -1.0, np.nan, np.nan, np.nan, np.nan, np.nan]),
    "prefixes_out_of_order": ("rows__prefix_log_prob", [[-1.0], [0.5], [np.nan], [-np.inf], [0.0], [-9.0], [-1.0]]),
    "sessions_of_wrong_length": ("max_steps", 2),
    "users_out_of_range": ("sessions__user_id", [0, -1, 2**40, 3]),
    "profiles_not_finite": ("sessions__profile", [[0.0], [np.nan], [np.inf], [1.0]]),
    "items_of_another_world": ("catalog__embeddings", np.full((6, 2), np.nan)),
}
COUNTS = {
    **dict.fromkeys(("items_outside_the_catalogue", "numbers_not_finite", "rows_after_the_end"), 2),
    **dict.fromkeys(("probabilities_out_of_range", "prefixes_out_of_order", "users_out_of_range"), 2),
    **{"steps_out_of_order": 3, "rows_of_another_session": 2, "profiles_not_finite": 2},
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_contradiction_is_counted_and_refused(foreign_log, name):
    place, values = CONTRADICTIONS[name]
    log = foreign_log()
    propensities = "partial" if name == "probabilities_out_of_range" else "missing"
    altered = replace(log, manifest={**log.manifest, "propensities": propensities})
    if place == "max_steps":
        altered.manifest[place] = values
    else:
        folder, column = place.split("__")
        columns = getattr(altered, folder)
        dtype = COLUMNS[f"{folder}/{column}"].dtype.replace("kinds f", "float32")
        columns[column] = np.array(values, dtype)
    found = contradictions(altered)
    assert {key: count for key, count in found.items() if count} == {name: COUNTS.get(name, 1)}
    with pytest.raises(InvalidInput, match=f"contradicts itself: .*{re.escape(CHECKS[name])}.*collect the dataset"):
        altered.require_sound()


@pytest.mark.parametrize("name", ["shown", "terminated", "truncated"])
def test_a_byte_that_is_no_truth_is_counted(foreign_log, name):
    log = foreign_log()
    values = np.array(log.rows[name])
    values.view(np.uint8)[3] = 2
    found = contradictions(replace(log, rows={**log.rows, name: values}))
    assert {key: count for key, count in found.items() if count} == {"bytes_that_are_no_truth": 1}


def test_what_is_not_the_worlds_is_counted(log):
    """Another item, another weight, a session that goes on behind its end, a user of another group."""
    quality = np.array(log.catalog["quality"])
    quality[3] += 1.0
    weights = {**log.manifest["reward_weights"], "click": 5.0}
    ended = np.zeros(log.num_rows, np.bool_)
    group = np.array(log.sessions["group_id"])
    group[:] = 0
    seeds = np.array(log.sessions["session_seed"])
    seeds[7] += np.uint64(1)
    for altered, name, count in (
        (replace(log, catalog={**log.catalog, "quality": quality}), "items_of_another_world", 1),
        (replace(log, manifest={**log.manifest, "reward_weights": weights}), "items_of_another_world", 1),
        (replace(log, rows={**log.rows, "terminated": ended, "truncated": ended}), "sessions_of_wrong_length", 40),
        (replace(log, sessions={**log.sessions, "group_id": group}), "users_out_of_range", 38),
        (replace(log, sessions={**log.sessions, "session_seed": seeds}), "seeds_of_another_request", 1),
    ):
        found = contradictions(altered)
        assert {key: value for key, value in found.items() if value} == {name: count}


def test_an_item_shown_twice_is_counted(log):
    slate = np.array(log.rows["slate"])
    slate[5, 2] = slate[5, 0]
    found = contradictions(replace(log, rows={**log.rows, "slate": slate}))
    assert {key: count for key, count in found.items() if count} == {"items_shown_twice": 1}
    hidden = np.array(log.rows["shown"])
    hidden[5, 2] = False
    feedback = np.array(log.rows["feedback"])
    feedback[5, 2] = 0.0
    rows = {**log.rows, "slate": slate, "shown": hidden, "feedback": feedback}
    assert contradictions(replace(log, rows=rows))["items_shown_twice"] == 0


def test_every_contradiction_can_be_found():
    elsewhere = {"items_shown_twice", "bytes_that_are_no_truth", "seeds_of_another_request"}
    elsewhere |= {"context_not_as_said", "shown_and_no_candidates"}  # of imported logs alone, see their tests
    assert {*CONTRADICTIONS, *elsewhere} == set(CHECKS)


@pytest.mark.parametrize("rows_at_once", [1, 7, 10_000])
def test_blocks_are_whole_sessions_in_order(log, monkeypatch, rows_at_once):
    monkeypatch.setattr(session_blocks, "ROWS_AT_ONCE", rows_at_once)
    blocks = list(session_blocks.session_blocks(log))
    starts = [block.rows.start + each for block in blocks for each in block.first]
    assert starts == log.offsets[:-1].tolist()
    assert [length for block in blocks for length in block.lengths] == np.diff(log.offsets).tolist()
    assert [each + block.rows.start for block in blocks for each in block.last] == (log.offsets[1:] - 1).tolist()
    assert [index for block in blocks for index in range(40)[block.sessions]] == list(range(40))
    for block in blocks:
        assert block.rows.stop - block.rows.start <= rows_at_once or len(block.lengths) == 1
        assert block.rows.stop - block.rows.start == block.lengths.sum()


@pytest.mark.parametrize("own", [False, True])
def test_a_log_of_users_whose_equations_have_changed_is_refused(tmp_path, own):
    """The same config, and other sessions today: by the hash of its world, which counts the version."""
    config = SessionConfig().override(user_model="multi_behavior", num_items=20, slate_size=2, max_steps=3)
    if own:
        config = config.override(items=make_world(config).catalog)
    log = collect(tmp_path / "log", LogRequest(config, num_sessions=3))
    assert config.world_hash() == config.world_hash(1) == log.manifest["world_hash"] != config.world_hash(0)
    LoggedDataset.open(log.path).require_sound()
    alter_manifest(log.path, world_hash=config.world_hash(0))
    sentence = r"log is of an earlier version of the user model 'multi_behavior', .* today; collect it again"
    with pytest.raises(InvalidInput, match=sentence):
        LoggedDataset.open(log.path).require_sound()
