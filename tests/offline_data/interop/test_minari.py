"""Minari: its own loader opens what is exported, which equals the environment's own steps; and the way back."""

from __future__ import annotations

import dataclasses
import json
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.interop import minari as exporter
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.minari import export_minari
from offline_data.interop.minari_import import import_minari
from recenv.envs.session_env import RecSessionEnv
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from tests.offline_data.interop.whole_logs import assert_whole
from tests.strategies.worlds import small_worlds

ID = "recsession/tests/small-v0"


@pytest.fixture(scope="module", params=["slate", "proto", "every piece"])
def log(request, small_request, tmp_path_factory):
    """Logs of both kinds of action, and one of a world with a calendar and candidates."""
    options: dict[str, Any] = {**vars(small_request)}
    if request.param == "every piece":
        options |= {"config": small_worlds()["every piece"], "num_sessions": 10}
    else:
        options |= {"action_kind": request.param}
    return collect(tmp_path_factory.mktemp("log") / "log", LogRequest(**options))


@pytest.fixture(scope="module")
def root(log, tmp_path_factory):
    root = tmp_path_factory.mktemp("minari")
    export_minari(log, ID, root)
    return root


@pytest.fixture
def loaded(root, monkeypatch):
    import minari

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root))
    return minari.load_dataset(ID)


def test_loads_with_the_spaces_of_the_environment(log, loaded):
    environment = loaded.recover_environment()
    assert loaded.spec.observation_space == environment.observation_space
    assert loaded.spec.action_space == environment.action_space
    kind = gymnasium.spaces.Box if log.action_kind == "proto" else gymnasium.spaces.MultiDiscrete
    assert isinstance(loaded.spec.action_space, kind)
    assert environment.unwrapped.config == log.config
    assert (loaded.total_episodes, loaded.total_steps) == (log.num_sessions, log.num_rows)
    assert loaded.spec.dataset_id == ID


def test_a_log_among_own_items_brings_its_environment_and_its_items_back(small_request, tmp_path, monkeypatch):
    import minari

    rng = np.random.default_rng(0)
    items = Catalog.from_arrays(rng.normal(size=(9, 3)), ["a", "b", "c"] * 3, quality=rng.normal(size=9))
    config = small_request.config.override(items=items)
    log = collect(tmp_path / "log", dataclasses.replace(small_request, config=config, num_sessions=6))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    export_minari(log, ID, tmp_path)
    environment = minari.load_dataset(ID).recover_environment()
    assert isinstance(environment.unwrapped, RecSessionEnv)
    assert environment.unwrapped.world.catalog == items
    assert environment.unwrapped.config == log.config == config
    back = import_minari(ID, tmp_path / "back")
    assert back.world.catalog == items
    assert back.manifest["world_hash"] == log.manifest["world_hash"]
    (tmp_path / ID / "data" / "items.npz").unlink()
    with pytest.raises(InvalidInput, match=r"items.npz does not exist"):
        import_minari(ID, tmp_path / "again")


def test_episodes_are_what_the_environment_gives(log, loaded):
    """Replaying an episode's seed and actions in the recovered environment gives its every observation and reward."""
    environment = loaded.recover_environment()
    metadata = list(loaded.storage.get_episode_metadata(range(5)))
    for episode in loaded.iterate_episodes(range(5)):
        observation, _ = environment.reset(seed=metadata[episode.id]["seed"])
        for t in range(len(episode) + 1):
            for name, value in observation.items():
                np.testing.assert_array_equal(episode.observations[name][t], value, err_msg=name)
                assert episode.observations[name].dtype == value.dtype
            if t == len(episode):
                break
            observation, reward, terminated, truncated, info = environment.step(episode.actions[t])
            assert reward == pytest.approx(episode.rewards[t], rel=1e-6)
            assert (terminated, truncated) == (episode.terminations[t], episode.truncations[t])
            for name in ("feedback", "shown", "reward_vector"):
                np.testing.assert_array_equal(episode.infos[name][t + 1], info[name], err_msg=name)
        assert terminated or truncated


def test_infos_say_who_and_how_likely(log, loaded):
    for episode in loaded.iterate_episodes([0, log.num_sessions - 1]):
        rows = slice(log.offsets[episode.id], log.offsets[episode.id + 1])
        np.testing.assert_array_equal(episode.infos["behavior_log_prob"][1:], log.rows["behavior_log_prob"][rows])
        assert np.isnan(episode.infos["behavior_log_prob"][0])
        if log.action_kind == "slate":
            np.testing.assert_array_equal(episode.infos["prefix_log_prob"][1:], log.rows["prefix_log_prob"][rows])
        else:
            np.testing.assert_array_equal(episode.infos["slate"][1:], log.rows["slate"][rows])
            np.testing.assert_array_equal(episode.infos["slate"][0], -1)
        assert (episode.infos["session_id"] == episode.id).all()
        assert (episode.infos["group_id"] == log.sessions["group_id"][episode.id]).all()
        assert len(episode.infos["group_id"]) == len(episode) + 1


