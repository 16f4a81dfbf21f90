from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.collection.corruption import Corruption
from offline_data.dial.quality import mixture_spec
from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.store import stored_arrays
from offline_data.store.dataset import LoggedDataset
from offline_data.store.dataset_writer import fill_folder
from offline_data.store.log_split import LogSplit, other_part, split_log
from offline_data.store.session_sketch import SessionSketch
from offline_data.store.stored_arrays import KeptEntries
from recenv.errors import InvalidInput
from tests.folder_tree import tree

MAP = {"user_id": "uid", "item_id": "sku", "timestamp": "ts", "feedback": {"click": "clicked"}}


@pytest.fixture
def shop(tmp_path) -> Callable[..., LoggedDataset]:
    """Import a table of visits: at each time (in hours) of a user, three rows a second apart."""

    def build(visits: list[tuple[str, float]]) -> LoggedDataset:
        rows = [
            f"{user},{'abc'[(hour_index + step) % 3]},{1.7e9 + 3600 * hour + step},{step % 2}"
            for hour_index, (user, hour) in enumerate(visits)
            for step in range(3)
        ]
        (tmp_path / "log.csv").write_text("uid,sku,ts,clicked\n" + "\n".join(rows) + "\n")
        return import_table(tmp_path / "log.csv", tmp_path / "shop", ColumnMap.of(MAP))

    return build


@pytest.fixture(scope="module")
def grouped(small_request, tmp_path_factory) -> LoggedDataset:
    return collect(tmp_path_factory.mktemp("grouped") / "log", small_request)


def check_parts(whole: LoggedDataset, parts: LogSplit) -> list[np.ndarray]:
    """Check that each session of a log is in one part, column by column, and return which are in which."""
    found = []
    for part in (parts.train, parts.judge):
        part.verify()
        part.require_sound()
        number = part.sessions["whole_session"]
        assert (np.diff(number) > 0).all()
        found.append(number)
        same = (
            "num_items",
            "max_steps",
            "history_length",
            "reward_weights",
            "source",
            "config",
            "world_hash",
            "injected",
        )
        assert {name: part.manifest[name] for name in same} == {name: whole.manifest[name] for name in same}
        assert (part.num_sessions, part.num_rows) == (len(number), int(np.diff(whole.offsets)[number].sum()))
        for folder in ("rows", "sessions", "events", "catalog"):
            mine, theirs = getattr(part, folder), getattr(whole, folder)
            assert mine.keys() - {"whole_session"} == theirs.keys()
            assert [mine[name].dtype for name in theirs] == [values.dtype for values in theirs.values()]
        assert all(np.array_equal(part.catalog[name], values) for name, values in whole.catalog.items())
        latent = "latent/component.npy" in whole.manifest["schema"]
        for index, session in enumerate(number):
            ours, its = (slice(*log.offsets[s : s + 2]) for log, s in ((part, index), (whole, session)))
            for name, values in whole.rows.items():
                expected = np.full_like(values[its], index) if name == "session_id" else values[its]
                np.testing.assert_array_equal(part.rows[name][ours], expected, err_msg=name)
            if latent:
                assert np.array_equal(part.open_latent_labels()[ours], whole.open_latent_labels()[its])
            ours, its = (
                slice(*log.sessions["event_offsets"][s : s + 2]) for log, s in ((part, index), (whole, session))
            )
            assert all(np.array_equal(part.events[name][ours], values[its]) for name, values in whole.events.items())
            for name in whole.sessions.keys() - {"offsets", "event_offsets"}:
                assert np.array_equal(part.sessions[name][index], whole.sessions[name][session])
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(whole.num_sessions))
    assert SessionSketch.of_log(parts.train).share_of(SessionSketch.of_log(parts.judge)) == 0.0
    return found


# --- which sessions


