"""Candidates of steps: what a table may say of them, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline_data.describe.dataset_summary import summarize
from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
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
    def run(text=TABLE, out="out", **options):
        file = tmp_path / f"{out}.csv"
        file.write_text(text)
        return import_table(file, tmp_path / out, ColumnMap.of(ROLES), list_delimiter="|", **options)

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
    with pytest.raises(InvalidInput, match="has no item=D, which the log shows"):
        read(out="second", items=items)


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


def test_propensities_among_candidates_are_not_estimated(read):
    with pytest.raises(InvalidInput, match=r"offers candidates, and propensities are estimated where .*map propensity"):
        read(options=ImportOptions(estimate_propensities=True))