def test_minari_lists_samples_and_splits_it(log, loaded, root):
    import minari

    assert ID in minari.list_local_datasets()
    assert len(loaded.sample_episodes(3)) == 3
    first, second = minari.split_dataset(loaded, [2, 3])
    assert (first.total_episodes, second.total_episodes) == (2, 3)
    assert (root / "recsession" / "tests" / "namespace_metadata.json").exists()


def test_the_way_back_is_whole(log, root, tmp_path):
    back = import_minari(root / ID, tmp_path / "back")
    assert_whole(back, log)
    assert back.manifest["source"]["exported"] == log.manifest["source"]
    back.verify()


def test_the_way_back_takes_no_other_max_steps(log, root, tmp_path):
    options = ImportOptions(max_steps=log.max_steps + 1)
    with pytest.raises(InvalidInput, match=rf"^max_steps={log.max_steps + 1} is not the {log.max_steps} of"):
        import_minari(root / ID, tmp_path / "back", options=options)


def test_batches_and_large_arrays_change_nothing(log, root, loaded, tmp_path, monkeypatch):
    """Neither where a batch ends nor how HDF5 lays an array out is in the episodes."""
    monkeypatch.setattr(exporter, "ROWS_AT_ONCE", 5)
    monkeypatch.setattr(exporter, "_COMPACT_BYTES", 100)
    seen: list[int] = []
    export_minari(log, ID, tmp_path, progress=seen.append)
    assert sum(seen) == log.num_sessions
    assert len(seen) > 5
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    import minari

    for one, other in zip(loaded, minari.load_dataset(ID), strict=True):
        for name, values in one.observations.items():
            np.testing.assert_array_equal(other.observations[name], values)
        for name, values in one.infos.items():
            np.testing.assert_array_equal(other.infos[name], values)
        np.testing.assert_array_equal(other.actions, one.actions)


def test_refuses_ids_and_leaves_nothing_half_written(log, root, tmp_path):
    with pytest.raises(InvalidInput, match=f"Minari dataset {ID} exists"):
        export_minari(log, ID, root)
    for bad in ("no-version", "a/b", "recsession/a b-v0", ""):
        with pytest.raises(InvalidInput, match="is not \\(namespace/\\)name-v\\(version\\)"):
            export_minari(log, bad, tmp_path)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_minari(log, "small-v0", tmp_path, progress=stop)
    assert not list(tmp_path.iterdir())


# --- datasets of others


def create(monkeypatch, tmp_path, space, episodes, infos=None):
    """Write a dataset with Minari's own functions; an episode is (actions, rewards, truncated)."""
    import minari
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    buffers = [
        EpisodeBuffer(
            id=index,
            observations=list(np.zeros((len(rewards) + 1, 2), np.float32)),
            actions=list(np.asarray(actions)),
            rewards=rewards,
            terminations=[False] * (len(rewards) - 1) + [not truncated],
            truncations=[False] * (len(rewards) - 1) + [truncated],
            infos=None if infos is None else {name: values[index] for name, values in infos.items()},
        )
        for index, (actions, rewards, truncated) in enumerate(episodes)
    ]
    with warnings.catch_warnings(action="ignore"):
        minari.create_dataset_from_buffers(
            "others-v0",
            buffers,
            action_space=space,
            observation_space=gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32),
        )
    return "others-v0"


def test_discrete_actions_are_items(tmp_path, monkeypatch):
    episodes = [([3, 5, 4], [1.0, 0.0, 2.0], True), ([5], [0.0], False)]
    infos = {"behavior_log_prob": [[np.nan, -1.0, -2.0, -3.0], [np.nan, -4.0]]}
    name = create(monkeypatch, tmp_path, gymnasium.spaces.Discrete(4, start=3), episodes, infos)
    log = import_minari(name, tmp_path / "out")
    assert (log.num_sessions, log.num_rows, log.num_items) == (2, 4, 4)
    assert log.catalog["source_id"].tolist() == [3, 4, 5, 6]
    np.testing.assert_array_equal(log.rows["slate"], [[0], [2], [1], [2]])
    np.testing.assert_array_equal(log.reward(), [1.0, 0.0, 2.0, 0.0])
    np.testing.assert_array_equal(log.rows["feedback"][:, 0, 0], [1, 0, 1, 0])
    np.testing.assert_array_equal(log.rows["behavior_log_prob"], [-1.0, -2.0, -3.0, -4.0])
    np.testing.assert_array_equal(log.rows["truncated"], [0, 0, 1, 0])
    np.testing.assert_array_equal(log.rows["terminated"], [0, 0, 0, 1])
    assert log.propensities == "exact"
    assert "feedback: a click is reward > 0" in log.manifest["source"]["lacking"]


