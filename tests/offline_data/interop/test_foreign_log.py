"""Foreign logs as datasets: propensities, rewards and ids by hand, and what a log lacks is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions, label_columns
from offline_data.store.histories import ObservationBuilder
from recenv.errors import InvalidInput

FILE = Path(__file__)


def log_of(entries: int, **columns: Any) -> Interactions:
    """A log of one user and one item; any column may be given."""
    zeros = np.zeros(entries, np.int64)
    given = {
        "files": [(FILE, entries)],
        "user": Ids.of(zeros),
        "item": Ids.of(zeros),
        "feedback": {"click": np.zeros(entries)},
    }
    return Interactions(**{**given, **columns})


def imported(path: Path, log: Interactions, **options: Any):
    weights = options.pop("default_weights", None)
    return import_interactions(path, log, "test", options=ImportOptions(**options), default_weights=weights)


def test_manifest_says_what_is_lacking(tmp_path):
    lacking = imported(tmp_path / "bare", log_of(3)).manifest["source"]["lacking"]
    assert lacking == [
        "propensities of the logged items",
        "profiles of the users",
        "embeddings of the items",
        "times",
        "slates: each item is a step of its own",
    ]
    full = log_of(
        3,
        step=np.arange(3),
        timestamp=np.arange(3.0),
        item_log_prob=np.zeros(3),
        catalog={"embeddings": np.ones((1, 2), np.float32)},
    )
    assert imported(tmp_path / "full", full).manifest["source"]["lacking"] == ["profiles of the users"]


@pytest.mark.parametrize(
    ("log_prob", "kind"),
    [(None, "missing"), ([np.nan] * 3, "missing"), ([-1.0, np.nan, -1.0], "partial"), ([-1.0, -2.0, 0.0], "exact")],
)
def test_kind_of_propensities(tmp_path, log_prob, kind):
    log = log_of(3, item_log_prob=None if log_prob is None else np.array(log_prob))
    assert imported(tmp_path / "log", log).propensities == kind


def test_propensities_of_slates(tmp_path):
    """Item by item they are summed, over a short slate too; prefixes are taken as they are."""
    steps, position = np.array([0, 0, 1]), np.array([0, 1, 0])
    items = Ids(np.array([0, 1, 2]), np.arange(3))
    log = log_of(3, item=items, step=steps, position=position, item_log_prob=np.array([-1.0, -2.0, -4.0]))
    dataset = imported(tmp_path / "item", log)
    np.testing.assert_array_equal(dataset.rows["prefix_log_prob"], [[-1.0, -3.0], [-4.0, -4.0]])
    np.testing.assert_array_equal(dataset.rows["behavior_log_prob"], [-3.0, -4.0])
    log = log_of(3, item=items, step=steps, position=position, prefix_log_prob=np.array([-1.0, -3.0, -4.0]))
    again = imported(tmp_path / "prefix", log)
    np.testing.assert_array_equal(again.rows["prefix_log_prob"], dataset.rows["prefix_log_prob"])
    log = log_of(3, item=items, step=steps, position=position, step_log_prob=np.array([-3.0, -3.0, -4.0]))
    whole = imported(tmp_path / "step", log)
    np.testing.assert_array_equal(whole.rows["behavior_log_prob"], [-3.0, -4.0])
    assert "prefix_log_prob" not in whole.rows


def test_reward_is_the_weighted_feedback(tmp_path):
    feedback = {"click": np.array([1.0, 0.0, 1.0]), "like": np.array([1.0, 0.0, 0.0])}
    log = log_of(3, feedback=feedback, step=np.array([0, 0, 1]))
    np.testing.assert_array_equal(imported(tmp_path / "click", log).reward(), [1.0, 1.0])
    chosen = imported(tmp_path / "default", log, default_weights={"like": 1.0})
    np.testing.assert_array_equal(chosen.reward(), [1.0, 0.0])
    both = imported(tmp_path / "both", log, default_weights={"like": 1.0}, reward_weights={"click": 0.5, "like": 2.0})
    assert both.manifest["reward_names"] == ["click", "like"]
    np.testing.assert_array_equal(both.reward(), [2.5, 0.5])
    np.testing.assert_array_equal(both.session_returns(), [3.0])


def test_consumed_items_are_those_clicked(tmp_path):
    items = Ids(np.array([2, 0, 1]), np.arange(3))
    log = log_of(3, item=items, feedback={"click": np.array([1.0, 0.0, 0.5]), "like": np.array([0.25, 0.0, 1.0])})
    dataset = imported(tmp_path / "log", log)
    np.testing.assert_array_equal(dataset.events["item"], [2, 1])
    np.testing.assert_array_equal(dataset.events["feedback"], [[0.25], [1.0]])
    np.testing.assert_array_equal(dataset.rows["consumed"], [0, 1, 1])


def test_ids_are_dense_and_the_source_is_kept(tmp_path):
    log = log_of(3, user=Ids.of(np.array(["zoe", "ann", "zoe"])), item=Ids.of(np.array([900, 7, 7])))
    dataset = imported(tmp_path / "log", log)
    assert dataset.catalog["source_id"].tolist() == [7, 900]
    assert dataset.sessions["source_user_id"].tolist() == ["ann", "zoe"]
    np.testing.assert_array_equal(dataset.rows["slate"][:, 0], [0, 1, 0])


def test_sessions_with_names_are_in_the_order_of_time(tmp_path):
    """Names as text sort 10 before 9; the other user's sessions have the same names, at other times."""
    session = Ids.of(np.array(["9", "10", "9", "10", "9"])).codes
    user, times = Ids(np.array([0, 0, 0, 1, 1]), np.arange(2)), np.array([5.0, 60.0, 9.0, 1.0, 99.0])
    log = log_of(5, user=user, session=session, timestamp=times)
    dataset = imported(tmp_path / "timed", log)
    np.testing.assert_array_equal(dataset.rows["timestamp"], [5.0, 9.0, 60.0, 1.0, 99.0])
    np.testing.assert_array_equal(dataset.offsets, [0, 2, 3, 4, 5])
    untimed = imported(tmp_path / "untimed", log_of(5, user=user, session=session, row_columns={"when": times}))
    np.testing.assert_array_equal(untimed.rows["when"], [60.0, 5.0, 9.0, 1.0, 99.0])


