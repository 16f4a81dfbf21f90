"""The dataset's folder: its columns are what the docstring says, and damage to any part of it is named."""

from __future__ import annotations

import contextlib
import json
import platform
import shutil

import numpy as np
import pytest

from offline_data.collection.collection import collect, manifest_request
from offline_data.store.columns import COLUMNS
from offline_data.store.dataset import LoggedDataset
from offline_data.store.manifest import FORMAT_VERSION
from offline_data.store.sealed_files import json_checksum
from recenv import Catalog
from recenv.errors import InvalidInput
from recenv.world import make_world
from tests.damage import alter_manifest

NUM_SESSIONS, NUM_ITEMS, SLATE_SIZE, DIM, CHANNELS, REWARDS = 40, 12, 3, 3, 3, 3


@pytest.fixture(scope="module")
def whole(small_request, tmp_path_factory):
    """A sound dataset, which no test may touch."""
    path = tmp_path_factory.mktemp("whole") / "log"
    collect(path, small_request)
    return path


@pytest.fixture
def path(whole, tmp_path):
    """A copy of it."""
    return shutil.copytree(whole, tmp_path / "log")


def sealed(manifest):
    """With the checksum of what it says: as another writer would make it, not as a disk would spoil it."""
    return {**manifest, "checksum": json_checksum(manifest)}


# --- what is in it


@pytest.mark.parametrize("kind", ["slate", "proto"])
def test_columns_dtypes_and_shapes(small_request, tmp_path, kind):
    request = small_request.__class__(**{**vars(small_request), "action_kind": kind})
    dataset = collect(tmp_path / "log", request)
    n = dataset.num_rows
    assert n == dataset.offsets[-1] > NUM_SESSIONS
    rows = {
        "session_id": ("int64", (n,)),
        "step": ("int32", (n,)),
        "consumed": ("int32", (n,)),
        "slate": ("int32", (n, SLATE_SIZE)),
        "shown": ("bool", (n, SLATE_SIZE)),
        "feedback": ("float32", (n, SLATE_SIZE, CHANNELS)),
        "reward_vector": ("float32", (n, REWARDS)),
        "terminated": ("bool", (n,)),
        "truncated": ("bool", (n,)),
        "behavior_log_prob": ("float64", (n,)),
    }
    rows |= {"proto": ("float32", (n, DIM))} if kind == "proto" else {"prefix_log_prob": ("float64", (n, SLATE_SIZE))}
    sessions = {
        "offsets": ("int64", (NUM_SESSIONS + 1,)),
        "event_offsets": ("int64", (NUM_SESSIONS + 1,)),
        "user_id": ("int64", (NUM_SESSIONS,)),
        "episode_id": ("int64", (NUM_SESSIONS,)),
        "group_id": ("int64", (NUM_SESSIONS,)),
        "profile": ("float32", (NUM_SESSIONS, DIM)),
        "session_seed": ("uint64", (NUM_SESSIONS,)),
        "behavior_seed": ("uint64", (NUM_SESSIONS,)),
    }
    num_events = int(np.count_nonzero(dataset.rows["feedback"][:, :, 0]))
    events = {"item": ("int32", (num_events,)), "feedback": ("float32", (num_events, CHANNELS - 1))}
    catalog = dict.fromkeys(("quality", "appeal", "length", "popularity", "age"), ("float32", (NUM_ITEMS,)))
    catalog |= {"topics": ("int32", (NUM_ITEMS,)), "embeddings": ("float32", (NUM_ITEMS, DIM))}
    found = (dataset.rows, dataset.sessions, dataset.events, dataset.catalog)
    for columns, expected in zip(found, (rows, sessions, events, catalog), strict=True):
        assert {name: (str(values.dtype), values.shape) for name, values in columns.items()} == expected
        assert all(isinstance(values, np.memmap) and not values.flags.writeable for values in columns.values())
    assert dataset.action_kind == kind
    files = {str(file.relative_to(dataset.path)) for file in dataset.path.rglob("*") if file.is_file()}
    schema = dataset.manifest["schema"]
    known = {*COLUMNS, *(f"catalog/{name}" for name in catalog)}
    assert {name.removesuffix(".npy") for name in schema} <= known
    assert files == {*schema, "manifest.json", "run.json"}
    labels = dataset.open_latent_labels()
    assert (str(labels.dtype), labels.shape) == ("int8", (n,))


