"""Flat exports: what an episode holds is what the environment gives through `FlatObservation`, to the bit."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import gymnasium
import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.log_spaces import flat_features
from offline_data.interop.minari import export_minari
from offline_data.interop.minari_import import import_minari
from offline_data.store.histories import ObservationBuilder
from recenv.errors import InvalidInput
from tests.strategies.worlds import small_worlds

ID = "recsession/flat-v0"


def load(root, monkeypatch):
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    return minari.load_dataset(ID)


@pytest.fixture(scope="module", params=["proto", "one item", "every piece"])
def log(request, small_request, tmp_path_factory):
    """Logs of proto-actions and of single items, and one of a world with a calendar and candidates."""
    options: dict[str, Any] = {"action_kind": "slate" if request.param == "one item" else "proto"}
    if request.param == "one item":
        options["config"] = small_request.config.override(slate_size=1)
    elif request.param == "every piece":
        options |= {"config": small_worlds()["every piece"], "num_sessions": 10}
    return collect(tmp_path_factory.mktemp("log") / "log", dataclasses.replace(small_request, **options))


@pytest.mark.parametrize("history", ["pooled", "embedded"])
def test_an_episode_is_what_the_recovered_environment_gives(log, history, tmp_path, monkeypatch):
    export_minari(log, ID, tmp_path, flat=history)
    loaded = load(tmp_path, monkeypatch)
    environment = loaded.recover_environment()
    assert environment.observation_space == loaded.spec.observation_space
    assert environment.action_space == loaded.spec.action_space
    kind = gymnasium.spaces.Discrete if log.action_kind == "slate" else gymnasium.spaces.Box
    assert isinstance(loaded.spec.action_space, kind)
    assert environment.get_wrapper_attr("layout") == flat_features(log, history).layout
    metadata = list(loaded.storage.get_episode_metadata(range(4)))
    for episode in loaded.iterate_episodes(range(4)):
        observation, _ = environment.reset(seed=metadata[episode.id]["seed"])
        for t, action in enumerate(episode.actions):
            np.testing.assert_array_equal(episode.observations[t], observation)
            observation, reward, *ends, _ = environment.step(action)
            assert reward == pytest.approx(episode.rewards[t], rel=1e-6)
            assert ends == [episode.terminations[t], episode.truncations[t]]
        np.testing.assert_array_equal(episode.observations[-1], observation)
        assert any(ends)


def test_a_flat_log_comes_back_whole(log, tmp_path):
    back = import_minari(export_minari(log, ID, tmp_path, flat="embedded"), tmp_path / "back")
    for folder in ("rows", "sessions", "events"):
        mine, theirs = getattr(log, folder), getattr(back, folder)
        assert mine.keys() == theirs.keys()
        for name, values in mine.items():
            np.testing.assert_array_equal(theirs[name], values, err_msg=name)


def test_the_metadata_say_what_lies_where(log, tmp_path, monkeypatch):
    folder = export_minari(log, ID, tmp_path, flat="pooled")
    flat = json.loads((folder / "data" / "metadata.json").read_text())["recsession_flat"]
    assert flat["history"] == "pooled"
    calendar = ["calendar"] if "day" in log.rows else []
    names, firsts, ends = zip(*flat["layout"], strict=True)
    assert list(names) == [*calendar, "clock", "profile", "mean_embedding", "mean_feedback", "filled"]
    assert list(firsts) == [0, *ends[:-1]]
    episode = load(tmp_path, monkeypatch)[1]
    assert episode.observations.shape == (len(episode) + 1, ends[-1])
    profile = episode.observations[0, slice(*flat["layout"][names.index("profile")][1:])]
    np.testing.assert_array_equal(profile, log.sessions["profile"][1])


def test_slates_of_several_items_are_refused_with_what_does(small_request, tmp_path):
    log = collect(tmp_path / "log", LogRequest(**{**vars(small_request), "action_kind": "slate"}))
    with pytest.raises(InvalidInput, match=r"--action-kind proto or --set slate_size=1"):
        export_minari(log, ID, tmp_path, flat="pooled")
    assert not (tmp_path / "recsession" / "flat-v0").exists()


def import_visits(folder, num_items=3, items=None):
    rows = [f"{user},{item},{(user + item) % 2},{20 + user}" for user in range(2) for item in range(num_items)]
    (folder / "log.csv").write_text("\n".join(["user,item,click,age", *rows]))
    columns = {"user_id": "user", "item_id": "item", "feedback.click": "click", "context.age": "age"}
    return import_table(folder / "log.csv", folder / "log", ColumnMap.of(columns), items=items)


def test_items_without_embeddings_are_told_by_their_share_of_the_history(tmp_path, monkeypatch):
    log = import_visits(tmp_path)
    export_minari(log, ID, tmp_path, flat="pooled")
    loaded = load(tmp_path, monkeypatch)
    assert loaded.spec.action_space == gymnasium.spaces.Discrete(3)
    features = flat_features(log)
    first, end = features.layout["mean_embedding"]
    assert list(features.layout)[:2] == ["clock", "context"]
    episode = loaded[1]  # the second user clicks on the items 0 and 2
    np.testing.assert_array_equal(episode.observations[:, first:end], [[0, 0, 0], [1, 0, 0], [1, 0, 0], [0.5, 0, 0.5]])
    np.testing.assert_array_equal(episode.actions, [0, 1, 2])
    rows = np.arange(log.offsets[1], log.offsets[2])
    np.testing.assert_array_equal(episode.observations[:-1], features.observe(ObservationBuilder(log).observe(rows)))
    for t in range(len(episode) + 1):
        assert loaded.spec.observation_space.contains(episode.observations[t])


def test_too_many_items_without_embeddings_are_refused(tmp_path):
    log = import_visits(tmp_path, 5000)
    with pytest.raises(InvalidInput, match="5,000 items without embeddings, and no more than 4,096"):
        export_minari(log, ID, tmp_path, flat="pooled")
    items = tmp_path / "items.csv"
    items.write_text("\n".join(["item,embedding_0,embedding_1", *(f"{item},1,{item}" for item in range(5000))]))
    (tmp_path / "again").mkdir()
    assert export_minari(import_visits(tmp_path / "again", 5000, items), ID, tmp_path, flat="pooled").is_dir()