def test_sessions_of_a_user_are_numbered(tmp_path):
    log = log_of(4, user=Ids.of(np.array([1, 0, 1, 1])), session=np.array([8, 3, 5, 8]))
    dataset = imported(tmp_path / "log", log)
    np.testing.assert_array_equal(dataset.sessions["user_id"], [0, 1, 1])
    np.testing.assert_array_equal(dataset.sessions["episode_id"], [0, 0, 1])
    np.testing.assert_array_equal(dataset.sessions["group_id"], [0, 1, 2])


def test_flags_end_sessions(tmp_path):
    columns = {"session": np.array([0, 0, 1]), "terminated": np.array([False, True, False])}
    dataset = imported(tmp_path / "left", log_of(3, **columns))
    np.testing.assert_array_equal(dataset.rows["terminated"], [False, True, False])
    np.testing.assert_array_equal(dataset.rows["truncated"], [False, False, True])
    dataset = imported(tmp_path / "cut", log_of(3, session=columns["session"], truncated=columns["terminated"]))
    np.testing.assert_array_equal(dataset.rows["terminated"], [False, False, True])


def test_estimates_fill_what_is_missing(tmp_path):
    """Given propensities stay, missing ones are estimated, and the manifest says so."""
    rng = np.random.default_rng(0)
    known = np.where(np.arange(200) % 2 == 0, -1.0, np.nan)
    log = log_of(
        200, user=Ids.of(np.arange(200) // 10), item=Ids(rng.integers(5, size=200), np.arange(5)), item_log_prob=known
    )
    dataset = imported(tmp_path / "log", log, estimate_propensities=True)
    assert dataset.propensities == "estimated"
    assert dataset.manifest["source"]["propensity_estimate"]["model"] == "popularity"
    logged = np.asarray(dataset.rows["behavior_log_prob"])
    np.testing.assert_array_equal(logged[::2], -1.0)
    assert np.all(np.abs(logged[1::2] - np.log(1 / 5)) < 0.7)
    np.testing.assert_array_equal(dataset.rows["prefix_log_prob"][:, 0], logged)
    exact = imported(tmp_path / "exact", log_of(20, item_log_prob=np.full(20, -1.0)), estimate_propensities=True)
    assert exact.propensities == "exact"


# --- labels


def test_labels_by_hand():
    labels = Ids.of(np.array(["b,a", "", "a", "b , a"]))
    columns = label_columns(labels, ",")
    half = np.float32(1.0) / np.sqrt(np.float32(2.0))
    np.testing.assert_allclose(
        columns["embeddings"], [[half, half, 0], [0, 0, 1], [1, 0, 0], [half, half, 0]], rtol=1e-6
    )
    np.testing.assert_array_equal(columns["topics"], [1, 2, 0, 1])


# --- refusals


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"feedback": {"click": np.array([0.0, 1.5, 0.0])}},
            "data row 2: click=1.5 is not in [0, 1]; scale",
        ),
        ({"feedback": {"click": np.array([0.0, 0.0, np.nan])}}, "data row 3: click=nan is not in [0, 1]"),
        ({"timestamp": np.array([np.nan, 0.0, 1.0])}, "data row 1: timestamp=nan is not a time"),
        (
            {"timestamp": np.array([1.6e9, 1.6e12, 1.6e9])},
            "to the year 52,672 (1600000000000), in data row 2, which no log does; mend them, or say --counted-times",
        ),
        ({"reward": {"reward": np.array([0.0, np.inf, 0.0])}}, "data row 2: reward=inf is not a finite number"),
        ({"item_log_prob": np.array([0.0, -1.0, 0.5])}, "data row 3: propensity="),
        ({"item_log_prob": np.array([0.0, -np.inf, 0.0])}, "data row 2: propensity=0.0 is not a probability above 0"),
        (
            {"reward": {"reward": np.array([1.0, 2.0, 1.0])}, "step": np.array([0, 0, 1])},
            "data row 2: reward=2.0 is not the reward of its step's first item",
        ),
        ({"reward": {"reward": np.array([0.0, 0.0, 1e300])}}, "data row 3: reward=1e+300 is not a finite number"),
        (
            {"step_log_prob": np.array([-1.0, -3.0, np.nan]), "step": np.array([0, 1, 1])},
            "data row 3: behavior_log_prob=nan is not that of its step's first item",
        ),
        (
            {"prefix_log_prob": np.array([-3.0, -1.0, -2.0]), "step": np.array([1, 0, 1])},
            "data row 3: prefix_log_prob=-2.0 is not at most that of the slate up to the item before",
        ),
    ],
)
def test_bad_values_are_named_with_their_place(tmp_path, columns, message):
    with pytest.raises(InvalidInput, match=r"test_foreign_log\.py") as caught:
        imported(tmp_path / "log", log_of(3, **columns))
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_row_of_the_second_file_is_named_so(tmp_path):
    log = log_of(3, files=[(Path("a.csv"), 2), (Path("b.csv"), 1)], feedback={"click": np.array([0.0, 0.0, 2.0])})
    with pytest.raises(InvalidInput, match=r"b\.csv: data row 1"):
        imported(tmp_path / "log", log)