@pytest.mark.parametrize("by", ["session", "user"])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.9])
def test_a_simulated_log_keeps_its_world_and_its_groups(grouped, tmp_path, by, share):
    parts = split_log(grouped, tmp_path / "parts", by=by, share=share, seed=1)
    train, judge = check_parts(grouped, parts)
    assert len(train) == round(20 * share) * 2
    groups = [set(grouped.sessions["group_id"][number].tolist()) for number in (train, judge)]
    assert groups[0].isdisjoint(groups[1])
    assert parts.judge.world.config == grouped.world.config


def test_users_stay_together(shop, tmp_path):
    log = shop([(user, 10.0 * visit) for user in "tuvwxyz" for visit in range(3)])
    train, judge = check_parts(log, split_log(log, by="user", share=0.6))
    users = [set(log.sessions["source_user_id"][number].tolist()) for number in (train, judge)]
    assert users[0].isdisjoint(users[1])
    assert [len(each) for each in users] == [4, 3]
    assert len(train) == 12
    sessions = split_log(log, tmp_path / "sessions")
    assert not set(sessions.train.sessions["user_id"]).isdisjoint(sessions.judge.sessions["user_id"])


@pytest.mark.parametrize(
    ("hours", "share", "earlier"),
    [
        ([30, 10, 20, 40], 0.5, {10, 20}),
        ([30, 10, 20, 40], 0.75, {10, 20, 30}),
        ([10, 20, 20, 20], 0.5, {10}),  # those that begin at the same moment stay together
        ([10, 20, 20, 20, 40], 0.6, {10, 20}),
        ([10, 10, 10, 40], 0.25, {10}),
    ],
)
def test_earlier_sessions_train_and_later_ones_judge(shop, hours, share, earlier):
    log = shop([(f"user{index}", hour) for index, hour in enumerate(hours)])
    train, judge = check_parts(log, split_log(log, by="time", share=share))
    begins = (log.rows["timestamp"][log.offsets[:-1]] - 1.7e9) / 3600
    assert set(begins[train].tolist()) == earlier
    assert begins[train].max() < begins[judge].min()


def test_the_seed_draws(grouped, tmp_path):
    one, two, other = (
        split_log(grouped, tmp_path / str(index), seed=seed).train for index, seed in enumerate((3, 3, 4))
    )
    assert tree(one.path).keys() == tree(two.path).keys()
    assert np.array_equal(one.sessions["whole_session"], two.sessions["whole_session"])
    assert one.manifest["schema"] == two.manifest["schema"]
    assert not np.array_equal(one.sessions["whole_session"], other.sessions["whole_session"])


def test_a_part_can_be_split_again(grouped, tmp_path):
    first = split_log(grouped, tmp_path / "one", share=0.6)
    second = split_log(first.judge, by="user", seed=5)
    assert second.train.path == tmp_path / "one" / "judge-split" / "train"
    whole = np.concatenate([part.sessions["whole_session"] for part in (second.train, second.judge)])
    assert np.array_equal(np.sort(whole), first.judge.sessions["whole_session"])
    for part in (second.train, second.judge):
        part.require_sound()
        assert part.part is not None
        assert part.part["of"]["part"] == first.judge.part


def test_calendars_and_proto_actions_are_split(small_world, tmp_path):
    world = small_world(12, 3, retention=True).config
    log = collect(tmp_path / "log", LogRequest(world, mixture_spec(0.5, "clickbait"), "proto", 12))
    assert {"day", "session_number", "proto"} <= log.rows.keys()
    check_parts(log, split_log(log, share=0.3))


@pytest.mark.parametrize("lost", [0.5, 1.0])
def test_propensities_are_what_a_part_has(small_request, tmp_path, lost):
    request = replace(small_request, corruption=Corruption(missing_propensities=lost), group_size=1)
    log = collect(tmp_path / "log", request)
    missing, kinds = np.isnan(log.rows["behavior_log_prob"][log.offsets[:-1]]), set()
    for seed in range(12):
        train, judge = (
            part.propensities for part in vars(split_log(log, tmp_path / str(seed), share=0.05, seed=seed)).values()
        )
        assert judge == log.propensities
        kinds.add(train)
        LoggedDataset.open(tmp_path / str(seed) / "train").require_sound()
    assert kinds == ({"missing"} if missing.all() else {"exact", "partial", "missing"})


