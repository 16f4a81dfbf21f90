"""The context of steps, from a table's columns to what a policy reads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
from offline_data.store.dataset import LoggedDataset
from offline_data.store.histories import ObservationBuilder
from offline_data.store.log_checks import contradictions
from recenv.errors import InvalidInput

TABLE = """user,step,item,click,age,city,new,code,price
u1,0,a,1,20,Rome,true,7,3
u1,0,b,0,20,Rome,true,7,4
u1,1,a,0,,Oslo,false,8,3
u2,0,b,1,40,,true,7,4
u2,1,c,0,60,Rome,false,,5
"""
ROLES = {"user_id": "user", "item_id": "item", "step": "step", "feedback.click": "click"}
ROLES |= {"context.age": "age", "context.city": "city", "context.new": "new", "category.code": "code"}


@pytest.fixture
def read(tmp_path):
    def run(text=TABLE, out="out", roles=ROLES, **options):
        file = tmp_path / f"{out}.csv"
        file.write_text(text)
        return import_table(file, tmp_path / out, ColumnMap.of(roles), options=ImportOptions(**options))

    return run


def test_numbers_truths_texts_and_labels(read):
    log = read()
    spread = np.std([20.0, 40.0, 60.0])
    age = [[-20 / spread, 0], [0, 1], [0, 0], [20 / spread, 0]]
    city = [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]]
    new, code = [[1], [-1], [1], [-1]], [[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(log.rows["context"], np.concatenate([age, city, new, code], axis=1), rtol=1e-6)
    assert [column.name for column in log.context] == ["age", "city", "new", "code"]
    assert log.context[1].values == ("Oslo", "Rome")
    assert log.context[3].values == ("7", "8")
    assert "context.age lacks 1 of 4 numbers" in log.manifest["source"]["remarks"]
    assert LoggedDataset.open(log.path, verify=True).context == log.context


def test_observations_have_it_and_the_next_ones_that_of_the_next_step(read):
    log = read()
    now, after = ObservationBuilder(log).observe_both(np.arange(4))
    np.testing.assert_array_equal(now["context"], log.rows["context"])
    # Of a session's last step no other is known.
    np.testing.assert_array_equal(after["context"], log.rows["context"][[1, 1, 3, 3]])


def test_parquet_with_numbers_truths_texts_and_labels(read, tmp_path):
    import pyarrow as pa
    from pyarrow import csv, parquet

    expected = read()
    kinds = {"city": pa.dictionary(pa.int32(), pa.string())}
    file = tmp_path / "out.csv"
    table = csv.read_csv(file, convert_options=csv.ConvertOptions(column_types=kinds, strings_can_be_null=True))
    parquet.write_table(table, tmp_path / "log.parquet")
    log = import_table(tmp_path / "log.parquet", tmp_path / "second", ColumnMap.of(ROLES))
    np.testing.assert_array_equal(log.rows["context"], expected.rows["context"])
    assert log.context == expected.context


def test_value_that_differs_in_a_step_is_refused_with_a_remedy(read):
    with pytest.raises(InvalidInput, match=r"data row 2: context\.price=4.0 is not .*leave it out of the map"):
        read(roles=ROLES | {"context.price": "price"})


def test_several_columns_are_no_context(read):
    with pytest.raises(InvalidInput, match="has no column age,price; it has user"):
        read(roles=ROLES | {"context.both": "age,price"})


def test_name_is_needed_and_given_once():
    with pytest.raises(InvalidInput, match=r"context='age' in the column map has no name; write context\.NAME=age"):
        ColumnMap.of(ROLES | {"context": "age"})
    with pytest.raises(InvalidInput, match="code as context and as category"):
        ColumnMap.of(ROLES | {"context.code": "code"})


def test_constants_gaps_and_huge_numbers_are_finite(read):
    rows = ["user,item,click,same,none,huge,word"]
    rows += [f"u{n},a,1,5,,{(-1) ** n * 1.7e308},{'' if n else 'x'}" for n in range(4)]
    roles = {"user_id": "user", "item_id": "item", "feedback.click": "click"}
    roles |= {f"context.{name}": name for name in ("same", "none", "huge", "word")}
    log = read("\n".join(rows) + "\n", roles=roles)
    expected = [[0, 0, 1, (-1) ** n, n == 0, n != 0] for n in range(4)]
    np.testing.assert_allclose(log.rows["context"], expected)


def test_rare_values_share_a_coordinate_and_that_is_said(read):
    rows = ["user,item,click,city"] + [f"u{n},a,1,c{n % 40 if n < 80 else 0:02}" for n in range(90)]
    roles = {"user_id": "user", "item_id": "item", "feedback.click": "click", "context.city": "city"}
    log = read("\n".join(rows) + "\n", roles=roles)
    (column,) = log.context
    assert (len(column.values), column.width) == (32, 33)
    assert log.rows["context"][:, -1].sum() == 16
    assert any("city has 40 values: the 32 most frequent" in remark for remark in log.manifest["source"]["remarks"])


def test_encoding_of_another_log_is_taken_over(read):
    first = read()
    text = TABLE.replace("Oslo", "Lima").replace("60", "80")
    other = read(text, "other", context_of=first.path)
    assert other.context == first.context
    assert read(text, "own").context != first.context
    # Its Lima is none of the first log's cities.
    np.testing.assert_array_equal(other.rows["context"][1], [*first.rows["context"][1][:2], 0, 0, 1, -1, 0, 1, 0])


def test_encoding_of_another_log_must_fit(read):
    first = read()
    few = dict(list(ROLES.items())[:5])
    with pytest.raises(InvalidInput, match="its context is age, city, new, code, and the map has age; map the same"):
        read(out="few", roles=few, context_of=first.path)
    with pytest.raises(InvalidInput, match="its age is a number, and here it is a category"):
        read(TABLE.replace(",20,", ",old,"), "texts", context_of=first.path)


def test_rows_left_out_leave_the_rest_of_a_category(read, tmp_path):
    text = TABLE + "u3,0,,1,20,Bonn,true,7,3\n"
    file = tmp_path / "gaps.csv"
    file.write_text(text)
    log = import_table(file, tmp_path / "gaps", ColumnMap.of(ROLES), missing="drop")
    np.testing.assert_array_equal(log.rows["context"], read().rows["context"])


@pytest.mark.parametrize(("place", "value"), [(0, 11.0), (0, np.nan), (1, 0.5), (1, 1.0), (2, 1.0), (4, 0.5)])
def test_a_context_that_no_column_gives_is_a_contradiction(read, place, value):
    log = read()
    context = np.array(log.rows["context"])
    context[0, place] = value
    found = contradictions(replace(log, rows={**log.rows, "context": context}))
    assert {key: count for key, count in found.items() if count} == {"context_not_as_said": 1}


def test_a_manifest_that_tells_of_another_context_is_refused(read):
    log = read()
    for context in ([], log.manifest["context"][:-1]):
        assert _faults(log, context), context
    assert not _faults(log, log.manifest["context"])


def _faults(log, context):
    from offline_data.store.columns import axis_sizes, shape_faults
    from offline_data.store.manifest import agreement_faults, field_faults

    manifest = {**log.manifest, "context": context}
    assert field_faults(manifest) == {}
    columns = {f"rows/{name}": values for name, values in log.rows.items()}
    return [*agreement_faults(manifest), *shape_faults(columns, axis_sizes(manifest))]
