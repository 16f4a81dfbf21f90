"""Collection: the same request gives the same bytes, whatever stopped it on the way; anything else is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline_data.behavior.uniform import UniformConfig, UniformPolicy
from offline_data.collection import collection
from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.rollout import play_sessions
from offline_data.dial.quality import mixture_spec
from offline_data.store.histories import ObservationBuilder
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.world import make_world
from tests.folder_tree import tree

pytestmark = pytest.mark.usefixtures("small_ranges")


def partial_of(path):
    return path.with_name(path.name + ".partial")


# --- the same bytes


@pytest.mark.parametrize("sessions_per_range", [3, 8, 40, 41])
def test_the_same_request_gives_the_same_bytes(
    small_request, compared_bytes, expected, tmp_path, monkeypatch, sessions_per_range
):
    """In ranges of any size, with the keys of the behavior's spec in any order; of `run.json` nothing is promised."""
    monkeypatch.setattr(collection, "SESSIONS_PER_RANGE", sessions_per_range)
    shuffled = replace(small_request, behavior=dict(reversed(small_request.behavior.items())))
    collect(tmp_path / "log", shuffled)
    assert compared_bytes(tmp_path / "log") == expected
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("change", [{"dataset_seed": 6}, {"group_size": 1}, {"behavior": "uniform"}])
def test_another_request_gives_other_bytes(small_request, compared_bytes, expected, tmp_path, change):
    collect(tmp_path / "log", replace(small_request, **change))
    other = compared_bytes(tmp_path / "log")
    assert other.keys() == expected.keys()
    assert other["rows/slate.npy"] != expected["rows/slate.npy"]
    assert other["manifest.json"] != expected["manifest.json"]


def test_progress_tells_every_session_once(small_request, tmp_path):
    told: list[int] = []
    collect(tmp_path / "log", small_request, progress=told.append)
    assert told == [8] * 5
    told.clear()
    collect(tmp_path / "log", small_request, progress=told.append)
    assert told == [40]


def test_what_is_there_is_not_collected_again(small_request, tmp_path, monkeypatch):
    collect(tmp_path / "log", small_request)
    before = tree(tmp_path)
    monkeypatch.setattr(collection, "make_world", None)
    dataset = collect(str(tmp_path / "log"), small_request)
    assert dataset.num_sessions == 40
    assert tree(tmp_path) == before


def test_missing_folders_on_the_way_are_made(small_request, compared_bytes, expected, tmp_path):
    collect(tmp_path / "a" / "b" / "log", small_request)
    assert compared_bytes(tmp_path / "a" / "b" / "log") == expected


def test_an_empty_folder_is_taken_for_the_dataset(small_request, compared_bytes, expected, tmp_path):
    (tmp_path / "log").mkdir()
    collect(tmp_path / "log", small_request)
    assert compared_bytes(tmp_path / "log") == expected


class Boastful(UniformPolicy):
    """Adds to the log-probability of all that it does."""

    boast = 0.0

    def act(self, view, draws, memory):
        decision = super().act(view, draws, memory)
        return replace(decision, log_prob=decision.log_prob + self.boast)


@pytest.mark.parametrize(
    ("kind", "boast", "message"),
    [
        ("slate", 50.0, r"gives log_prob=\[\d+.* with prefix_log_prob=.*; return what falls from item to item and"),
        ("slate", -1e-3, r"gives log_prob=\[-.* with prefix_log_prob=.*; return what falls from item to item and ends"),
        ("proto", np.nan, r"acts, and gives log_prob=\[nan\] for it; return the log-probability of what was done"),
        ("slate", -np.inf, r"acts, and gives log_prob=\[-inf\] for it; return the log-probability of what was done"),
    ],
)
def test_log_probs_that_cannot_be_are_refused(small_request, tmp_path, monkeypatch, kind, boast, message):
    """Of a policy of the caller's own."""
    monkeypatch.setattr(Boastful, "boast", boast)
    monkeypatch.setattr(collection, "make_behavior", lambda world, spec, kind: Boastful(world, UniformConfig(), kind))
    request = replace(small_request, behavior="uniform", action_kind=kind)
    with pytest.raises(InvalidInput, match=message):
        collect(tmp_path / "log", request)
    assert not (tmp_path / "log").exists()


