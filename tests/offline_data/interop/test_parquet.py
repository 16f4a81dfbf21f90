"""Logs as Parquet: what is in the files, their way back through the column map, and readers of others."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.interop import parquet as exporter
from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.parquet import export_parquet
from recenv.errors import InvalidInput

WAY_BACK = {
    "user_id": "user_id",
    "item_id": "item_id",
    "session_id": "session_id",
    "step": "step",
    "position": "position",
    "prefix_log_prob": "prefix_log_prob",
    "terminated": "terminated",
    "feedback": {"click": "click", "watch_fraction": "watch_fraction", "like": "like"},
    "reward": "reward",
}


@pytest.fixture(scope="module")
def log(small_request, tmp_path_factory):
    return collect(tmp_path_factory.mktemp("log") / "log", small_request)


@pytest.fixture(scope="module")
def folder(log, tmp_path_factory):
    return export_parquet(log, tmp_path_factory.mktemp("parquet") / "out")


def read(folder, name):
    from pyarrow import parquet

    return parquet.read_table(folder / f"{name}.parquet")


def test_a_row_is_a_shown_item(log, folder):
    table = read(folder, "interactions")
    row, position = np.nonzero(log.rows["shown"])
    assert len(table) == len(row) > 0
    for name, wanted in {
        "session_id": log.rows["session_id"][row],
        "step": log.rows["step"][row],
        "position": position,
        "item_id": log.rows["slate"][row, position],
        "user_id": log.sessions["user_id"][log.rows["session_id"]][row],
        "click": log.rows["feedback"][row, position, 0],
        "like": log.rows["feedback"][row, position, 2],
        "reward": log.reward()[row],
        "reward_watch_minutes": log.rows["reward_vector"][row, log.manifest["reward_names"].index("watch_minutes")],
        "behavior_log_prob": log.rows["behavior_log_prob"][row],
        "prefix_log_prob": log.rows["prefix_log_prob"][row, position],
        "terminated": log.rows["terminated"][row],
    }.items():
        np.testing.assert_array_equal(table[name].to_numpy(), wanted, err_msg=name)
    manifest = json.loads(table.schema.metadata[b"recsession"])
    assert manifest["config"] == log.manifest["config"]


def test_sessions_and_items_join(log, folder):
    sessions, items = read(folder, "sessions"), read(folder, "items")
    np.testing.assert_array_equal(sessions["return"].to_numpy(), log.session_returns())
    np.testing.assert_array_equal(sessions["num_steps"].to_numpy(), np.diff(log.offsets))
    np.testing.assert_array_equal(sessions["session_seed"].to_numpy(), log.sessions["session_seed"])
    assert items["item_id"].to_pylist() == list(range(log.num_items))
    np.testing.assert_array_equal(np.stack(items["embeddings"].to_numpy()), log.catalog["embeddings"])


def test_files_do_not_depend_on_the_batches(log, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "SHOWN_AT_ONCE", 7)
    seen: list[int] = []
    small = export_parquet(log, tmp_path / "out", progress=seen.append)
    assert sum(seen) == log.num_rows
    assert len(seen) > 10
    assert read(small, "interactions").equals(read(folder, "interactions"))


def test_round_trip_through_the_column_map(log, folder, tmp_path):
    assert log.rows["shown"].all(), "an item that was not shown is not in the file"
    back = import_table(
        folder / "interactions.parquet", tmp_path / "back", ColumnMap.of(WAY_BACK), items=folder / "items.parquet"
    )
    for name in ("slate", "shown", "feedback", "step", "terminated", "truncated", "session_id", "consumed"):
        np.testing.assert_array_equal(back.rows[name], log.rows[name], err_msg=name)
    for name in ("prefix_log_prob", "behavior_log_prob"):
        np.testing.assert_array_equal(back.rows[name], log.rows[name], err_msg=name)
    np.testing.assert_allclose(back.reward(), log.reward(), rtol=1e-6)
    np.testing.assert_array_equal(back.offsets, log.offsets)
    np.testing.assert_array_equal(back.sessions["user_id"], log.sessions["user_id"])
    np.testing.assert_array_equal(back.events["item"], log.events["item"])
    for name, values in log.catalog.items():
        np.testing.assert_array_equal(back.catalog[name], values, err_msg=name)
    assert back.propensities == "exact"


def test_proto_actions_are_lists(small_request, tmp_path):
    request = LogRequest(**{**vars(small_request), "action_kind": "proto"})
    log = collect(tmp_path / "log", request)
    table = read(export_parquet(log, tmp_path / "out"), "interactions")
    row, _ = np.nonzero(log.rows["shown"])
    np.testing.assert_array_equal(np.stack(table["proto"].to_numpy()), log.rows["proto"][row])
    assert "prefix_log_prob" not in table.column_names


def test_missing_propensities_are_empty(tmp_path):
    table_file = tmp_path / "log.csv"
    table_file.write_text("u,i,c\n1,2,1\n1,3,0\n")
    columns = ColumnMap.of({"user_id": "u", "item_id": "i", "feedback.click": "c"})
    log = import_table(table_file, tmp_path / "log", columns)
    table = read(export_parquet(log, tmp_path / "out"), "interactions")
    assert table["behavior_log_prob"].null_count == 2
    assert read(tmp_path / "out", "items")["source_id"].to_pylist() == [2, 3]
    assert read(tmp_path / "out", "sessions")["source_user_id"].to_pylist() == [1]


def test_names_of_others_do_not_hide_ours(tmp_path):
    table_file, items = tmp_path / "log.csv", tmp_path / "items.csv"
    table_file.write_text("u,i,c,r\n1,2,1,7\n1,3,0,8\n")
    items.write_text("i,item_id\n2,20\n3,30\n")
    channels = {f"feedback.{name}": "c" for name in ("click", "behavior_log_prob", "prefix_log_prob", "reward_x")}
    columns = ColumnMap.of({"user_id": "u", "item_id": "i", "reward.x": "r", **channels})
    log = import_table(table_file, tmp_path / "log", columns, items=items)
    table = read(export_parquet(log, tmp_path / "out"), "interactions")
    assert table["behavior_log_prob"].null_count == 2
    assert table["reward_x"].to_pylist() == [7, 8]
    for name in ("click", "feedback_behavior_log_prob", "feedback_prefix_log_prob", "feedback_reward_x"):
        assert table[name].to_pylist() == [1, 0]
    assert read(tmp_path / "out", "items")["item_id"].to_pylist() == [0, 1]
    assert read(tmp_path / "out", "items")["catalog_item_id"].to_pylist() == [20, 30]


def test_refuses_what_is_there_and_leaves_nothing_half_written(log, folder, tmp_path):
    with pytest.raises(InvalidInput, match="exists"):
        export_parquet(log, folder)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_parquet(log, tmp_path / "out", progress=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.clients
@pytest.mark.parametrize("library", ["pandas", "polars", "duckdb"])
def test_readers_of_others(log, folder, library):
    module = importlib.import_module(library)
    file = str(folder / "interactions.parquet")
    count = (
        module.sql(f"select count(*) from '{file}'").fetchall()[0][0]
        if library == "duckdb"
        else len(module.read_parquet(file))
    )
    assert count == log.rows["shown"].sum()
