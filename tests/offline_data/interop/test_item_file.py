"""The file of a log's items: the same id by the same rule, and lists of one length wherever they are read."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
from recenv.errors import InvalidInput

ROLES = ColumnMap.of({"user_id": "user", "item_id": "item", "feedback.click": "click"})


@pytest.fixture
def imported(tmp_path):
    """Imports a log of these items with this file of items, text or a table of Parquet."""

    def build(logged, items, **options):
        from pyarrow import parquet

        log, file = tmp_path / "log.csv", tmp_path / "items"
        log.write_text("user,item,click\n" + "".join(f"u,{item},0\n" for item in logged))
        if isinstance(items, bytes):
            file.write_bytes(items)
        elif isinstance(items, str):
            file.write_text(items)
        else:
            parquet.write_table(items, file)
        return import_table(log, tmp_path / "out", ROLES, items=file, **options)

    return build


def shown(log):
    return log.catalog["source_id"][log.rows["slate"][:, 0]].tolist()


def test_the_same_id_by_the_same_rule(imported):
    """00124 among the items makes theirs text; the log's whole numbers mean the same ids as they do."""
    log = imported(["123", "124"], "item,price\n123,1\n00124,2\n124,3\n")
    assert shown(log) == ["123", "124"]
    np.testing.assert_array_equal(log.catalog["price"], [2, 1, 3])


def test_whole_numbers_of_either_file(imported):
    assert shown(imported(["7.0", "8.0"], "item,price\n7,1\n8,2\n")) == [7, 8]


def test_items_stay_where_rows_of_the_log_are_left_out(imported):
    log = imported("aab", "item,price\nb,1\na,2\nc,3\n", options=ImportOptions(duplicates="drop"))
    assert (shown(log), log.catalog["price"].tolist()) == (["a", "b"], [2, 1, 3])


def test_text_of_the_log_and_numbers_of_parquet(imported):
    import pyarrow as pa

    assert shown(imported(["7", "x8"], pa.table({"item": ["x8", "7"], "price": [1, 2]}))) == ["7", "x8"]


def test_numbers_of_parquet(imported):
    import pyarrow as pa

    assert shown(imported(["7", "8"], pa.table({"item": [8, 7], "price": [1, 2]}))) == [7, 8]


def test_an_id_that_the_items_write_otherwise_is_lacking(imported):
    with pytest.raises(InvalidInput, match=r"has no item=00123, which the log shows \(1 of 2 items are lacking\)"):
        imported(["00123", "7"], "item,price\n123,1\n7,2\n")


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ([[1.0, 2.0, 3.0], [4.0], [5.0, 6.0]], "lists of different length, 3 in data row 1 and 1 in data row 2"),
        ([[1.0], [2.0], None], "lists of different length, 1 in data row 1 and none in data row 3"),
        ([[1.0], [2.0], [None]], "data row 3: coordinate 0 of its embeddings is nan; write a finite number"),
        ([[], [], []], "column embeddings"),
        ([[[1.0]], [[2.0]], [[3.0]]], "it holds no lists of finite numbers"),
        ([1.0, 2.0, 3.0], "it holds no lists of finite numbers"),
        (["[1, 2]", "[3]", "[4, 5]"], "lists of different length, 2 in data row 1 and 1 in data row 2"),
        (["[1. 2.]", "[3. 4.]", "[5. 6.]"], "column embeddings, data row 1"),
        (["red", "blue", "green"], "data row 1: it holds no list of finite numbers"),
    ],
)
def test_lists_of_embeddings_that_are_refused(imported, column, message):
    import pyarrow as pa

    with pytest.raises(InvalidInput, match=message):
        imported("abc", pa.table({"item": ["a", "b", "c"], "embeddings": column}))


def test_lists_that_are_not_read_may_be_ragged(imported):
    import pyarrow as pa

    tags = [["x"], ["y", "z"], []]
    log = imported("abc", pa.table({"item": ["a", "b", "c"], "tags": tags, "place": [[1, 2], [3, 4], [5, 6]]}))
    np.testing.assert_array_equal(log.catalog["place"], [[1, 2], [3, 4], [5, 6]])
    remarks = log.manifest["source"]["remarks"]
    assert "items have 4 coordinates made of their columns tags (labels)" in remarks
    left = "place (lists of 2 numbers; name them `embeddings` if they are)"
    assert f"columns of the items that tell them not apart: {left}" in remarks


def test_items_that_are_no_longer_sold_are_counted(imported):
    log = imported(
        "abcc", "item,price,stock,topics\nb,2.5,7,1\nd,1.5,8,0\n", options=ImportOptions(item_features=("price",))
    )
    assert (log.catalog["source_id"].tolist(), shown(log)) == (list("abcd"), list("abcc"))
    np.testing.assert_array_equal(log.catalog["price"], [np.nan, 2.5, np.nan, 1.5])
    np.testing.assert_array_equal(log.catalog["stock"], [np.nan, 7, np.nan, 8])
    np.testing.assert_array_equal(log.catalog["topics"], [2, 1, 2, 0])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(log.catalog["embeddings"], [[0, 0], [half, half], [0, 0], [-half, half]], rtol=1e-6)
    told = log.manifest["source"]["remarks"]
    gone = "warning: 2 of 3 items of the log are not in items (the first: a): they stay, without columns, and a "
    assert [remark.startswith(gone) for remark in told].count(True) == 1
    assert "1 of 2 items of items are never shown in the log" in told


