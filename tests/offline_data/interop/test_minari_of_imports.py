"""Logs that were read in as Minari's datasets: its own loader opens them, and they come back whole."""

from __future__ import annotations

import json

import numpy as np
import pytest

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.log_spaces import action_space, observation_space
from offline_data.interop.minari import export_minari
from offline_data.interop.minari_import import import_minari
from offline_data.interop.parquet import export_parquet
from offline_data.store.dataset import LoggedDataset
from offline_data.store.histories import ObservationBuilder
from recenv.errors import InvalidInput
from tests.offline_data.interop.whole_logs import assert_whole

ID = "shop/visits-v0"
ROWS = """user,page,pos,sku,time,click,cart,p,eur,age,city,of
zoë,1,1,00123,2024-05-01T10:00:00,1,0,.25,0,31,Łódź,00123|abc|123
zoë,1,2,abc,2024-05-01T10:00:00,0,0,.5,19.99,31,Łódź,00123|abc|123
zoë,2,1,123,2024-05-01T10:01:00,0,1,,0,31,Łódź,123|abc
bob,1,1,abc,2024-05-02T10:00:00,1,1,.125,5,,Bonn,abc|00123
bob,1,3,00123,2024-05-02T10:00:00,1,0,.5,0,,Bonn,abc|00123
bob,2,1,éclair,2024-05-09T10:01:00,0,0,.5,1,,Bonn,éclair
"""
ITEMS = """sku,name,topic,embedding_0,embedding_1
00123,Löffel,kitchen,1,0
abc,fork,kitchen,0,1
123,cup,bar,-1,0
éclair,éclair,bar,0,-1
"""
SHOP = {
    **{"user_id": "user", "item_id": "sku", "step": "page", "position": "pos", "timestamp": "time"},
    **{"feedback": {"click": "click", "cart": "cart"}, "propensity": "p", "item_reward": {"revenue": "eur"}},
    **{"context": {"age": "age", "city": "city"}, "candidates": "of"},
}
SINGLE = {"user_id": "user", "item_id": "sku", "timestamp": "time", "feedback.click": "click"}


@pytest.fixture(scope="module", params=["slates", "single items", "without embeddings"])
def log(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("log")
    (folder / "rows.csv").write_text(ROWS)
    (folder / "items.csv").write_text(ITEMS)
    items = None if request.param == "without embeddings" else folder / "items.csv"
    columns = ColumnMap.of(SHOP if request.param == "slates" else SINGLE)
    options = ImportOptions(history_length=3, max_steps=9)
    return import_table(folder / "rows.csv", folder / "log", columns, items=items, options=options, list_delimiter="|")


def assert_whole_import(back: LoggedDataset, log: LoggedDataset) -> None:
    assert_whole(back, log)
    told = ("item_rewards", "lacking", "remarks", "options")
    assert {name: log.manifest["source"][name] for name in told} == {
        name: back.manifest["source"][name] for name in told
    }
    assert back.manifest["source"]["reader"] == "minari"
    assert back.manifest["source"]["exported"]["reader"] == "table"


def test_a_read_in_log_comes_back_whole(log, tmp_path):
    assert_whole_import(import_minari(export_minari(log, ID, tmp_path / "minari"), tmp_path / "back"), log)


def test_single_items_come_back_whole_from_flat_arrays_and_slates_are_told_how_to_be_single(log, tmp_path):
    if log.slate_size > 1:
        with pytest.raises(InvalidInput, match="import the log again without step and position"):
            export_minari(log, ID, tmp_path, flat="pooled")
        again = {role: SHOP[role] for role in SHOP.keys() - {"step", "position", "propensity"}}
        single = import_table(
            log.path.parent / "rows.csv", tmp_path / "single", ColumnMap.of(again), list_delimiter="|"
        )
        rows = export_parquet(log, tmp_path / "tables") / "interactions.parquet"
        roles = {"user_id": "user_id", "item_id": "item_id", "timestamp": "timestamp", "feedback.click": "click"}
        of_rows = import_table(rows, tmp_path / "rows", ColumnMap.of(roles))
        assert (of_rows.slate_size, of_rows.num_rows) == (1, single.num_rows)
        log = single
    assert_whole_import(
        import_minari(export_minari(log, ID, tmp_path / "minari", flat="pooled"), tmp_path / "back"), log
    )


def test_minari_opens_it_and_its_spaces_hold_what_it_holds(log, tmp_path, monkeypatch):
    import minari

    export_minari(log, ID, tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    loaded = minari.load_dataset(ID)
    assert (loaded.total_episodes, loaded.total_steps) == (log.num_sessions, log.num_rows)
    assert loaded.spec.env_spec is None
    assert loaded.spec.observation_space == observation_space(log)
    assert loaded.spec.action_space == action_space(log)
    builder, rows = ObservationBuilder(log), np.arange(log.num_rows)
    before, after = builder.observe_both(rows)
    for episode in loaded:
        of = slice(log.offsets[episode.id], log.offsets[episode.id + 1])
        for name, values in episode.observations.items():
            np.testing.assert_array_equal(values[:-1], before[name][of])
            np.testing.assert_array_equal(values[-1], after[name][of][-1])
        for t, action in enumerate(episode.actions):
            assert loaded.spec.action_space.contains(action)
            assert loaded.spec.observation_space.contains({n: v[t] for n, v in episode.observations.items()})
        np.testing.assert_array_equal(episode.rewards, log.reward()[of])
        user = episode.infos["source_user_id"]
        assert user[0].decode() == log.sessions["source_user_id"][episode.id]
        assert len(user) == len(episode) + 1
        np.testing.assert_array_equal(episode.infos["timestamp"][1:], log.rows["timestamp"][of])
        assert np.isnan(episode.infos["timestamp"][0])
    with pytest.raises(ValueError, match="env_spec is None"):
        loaded.recover_environment()


def test_items_lie_beside_the_data(log, tmp_path):
    data = export_minari(log, ID, tmp_path) / "data"
    with np.load(data / "catalog.npz") as items:
        assert items["source_id"].tolist() == ["00123", "123", "abc", "éclair"]
    (data / "catalog.npz").unlink()
    with pytest.raises(InvalidInput, match=r"catalog.npz does not exist"):
        import_minari(data.parent, tmp_path / "back")


def test_a_column_that_the_infos_lack_is_missed(log, tmp_path):
    import h5py

    data = export_minari(log, ID, tmp_path) / "data"
    with h5py.File(data / "main_data.hdf5", "r+") as file:
        for name in file:
            del file[f"{name}/infos/timestamp"]
    with pytest.raises(InvalidInput, match="KeyError: 'timestamp'"):
        import_minari(data.parent, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_other_max_steps_than_those_that_come_back_are_refused(log, tmp_path):
    folder = export_minari(log, ID, tmp_path)
    with pytest.raises(InvalidInput, match="max_steps=8 is not the 9 of"):
        import_minari(folder, tmp_path / "back", options=ImportOptions(max_steps=8))


def test_the_metadata_say_what_the_infos_hold(log, tmp_path):
    metadata = json.loads((export_minari(log, ID, tmp_path) / "data" / "metadata.json").read_text())
    assert {"rows/feedback", "rows/timestamp", "sessions/source_user_id"} <= set(metadata["recsession_columns"])
    assert ("rows/item_reward" in metadata["recsession_columns"]) == (log.slate_size > 1)
    assert "logged sessions of recommendations" in metadata["description"]
