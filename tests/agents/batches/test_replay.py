from __future__ import annotations

import dataclasses
import resource
import shutil
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from torchrl.data import TensorDictReplayBuffer
from torchrl.data.replay_buffers import SamplerWithoutReplacement

from agents.batches.replay import LogStorage, SequenceStorage, make_replay, mapped_column
from offline_data.store.columns import LATENT_LABELS
from offline_data.store.dataset import LoggedDataset
from offline_data.store.histories import ObservationBuilder
from offline_data.store.log_checks import CHECKS
from recenv.errors import InvalidInput

COLUMNS = ("slate", "proto", "feedback", "reward_vector", "behavior_log_prob")
ROWS = np.array([3, 0, 3, 117])


def column(batch: Any, key: Any) -> np.ndarray:
    """Return a column of a batch as an array."""
    return batch[key].numpy()


def assert_observation(found: Any, expected: dict[str, np.ndarray]) -> None:
    assert set(found.keys()) == set(expected)
    for name, values in expected.items():
        assert np.array_equal(found[name].numpy(), values)
        assert found[name].numpy().dtype == values.dtype


def test_batch_holds_the_rows_and_the_observation_before_them(log):
    batch = LogStorage(log, columns=COLUMNS).get(ROWS)
    assert set(batch.keys()) == {"observation", *COLUMNS}
    assert batch.batch_size == torch.Size([4])
    for name in COLUMNS:
        assert np.array_equal(column(batch, name), log.rows[name][ROWS])
    assert_observation(batch["observation"], ObservationBuilder(log).observe(ROWS))


def test_next_is_what_followed(log):
    rows = np.arange(log.num_rows)
    batch: Any = LogStorage(log, with_next=True).get(slice(None))
    following: Any = batch["next"]
    assert_observation(following["observation"], ObservationBuilder(log).observe(rows, after=True))
    assert np.array_equal(following["reward"][:, 0].numpy(), log.reward().astype(np.float32))
    terminated, truncated = log.rows["terminated"], log.rows["truncated"]
    assert terminated.any()
    assert truncated.any()
    assert np.array_equal(following["terminated"][:, 0].numpy(), terminated)
    assert np.array_equal(following["truncated"][:, 0].numpy(), truncated)
    assert np.array_equal(following["done"][:, 0].numpy(), terminated | truncated)
    # Within a session, the observation after a row is the observation before the next.
    going_on = ~following["done"][:-1, 0]
    for name in ("history_items", "history_feedback", "clock", "profile"):
        after, before = following["observation", name][:-1][going_on], batch["observation", name][1:][going_on]
        assert torch.equal(after, before)


def test_any_index_gives_the_same_rows(log):
    storage = LogStorage(log, columns=("proto",))
    expected = storage.get(np.arange(2, 5))
    mask = np.isin(np.arange(log.num_rows), [2, 3, 4])
    for index in (torch.arange(2, 5), slice(2, 5), slice(2 - log.num_rows, 5 - log.num_rows), mask):
        assert (storage.get(index) == expected).all()
    assert torch.equal(storage.get(4)["proto"], expected["proto"][2:])
    assert len(storage) == log.num_rows


def test_a_mask_is_of_the_whole_log(log):
    for storage in (LogStorage(log), SequenceStorage(log)):
        with pytest.raises(InvalidInput, match=r"a mask has shape \(3,\); give one of "):
            storage.get(np.ones(3, np.bool_))


def test_an_index_of_any_shape_gives_its_shape(log):
    storage = LogStorage(log, columns=("proto", "behavior_log_prob"), with_next=True)
    rows = np.array([[5, 0, 7], [5, 117, 2]])
    batch = storage.get(torch.from_numpy(rows))
    assert batch.batch_size == torch.Size([2, 3])
    assert (batch.reshape(-1) == storage.get(rows.reshape(-1))).all()


@pytest.mark.parametrize("wrong", [-1, 10**6])
def test_a_row_that_the_log_does_not_have_is_refused(log, wrong):
    for storage in (LogStorage(log), SequenceStorage(log, 4)):
        with pytest.raises(InvalidInput, match=rf"^row {wrong} is outside \[0, {log.num_rows}\)"):
            storage.get(np.array([3, wrong]))
    with pytest.raises(InvalidInput, match=rf"^session {wrong} is outside \[0, 200\); choose sessions of the log"):
        SequenceStorage(log).get(np.array([wrong, 3]))


def test_a_slates_log_gives_its_prefix_log_probs_and_no_proto(slate_log):
    batch = LogStorage(slate_log, columns=("slate", "prefix_log_prob")).get(ROWS[:3])
    assert np.array_equal(column(batch, "prefix_log_prob"), slate_log.rows["prefix_log_prob"][ROWS[:3]])
    with pytest.raises(InvalidInput, match=r"column 'proto' is not in .*; choose from slate, feedback"):
        LogStorage(slate_log, columns=("proto",))