# --- what is refused


@pytest.mark.parametrize(
    ("visits", "options", "message"),
    [
        (
            [("a", 1), ("b", 5)],
            {"share": 0.1},
            r"--share 0.1 of 2 sessions leaves a part empty; give one in \[0.5, 0.5\]",
        ),
        ([("a", 1), ("b", 5)], {"share": 0.8, "by": "time"}, "of 2 sessions leaves a part empty"),
        (
            [("a", 1), ("b", 5), ("c", 9)],
            {"share": 0.9, "by": "user"},
            r"of 3 users .* in \[0.333333, 0.666666666667\]",
        ),
        ([("a", 1), ("a", 5)], {"by": "user"}, "has 1 user to split: --by session splits those of a user"),
        ([("a", 1)], {}, "has 1 session to split: two parts need two"),
        ([("a", 1)], {"by": "user"}, "has 1 user to split: two parts need two; collect or import more"),
        ([("a", 1), ("b", 1)], {"by": "time"}, "all 2 sessions of .* begin at the same time; split it --by session"),
        ([("a", 1), ("b", 5)], {"share": 1.0}, "share=1.0"),
        ([("a", 1), ("b", 5)], {"share": 0.0}, "share=0.0"),
        ([("a", 1), ("b", 5)], {"share": float("nan")}, "share=nan"),
        ([("a", 1), ("b", 5)], {"by": "users"}, "unknown way to split 'users'; did you mean 'user'"),
        ([("a", 1), ("b", 5)], {"seed": -1}, "seed=-1"),
    ],
)
def test_what_leaves_nothing_is_refused(shop, tmp_path, visits, options, message):
    log = shop(visits)
    with pytest.raises(InvalidInput, match=message):
        split_log(log, **options)
    assert not (tmp_path / "shop-split").exists()


@pytest.mark.parametrize(("by", "what"), [("session", "group of sessions"), ("user", "user")])
def test_a_log_of_one_group_is_refused_without_a_way_that_leads_nowhere(small_request, tmp_path, by, what):
    log = collect(tmp_path / "log", replace(small_request, num_sessions=4, group_size=4))
    with pytest.raises(InvalidInput, match=f"has 1 {what} to split: two parts need two; collect or import more"):
        split_log(log, by=by)


def test_the_shares_that_a_refusal_names_split(shop, tmp_path):
    log = shop([(user, 5.0 * index) for index, user in enumerate("abcdefg")])
    for share in (float(f"{1 / 7:.6g}"), float(f"{6 / 7:.12g}")):
        assert split_log(log, tmp_path / str(share), share=share).train.num_sessions in (1, 6)


def test_a_log_without_times_is_not_split_by_them(grouped, shop, foreign_log):
    with pytest.raises(InvalidInput, match=r"has no times; split it --by session or --by user$"):
        split_log(grouped, by="time")
    with pytest.raises(InvalidInput, match=r"or import it again with timestamp=COLUMN$"):
        split_log(foreign_log(), by="time")


def test_what_has_changed_or_contradicts_itself_is_refused(shop, tmp_path):
    log = shop([("a", 1), ("b", 5)])
    wrong = np.array(log.rows["step"])
    wrong[1] = 7
    columns = {
        f"{folder}/{name}": v
        for folder in ("sessions", "events", "catalog")
        for name, v in getattr(log, folder).items()
    }
    columns |= {f"rows/{name}": values for name, values in log.rows.items()} | {"rows/step": wrong}
    fill_folder(tmp_path / "wrong", columns, log.manifest)
    with pytest.raises(InvalidInput, match="1 rows whose step is not their place in the session"):
        split_log(LoggedDataset.open(tmp_path / "wrong"))
    file = log.path / "rows" / "slate.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    with pytest.raises(InvalidInput, match=r"slate.npy has SHA-256"):
        split_log(LoggedDataset.open(log.path))
    assert not list(tmp_path.glob("*-split"))


