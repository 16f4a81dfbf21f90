"""What belongs together in a log: visits before steps, names of requests, positions that stay, repeated rows."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
from recenv.errors import InvalidInput


@pytest.fixture
def imported(tmp_path):
    """Imports CSV text; its columns have the names of their roles, `click` is the feedback."""

    def build(text, name="out", **options):
        own = {each: options.pop(each) for each in ("missing", "first_position") if each in options}
        file = tmp_path / "log.csv"
        file.write_text(text)
        header = text.partition("\n")[0].split(",")
        roles = {"feedback.click" if column == "click" else column: column for column in header}
        return import_table(file, tmp_path / name, ColumnMap.of(roles), **own, options=ImportOptions(**options))

    return build


def test_a_user_comes_back_and_the_pages_begin_anew(imported):
    log = imported(
        "user_id,step,position,item_id,timestamp,click\n"
        "7,1,1,10,1714550000,0\n7,1,2,11,1714550000,0\n7,2,1,12,1714550030,1\n7,2,2,13,1714550030,0\n"
        "7,1,1,20,1714900000,0\n7,1,2,21,1714900000,0\n7,2,1,22,1714900030,0\n7,2,2,23,1714900030,1\n"
    )
    assert (log.num_sessions, log.num_rows, log.slate_size) == (2, 4, 2)
    shown = log.catalog["source_id"][log.rows["slate"]]
    np.testing.assert_array_equal(shown, [[10, 11], [12, 13], [20, 21], [22, 23]])
    np.testing.assert_array_equal(log.rows["timestamp"], [1714550000, 1714550030, 1714900000, 1714900030])


def test_a_step_that_comes_back_begins_a_visit_however_soon(imported):
    log = imported(
        "user_id,step,item_id,timestamp,click\n"
        "7,1,10,1714550000,0\n7,2,12,1714550030,1\n7,1,20,1714550600,0\n7,2,22,1714550630,0\n7,2,23,1714550640,0\n"
    )
    slates = [
        log.catalog["source_id"][slate[shown]].tolist()
        for slate, shown in zip(log.rows["slate"], log.rows["shown"], strict=True)
    ]
    assert (log.num_sessions, slates) == (2, [[10], [12], [20], [22, 23]])
    assert (
        "1 of 2 sessions begin where a step's number comes back after another's (the first: log.csv: data row 3)"
        in ("".join(log.manifest["source"]["remarks"]))
    )


def test_steps_order_a_visit_and_what_contradicts_their_times_is_said(imported):
    log = imported("user_id,step,item_id,timestamp,click\n7,2,10,1714550000,0\n7,1,11,1714550030,0\n")
    np.testing.assert_array_equal(log.catalog["source_id"][log.rows["slate"][:, 0]], [11, 10])
    assert "1 steps of 2 are earlier than the one before them (the first: log.csv: data row 1)" in "".join(
        log.manifest["source"]["remarks"]
    )


@pytest.mark.parametrize("timed", [True, False])
def test_names_of_requests_are_in_the_order_of_time_or_of_appearance(imported, timed):
    rows = [("8d3c-1", "a", 1, 90), ("8d3c-1", "b", 2, 90), ("77aa-2", "c", 1, 30), ("77aa-2", "a", 2, 30)]
    header = "user_id,step,item_id,position,click" + (",timestamp\n" if timed else "\n")
    lines = (f"u1,{name},{item},{position},0{f',{time}' if timed else ''}\n" for name, item, position, time in rows)
    log = imported(header + "".join(lines))
    slates = [["c", "a"], ["a", "b"]] if timed else [["a", "b"], ["c", "a"]]
    assert (log.num_sessions, log.catalog["source_id"][log.rows["slate"]].tolist()) == (1, slates)


def test_positions_that_are_whole_numbers_however_they_are_written(imported):
    log = imported("user_id,item_id,step,position,click\n1,10,1,+1,0\n1,11,1,3e0,0\n")
    np.testing.assert_array_equal(log.rows["shown"], [[1, 0, 1]])


@pytest.mark.parametrize("steps", [("1.0", "1.0", "2.0"), ("1", "1.0", "2"), ("01", "1", "02")])
def test_steps_that_are_whole_numbers_however_they_are_written(imported, steps):
    rows = "".join(f"1,1{n},{step},{n}.0,0\n" for n, step in enumerate(steps))
    log = imported(f"user_id,item_id,step,position,click\n{rows}")
    np.testing.assert_array_equal(log.rows["shown"].sum(axis=1), [2, 1])


def test_steps_and_positions_with_a_fraction(imported):
    for row, message in (
        ("1,10,1.5,1,0", "data row 1, column step: '1.5' is no whole number"),
        ("1,10,1,1.5,0", "data row 1, column position: '1.5' is no whole number"),
        ("1,10,1,top,0", "data row 1, column position: 'top' is no whole number"),
        ("1,10,1,99999999999999999999,0", "data row 1, column position: '99999999999999999999' is too large"),
    ):
        with pytest.raises(InvalidInput, match=message):
            imported(f"user_id,item_id,step,position,click\n{row}\n")


# --- positions


def test_positions_stay_what_they_are(imported):
    log = imported(
        "user_id,item_id,step,position,click,propensity\n1,10,1,1,0,.5\n1,11,1,3,1,.25\n1,12,2,2,1,.2\n1,13,2,3,0,.1\n"
    )
    np.testing.assert_array_equal(log.rows["shown"], [[1, 0, 1], [0, 1, 1]])
    # An empty position repeats an item, which is then no choice of its own: the one before, or else the first.
    np.testing.assert_array_equal(log.catalog["source_id"][log.rows["slate"]], [[10, 10, 11], [12, 12, 13]])
    np.testing.assert_array_equal(log.rows["feedback"][:, :, 0], [[0, 0, 1], [0, 1, 0]])
    np.testing.assert_allclose(np.exp(log.rows["prefix_log_prob"]), [[0.5, 0.5, 0.125], [1.0, 0.2, 0.02]])
    np.testing.assert_allclose(np.exp(log.rows["behavior_log_prob"]), [0.125, 0.02])
    assert log.events["item"].tolist() == [1, 2]
    assert "positions count from 1" in log.manifest["source"]["remarks"]


def test_what_the_first_position_is_called(imported):
    rows = "user_id,item_id,step,position,click\n1,10,1,5,0\n1,11,1,7,1\n"
    shown = {first: imported(rows, f"out{first}", first_position=first).rows["shown"].tolist() for first in (4, 5)}
    assert shown == {4: [[False, True, False, True]], 5: [[True, False, True]]}
    with pytest.raises(InvalidInput, match="position=5 comes before the first position, 6; say --first-position 5"):
        imported(rows, first_position=6)
    zero = imported("user_id,item_id,step,position,click\n1,10,1,0,0\n1,11,1,2,1\n", "zero")
    np.testing.assert_array_equal(zero.rows["shown"], [[1, 0, 1]])


def test_the_position_of_one_item(imported):
    """Steps of one item have slates of one, and say at which position it stood, from 0."""
    for header in ("user_id,item_id,position,click", "user_id,item_id,position,click,step"):
        more = ",1" if header.endswith("step") else ""
        log = imported(f"{header}\n1,10,3,0{more}\n2,11,1,1{more}\n", header[-4:])
        np.testing.assert_array_equal(log.rows["position"], [2, 0])
        assert log.slate_size == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("1,10,1,1,0\n1,11,1,1,0\n", "data row 2: its position in the slate is that of data row 1"),
        ("1,10,1,1,0\n1,11,1,5000,0\n", "data row 2: a slate of 5,000 positions exceeds a slate's 1024"),
        ("".join(f"{n},{n},1,1,0\n{n},x,1,1000,0\n" for n in range(17_000)), "99.8% of all positions empty"),
    ],
)
def test_positions_that_make_no_slate(imported, rows, message):
    with pytest.raises(InvalidInput, match=message):
        imported(f"user_id,item_id,step,position,click\n{rows}")


# --- repeated rows, and rows that lack something


def test_repeated_rows_are_counted_and_left_out_if_that_is_asked(imported):
    text = (
        "user_id,item_id,timestamp,click\n1,10,1700000000,0\n2,10,1700000000,0\n1,10,1700000000,0\n"
        "1,10,1700000000,1\n1,10,1700000001,0\n1,10,1700000000,0\n"
    )
    said = "2 of 6 rows repeat an earlier one in every column that is read (the first: log.csv: data row 3, that of "
    kept, dropped = imported(text, "kept"), imported(text, "dropped", duplicates="drop")
    assert [log.num_rows for log in (kept, dropped)] == [6, 4]
    for log, done in ((kept, "they are kept"), (dropped, "they are left out")):
        source = log.manifest["source"]
        assert (source["duplicates"], source["remarks"][0].startswith(said)) == (2, True)
        assert done in source["remarks"][0]
    assert dropped.manifest["source"]["options"]["duplicates"] == "drop"


def test_repeated_rows_of_a_slate_with_positions(imported):
    rows = "user_id,item_id,step,position,click\n1,10,1,1,0\n1,10,1,1,0\n1,11,1,2,1\n"
    with pytest.raises(InvalidInput, match="with --duplicates drop if the whole row is"):
        imported(rows)
    np.testing.assert_array_equal(imported(rows, duplicates="drop").rows["feedback"][0, :, 0], [0, 1])


def test_no_row_repeats_another_by_chance(imported):
    log = imported("user_id,item_id,step,click,propensity\n1,10,1,0,\n1,10,1,0,.5\n1,10,2,0,.5\n2,10,1,0,.5\n")
    assert log.manifest["source"]["duplicates"] == 0
    again = imported("user_id,item_id,step,click,propensity\n1,10,1,0,\n1,10,1,0,\n", "again")
    assert again.manifest["source"]["duplicates"] == 1


@pytest.mark.parametrize(
    "column", ["user_id", "item_id", "session_id", "step", "position", "timestamp", "click", "left"]
)
def test_rows_that_lack_something_are_refused_or_left_out(tmp_path, column):
    import pyarrow as pa
    from pyarrow import parquet

    header = ("user_id", "item_id", "session_id", "step", "position", "timestamp", "click", "left", "propensity")
    values = [["u", "a", "s", "1", str(n), "1700000000", "1", "0", "0.5"] for n in (1, 2)]
    values[1][header.index(column)] = "NULL"
    table = pa.table({name: [row[n] for row in values] for n, name in enumerate(header)})
    parquet.write_table(table, tmp_path / "log.parquet")
    (tmp_path / "log.csv").write_text("\n".join(",".join(row) for row in (header, *values)) + "\n")
    names = {"click": "feedback.click", "left": "terminated"}
    roles = ColumnMap.of({names.get(name, name): name for name in header})
    for name in ("log.csv", "log.parquet"):
        with pytest.raises(InvalidInput, match=f"data row 2 has no {column}, which is missing in 1 of 2 rows"):
            import_table(tmp_path / name, tmp_path / "out", roles)
        log = import_table(tmp_path / name, tmp_path / f"{name}-out", roles, missing="drop")
        source = log.manifest["source"]
        assert (log.num_rows, source["options"]["left_out"]) == (1, {column: 1})
        assert f"1 of 2 rows were left out: 1 without {column}" in source["remarks"]
        # What remains of a slate was not shown with its propensity.
        assert log.propensities == ("exact" if column in ("user_id", "session_id", "step") else "missing")


def test_every_row_lacks_something(imported):
    with pytest.raises(InvalidInput, match="every row lacks user_id or item_id"):
        imported("user_id,item_id,click\nNULL,1,0\n1,nan,0\n", missing="drop")
