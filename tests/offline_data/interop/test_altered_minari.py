"""A Minari dataset of a stranger is read or refused in one line, whatever its metadata say and its arrays hold."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from offline_data.collection.collection import collect
from offline_data.interop.minari import MANIFEST_KEY, export_minari
from offline_data.interop.minari_import import import_minari
from recenv.errors import InvalidInput
from tests.damage import altered_json

h5py = pytest.importorskip("h5py")
pytest.importorskip("minari")


@pytest.fixture(scope="module")
def exported(small_request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("minari")
    export_minari(collect(folder / "log", small_request), "recsession/log-v0", folder)
    return folder / "recsession" / "log-v0"


def refused_or_read(folder, out) -> bool:
    """Import, and return whether it was refused, in one line that leaves nothing behind."""
    said = None
    try:
        import_minari(folder, out).require_sound()
    except InvalidInput as error:
        said = str(error)
    if said is None:
        shutil.rmtree(out)
        return False
    assert "\n" not in said
    assert [path.name for path in out.parent.iterdir()] == [folder.name]
    return True


@pytest.mark.parametrize("count", [15, pytest.param(300, marks=pytest.mark.nightly)])
def test_altered_metadata(exported, tmp_path, count):
    folder = shutil.copytree(exported, tmp_path / "log-v0")
    file = folder / "data" / "metadata.json"
    metadata = json.loads(file.read_text())
    for deed, changed in altered_json({MANIFEST_KEY: metadata[MANIFEST_KEY]}, count, 4):
        file.write_text(json.dumps({**metadata, **changed}))
        assert refused_or_read(folder, tmp_path / "out") in (True, False), deed
    for deed, changed in altered_json(metadata, count, 5):
        file.write_text(json.dumps(changed))
        assert refused_or_read(folder, tmp_path / "out") in (True, False), deed


@pytest.mark.parametrize(("name", "value"), [("num_items", 10**9), ("max_steps", 2**31), ("slate_size", 1024)])
def test_a_world_that_its_episodes_are_not_of_is_refused(exported, tmp_path, name, value):
    folder = shutil.copytree(exported, tmp_path / "log-v0")
    file = folder / "data" / "metadata.json"
    metadata = json.loads(file.read_text())
    config = metadata[MANIFEST_KEY]["config"]
    (config if name in config else config["catalog"])[name] = value
    file.write_text(json.dumps(metadata))
    assert refused_or_read(folder, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("actions", np.full((4, 3), 2**30, np.int64)),
        ("rewards", np.array(["a"], "S1")),
        ("infos/feedback", np.full((2, 3, 3), np.nan, np.float32)),
        ("infos/reward_vector", np.full((2, 3), np.nan, np.float32)),
        ("observations/profile", np.zeros((1, 99), np.float32)),
    ],
)
def test_altered_arrays_are_refused(exported, tmp_path, name, values):
    folder = shutil.copytree(exported, tmp_path / "log-v0")
    with h5py.File(folder / "data" / "main_data.hdf5", "r+") as store:
        del store[f"episode_0/{name}"]
        store[f"episode_0/{name}"] = values
    assert refused_or_read(folder, tmp_path / "out")


def test_arrays_that_unpack_to_far_more_than_the_file_are_refused(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "log-v0")
    with h5py.File(folder / "data" / "main_data.hdf5", "r+") as store:
        del store["episode_0/rewards"]
        store.create_dataset("episode_0/rewards", (1 << 40,), "f4", chunks=(1 << 20,))
    with pytest.raises(InvalidInput, match="unpacks to"):
        import_minari(folder, tmp_path / "out")
