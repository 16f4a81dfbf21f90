"""Logs as Parquet: what is in the files, their way back through the column map, and readers of others."""

from __future__ import annotations

import importlib
import json

import numpy as np
import pytest
from pyarrow import parquet

from offline_data.collection.collection import LogRequest, collect
from offline_data.interop import parquet as exporter
from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.parquet import export_parquet
from offline_data.store import session_blocks
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
        "prefix_log_prob": log.rows["prefix_log_prob"][row, position],
    }.items():
        np.testing.assert_array_equal(table[name].to_numpy(), wanted, err_msg=name)
    # What is of a step is not repeated on its items.
    assert not {"reward", "terminated", "truncated", "behavior_log_prob"} & set(table.column_names)
    manifest = json.loads(table.schema.metadata[b"recsession"])
    assert manifest["config"] == log.manifest["config"]


def test_a_step_is_told_once(log, folder):
    table = read(folder, "steps")
    assert len(table) == log.num_rows
    for name, wanted in {
        "session_id": log.rows["session_id"],
        "step": log.rows["step"],
        "user_id": log.sessions["user_id"][log.rows["session_id"]],
        "reward": log.reward(),
        "reward_watch_minutes": log.rows["reward_vector"][:, log.manifest["reward_names"].index("watch_minutes")],
        "behavior_log_prob": log.rows["behavior_log_prob"],
        "terminated": log.rows["terminated"],
        "truncated": log.rows["truncated"],
    }.items():
        np.testing.assert_array_equal(table[name].to_numpy(), wanted, err_msg=name)
    assert table["reward"].to_numpy().sum() == pytest.approx(log.session_returns().sum())
    assert json.loads(table.schema.metadata[b"recsession"])["config"] == log.manifest["config"]


def test_sessions_and_items_join(log, folder):
    sessions, items = read(folder, "sessions"), read(folder, "items")
    np.testing.assert_array_equal(sessions["return"].to_numpy(), log.session_returns())
    np.testing.assert_array_equal(sessions["num_steps"].to_numpy(), np.diff(log.offsets))
    np.testing.assert_array_equal(sessions["session_seed"].to_numpy(), log.sessions["session_seed"])
    assert items["item_id"].to_pylist() == list(range(log.num_items))
    np.testing.assert_array_equal(np.stack(items["embeddings"].to_numpy()), log.catalog["embeddings"])


def test_files_do_not_depend_on_the_batches(log, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "SHOWN_AT_ONCE", 7)
    monkeypatch.setattr(session_blocks, "ROWS_AT_ONCE", 40)
    seen: list[int] = []
    small = export_parquet(log, tmp_path / "out", progress=seen.append)
    assert sum(seen) == log.num_rows
    assert len(seen) > 10
    for name in ("interactions", "steps", "sessions"):
        assert read(small, name).equals(read(folder, name))


def test_round_trip_through_the_column_map(log, folder, tmp_path):
    assert log.rows["shown"].all(), "an item that was not shown is not in the file"
    joined = read(folder, "interactions").join(read(folder, "steps").drop_columns("user_id"), ["session_id", "step"])
    parquet.write_table(joined, tmp_path / "joined.parquet")
    back = import_table(
        tmp_path / "joined.parquet", tmp_path / "back", ColumnMap.of(WAY_BACK), items=folder / "items.parquet"
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
    out = export_parquet(log, tmp_path / "out")
    np.testing.assert_array_equal(np.stack(read(out, "steps")["proto"].to_numpy()), log.rows["proto"])
    assert not {"proto", "prefix_log_prob"} & set(read(out, "interactions").column_names)


def test_missing_propensities_are_empty(tmp_path):
    table_file = tmp_path / "log.csv"
    table_file.write_text("u,i,c\n1,2,1\n1,3,0\n")
    columns = ColumnMap.of({"user_id": "u", "item_id": "i", "feedback.click": "c"})
    log = import_table(table_file, tmp_path / "log", columns)
    assert read(export_parquet(log, tmp_path / "out"), "steps")["behavior_log_prob"].null_count == 2
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
    steps = read(tmp_path / "out", "steps")
    assert steps["behavior_log_prob"].null_count == 2
    assert steps["reward_x"].to_pylist() == [7, 8]
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


TOTALS = {
    "pandas": lambda pandas, file, column: pandas.read_parquet(file)[column].sum(),
    "polars": lambda polars, file, column: polars.read_parquet(file)[column].sum(),
    "duckdb": lambda duckdb, file, column: duckdb.sql(f"select sum({column}) from '{file}'").fetchall()[0][0],
}


@pytest.mark.clients
@pytest.mark.parametrize("library", TOTALS)
def test_sums_of_others_are_the_logs(log, folder, library):
    module = importlib.import_module(library)
    for file, column, wanted in (
        ("steps", "reward", log.reward().sum()),
        ("steps", "cast(terminated as int)" if library == "duckdb" else "terminated", log.rows["terminated"].sum()),
        ("sessions", "num_steps", log.num_rows),
        ("interactions", "click", log.rows["feedback"][..., 0][log.rows["shown"]].sum()),
    ):
        assert TOTALS[library](module, str(folder / f"{file}.parquet"), column) == pytest.approx(wanted)


def test_rewards_of_items_stay_with_their_items(tmp_path):
    table = tmp_path / "log.csv"
    table.write_text("u,s,i,c,eur\n1,1,a,0,0\n1,1,b,1,19.99\n1,2,a,1,5\n1,2,c,0,1\n")
    columns = {"user_id": "u", "step": "s", "item_id": "i", "feedback.click": "c", "item_reward.revenue": "eur"}
    log = import_table(table, tmp_path / "log", ColumnMap.of(columns))
    out = export_parquet(log, tmp_path / "out")
    interactions = read(out, "interactions").to_pydict()
    np.testing.assert_array_equal(interactions["item_reward_revenue"], np.array([0, 19.99, 5, 1], np.float32))
    assert sum(interactions["item_reward_revenue"]) == pytest.approx(25.99)
    steps = read(out, "steps").to_pydict()
    assert sum(steps["reward_revenue"]) == pytest.approx(25.99)
    assert sum(steps["reward"]) == pytest.approx(log.reward().sum())


def test_context_and_candidates_are_of_steps(tmp_path):
    table = tmp_path / "log.csv"
    table.write_text("u,s,i,c,age,of\n1,1,a,0,30,a|b|c\n1,1,b,1,30,a|b|c\n1,2,c,1,50,c|a\n")
    roles = {"user_id": "u", "step": "s", "item_id": "i", "feedback.click": "c", "context.age": "age"}
    log = import_table(table, tmp_path / "log", ColumnMap.of(roles | {"candidates": "of"}), list_delimiter="|")
    out = export_parquet(log, tmp_path / "out")
    steps = read(out, "steps").to_pydict()
    assert steps["context"] == [[-1.0], [1.0]]
    assert steps["candidates"] == [[0, 1, 2], [0, 2, -1]]
    assert not {"context", "candidates"} & set(read(out, "interactions").column_names)
