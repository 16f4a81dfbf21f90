"""Rows of named events: which rows are one shown item, and what each event answers."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from offline_data.interop.column_map import ColumnMap, import_table
from recenv.errors import InvalidInput

HOUR = 3600.0
EVENTS = [
    ("u", 0, "A", "view", 5.0),
    ("u", 10, "B", "view", 7.0),
    ("u", 20, "A", "cart", 5.0),
    ("u", 30, "A", "purchase", 5.0),
    ("u", 40, "A", "view", 5.0),
    ("u", 50, "A", "purchase", 6.0),
    ("u", 60, "A", "purchase", 6.5),
    ("u", 10 * HOUR, "A", "cart", 5.0),
    ("v", 0, "B", "search", 7.0),
]
ROLES = {"user_id": "user", "item_id": "item", "timestamp": "ts", "event": "type"}
ANSWERS = {"event.click": "cart", "event.buy": "purchase"}


@pytest.fixture
def read(tmp_path):
    def run(roles, rows=EVENTS, out="out", form="csv", **options):
        columns = dict(zip(("user", "ts", "item", "type", "price"), zip(*rows, strict=True), strict=True))
        columns |= {"ts": [1.7e9 + each[1] for each in rows], "page": [int(each[1] > 30) for each in rows]}
        file = tmp_path / f"{out}.{form}"
        (csv.write_csv if form == "csv" else parquet.write_table)(pa.table(columns), file)
        return import_table(file, tmp_path / out, ColumnMap.of(ROLES | roles), **options)

    return run


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_events_of_one_item_in_a_visit_are_one_shown_item(read, form):
    """The first of each event together, then the second: views that are no answer show their item."""
    log = read(ANSWERS, form=form)
    assert log.manifest["feedback_names"] == ["click", "buy"]
    np.testing.assert_array_equal(log.offsets, [0, 4, 5, 6])
    assert log.catalog["source_id"][log.rows["slate"][:, 0]].tolist() == ["A", "B", "A", "A", "A", "B"]
    np.testing.assert_array_equal(log.rows["feedback"][:, 0], [[1, 1], [0, 0], [0, 1], [0, 1], [1, 0], [0, 0]])
    np.testing.assert_array_equal(log.rows["timestamp"] - 1.7e9, [0, 10, 40, 60, 10 * HOUR, 0])
    remarks = "\n".join(log.manifest["source"]["remarks"])
    assert "purchase (3) is buy, view (3) shows, cart (2) is click, search (1) shows" in remarks
    assert "9 events are 6 shown items: those of one user, item and visit" in remarks


def test_price_of_what_was_bought(read):
    log = read(ANSWERS | {"item_reward.revenue": "price@buy"})
    np.testing.assert_array_equal(log.rows["reward_vector"][:, 0], [5, 0, 6, 6.5, 0, 0])


def test_events_of_a_step_are_one_shown_item_each(read):
    log = read(ANSWERS | {"step": "page"})
    assert log.slate_size == 2
    np.testing.assert_array_equal(log.rows["shown"], [[1, 1], [1, 0], [1, 0], [1, 0]])
    np.testing.assert_array_equal(log.rows["feedback"][:2], [[[1, 1], [0, 0]], [[0, 1], [0, 0]]])


def test_numbers_may_be_events(read):
    rows = [(*each[:3], {"view": 1, "cart": 2}.get(each[3], 3), each[4]) for each in EVENTS]
    log = read({"event.click": "2"}, rows)
    np.testing.assert_array_equal(log.rows["feedback"][:, 0, 0].sum(), 2)


def test_events_that_nobody_named_lead_to_channels(read):
    """The remedy works when it is followed, from a text as feedback on."""
    plain = {role: column for role, column in ROLES.items() if role != "event"}
    with pytest.raises(InvalidInput, match=r"type: 'view' is no number in \[0, 1\]; if it names an event, leave"):
        import_table(*_file(read, plain), ColumnMap.of(plain | {"feedback.click": "type"}))
    with pytest.raises(InvalidInput, match=r"type has the events purchase \(3\), view \(3\), cart \(2\)") as caught:
        read({})
    words = re.findall(r"as in (event\.\S+=\S+(?: event\.\S+=\S+)*)", str(caught.value))[0].split()
    log = read(dict(word.rstrip(",").split("=") for word in words), out="second")
    assert log.manifest["feedback_names"] == ["purchase", "cart", "search"]


def _file(read, roles):
    log = read({"event.click": "cart"}, out="first")
    return log.path.with_suffix(".csv"), log.path.with_name("other")


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ({"event.click": "buy"}, r"event\.click=buy: type has no such event, it has purchase \(3\).*as in event\."),
        (ANSWERS | {"item_reward.r": "price@like"}, r"'like' is no channel of feedback; choose of click, buy"),
        (ANSWERS | {"item_reward.r": "cost@buy"}, r"no column cost; if the items' file has it, say it by --items"),
    ],
)
def test_what_is_not_there_is_refused(read, roles, message):
    with pytest.raises(InvalidInput, match=message):
        read(roles)


def test_channel_without_events_is_refused():
    with pytest.raises(InvalidInput, match=r"no event=COLUMN for its event\.CHANNEL"):
        ColumnMap.of({"user_id": "u", "item_id": "i", "event.click": "cart"})


def test_price_in_the_file_of_items(read, tmp_path):
    items = tmp_path / "items.csv"
    items.write_text("item,cost\nB,2.5\nA,10\nC,1\n")
    log = read(ANSWERS | {"item_reward.revenue": "cost@buy"}, items=items)
    np.testing.assert_array_equal(log.rows["reward_vector"][:, 0], [10, 0, 10, 10, 0, 0])
    items.write_text("item,cost\nB,cheap\nA,10\n")
    with pytest.raises(InvalidInput, match="column cost: it holds no numbers"):
        read(ANSWERS | {"item_reward.revenue": "cost@buy"}, items=items, out="second")
    with pytest.raises(InvalidInput, match=r"has no column dear, and neither has .*items\.csv"):
        read(ANSWERS | {"item_reward.revenue": "dear@buy"}, items=items, out="third")


def test_rewards_that_stand_where_they_were_earned_lead_to_the_remedy(tmp_path):
    """Which works when it is followed."""
    file = tmp_path / "log.csv"
    file.write_text("user,step,item,click,paid\nu,0,A,0,\nu,0,B,1,19.99\nu,1,A,0,\nu,1,C,0,5\n")
    roles = {"user_id": "user", "item_id": "item", "step": "step", "feedback.click": "click"}
    with pytest.raises(InvalidInput, match=r"row 1 has no paid, which is missing in 2 of 4 rows") as caught:
        import_table(file, tmp_path / "out", ColumnMap.of(roles | {"item_reward.revenue": "paid"}))
    role, word = re.findall(r"map (item_reward\.revenue)=(\S+),", str(caught.value))[0]
    log = import_table(file, tmp_path / "out", ColumnMap.of(roles | {role: word}))
    np.testing.assert_allclose(log.rows["item_reward"][:, :, 0], [[0, 19.99], [0, 0]], rtol=1e-6)


def test_a_reward_of_every_event_is_said(read):
    """A price stands at the view, too, and its sum over the events of an item is no revenue."""
    log = read(ANSWERS | {"item_reward.revenue": "price"})
    assert log.rows["reward_vector"][0, 0] == 15.0
    said = "item_reward.revenue is the sum over all events, view too; if a channel alone earns it, map item_reward"
    assert said in "\n".join(log.manifest["source"]["remarks"])
    log = read(ANSWERS | {"item_reward.revenue": "price@buy"}, out="second")
    assert log.rows["reward_vector"][0, 0] == 5.0
    assert said not in "\n".join(log.manifest["source"]["remarks"])