# --- refused


def another_request(path, request):
    collect(path, replace(request, dataset_seed=6))


def unfinished_work(path, request):
    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        collect(path, replace(request, dataset_seed=6), progress=stop)


def foreign_folder(path, _):
    path.mkdir()
    (path / "thesis.tex").write_text("years of work")


def file_in_the_way(path, _):
    path.write_text("notes")


def link_to_nowhere(path, _):
    path.symlink_to("nowhere")


def file_in_the_way_of_the_partial(path, _):
    partial_of(path).write_text("notes")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (
            another_request,
            "{path} holds a dataset of another request (dataset_seed 6 there, 5 here); choose another --out or remove",
        ),
        (
            unfinished_work,
            "{path}.partial holds work of another request (dataset_seed 6 there, 5 here); remove it "
            "or choose another --out",
        ),
        (foreign_folder, "{path} holds something else (no manifest.json); choose another --out, or an empty folder"),
        (file_in_the_way, "{path} is a file; choose another --out"),
        (link_to_nowhere, "{path} is a link to nowhere; remove it or choose another --out"),
        (
            file_in_the_way_of_the_partial,
            "cannot write {path}.partial: it is a file; choose another path",
        ),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_something_else_at_the_path_is_refused_and_left_as_it_is(small_request, tmp_path, prepare, message):
    path = tmp_path / "log"
    prepare(path, small_request)
    before = tree(tmp_path)
    with pytest.raises(InvalidInput) as refusal:
        collect(path, small_request)
    assert message.format(path=path) in str(refusal.value)
    assert tree(tmp_path) == before


def test_a_path_that_cannot_be_written_is_refused(small_request, tmp_path):
    (tmp_path / "file").write_text("notes")
    with pytest.raises(InvalidInput, match=r"cannot write .*file/log\.partial: Not a directory; choose a path"):
        collect(tmp_path / "file" / "log", small_request)
    assert tree(tmp_path) == {"file": b"notes"}


def test_a_second_writer_is_refused_and_the_first_goes_on(small_request, compared_bytes, expected, tmp_path):
    path = tmp_path / "log"
    refusals: list[str] = []

    def try_to_write_too(_):
        with pytest.raises(InvalidInput) as refusal:
            collect(path, small_request)
        refusals.append(str(refusal.value))

    collect(path, small_request, progress=try_to_write_too)
    sentence = f"{path}.partial is being written by another process; wait for it or choose another --out"
    assert refusals == [sentence] * 5
    assert compared_bytes(path) == expected


def test_a_writer_that_comes_as_another_finishes_takes_its_dataset(
    small_request, compared_bytes, expected, tmp_path, monkeypatch
):
    path = tmp_path / "log"

    def meanwhile(config):
        with monkeypatch.context() as patch:
            patch.setattr(collection, "make_world", make_world)
            collect(path, small_request)
        return make_world(config)

    make_world = collection.make_world
    monkeypatch.setattr(collection, "make_world", meanwhile)
    told: list[int] = []
    assert collect(path, small_request, progress=told.append).num_sessions == 40
    assert told == [40]
    assert compared_bytes(path) == expected
    assert not partial_of(path).exists()


