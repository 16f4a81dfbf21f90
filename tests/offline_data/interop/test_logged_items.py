"""Columns of a log that tell of its items: read as those of a file of items are, the same wherever an item stands."""

from __future__ import annotations

import re

import numpy as np
import pytest

from offline_data.interop.column_map import ColumnMap, import_table
from recenv.errors import InvalidInput

TABLE = """user,item,click,brand,price,of
u,7,1,acme,2.5,7|9
u,9,0,bolt,4,7|9|11
v,7,0,acme,2.5,7|9
v,8,1,,10,8
w,8,0,acme,,8
"""
PLAIN = {"user_id": "user", "item_id": "item", "feedback.click": "click"}
ROLES = PLAIN | {"item.brand": "brand", "item.price": "price"}


@pytest.fixture
def read(tmp_path):
    def run(roles=ROLES, text=TABLE, out="out", **options):
        file = tmp_path / f"{out}.csv"
        file.write_text(text)
        return import_table(file, tmp_path / out, ColumnMap.of(roles), **options)

    return run


def _file(tmp_path, text):
    items = tmp_path / "items.csv"
    items.write_text(text)
    return items


def test_they_are_what_a_file_of_items_would_tell(read, tmp_path):
    log = read()
    items = _file(tmp_path, "item,brand,price\n7,acme,2.5\n8,acme,10\n9,bolt,4\n")
    other = read(PLAIN, out="second", items=items)
    for name in ("source_id", "price", "embeddings"):
        np.testing.assert_array_equal(log.catalog[name], other.catalog[name])
    assert log.catalog["price"].tolist() == [2.5, 10, 4]


def test_a_file_of_items_may_tell_more(read, tmp_path):
    items = _file(tmp_path, "item,size\n11,1\n9,2\n8,3\n7,4\n")
    log = read(items=items)
    assert log.catalog["source_id"].tolist() == [7, 8, 9, 11]
    np.testing.assert_array_equal(log.catalog["price"], [2.5, 10, 4, np.nan])
    np.testing.assert_array_equal(log.catalog["size"], [4, 3, 2, 1])
    texts = _file(tmp_path, "item,size\nz11,1\n9,2\n8,3\n7,4\n")
    assert read(items=texts, out="second").catalog["price"].tolist()[:3] == [2.5, 10, 4]
    with pytest.raises(InvalidInput, match=r"item\.price is a column of .*items\.csv, too; leave it out of the map"):
        read(items=_file(tmp_path, "item,price\n7,1\n8,1\n9,1\n"), out="third")


def test_candidates_that_were_never_shown_lack_them(read):
    log = read(ROLES | {"candidates": "of"}, list_delimiter="|")
    assert log.catalog["source_id"].tolist() == [7, 8, 9, 11]
    np.testing.assert_array_equal(log.catalog["price"], [2.5, 10, 4, np.nan])


def test_a_price_of_the_item_is_a_reward_where_it_was_clicked(read):
    log = read(ROLES | {"item_reward.revenue": "price@click"})
    np.testing.assert_array_equal(log.rows["reward_vector"][:, 0], [2.5, 0, 0, 10, 0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("v,7,0,acme,2.5", "v,7,0,acme,3", r"row 3: price=3.0 of item 7, which has 2.5 at data row 1; item\.price is"),
        (
            "v,7,0,acme",
            "v,7,0,bolt",
            r"row 3: brand=bolt of item 7, which has acme at data row 1; .*context\.brand=brand",
        ),
    ],
)
def test_a_value_that_varies_within_an_item_leads_to_the_remedy(read, old, new, message):
    """Which works when it is followed."""
    text = TABLE.replace(old, new)
    with pytest.raises(InvalidInput, match=message) as caught:
        read(text=text)
    role, column = re.findall(r"map (context\.\w+)=(\w+)", str(caught.value))[0]
    roles = {name: word for name, word in ROLES.items() if word != column}
    assert read(roles | {role: column}, text).context[0].name == column


def test_they_have_names():
    with pytest.raises(InvalidInput, match=r"item='brand' in the column map has no name; write item\.NAME=brand"):
        ColumnMap.of(PLAIN | {"item": "brand"})
    with pytest.raises(InvalidInput, match=r"item\.source_id is a name of the dataset's own; write another"):
        ColumnMap.of(PLAIN | {"item.source_id": "brand"})