def test_the_same_split_is_found_and_another_is_refused(grouped, tmp_path):
    out = tmp_path / "parts"
    first, again = split_log(grouped, out), split_log(grouped, out)
    assert again.train.manifest == first.train.manifest
    others: list[dict[str, Any]] = [{"share": 0.4}, {"by": "user"}, {"seed": 1}]
    for options in others:
        with pytest.raises(InvalidInput, match=r"parts exists and is no such split of .*; choose another --out"):
            split_log(grouped, out, **options)
    shutil.rmtree(out / "judge")
    with pytest.raises(InvalidInput, match="parts exists and is no such split"):
        split_log(grouped, out)


def test_a_part_that_says_what_cannot_be_is_refused(grouped, tmp_path):
    log = split_log(grouped, tmp_path / "parts").train
    manifest = json.loads((log.path / "manifest.json").read_text())
    changes: list[dict[str, Any]] = [{"part": 3}, {"part": {**manifest["part"], "name": "test"}}]
    changes += [{"part": {**manifest["part"], "of": {**manifest["part"]["of"], "checksum": 1}}}, {"part": {}}]
    for change in changes:
        shutil.copytree(log.path, tmp_path / "wrong")
        (tmp_path / "wrong" / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(InvalidInput, match="part="):
            LoggedDataset.open(tmp_path / "wrong")
        shutil.rmtree(tmp_path / "wrong")
    # As a whole of its own its sessions are not those of its request.
    del manifest["part"]
    (log.path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InvalidInput, match="num_sessions is not that of its request"):
        LoggedDataset.open(log.path)


# --- what a part knows of the other


def test_the_other_part_is_found_beside(grouped, tmp_path, monkeypatch):
    parts = split_log(grouped, tmp_path / "parts")
    assert other_part(parts.train) == parts.judge.path
    assert other_part(parts.judge) == parts.train.path
    assert other_part(grouped) is None
    monkeypatch.chdir(tmp_path / "parts" / "train")
    assert other_part(LoggedDataset.open(".")) == parts.judge.path
    (tmp_path / "link").symlink_to(parts.train.path)
    assert other_part(LoggedDataset.open(tmp_path / "link")) == parts.judge.path
    shutil.rmtree(parts.judge.path)
    assert other_part(parts.train) is None
    split_log(grouped, tmp_path / "others", seed=8)
    (tmp_path / "others" / "judge").rename(parts.judge.path)
    assert other_part(parts.train) is None


@pytest.mark.parametrize("keep", [[0], [0, 2, 3], [1, 4], range(5)], ids=str)
def test_kept_entries_come_in_blocks_of_whole_sessions(monkeypatch, keep):
    """Of at most 8 entries, or of one longer session; an empty one among them."""
    monkeypatch.setattr(stored_arrays, "_GATHERED_BYTES", 8 * 24)
    column, offsets = np.arange(60.0).reshape(20, 3), np.array([0, 3, 3, 14, 16, 20])
    wanted = np.isin(np.arange(5), keep)
    kept = KeptEntries(column, offsets, wanted)
    expected = np.concatenate([column[offsets[s] : offsets[s + 1]] for s in keep])
    chunks = [np.frombuffer(bytes(chunk)).reshape(-1, 3) for chunk in kept.chunks()]
    assert np.array_equal(np.concatenate(chunks), expected)
    assert kept.shape == expected.shape
    assert [len(chunk) for chunk in chunks] == [wanted[0] * 3, wanted[2] * 11, wanted[3] * 2 + wanted[4] * 4]