def test_manifest_tells_what_was_asked_and_where_it_came_from(whole, small_request):
    dataset = LoggedDataset.open(whole)
    manifest = dataset.manifest
    assert manifest["source"] == {
        "kind": "simulator",
        "request": manifest_request(small_request),
    }
    assert manifest["config"] == small_request.config.to_dict()
    assert manifest["world_hash"] == small_request.config.world_hash()
    assert manifest["source"]["request"]["behavior"]["components"][1] == {"name": "clickbait"}
    assert manifest["source"]["request"]["dataset_seed"] == 5
    assert manifest["propensities"] == dataset.propensities == "exact"
    assert manifest["injected"] == {}
    assert manifest["quality"] is None
    assert (dataset.num_items, dataset.slate_size) == (NUM_ITEMS, SLATE_SIZE)
    assert (dataset.history_length, dataset.max_steps) == (3, 6)
    assert dataset.has_world
    assert manifest["feedback_names"] == ["click", "watch_fraction", "like"]
    assert manifest["reward_names"] == ["click", "watch_minutes", "like"]
    assert manifest["reward_weights"] == {"click": 0.0, "watch_minutes": 1.0, "like": 0.0}
    assert manifest["versions"].keys() == {"recsession", "numpy", "numba"}
    assert dataset.num_sessions == NUM_SESSIONS
    run = json.loads((whole / "run.json").read_text())
    assert run.keys() == {"finished", "host", "python"}
    assert run["python"] == platform.python_version()
    assert not set(run) & set(manifest)


def test_reward_weights_of_the_manifest_are_the_rewards(path):
    alter_manifest(path, reward_weights={"click": 100.0, "watch_minutes": 10.0, "like": -1.0})
    dataset = LoggedDataset.open(path)
    vector = np.asarray(dataset.rows["reward_vector"], np.float64)
    assert vector.any(axis=0).all()
    np.testing.assert_allclose(dataset.reward(), vector @ [100.0, 10.0, -1.0], rtol=1e-12)
    np.testing.assert_array_equal(dataset.reward(np.array([5, 2, 2])), dataset.reward()[[5, 2, 2]])
    np.testing.assert_array_equal(dataset.reward(slice(3, 9)), dataset.reward()[3:9])
    expected = [dataset.reward()[a:b].sum() for a, b in zip(dataset.offsets, dataset.offsets[1:], strict=False)]
    np.testing.assert_allclose(dataset.session_returns(), expected, rtol=1e-12)


def test_it_opens_without_an_environment(path, small_request, monkeypatch):
    """All that training needs is in the folder: no catalogue is generated."""
    world = make_world(small_request.config)

    def refuse(*_):
        raise AssertionError("a catalogue was generated")

    monkeypatch.setattr(Catalog, "generate", refuse)
    dataset = LoggedDataset.open(str(path))
    assert dataset.config == small_request.config
    assert dataset.catalog.keys() == world.catalog.arrays().keys()
    for name, values in world.catalog.arrays().items():
        assert dataset.catalog[name].tobytes() == values.tobytes()
    assert len(dataset.reward()) == dataset.num_rows


def test_latent_labels_are_nowhere_but_in_their_file(whole):
    dataset = LoggedDataset.open(whole)
    names = {*dataset.rows, *dataset.sessions, *dataset.catalog}
    assert not names & {"component", "latent", "label"}
    labels = np.asarray(dataset.open_latent_labels())
    assert set(labels.tolist()) == {0, 1}
    for columns in (dataset.rows, dataset.sessions):
        for name, values in columns.items():
            assert values.shape != labels.shape or (values != labels).any(), name


def test_a_log_without_labels_says_so(path):
    schema = json.loads((path / "manifest.json").read_text())["schema"]
    del schema["latent/component.npy"]
    alter_manifest(path, schema=schema)
    with pytest.raises(InvalidInput, match="has no latent labels; only simulated logs have them"):
        LoggedDataset.open(path).open_latent_labels()


