"""Candidates of steps: what a table may say of them, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline_data.describe.dataset_summary import summarize
from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions, Lists
from offline_data.store.dataset import LoggedDataset
from offline_data.store.log_checks import contradictions
from recenv.errors import InvalidInput

TABLE = """user,step,item,click,p,of
u,0,B,1,0.5,C|B|A
u,0,A,0,0.5,A|B|C
u,1,C,0,0.5,D|C
v,0,A,1,0.25,A|D|C|B
"""
ROLES = {"user_id": "user", "item_id": "item", "step": "step", "feedback.click": "click", "candidates": "of"}


@pytest.fixture
def read(tmp_path):
    def run(text=TABLE, out="out", list_delimiter="|", **options):
        file = tmp_path / f"{out}.csv"
        file.write_text(text)
        return import_table(file, tmp_path / out, ColumnMap.of(ROLES), list_delimiter=list_delimiter, **options)

    return run


def test_candidates_are_a_set_of_the_step(read):
    log = read()
    np.testing.assert_array_equal(log.rows["candidates"], [[0, 1, 2, -1], [2, 3, -1, -1], [0, 1, 2, 3]])
    assert log.catalog["source_id"].tolist() == ["A", "B", "C", "D"]
    LoggedDataset.open(log.path, verify=True).require_sound()
    assert "rows/candidates" in [column["name"] for column in summarize(log)["columns"]]


def test_uniform_policy_is_uniform_among_candidates(read, tmp_path):
    """Of the first slate 1 of 3 and 1 of 2, which is what its propensities would say."""
    roles = ROLES | {"propensity": "p"}
    file = tmp_path / "p.csv"
    file.write_text(TABLE.replace(",0.5,C|B|A", f",{1 / 3},C|B|A"))
    log = import_table(file, tmp_path / "p", ColumnMap.of(roles), list_delimiter="|")
    assert summarize(log)["overlap"]["uniform"]["mean_weight"] == pytest.approx(1.0)


def test_repeated_candidates_count_once_and_empty_ones_not(read):
    log = read(TABLE.replace("D|C\n", "C||D|C|\n"))
    np.testing.assert_array_equal(log.rows["candidates"][1], [2, 3, -1, -1])


def test_items_of_the_file_of_items_hold_the_candidates_too(read, tmp_path):
    items = tmp_path / "items.csv"
    items.write_text("item,embedding_0\n" + "".join(f"{name},{n}\n" for n, name in enumerate("DCBAE")))
    log = read(items=items)
    assert log.num_items == 5
    np.testing.assert_array_equal(log.rows["candidates"][1], [2, 3, -1, -1])
    items.write_text("item,embedding_0\nA,0\nB,1\nC,2\n")
    log = read(out="second", items=items)
    assert log.catalog["source_id"].tolist() == list("ABCD")
    np.testing.assert_array_equal(log.catalog["embeddings"][:, 0], [0, 1, 2, 0])


def test_parquet_lists(read, tmp_path):
    import pyarrow as pa
    from pyarrow import csv, parquet

    expected = read()
    table = csv.read_csv(tmp_path / "out.csv")
    lists = pa.array([text.split("|") for text in table["of"].to_pylist()])
    parquet.write_table(table.set_column(5, "of", lists), tmp_path / "log.parquet")
    log = import_table(tmp_path / "log.parquet", tmp_path / "second", ColumnMap.of(ROLES))
    np.testing.assert_array_equal(log.rows["candidates"], expected.rows["candidates"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("D|C\n", "D|A\n", r"row 3: item C was shown, and is none of its step's 2 candidates; add it"),
        ("A|B|C\n", "A|B|D\n", r"row 2: its candidates are not those of its step's first item"),
        ("D|C\n", "\n", r"row 3 has no of, which is missing in 1 of 4 rows.*--missing drop"),
    ],
)
def test_what_cannot_be_is_refused(read, old, new, message):
    with pytest.raises(InvalidInput, match=message):
        read(TABLE.replace(old, new))


def test_candidates_that_another_delimiter_holds_lead_to_the_remedy(read):
    """Which works when it is followed."""
    with pytest.raises(InvalidInput, match=r"its step's 1 candidates; .*if C;B;A is .*, say --list-delimiter ';'"):
        read(TABLE.replace("|", ";").replace("A;B;C", "C;B;A"))
    log = read(TABLE.replace("|", ";"), list_delimiter=";")
    np.testing.assert_array_equal(log.rows["candidates"][0], [0, 1, 2, -1])


def test_rows_without_candidates_are_left_out_when_asked(read):
    log = read(TABLE.replace("D|C\n", "\n"), missing="drop")
    assert log.num_rows == 2


@pytest.mark.parametrize("candidates", [[0, 3, -1, -1], [1, 1, 0, -1]])
def test_altered_candidates_are_a_contradiction(read, candidates):
    log = read()
    altered = np.array(log.rows["candidates"])
    altered[0] = candidates
    found = contradictions(replace(log, rows={**log.rows, "candidates": altered}))
    assert {key: count for key, count in found.items() if count} == {"shown_and_no_candidates": 1}


@pytest.mark.parametrize("personal", [False, True])
def test_propensities_are_estimated_among_candidates(tmp_path, personal):
    """Of a Plackett-Luce policy over eight of twenty items, its weights by item, or by item and user."""
    rng, count, items = np.random.default_rng(0), 3000, 20
    embeddings = rng.normal(size=(items, 2))
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    taste = rng.normal(size=(count, 2)) * 2.0
    logits = taste @ embeddings.T if personal else np.broadcast_to(rng.normal(size=items), (count, items))
    offered = np.argsort(rng.random((count, items)), axis=1)[:, :8]
    among = np.take_along_axis(logits, offered, axis=1)
    keys = among + rng.gumbel(size=among.shape)
    places = np.argsort(-keys, axis=1)[:, :2]
    slate = np.take_along_axis(offered, places, axis=1)
    chances = np.exp(among - among.max(axis=1, keepdims=True))
    taken = np.take_along_axis(chances, places, axis=1)
    whole = chances.sum(axis=1)
    truth = np.log(taken[:, 0] / whole) + np.log(taken[:, 1] / (whole - taken[:, 0]))
    (tmp_path / "log.csv").touch()
    told = Interactions(
        files=[(tmp_path / "log.csv", 2 * count)],
        user=Ids(np.repeat(np.arange(count), 2), np.arange(count)),
        item=Ids(slate.ravel(), np.arange(items)),
        feedback={"click": np.zeros(2 * count)},
        step=np.zeros(2 * count, np.int64),
        position=np.tile([0, 1], count),
        candidates=Lists(np.repeat(np.arange(count), 2), np.arange(count + 1) * 8, offered.ravel()),
        context={"x": np.repeat(taste[:, 0], 2), "y": np.repeat(taste[:, 1], 2)},
        catalog={"embeddings": embeddings.astype(np.float32)} if personal else {},
    )
    log = import_interactions(tmp_path / "out", told, "test", options=ImportOptions(estimate_propensities=True))
    report = log.manifest["source"]["propensity_estimate"]
    assert report["model"] == ("popularity and context" if personal else "popularity")
    assert report["log_loss_of_uniform"] == pytest.approx(np.log([8, 7]).mean())
    assert report["calibration_error"] < 2.0 * report["calibration_error_of_chance"]
    missed = np.abs(log.rows["behavior_log_prob"] - truth).mean()
    assert missed < 0.15
    assert np.abs(-np.log(56) - truth).mean() > 6.0 * missed


def test_estimates_are_probabilities_of_what_was_offered(read):
    """Of two candidates, a slate of one and the other add up to one."""
    rows = [f"u{n},0,{'CD'[n % 3 > 0]},1,0.5,D|C" for n in range(600)] + [f"w{n},0,A,0,0.5,A|B|C" for n in range(5)]
    log = read(
        "user,step,item,click,p,of\n" + "\n".join(rows) + "\n", options=ImportOptions(estimate_propensities=True)
    )
    chances = {
        int(item): float(np.exp(value))
        for item, value, offer in zip(
            log.rows["slate"][:, 0], log.rows["behavior_log_prob"], log.rows["candidates"], strict=True
        )
        if offer.tolist()[:2] == [2, 3]
    }
    assert sum(chances.values()) == pytest.approx(1.0)
    assert chances[3] == pytest.approx(2 / 3, abs=0.05)