def test_what_an_item_without_a_price_earned_is_unknown(tmp_path):
    log, file = tmp_path / "log.csv", tmp_path / "items.csv"
    log.write_text("user,item,click\nu,a,1\nu,b,0\nu,b,1\nu,c,0\n")
    roles = ColumnMap.of(
        {"user_id": "user", "item_id": "item", "feedback.click": "click", "item_reward.pay": "price@click"}
    )
    file.write_text("item,price\na,5\n")
    with pytest.raises(
        InvalidInput, match=r"data row 3: item b earned something, and .*items.csv has no price of it \(of 1"
    ):
        import_table(log, tmp_path / "out", roles, items=file)
    file.write_text("item,price\na,5\nb,7\n")
    found = import_table(log, tmp_path / "out", roles, items=file)
    np.testing.assert_array_equal(found.reward(), [5, 0, 7, 0])


def test_given_embeddings_of_items_that_are_no_longer_sold_are_zeros(imported):
    log = imported("ab", "item,embedding_0,embedding_1\nb,3,4\n")
    np.testing.assert_array_equal(log.catalog["embeddings"], [[0, 0], [3, 4]])
    assert "item_features" not in log.manifest["source"]


def test_an_index_as_pandas_writes_it_is_no_column(imported):
    log = imported("ab", ",item,price\n0,a,1\n1,b,2\n")
    assert sorted(log.catalog) == ["embeddings", "price", "source_id"]
    assert [each["column"] for each in log.manifest["source"]["item_features"]] == ["price"]


def test_none_are_made_where_none_are_asked(imported):
    log = imported("ab", "item,price\na,1\nb,2\n", options=ImportOptions(item_features=("none",)))
    assert "embeddings" not in log.catalog
    assert "embeddings of the items" in log.manifest["source"]["lacking"]


@pytest.mark.parametrize(
    ("items", "asked", "message"),
    [
        ("item,price\na,1\nb,2\n", ("prise",), "column of the items 'prise'; did you mean 'price'"),
        ("item,price\na,1\nb,2\n", ("price=nummer",), "kind of an item's column 'nummer'; did you mean 'number'"),
        ("item,price\na,1\nb,2\n", ("none", "price"), "`none` is no column; leave it out, or say it alone"),
        (
            "item,brand\na,x\nb,y\n",
            ("brand=number",),
            "column brand of the items is read as number: it holds texts; say",
        ),
        ("item,embedding_0\na,1\nb,2\n", ("price",), "has embeddings, which are taken as they are; leave out these"),
    ],
)
def test_features_that_are_refused(imported, items, asked, message):
    with pytest.raises(InvalidInput) as caught:
        imported("ab", items, options=ImportOptions(item_features=asked))
    assert message in str(caught.value)


@pytest.mark.parametrize("lists", [[[1, 2], [3]], [[1], [2], [5, 6]], [[1, 2], []]])
def test_every_list_of_numbers_that_is_read_has_one_length(imported, lists):
    import pyarrow as pa

    with pytest.raises(InvalidInput, match="column place: lists of different length"):
        imported("ab", pa.table({"item": list("abc")[: len(lists)], "place": lists}))


def test_lists_in_csv(imported):
    log = imported("ab", 'item,embeddings\na,"[1, 2]"\nb,"[3, 4.5]"\n')
    np.testing.assert_array_equal(log.catalog["embeddings"], [[1, 2], [3, 4.5]])


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("item,category\na,chaussé\nb,x\n".encode("latin-1"), "column category is not written in utf-8; say how it is"),
        ("item,catégorie\na,x\nb,x\n".encode("latin-1"), "the header is not written in utf-8"),
        ("item;price\na;1\nb;2\n", "say --item-delimiter ';'"),
        ("sku,price\na,1\nb,2\n", "it has sku, price; call the column of ids item, as the log does, or item_id"),
        ("item,price,price\na,1,2\nb,2,3\n", "several columns named price"),
        ("item,price\na,1\na,2\nb,3\n", "names an item twice in item: a"),
        ("item,price\na,1\nNULL,2\nb,3\n", "data row 2 has no item, which is missing in 1 of 3 rows"),
        ("item,embedding_0\na,x\nb,2\n", "column embedding_0: it holds no numbers"),
        ("", "is empty"),
    ],
)
def test_files_that_are_refused(imported, items, message):
    with pytest.raises(InvalidInput, match=message):
        imported("ab", items)


def test_items_of_another_encoding(imported):
    log = imported("ab", "item,catégorie,price\na,chaussé,1\nb,x,2\n".encode("latin-1"), encoding="latin-1")
    np.testing.assert_array_equal(log.catalog["price"], [1, 2])