def test_batch_is_a_copy(log):
    storage = LogStorage(log, columns=("proto", "behavior_log_prob"))
    before = np.array(log.rows["proto"])
    batch = storage.get(ROWS)
    batch.apply_(lambda tensor: tensor.fill_(1))
    assert np.array_equal(log.rows["proto"], before)
    assert not torch.equal(storage.get(ROWS)["proto"], batch["proto"])


def test_added_column_follows_the_rows(log):
    storage = LogStorage(log)
    values = torch.arange(log.num_rows, dtype=torch.float64, requires_grad=True)
    storage.add_column("score", values)
    score = storage.get(ROWS)["score"]
    assert score.tolist() == ROWS.tolist()
    assert score.dtype == torch.float32
    with pytest.raises(InvalidInput, match=rf"'score' has shape \(3,\); the log has {log.num_rows} rows"):
        storage.add_column("score", torch.zeros(3))


@pytest.mark.parametrize("name", ["component", "latent", LATENT_LABELS, "rewrad", "user_id"])
def test_unknown_column_is_refused(log, name):
    with pytest.raises(InvalidInput, match=f"column '{name}' is not in .*; choose from slate, proto, feedback"):
        LogStorage(log, columns=(name,))


def test_latent_labels_are_out_of_reach(log, tmp_path):
    folder = tmp_path / "log"
    shutil.copytree(log.path, folder)
    copy = LoggedDataset.open(folder)
    (folder / LATENT_LABELS).unlink()
    storage = LogStorage(copy, columns=COLUMNS, with_next=True)
    labels = log.open_latent_labels()
    batch = storage.get(slice(None))
    for key in batch.keys(include_nested=True, leaves_only=True):
        assert not {"component", "latent"} & set(key if isinstance(key, tuple) else (key,))
        values = column(batch, key).reshape(len(labels), -1)
        assert not (values == labels[:, None]).all(axis=0).any(), f"{key} holds the latent labels"
    assert len(make_replay(storage, 8, torch.Generator()).sample()) == 8
    with pytest.raises(InvalidInput, match="is missing"):
        copy.open_latent_labels()


def test_seeded_generator_reproduces_the_batches(log):
    def draw(seed: int) -> list[torch.Tensor]:
        storage = LogStorage(log, columns=("behavior_log_prob",))
        replay = make_replay(storage, 16, torch.Generator().manual_seed(seed))
        return [replay.sample()["behavior_log_prob"] for _ in range(3)]

    global_state = torch.get_rng_state()
    first, second, other = draw(1), draw(1), draw(2)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])
    assert torch.equal(torch.get_rng_state(), global_state)


def test_generator_state_is_all_that_a_resume_needs(log):
    generator = torch.Generator().manual_seed(3)
    replay = make_replay(LogStorage(log, columns=("proto",)), 16, generator)
    replay.sample()
    state, expected = generator.get_state(), None
    expected = replay.sample()["proto"]
    resumed = torch.Generator()
    resumed.set_state(state)
    again = make_replay(LogStorage(log, columns=("proto",)), 16, resumed)
    assert torch.equal(again.sample()["proto"], expected)


def test_rows_of_a_sample_belong_together(log):
    storage = LogStorage(log, columns=("proto", "behavior_log_prob"))
    storage.add_column("row", torch.arange(log.num_rows))
    batch = make_replay(storage, 64, torch.Generator().manual_seed(0)).sample()
    rows = batch["row"].long().numpy()
    assert len(set(rows)) > 32
    assert np.array_equal(column(batch, "proto"), log.rows["proto"][rows])
    assert_observation(batch["observation"], ObservationBuilder(log).observe(rows))


def test_a_column_in_a_file_is_read_where_it_lies(log):
    storage, values = LogStorage(log), mapped_column(log.num_rows)
    assert values.dtype == torch.float32
    assert not values.any()
    storage.add_column("target", values)
    values.copy_(torch.arange(log.num_rows))
    batch = storage.get(ROWS)
    assert batch["target"].tolist() == ROWS.tolist()
    batch["target"].zero_()
    assert values[117] == 117.0
    assert (mapped_column(7, 3).shape, mapped_column(7, dtype=np.int32).dtype) == ((7, 3), torch.int32)


def test_memory_does_not_grow_with_the_log(log, tmp_path):
    """A log of ten million rows, all of them holes in files: a byte for each would be three times the bound."""
    count = 10**7
    rows = {
        name: np.memmap(tmp_path / name, values.dtype, "w+", shape=(count, *values.shape[1:]))
        for name, values in log.rows.items()
    }
    sessions = {**log.sessions, "offsets": np.array([0, count]), "event_offsets": np.array([0, 0])}
    manifest = {**log.manifest, "num_rows": count, "num_sessions": 1}
    long = dataclasses.replace(log, manifest=manifest, rows=rows, sessions=sessions)
    vars(long)["contradictions"] = dict.fromkeys(CHECKS, 0)  # as if it had been looked through: holes contradict

    def draw() -> None:
        storages = LogStorage(long, columns=COLUMNS, with_next=True), SequenceStorage(long, 4, columns=COLUMNS)
        for storage in storages:
            storage.add_column("score", mapped_column(count))
            make_replay(storage, 128, torch.Generator()).sample()

    draw()
    tracemalloc.start()
    try:
        draw()
        assert tracemalloc.get_traced_memory()[1] < 3e6
    finally:
        tracemalloc.stop()


