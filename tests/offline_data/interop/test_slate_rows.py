"""Rows that hold a whole slate: as lists of text, Parquet, JSON lines and several columns."""

from __future__ import annotations

import csv
import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
from recenv.errors import InvalidInput

ITEMS = [["A", "B", "C"], ["D", "A"], ["C", "B", "A"], ["C", None, "A"]]
CLICKS = [[0, 1, 0], [0, 0], [0, 0, 1], [1, 0, 0]]
PROBABILITIES = [[0.5, 0.25, 0.125], [0.5, 0.25], [0.5, 0.5, 0.5], [0.25, 1.0, 0.5]]
USERS, TIMES = ["u1", "u1", "u2", "u2"], [1.7e9, 1.7e9 + 60, 1.7e9, 1.7e9 - 30]
ROLES = {"user_id": "user", "item_id": "items", "timestamp": "ts"}
# u2's rows stand in the file against the order of time.
SLATES = [[0, 1, 2], [3, 0, 0], [2, 2, 0], [2, 1, 0]]
SHOWN = [[1, 1, 1], [1, 1, 0], [1, 0, 1], [1, 1, 1]]
CLICKED = [[0, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]


def _delimited(lists):
    return ["|".join("" if each is None else str(each) for each in one) for one in lists]


def _json(lists):
    return [str(one).replace("'", '"').replace("None", "null") for one in lists]


def _python(lists):
    return [str(one) for one in lists]


@pytest.fixture
def write(tmp_path):
    def run(form="delimited", **columns):
        forms = {"delimited": _delimited, "json": _json, "python": _python, "parquet": list, "lines": list}
        file = tmp_path / f"log_{form}.file"
        lists = {"items": ITEMS, "click": CLICKS, "p": PROBABILITIES}
        table = {"user": USERS, "ts": TIMES} | {name: forms[form](values) for name, values in lists.items()}
        table |= columns
        rows = zip(*table.values(), strict=True)
        if form == "parquet":
            parquet.write_table(pa.table(table), file)
        elif form == "lines":
            file.write_text("".join(json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in rows))
        else:
            with file.open("w", newline="") as opened:
                csv.writer(opened).writerows([table, *rows])
        return file

    return run


def _import(file, roles, **options):
    return import_table(file, file.with_suffix(".out"), ColumnMap.of(ROLES | roles), **options)


def _same(log):
    np.testing.assert_array_equal(log.rows["slate"], SLATES)
    np.testing.assert_array_equal(log.rows["shown"], SHOWN)
    np.testing.assert_array_equal(log.rows["feedback"][:, :, 0], CLICKED)
    assert log.catalog["source_id"].tolist() == ["A", "B", "C", "D"]
    np.testing.assert_array_equal(log.offsets, [0, 2, 4])
    log.require_sound()


@pytest.mark.parametrize("form", ["delimited", "json", "python", "parquet", "lines"])
def test_slates_with_feedback_and_propensities_by_position(write, form):
    given = {"list_delimiter": "|"} if form == "delimited" else {}
    log = _import(write(form), {"feedback.click": "click", "propensity": "p"}, **given)
    _same(log)
    np.testing.assert_allclose(np.exp(log.rows["behavior_log_prob"]), [1 / 64, 1 / 8, 1 / 8, 1 / 8])
    assert "each row is a slate, of 2 to 3 items" in log.manifest["source"]["remarks"]


@pytest.mark.parametrize(
    ("clicked", "first"),
    [
        ([2, "", 3, 1], None),
        ([1, "", 2, 0], None),
        ([2, 0, 3, 1], None),  # 0 is no click where 3 is the last
        ([1, -1, 2, 0], 0),
        ([2, "NaN", 3, 1], 1),
        (["2", "[]", "[3]", "[1]"], None),
    ],
)
def test_clicked_positions(write, clicked, first):
    file = write(at=clicked)
    _same(_import(file, {"clicked_position": "at"}, list_delimiter="|", first_position=first))


def test_every_slate_clicked_at_zero_or_later_is_said(write):
    """0 may be no click, where it is the lowest of positions that never reach a slate's last place."""
    file = write(at=[0, 0, 1, 0])
    log = _import(file, {"clicked_position": "at"}, list_delimiter="|")
    said = "clicked positions count from 0, and every slate has a click; if 0 is no click, say --first-position 1"
    assert said in log.manifest["source"]["remarks"]
    assert log.rows["feedback"].sum() == 4.0
    shutil.rmtree(log.path)
    log = _import(file, {"clicked_position": "at"}, list_delimiter="|", first_position=1)
    assert log.rows["feedback"].sum() == 1.0


def test_a_position_that_is_none_either_way_has_no_other_first(write):
    with pytest.raises(InvalidInput, match="at=4 is no position of its slate, which are 1 to 3; mend it; -1 and empty"):
        _import(write(at=[4, 1, 1, 1]), {"clicked_position": "at"}, list_delimiter="|")


@pytest.mark.parametrize("delimiter", [None, ","])
def test_slates_between_braces_as_databases_write_them(write, delimiter):
    braced = [f"{{{','.join('' if each is None else each for each in one)}}}" for one in ITEMS]
    _same(_import(write(items=braced, at=[2, "", 3, 1]), {"clicked_position": "at"}, list_delimiter=delimiter))


@pytest.mark.parametrize("form", ["delimited", "parquet"])
def test_clicked_items_and_a_second_channel(write, form):
    lists = [["B"], [], ["A"], ["C"]]
    liked = [["A", "C"], [], [], []]
    columns = (
        {"clicked": lists, "liked": liked}
        if form == "parquet"
        else {"clicked": _delimited(lists), "liked": _delimited(liked)}
    )
    given = {} if form == "parquet" else {"list_delimiter": "|"}
    log = _import(write(form, **columns), {"clicked_item": "clicked", "clicked_item.like": "liked"}, **given)
    _same(log)
    assert log.manifest["feedback_names"] == ["click", "like"]
    np.testing.assert_array_equal(log.rows["feedback"][0, :, 1], [1, 0, 1])


def test_several_columns_are_the_positions(write):
    columns = {f"item_{k}": [[*one, None][k] for one in ITEMS] for k in range(3)}
    columns |= {f"c{k}": [[*one, 0][k] for one in CLICKS] for k in range(3)}
    _same(_import(write(**columns), {"item_id": "item_0,item_1,item_2", "feedback.click": ["c0", "c1", "c2"]}))


def test_one_propensity_a_row_is_that_of_the_slate(write):
    log = _import(
        write(whole=[0.5, 0.25, 0.125, 1.0]), {"feedback.click": "click", "propensity": "whole"}, list_delimiter="|"
    )
    np.testing.assert_allclose(np.exp(log.rows["behavior_log_prob"]), [0.5, 0.25, 1.0, 0.125])
    assert "prefix_log_prob" not in log.rows
    file = write("json", whole=[0.5, 0.25, "", 1.0])
    of_items = _import(
        file, {"feedback.click": "click", "propensity": "whole"}, options=ImportOptions(propensity_of="item")
    )
    np.testing.assert_allclose(np.exp(of_items.rows["behavior_log_prob"]), [1 / 8, 1 / 16, 1.0, np.nan])


def test_rewards_of_items_and_steps_and_context(write):
    file = write(paid=["0|9.5|0", "0|0", "0|0|1", "2|0|0"], total=[1, 2, 3, 4], age=[20, 20, 30, 30])
    roles = {"item_reward.revenue": "paid", "reward.total": "total", "context.age": "age"}
    log = _import(file, roles | {"feedback.click": "click"}, list_delimiter="|")
    np.testing.assert_array_equal(log.rows["reward_vector"], [[1, 9.5], [2, 0], [4, 2], [3, 1]])
    np.testing.assert_allclose(log.rows["context"][:, 0], [-1, -1, 1, 1])


def test_lists_of_one_item_are_the_long_form(write, tmp_path):
    file = tmp_path / "long.csv"
    file.write_text("user,step,item,click,of\nu,0,A,1,A|B|C\nu,0,B,0,A|B|C\nu,1,C,0,C|D\n")
    roles = {"user_id": "user", "item_id": "item", "step": "step", "feedback.click": "click", "candidates": "of"}
    log = import_table(file, tmp_path / "out", ColumnMap.of(roles), list_delimiter="|")
    np.testing.assert_array_equal(log.rows["slate"], [[0, 1], [2, 2]])
    np.testing.assert_array_equal(log.rows["candidates"], [[0, 1, 2], [2, 3, -1]])


def test_rows_without_a_slate_are_missing(write):
    file = write(items=["A|B", "", "|", "C"], clicked=[1, 1, 1, 1])
    with pytest.raises(InvalidInput, match=r"data row 2 has no items, which is missing in 2 of 4 rows"):
        _import(file, {"clicked_position": "clicked"}, list_delimiter="|")
    log = _import(file, {"clicked_position": "clicked"}, list_delimiter="|", missing="drop")
    assert (log.num_rows, log.num_items) == (2, 3)


@pytest.mark.parametrize(
    ("roles", "columns", "message"),
    [
        (
            {"clicked_position": "at"},
            {"at": [4, 1, 1, 1]},
            r"row 1: at=4 is no position of its slate, which are 1 to 3",
        ),
        ({"clicked_position": "at"}, {"at": [0, 1, 3, 9]}, r"row 4: at=9 is no position .* 1 to 3"),
        ({"clicked_position": "at"}, {"at": [0.5, 1, 1, 1]}, r"row 1: at=0.5 is no position of its slate"),
        ({"clicked_position": "at"}, {"at": [1, 1, 1, 2]}, r"row 4: at is where the slate has no item"),
        ({"clicked_item": "at"}, {"at": ["A", "B", "C", "A"]}, r"row 2: at=B is no item of its slate"),
        (
            {"feedback.click": "one"},
            {"one": [1, 0, 1, 0]},
            r"one holds one value for a slate .*clicked_position\.click",
        ),
        ({"feedback.click": "few"}, {"few": ["1|0"] * 4}, r"row 1: few holds 2 values and its slate 3 items"),
        ({"feedback.click": "gap"}, {"gap": ["1||0", "1|0", "0|0|0", "0|0|0"]}, r"row 1: gap says nothing of an item"),
        ({"feedback.click": "bad"}, {"bad": ["1|0|x"] * 4}, r"row 1, column bad: 'x' is no number"),
        ({"item_reward.paid": "one"}, {"one": [1, 0, 1, 0]}, r"one holds one value .*reward\.paid=one"),
        ({"feedback.click": "click", "prefix_log_prob": "one"}, {"one": [0] * 4}, r"map behavior_log_prob=one"),
        ({"feedback.click": "click", "position": "one"}, {"one": [1] * 4}, r"leave `position` out of the map"),
        (
            {"feedback.click": "click", "propensity": "p"},
            {"p": ["1.5|1|1", "1|1", "1|1|1", "1|1|1"]},
            r"p=1\.5 is not in",
        ),
    ],
)
def test_what_does_not_fit_its_slate_is_refused(write, roles, columns, message):
    with pytest.raises(InvalidInput, match=message):
        _import(write(**columns), roles, list_delimiter="|")


def test_lists_that_nobody_named_lead_to_the_delimiter(write):
    """The remedy works when it is followed."""
    file = write(at=[2, "", 3, 1])
    for roles in ({"feedback.click": "click"}, {"clicked_position": "at"}):
        with pytest.raises(InvalidInput, match=r"--list-delimiter '\|'") as caught:
            _import(file, roles)
        delimiter = re.findall("--list-delimiter '(.)'", str(caught.value))[0]
        log = _import(file, roles, list_delimiter=delimiter)
        _same(log)
        shutil.rmtree(log.path)


def test_items_that_look_like_lists_are_told(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("user,item,click\nu,A|B,1\nv,C,0\n")
    log = import_table(
        file, tmp_path / "out", ColumnMap.of({"user_id": "user", "item_id": "item", "feedback.click": "click"})
    )
    assert log.num_items == 2
    assert any(
        "'A|B'; if that is a whole slate, say --list-delimiter '|'" in told
        for told in log.manifest["source"]["remarks"]
    )


@pytest.mark.parametrize(
    ("items", "clicks", "delimiter"),
    [
        ('"A,B,C"', '"0,1,0"', ","),
        ("A B C", "0 1 0", " "),
        ("A<>B<>C", "0<>1<>0", "<>"),
        ("\"['A' 'B'\n 'C']\"", "[0 1 0]", None),
        ("\"[np.str_('A'), np.str_('B'), np.str_('C')]\"", '"[0, 1, 0]"', None),
        ('"[""A"", ""B"", ""C""]"', '"[false, true, false]"', None),
        (" A | B | C ", "0|1|0", "|"),
    ],
)
def test_ways_to_write_a_list(tmp_path, items, clicks, delimiter):
    file = tmp_path / "log.csv"
    file.write_text(f"user,items,click\nu,{items},{clicks}\n")
    roles = ColumnMap.of({"user_id": "user", "item_id": "items", "feedback.click": "click"})
    log = import_table(file, tmp_path / "out", roles, list_delimiter=delimiter)
    assert log.catalog["source_id"].tolist() == ["A", "B", "C"]


def test_commas_between_quotes_are_no_delimiters(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text('user,items,click\nu,"[""A,B"", ""C"", null]","[0, 1, 0]"\n')
    log = import_table(
        file, tmp_path / "out", ColumnMap.of({"user_id": "user", "item_id": "items", "feedback.click": "click"})
    )
    assert log.catalog["source_id"].tolist() == ["A,B", "C"]
    assert log.slate_size == 2


def test_lists_of_lists_and_of_objects_are_refused(tmp_path):
    for n, items in enumerate(([[1, 2], [3]], [{"id": 1}, {"id": 2}])):
        parquet.write_table(pa.table({"user": [1], "items": [items], "click": [[0, 1]]}), tmp_path / f"{n}.parquet")
        with pytest.raises(InvalidInput, match=r"column items: it holds (list|struct)<.*map another column"):
            _import(tmp_path / f"{n}.parquet", {"feedback.click": "click"} | {"timestamp": "user"})


def test_step_of_two_slates_is_refused(tmp_path):
    file = tmp_path / "log.csv"
    file.write_text("user,step,items,at\nu,1,A|B,1\nv,1,A|B,1\nu,1,C|D,2\n")
    roles = {"user_id": "user", "item_id": "items", "clicked_position": "at"}
    with pytest.raises(InvalidInput, match=r"row 3: its step is that of data row 1.*or leave `step` out"):
        import_table(file, tmp_path / "out", ColumnMap.of(roles | {"step": "step"}), list_delimiter="|")
    assert import_table(file, tmp_path / "out", ColumnMap.of(roles), list_delimiter="|").num_rows == 3


@pytest.mark.parametrize("form", ["delimited", "parquet"])
def test_repeated_rows_are_refused_until_they_are_left_out(write, form):
    """The remedy works when it is followed; a row that differs in one list is none."""
    file = write(form)
    if form == "parquet":
        once = parquet.read_table(file)
        parquet.write_table(pa.concat_tables([once, once.take([1, 3])]), file)
    else:
        lines = file.read_text().splitlines()
        file.write_text("\n".join([*lines, lines[2], lines[4]]))
    given = {} if form == "parquet" else {"list_delimiter": "|"}
    roles = {"feedback.click": "click", "propensity": "p", "candidates": "items"}
    with pytest.raises(InvalidInput, match=r"row \d: its position .*data row \d; leave out .*--duplicates drop"):
        _import(file, roles, **given)
    log = _import(file, roles, options=ImportOptions(duplicates="drop"), **given)
    _same(log)
    assert log.manifest["source"]["duplicates"] == 4  # shown items