def test_items_of_a_file_by_the_number_of_their_action(tmp_path, monkeypatch, log, root):
    name = create(monkeypatch, tmp_path, gymnasium.spaces.Discrete(4, start=3), [([3, 5, 4], [1.0, 0.0, 2.0], True)])
    file = tmp_path / "items.csv"
    file.write_text("item_id,price\n3,1\n5,3\n4,2\n9,2\n")
    found = import_minari(name, tmp_path / "out", items=file)
    assert found.catalog["source_id"].tolist() == [3, 4, 5, 6, 9]
    np.testing.assert_array_equal(found.catalog["price"], [1, 2, 3, np.nan, 2])
    # Standardised, -sqrt(2), 0 and sqrt(2), beside a constant 1, at unit length.
    np.testing.assert_allclose(
        found.catalog["embeddings"][:, 0], np.sqrt(2 / 3) * np.array([-1, 0, 1, 0, 0]), rtol=1e-6
    )
    remarks = found.manifest["source"]["remarks"]
    assert any(remark.startswith("warning: 1 of 4 items of the log are not in items.csv") for remark in remarks)
    assert "1 of 4 items of items.csv are never shown in the log" in remarks
    with pytest.raises(InvalidInput, match="come back with it; leave out --items"):
        import_minari(root / ID, tmp_path / "own", items=file)


def test_multi_discrete_actions_are_slates(tmp_path, monkeypatch):
    episodes = [([[0, 4], [2, 1]], [1.0, 0.5], False)]
    name = create(monkeypatch, tmp_path, gymnasium.spaces.MultiDiscrete([5, 5]), episodes)
    log = import_minari(tmp_path / name, tmp_path / "out")
    np.testing.assert_array_equal(log.rows["slate"], [[0, 4], [2, 1]])
    np.testing.assert_array_equal(log.reward(), [1.0, 0.5])
    assert (log.propensities, len(log.events["item"])) == ("missing", 0)
    assert "feedback: which item of a slate was clicked" in log.manifest["source"]["lacking"]


@pytest.mark.parametrize(
    ("space", "actions"),
    [
        (gymnasium.spaces.MultiDiscrete([5, 4]), [[0, 1]]),
        (gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32), [[0.0, 1.0]]),
    ],
)
def test_other_actions_are_refused(tmp_path, monkeypatch, space, actions):
    name = create(monkeypatch, tmp_path, space, [(actions, [1.0], False)])
    with pytest.raises(InvalidInput, match="which are no items: take one of Discrete actions"):
        import_minari(name, tmp_path / "out")


def test_missing_and_broken_datasets(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(InvalidInput, match="absent-v0 is no Minari dataset"):
        import_minari("absent-v0", tmp_path / "out")
    name = create(monkeypatch, tmp_path, gymnasium.spaces.Discrete(4), [([1], [0.0], False)])
    metadata = tmp_path / name / "data" / "metadata.json"
    metadata.write_text(json.dumps({**json.loads(metadata.read_text()), "minari_version": "99.0"}))
    with pytest.raises(InvalidInput, match="of another version"):
        import_minari(name, tmp_path / "out")
    (tmp_path / name / "data" / "main_data.hdf5").write_bytes(b"not hdf5")
    with pytest.raises(InvalidInput, match="is damaged"):
        import_minari(name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda manifest, episode: manifest.pop("injected"), "of another version (KeyError: 'injected')"),
        (lambda manifest, episode: manifest.update(config=None), "catalog.npz does not exist"),
        (lambda manifest, episode: episode["infos"].pop("shown"), "of another version (KeyError: 'shown')"),
        (lambda manifest, episode: episode["infos/slate"].__setitem__((1, 0), 99), "episode 1 has the action [99, "),
        (lambda manifest, episode: episode.pop("rewards"), "is damaged or of another version"),
        (lambda manifest, episode: shorten(episode), "episode 1 has not as many actions as rewards and ends"),
    ],
)
def test_an_export_that_was_spoilt_is_refused(small_request, tmp_path, spoil, message):
    import h5py

    log = collect(tmp_path / "log", LogRequest(**{**vars(small_request), "action_kind": "proto"}))
    data = export_minari(log, "spoilt-v0", tmp_path) / "data"
    metadata = json.loads((data / "metadata.json").read_text())
    with h5py.File(data / "main_data.hdf5", "r+") as file:
        spoil(metadata[exporter.MANIFEST_KEY], file["episode_1"])
    (data / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(InvalidInput) as caught:
        import_minari(data.parent, tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def shorten(episode):
    rewards = episode["rewards"][:-1]
    del episode["rewards"]
    episode["rewards"] = rewards


def test_an_action_outside_its_space_is_refused(tmp_path, monkeypatch):
    import h5py

    name = create(
        monkeypatch, tmp_path, gymnasium.spaces.Discrete(4, start=3), [([3], [0.0], True), ([5, 6], [0.0, 1.0], False)]
    )
    with h5py.File(tmp_path / name / "data" / "main_data.hdf5", "r+") as file:
        del file["episode_1/actions"]
        file["episode_1/actions"] = [5, 7]
    with pytest.raises(InvalidInput, match=r"episode 1 has the action \[7\], whose items are not in \[3, 7\)"):
        import_minari(name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