# --- sequences


def lengths_from(log: LoggedDataset, starts: np.ndarray) -> np.ndarray:
    """Return the rows from each start to the end of its session."""
    return log.offsets[log.rows["session_id"][starts] + 1] - starts


@pytest.mark.parametrize("length", [1, 4, 20])
def test_a_sequence_is_the_steps_from_its_row_on(log, length):
    starts = np.array([0, 3, 41, log.num_rows - 1, 3])
    storage = SequenceStorage(log, length, columns=COLUMNS, with_next=True)
    storage.add_column("row", torch.arange(log.num_rows))
    assert len(storage) == log.num_rows
    batch: Any = storage.get(starts)
    every = LogStorage(log, columns=COLUMNS, with_next=True).get(slice(None))
    assert batch.batch_size == torch.Size([5, length])
    left = lengths_from(log, starts)
    assert left[3] == 1
    for b, start in enumerate(starts):
        real = min(left[b], length)
        assert batch["mask"][b].tolist() == [True] * real + [False] * (length - real)
        rows = start + np.minimum(np.arange(length), real - 1)  # the last step is repeated
        assert batch["row"][b].tolist() == rows.tolist()
        assert (batch[b].exclude("mask", "row") == every[rows]).all()


def test_whole_sessions(log):
    storage = SequenceStorage(log, columns=("proto",), with_next=True)
    assert len(storage) == log.num_sessions
    lengths = np.diff(log.offsets)
    for sessions in (np.arange(log.num_sessions), np.array([lengths.argmin(), 5])):
        batch = storage.get(sessions)
        assert batch.batch_size == torch.Size([len(sessions), lengths[sessions].max()])
        assert batch["mask"].sum(dim=1).tolist() == lengths[sessions].tolist()
        rows = np.concatenate([np.arange(log.offsets[s], log.offsets[s + 1]) for s in sessions])
        assert np.array_equal(column(batch[batch["mask"]], "proto"), log.rows["proto"][rows])
        assert not batch["observation", "clock"][:, 0].any()
        assert batch["next", "done"].squeeze(-1)[batch["mask"]].sum() == len(sessions)
    assert storage.get(np.array([], np.int64)).batch_size == torch.Size([0, 0])


def test_sequences_are_drawn_uniformly_and_reproducibly(log):
    def draw(storage: SequenceStorage) -> Any:
        return make_replay(storage, 2048, torch.Generator().manual_seed(7)).sample()

    by_row, whole = SequenceStorage(log, 4, columns=("proto",)), SequenceStorage(log)
    batch = draw(by_row)
    assert batch.batch_size == torch.Size([2048, 4])
    assert torch.equal(batch["index"], draw(by_row)["index"])
    assert torch.equal(batch["index"][:, 0], batch["index"][:, 3])
    starts = batch["index"][:, 0].numpy()
    assert np.array_equal(column(batch, "proto")[:, 0], log.rows["proto"][starts])
    # Of N rows a share of 1 - (1 - 1/N)^2048 is expected; of sessions, each about ten times.
    expected = 1.0 - (1.0 - 1.0 / log.num_rows) ** 2048
    assert len(np.unique(starts)) / log.num_rows == pytest.approx(expected, abs=0.05)
    assert (np.bincount(draw(whole)["index"][:, 0], minlength=200) > 0).all()


@pytest.mark.parametrize("length", [0, -3, 2.5, True])
def test_a_length_below_one_is_refused(log, length):
    with pytest.raises(InvalidInput, match=f"^length={length} is "):
        SequenceStorage(log, length)


def test_works_under_other_samplers_of_torchrl(log):
    storage = LogStorage(log)
    storage.add_column("row", torch.arange(log.num_rows))
    replay = TensorDictReplayBuffer(
        storage=storage, sampler=SamplerWithoutReplacement(), batch_size=log.num_rows, collate_fn=lambda batch: batch
    )
    assert replay.sample()["row"].sort().values.tolist() == list(range(log.num_rows))


def test_a_log_cannot_be_written(log):
    storage = LogStorage(log, columns=("proto",))
    batch, before = storage.get(ROWS), np.array(log.rows["proto"])
    replay = make_replay(storage, 4, torch.Generator())
    for write in (lambda: storage.set(0, batch), lambda: replay.extend(batch), lambda: replay.add(batch[0])):
        with pytest.raises(InvalidInput, match="cannot be written to; collect a new one"):
            write()
    storage.load_state_dict(storage.state_dict())
    assert np.array_equal(log.rows["proto"], before)
    with pytest.raises(ValueError, match="read-only"):
        log.rows["proto"][0] = 0.0


def test_a_column_that_the_disk_has_no_room_for_is_refused():
    """In a sentence, before it is written to: pages that cannot be kept end the process by a signal."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(InvalidInput, match=r"temporary file of 4,000 bytes in .*: File too large; choose another"):
            mapped_column(1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert mapped_column(1000).shape == (1000,)