def test_it_is_one_line_in_a_console(whole):
    found = repr(LoggedDataset.open(whole))
    assert found.startswith(f"LoggedDataset('{whole}': 40 sessions, ")
    assert found.endswith(" steps, slates of 3 from 12 items, slate actions)")


def test_a_log_that_was_read_in_has_no_world(path):
    schema = json.loads((path / "manifest.json").read_text())["schema"]
    del schema["latent/component.npy"]
    source = {"kind": "import", "reader": "kuairand"}
    alter_manifest(path, config=None, world_hash=None, source=source, schema=schema)
    dataset = LoggedDataset.open(path)
    assert not dataset.has_world
    with pytest.raises(InvalidInput, match="was read in by 'kuairand' and has no simulated world; use a log that"):
        _ = dataset.config


# --- what is wrong with it


def test_a_sound_dataset_verifies(whole):
    LoggedDataset.open(whole).verify()


def no_folder(path):
    shutil.rmtree(path)


def file_instead(path):
    no_folder(path)
    path.write_text("notes")


def no_manifest(path):
    (path / "manifest.json").unlink()


def half_a_manifest(path):
    text = (path / "manifest.json").read_bytes()
    (path / "manifest.json").write_bytes(text[: len(text) // 2])


def binary_manifest(path):
    (path / "manifest.json").write_bytes(b"\xff\x00" * 20)


def list_for_manifest(path):
    (path / "manifest.json").write_text("[]")


def foreign_manifest(path):
    (path / "manifest.json").write_text('{"name": "somebody else\'s"}')


def other_format(path):
    alter_manifest(path, format="minari")


def newer_version(path):
    alter_manifest(path, format_version=FORMAT_VERSION + 1)


def older_version(path):
    alter_manifest(path, format_version=1)


def garbled_version(path):
    alter_manifest(path, format_version=None)


def manifest_without_shapes(path):
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["num_rows"], manifest["reward_names"]
    (path / "manifest.json").write_text(json.dumps(sealed(manifest)))


def entry_without_size(path):
    schema = json.loads((path / "manifest.json").read_text())["schema"]
    del schema["rows/step.npy"]["bytes"]
    alter_manifest(path, schema=schema)


def entry_elsewhere(path):
    schema = json.loads((path / "manifest.json").read_text())["schema"]
    alter_manifest(path, schema={**schema, "../rows/step.npy": schema["rows/step.npy"]})


def missing_column(path):
    (path / "rows" / "slate.npy").unlink()


def missing_labels(path):
    (path / "latent" / "component.npy").unlink()


def truncated_column(path):
    file = path / "rows" / "feedback.npy"
    file.write_bytes(file.read_bytes()[:-1])


def truncated_labels(path):
    file = path / "latent" / "component.npy"
    file.write_bytes(file.read_bytes()[:-1])


def empty_column(path):
    (path / "sessions" / "profile.npy").write_bytes(b"")


def zeroed_column(path):
    file = path / "rows" / "feedback.npy"
    file.write_bytes(bytes(file.stat().st_size))


def other_shape(path):
    file = path / "rows" / "slate.npy"
    np.save(file, np.load(file).T.copy())


def other_dtype(path):
    file = path / "rows" / "slate.npy"
    np.save(file, np.load(file).astype(np.float32))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (no_folder, "dataset folder {path} does not exist; make one with `recsession collect --out {path}`"),
        (file_instead, "{path} is a file; pass the dataset's folder"),
        (no_manifest, "{path} is not a RecSession dataset (no manifest.json); pass a folder that `recsession collect`"),
        (half_a_manifest, "{path}/manifest.json is not "),
        (binary_manifest, "{path}/manifest.json is not "),
        (list_for_manifest, "{path}/manifest.json is not a RecSession manifest"),
        (foreign_manifest, "{path}/manifest.json is not a RecSession manifest"),
        (garbled_version, "{path}/manifest.json is not a RecSession manifest"),
        (other_format, "manifest.json has format 'minari', not 'recsession-log'; pass a folder that"),
        (newer_version, "manifest.json has format version 3, this RecSession reads version 2; upgrade RecSession"),
        (
            older_version,
            "manifest.json has format version 1, this RecSession reads version 2; collect the dataset again",
        ),
        (
            manifest_without_shapes,
            "{path} contradicts itself: manifest.json lacks num_rows; manifest.json lacks reward_names; `recsession",
        ),
        (entry_without_size, "manifest.json does not describe a column by 'rows/step.npy'; `recsession inspect`"),
        (entry_elsewhere, "manifest.json does not describe a column by '../rows/step.npy'; `recsession inspect`"),
        (missing_column, "{path}/rows/slate.npy is missing, restore it; `recsession inspect`"),
        (missing_labels, "{path}/latent/component.npy is missing, restore it; `recsession inspect`"),
        (truncated_column, "rows/feedback.npy has "),
        (truncated_labels, "latent/component.npy has "),
        (empty_column, "{path}/sessions/profile.npy has 0 bytes, the manifest says "),
        (zeroed_column, "{path}/rows/feedback.npy is not a .npy file"),
        (other_shape, "{path}/rows/slate.npy holds int32 [3, "),
        (other_dtype, "{path}/rows/slate.npy holds float32 ["),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_folder_is_refused(path, damage, message):
    damage(path)
    with pytest.raises(InvalidInput) as refusal:
        LoggedDataset.open(path)
    sentence = str(refusal.value)
    assert message.format(path=path) in sentence
    assert "\n" not in sentence
    assert any(remedy in sentence for remedy in ("collect", "pass a folder", "pass the dataset", "upgrade"))


@pytest.mark.parametrize(
    "name", ["rows/feedback.npy", "sessions/offsets.npy", "catalog/quality.npy", "latent/component.npy"]
)
def test_a_flipped_bit_is_found_by_verify(path, name):
    file = path / name
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    dataset = LoggedDataset.open(path)
    with pytest.raises(InvalidInput) as refusal:
        dataset.verify()
    assert str(refusal.value).startswith(f"{file} has SHA-256 ")
    with pytest.raises(InvalidInput, match="has SHA-256"):
        LoggedDataset.open(path, verify=True)
    assert "the file has changed, restore it, or collect the dataset again" in str(refusal.value)


def test_no_flipped_bit_of_the_manifest_is_read(path):
    """A weight of the reward, a seed, a checksum: whatever it is, opening the dataset refuses it."""
    file = path / "manifest.json"
    sound = file.read_bytes()
    for place in range(0, len(sound), 7):
        data = bytearray(sound)
        data[place] ^= 1 << place % 7
        file.write_bytes(data)
        with pytest.raises(InvalidInput, match=r"manifest\.json"):
            LoggedDataset.open(path)


def test_a_changed_number_of_the_manifest_is_named(path):
    file = path / "manifest.json"
    manifest = json.loads(file.read_text())
    name = manifest["reward_names"][0]
    file.write_text(json.dumps({**manifest, "reward_weights": {**manifest["reward_weights"], name: 9.0}}))
    with pytest.raises(InvalidInput, match=r"manifest\.json has the checksum .* it has changed; .*collect the dataset"):
        LoggedDataset.open(path)


def test_a_file_lost_since_it_was_opened_is_named_by_verify(path):
    dataset = LoggedDataset.open(path)
    (path / "rows" / "step.npy").unlink()
    with pytest.raises(InvalidInput, match=r"rows/step\.npy is missing, restore it, or collect"):
        dataset.verify()


@pytest.mark.filterwarnings("ignore:Data type alias:DeprecationWarning")
def test_no_flipped_bit_of_a_header_gives_a_traceback(path):
    """Whatever NumPy's parser makes of it: refused, or read as an array and found by verify."""
    file = path / "rows" / "step.npy"
    sound = file.read_bytes()
    num_refused = 0
    for place in range(80):
        for bit in (place % 8, (place + 5) % 8):
            data = bytearray(sound)
            data[place] ^= 1 << bit
            file.write_bytes(data)
            dataset = None
            with contextlib.suppress(InvalidInput):
                dataset = LoggedDataset.open(path)
            num_refused += dataset is None
            with pytest.raises(InvalidInput, match=r"rows/step\.npy"):
                LoggedDataset.open(path) if dataset is None else dataset.verify()
    assert num_refused > 100