def test_the_name_of_unfinished_work_is_refused(small_request, tmp_path):
    """A log of the name without it would take this one for its own."""
    with pytest.raises(InvalidInput, match=r"log\.partial is the name of unfinished work; choose another --out"):
        collect(tmp_path / "log.partial", small_request)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"behavior": "clickbat"}, "unknown behavior policy 'clickbat'; did you mean 'clickbait'?"),
        ({"behavior": mixture_spec(0.5, "clickbat")}, "did you mean 'clickbait'?"),
        ({"action_kind": "item"}, "unknown action kind 'item'"),
        ({"action_kind": None}, "unknown action kind None"),
        ({"behavior": None}, "behavior spec None is neither a name nor an object"),
    ],
)
def test_an_unknown_name_leaves_nothing_behind(small_request, tmp_path, change, message):
    with pytest.raises(InvalidInput) as refusal:
        collect(tmp_path / "log", replace(small_request, **change))
    assert message in str(refusal.value)
    assert tree(tmp_path) == {}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_sessions", 0, "num_sessions=0 is outside"),
        ("num_sessions", 2.0, "num_sessions=2.0 is not an integer"),
        ("num_sessions", 2**40, "num_sessions=1099511627776 is outside"),
        ("dataset_seed", -1, "dataset_seed=-1 is outside"),
        ("dataset_seed", 2**63, "dataset_seed=9223372036854775808 is outside"),
        ("group_size", 0, "group_size=0 is outside"),
        ("group_size", 3, "num_sessions=40 is not a multiple of group_size=3; change one of them"),
    ],
)
def test_a_request_out_of_range_is_refused(small_request, field, value, message):
    with pytest.raises(InvalidInput) as refusal:
        replace(small_request, **{field: value})
    assert message in str(refusal.value)


@pytest.mark.parametrize("good_fraction", [-0.1, 1.1, float("nan")])
def test_a_good_fraction_out_of_range_is_refused(good_fraction):
    with pytest.raises(InvalidInput, match=r"good_fraction=.*set good_fraction to a number in \[0\.0, 1\.0\]"):
        mixture_spec(good_fraction, "clickbait")


def test_the_same_log_under_another_record_of_quality_is_refused(small_request, tmp_path):
    """Else a log without a score would pass for the one that was asked for with it."""
    collect(tmp_path / "log", small_request)
    known = replace(small_request, quality={"good_fraction": np.float64(0.4), "mixing": "session"})
    with pytest.raises(InvalidInput, match=r"another request \(quality null there, .*; choose another --out"):
        collect(tmp_path / "log", known)
    assert collect(tmp_path / "other", known).manifest["quality"] == known.quality
    assert collect(tmp_path / "other", known).num_sessions == 40


# --- seeds and labels