def test_bad_options(tmp_path):
    for options, message in [
        ({"session_gap": -1.0}, "session_gap=-1.0"),
        ({"history_length": 0}, "history_length=0"),
        ({"reward_weights": {"click": np.inf}}, "reward weight of click"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            ImportOptions(**options)
    with pytest.raises(InvalidInput, match="reward weights of lick: no such feedback; choose of click"):
        imported(tmp_path / "log", log_of(3), reward_weights={"lick": 1.0})
    with pytest.raises(InvalidInput, match="weigh feedback, and this log has rewards"):
        imported(tmp_path / "log", log_of(3, reward={"reward": np.zeros(3)}), reward_weights={"click": 1.0})
    with pytest.raises(InvalidInput, match=r"a step of 1,025 items exceeds a slate's 1024"):
        imported(tmp_path / "log", log_of(1025, step=np.zeros(1025)))
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "notes").write_text("mine")
    with pytest.raises(InvalidInput, match="exists"):
        imported(tmp_path / "there", log_of(3))


# --- what the clock is a share of


def test_max_steps_are_those_of_the_longest_session_or_given(tmp_path):
    log = log_of(5, session=np.array([0, 0, 1, 1, 1]), step=np.array([0, 1, 0, 1, 2]))
    assert imported(tmp_path / "longest", log).max_steps == 3
    dataset = imported(tmp_path / "given", log, max_steps=12)
    assert dataset.max_steps == 12
    clock = ObservationBuilder(dataset).observe(np.arange(5))["clock"]
    np.testing.assert_allclose(clock[:, 0], np.array([0, 1, 0, 1, 2]) / 12, rtol=1e-6)


def test_the_same_session_looks_the_same_beside_a_longer_one(tmp_path):
    short = log_of(2, session=np.array([0, 0]), step=np.array([0, 1]))
    both = log_of(7, session=np.array([0, 0, 1, 1, 1, 1, 1]), step=np.array([0, 1, 0, 1, 2, 3, 4]))
    seen = [
        ObservationBuilder(imported(tmp_path / name, log, max_steps=9)).observe(np.arange(2))["clock"]
        for name, log in (("short", short), ("both", both))
    ]
    np.testing.assert_array_equal(seen[0], seen[1])


def test_a_session_of_more_than_max_steps_is_named(tmp_path):
    user = Ids(np.array([0, 0, 1, 1, 1]), np.array(["ann", "bob"]))
    with pytest.raises(
        InvalidInput, match="max_steps=2 is less than the 3 steps of the longest session, of user bob, which begins at"
    ):
        imported(tmp_path / "log", log_of(5, user=user), max_steps=2)
    assert not (tmp_path / "log").exists()
    with pytest.raises(InvalidInput, match="max_steps=0 is outside"):
        ImportOptions(max_steps=0)


def test_prefixes_of_slates_with_empty_positions(tmp_path):
    """An empty position adds nothing to what was chosen before it; before the first item that is nothing."""
    steps, position = np.array([0, 0, 1, 2, 2]), np.array([1, 3, 2, 0, 1])
    items = Ids(np.array([0, 1, 2, 0, 1]), np.arange(3))
    expected = [[0.0, -1.0, -1.0, -3.0], [0.0, 0.0, -4.0, -4.0], [-1.0, -2.0, -2.0, -2.0]]
    for name, values in (("item_log_prob", [-1, -2, -4, -1, -1]), ("prefix_log_prob", [-1, -3, -4, -1, -2])):
        log = log_of(5, item=items, step=steps, position=position, **{name: np.array(values, float)})
        dataset = imported(tmp_path / name, log)
        np.testing.assert_array_equal(dataset.rows["prefix_log_prob"], expected)
        np.testing.assert_array_equal(dataset.rows["behavior_log_prob"], [-3.0, -4.0, -2.0])
        np.testing.assert_array_equal(dataset.slates(np.arange(3)), [[-1, 0, -1, 1], [-1, -1, 2, -1], [0, 1, -1, -1]])


def test_estimated_propensities_know_no_empty_positions(tmp_path):
    """The same slates, with gaps between their items and before them, have the same estimates, judged alike."""
    rng, sizes = np.random.default_rng(0), np.tile([1, 2, 3], 40)
    row, number = np.repeat(np.arange(120), sizes), np.concatenate([np.arange(size) for size in sizes])
    items = np.concatenate([rng.choice(5, size, replace=False, p=[0.4, 0.3, 0.1, 0.1, 0.1]) for size in sizes])
    columns = {"item": Ids(items, np.arange(5)), "user": Ids.of(row), "step": np.zeros(len(row), np.int64)}
    dense, sparse = (
        imported(tmp_path / name, log_of(len(row), **columns, position=position), estimate_propensities=True)
        for name, position in (("dense", number), ("sparse", 2 * number + row % 2))
    )
    assert sparse.slate_size == 6
    reports = [log.manifest["source"]["propensity_estimate"] for log in (dense, sparse)]
    assert reports[0] == pytest.approx(reports[1])
    np.testing.assert_allclose(sparse.rows["behavior_log_prob"], dense.rows["behavior_log_prob"], rtol=1e-9)
    prefix, shown = sparse.rows["prefix_log_prob"], sparse.rows["shown"]
    np.testing.assert_allclose(prefix[shown], dense.rows["prefix_log_prob"][dense.rows["shown"]], rtol=1e-9)
    assert (prefix[~np.logical_or.accumulate(shown, axis=1)] == 0.0).all()