def test_groups_share_their_user_and_not_their_draws(small_request, tmp_path):
    dataset = collect(tmp_path / "log", replace(small_request, group_size=4))
    seeds = np.asarray(dataset.sessions["session_seed"]).reshape(10, 4)
    assert (seeds == seeds[:, :1]).all()
    assert len(set(seeds[:, 0].tolist())) == 10
    assert len(set(np.asarray(dataset.sessions["behavior_seed"]).tolist())) == 40
    profile = np.asarray(dataset.sessions["profile"]).reshape(10, 4, -1)
    assert (profile == profile[:, :1]).all()
    first = np.asarray(dataset.rows["slate"])[np.asarray(dataset.offsets[:-1])].reshape(10, 4, -1)
    assert (first != first[:, :1]).any(axis=(1, 2)).all()
    session_id = np.repeat(np.arange(40), np.diff(dataset.offsets))
    np.testing.assert_array_equal(dataset.rows["session_id"], session_id)
    for name in ("group_id", "user_id"):
        np.testing.assert_array_equal(dataset.sessions[name], np.arange(40) // 4)
    np.testing.assert_array_equal(dataset.sessions["episode_id"], 0)


def test_two_datasets_share_no_seed(small_request, tmp_path):
    seeds: list[int] = []
    for number, dataset_seed in enumerate((0, 1, 2, 2**62, 2**63 - 1)):
        request = replace(small_request, dataset_seed=dataset_seed, group_size=1)
        dataset = collect(tmp_path / str(number), request)
        seeds += np.asarray(dataset.sessions["session_seed"]).tolist()
        seeds += np.asarray(dataset.sessions["behavior_seed"]).tolist()
    assert len(set(seeds)) == len(seeds) == 400


def test_rows_are_the_sessions_played_from_their_seeds(small_world, small_request, tmp_path):
    """The latent label is which component acted; the reward is left out, being a sum of what is there."""
    dataset = collect(tmp_path / "log", small_request)
    world = small_world(12, 3)
    seeds = (np.asarray(dataset.sessions[name]) for name in ("session_seed", "behavior_seed"))
    played = play_sessions(world, small_request.policy(world), *seeds)
    component, reward = played.columns.pop("component"), played.columns.pop("reward")
    assert set(component.tolist()) == {0, 1}
    np.testing.assert_array_equal(dataset.open_latent_labels(), component)
    assert reward.max() > 0
    np.testing.assert_array_equal(dataset.reward(), reward)
    np.testing.assert_array_equal(dataset.session_returns(), np.add.reduceat(reward, played.offsets[:-1]))
    np.testing.assert_array_equal(dataset.offsets, played.offsets)
    np.testing.assert_array_equal(dataset.sessions["profile"], played.profile)
    assert dataset.rows.keys() == played.columns.keys() | {"session_id", "consumed"}
    for name, values in played.columns.items():
        assert dataset.rows[name].dtype == values.dtype
        np.testing.assert_array_equal(dataset.rows[name], values)


@pytest.mark.parametrize(
    ("kind", "pieces"),
    [
        ("slate", {}),
        ("slate", {"num_candidates": 5, "retention": {"max_sessions": 3}, "leave_hazard": {"hazard": 0.3}}),
        ("proto", {"freshness": {"horizon": 200.0}}),
        ("proto", {"freshness": {"horizon": 200.0}, "num_candidates": 5, "satisfaction": True}),
    ],
)
def test_observations_are_rebuilt_from_the_disk(small_request, tmp_path, kind, pieces):
    """With memory-mapped columns and the seeds that collection gives, all 64 bits of them."""
    request = replace(small_request, config=small_request.config.override(**pieces), action_kind=kind)
    dataset = collect(tmp_path / "log", request)
    builder = ObservationBuilder(dataset)
    world = make_world(request.config)
    # What was logged was offered: no behavior policy shows what it knows to be hidden.
    assert np.asarray(dataset.rows["shown"]).all()
    count = dataset.num_sessions
    batch = SessionBatch(world, count)
    batch.start(np.arange(count), np.asarray(dataset.sessions["session_seed"]), np.zeros(count, np.uint64))
    sessions = np.arange(count)
    while batch.active.any():
        rows = np.asarray(dataset.offsets[:-1])[sessions] + batch.steps.astype(np.int64)
        expected = batch.observe()
        for name, values in builder.observe(rows).items():
            assert type(values) in (np.ndarray, np.memmap)
            np.testing.assert_array_equal(values, expected[name])
        batch.step(np.asarray(dataset.rows["slate"])[rows])
        expected = batch.observe()
        for name, values in builder.observe(rows, after=True).items():
            np.testing.assert_array_equal(values, expected[name])
        going_on = batch.active.copy()
        batch, sessions = batch.take(going_on), sessions[going_on]


def test_quality_dial():
    spec = mixture_spec(0.25, "uniform", "session")
    assert spec["components"] == [{"name": "world_expert"}, {"name": "uniform"}]
    assert spec["weights"] == [0.25, 0.75]
    assert spec["mixing"] == "session"
    assert mixture_spec(0.1, "clickbait")["mixing"] == "step"


def test_default_ranges_cover_every_session_once(monkeypatch):
    monkeypatch.undo()
    ranges = LogRequest(num_sessions=5000).ranges()
    assert [len(r) for r in ranges] == [4096, 904]
    assert [session for r in ranges for session in r] == list(range(5000))
