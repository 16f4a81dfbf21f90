"""What a message of the import says to do is done, and then the file is read: no message sends anybody in a circle."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from offline_data import ImportOptions
from offline_data.interop.readers.table import TableReader
from recenv.errors import InvalidInput

MAP = "user_id=user item_id=item step=step feedback.click=click"
TIMED = "user_id=user item_id=item timestamp=ts feedback.click=click"


class Case(NamedTuple):
    """A table that is refused, and what the message says to do about it."""

    rows: str
    """Of the table, between spaces."""
    words: str
    """Of the map."""
    said: str
    """What the message says, to the letter."""
    then: dict[str, Any] | None = None
    """Options that it names."""
    instead: tuple[str, str] = ("", "")
    """Word of the map, and the one that it names."""
    mended: tuple[str, str] = ("", "")
    """What is mended in the file as it says."""
    first: dict[str, Any] | None = None
    """Options that were given before."""


CASES = {
    "reward per item": Case(
        "user,item,step,click,paid 1,10,1,0,0 1,11,1,1,19.99",
        f"{MAP} reward=paid",
        "map item_reward.reward",
        instead=("reward=paid", "item_reward.reward=paid"),
    ),
    "price as feedback": Case(
        "user,item,step,paid 1,10,1,0 1,11,1,19.99",
        "user_id=user item_id=item step=step feedback.click=paid",
        "map item_reward=paid of the item",
        instead=("feedback.click=paid", "item_reward=paid"),
    ),
    "logarithms as propensities": Case(
        "user,item,step,click,p 1,10,1,0,-1.2 1,11,2,1,-0.5",
        f"{MAP} propensity=p",
        "p=-1.2 is not in (0, 1]; if these are logarithms, map log_propensity=p",
        instead=("propensity=p", "log_propensity=p"),
    ),
    "propensities as logarithms": Case(
        "user,item,step,click,p 1,10,1,0,0.2 1,11,2,1,0.5",
        f"{MAP} log_propensity=p",
        "p=0.2 is no logarithm of a probability, which is finite and at most 0; if these are probabilities, map "
        "propensity=p",
        instead=("log_propensity=p", "propensity=p"),
    ),
    "propensities as logarithms of prefixes": Case(
        "user,item,step,click,p 1,10,1,0,0.2 1,11,1,1,0.5",
        f"{MAP} prefix_log_prob=p",
        "if these are probabilities, and of the item, map propensity=p",
        instead=("prefix_log_prob=p", "propensity=p"),
    ),
    "propensities as logarithms of slates": Case(
        "user,item,step,click,p 1,10,1,0,0.2 1,11,1,1,0.2",
        f"{MAP} behavior_log_prob=p",
        "if these are probabilities, map propensity=p, and say --propensity-of slate",
        {"propensity_of": "slate"},
        ("behavior_log_prob=p", "propensity=p"),
    ),
    "logarithms of items as of slates": Case(
        "user,item,step,click,p 1,10,1,0,-1 1,11,1,1,-2",
        f"{MAP} behavior_log_prob=p",
        "if it is of the item, map log_propensity",
        instead=("behavior_log_prob=p", "log_propensity=p"),
    ),
    "logarithms of items as of prefixes": Case(
        "user,item,step,click,p 1,10,1,0,-2 1,11,1,1,-1",
        f"{MAP} prefix_log_prob=p",
        "if it is of the item alone, map log_propensity",
        instead=("prefix_log_prob=p", "log_propensity=p"),
    ),
    "a logarithm above zero": Case(
        "user,item,step,click,p 1,10,1,0,3 1,11,2,1,-1",
        f"{MAP} log_propensity=p",
        "p=3 is no logarithm of a probability, which is finite and at most 0; leave it empty if it is unknown",
        mended=("0,3 ", "0, "),
    ),
    "a propensity of zero": Case(
        "user,item,step,click,p 1,10,1,0,0 1,11,2,1,0.5",
        f"{MAP} propensity=p",
        "p=0 is not in (0, 1]; leave it empty if it is unknown",
        mended=("1,0,0 ", "1,0, "),
    ),
    "percent": Case(
        "user,item,step,click,p 1,10,1,0,20 1,11,2,1,50",
        f"{MAP} propensity=p",
        "if these are percent, divide them by 100",
        mended=("0,20 1,11,2,1,50", "0,.2 1,11,2,1,.5"),
    ),
    "whose propensity": Case(
        "user,item,step,click,p 1,10,1,0,.1 1,11,1,1,.1 1,12,2,0,.2 1,13,2,0,.2",
        f"{MAP} propensity=p",
        "say --propensity-of slate if it is the whole slate's",
        {"propensity_of": "slate"},
    ),
    "not the slate's propensity": Case(
        "user,item,step,click,p 1,10,1,0,.1 1,11,1,1,.2",
        f"{MAP} propensity=p",
        "as --propensity-of slate has it; say --propensity-of item",
        {"propensity_of": "item"},
        first={"propensity_of": "slate"},
    ),
    "microseconds": Case(
        "user,item,ts,click 1,10,1700000000000000,0 1,11,1700000010000000,1",
        TIMED,
        "say --time-unit microseconds",
        {"time_unit": "microseconds"},
    ),
    "nanoseconds said to be milliseconds": Case(
        "user,item,ts,click 1,10,1700000000000000000,0 1,11,1700000010000000000,1",
        TIMED,
        "say --time-unit nanoseconds",
        {"time_unit": "nanoseconds"},
        first={"time_unit": "milliseconds"},
    ),
    "an empty time": Case(
        "user,item,ts,click 1,10,1700000000.25,0 1,11,,1", TIMED, "with --missing drop", {"missing": "drop"}
    ),
    "an empty date": Case(
        "user,item,ts,click 1,10,2024-05-01,0 1,11,NaT,1", TIMED, "with --missing drop", {"missing": "drop"}
    ),
    "a time of zero": Case(
        "user,item,ts,click 1,10,1700000000,0 1,11,0,1",
        TIMED,
        "leave empty what is unknown, and say --missing drop",
        {"missing": "drop"},
        mended=(",0,1", ",,1"),
    ),
    "a date of zeros": Case(
        "user,item,ts,click 1,10,2024-05-01,0 1,11,0000-00-00,1",
        TIMED,
        "leave empty what is unknown, and say --missing drop",
        {"missing": "drop"},
        mended=("0000-00-00", ""),
    ),
    "a date before all logs": Case(
        "user,item,ts,click 1,10,2024-05-01,0 1,11,1970-01-01,1",
        TIMED,
        "leave empty what is unknown, and say --missing drop",
        {"missing": "drop"},
        mended=("1970-01-01", ""),
    ),
    "dates as numbers": Case(
        "user,item,ts,click 1,10,20240501,0 1,11,20240502,1",
        TIMED,
        "say --time-format %Y%m%d",
        {"time_format": "%Y%m%d"},
    ),
    "dates by days": Case(
        "user,item,ts,click 1,10,31/05/2024,0 1,11,01/06/2024,1",
        TIMED,
        "say --time-format '%d/%m/%Y'",
        {"time_format": "%d/%m/%Y"},
    ),
    "counted days": Case(
        "user,item,ts,click 1,10,19844,0 1,11,19850,1",
        TIMED,
        "or say --counted-times if they count from no date",
        {"counted_times": True},
    ),
    "some with a zone": Case(
        "user,item,ts,click 1,10,2024-05-01T12:00:00,0 1,11,2024-05-01T10:01:00Z,1",
        TIMED,
        "write them alike, with a zone in each (Z is UTC) or in none",
        mended=("12:00:00,", "12:00:00Z,"),
    ),
    "commas in numbers": Case(
        "user;item;step;paid 1;10;1;0 1;11;1;19,99",
        "user_id=user item_id=item step=step item_reward=paid",
        "invalid value '19,99'; say --decimal ,",
        {"decimal": ","},
        first={"delimiter": ";"},
    ),
    "a missing user": Case(
        "user,item,step,click 1,10,1,0 NULL,11,2,1", MAP, "with --missing drop", {"missing": "drop"}
    ),
    "positions from zero": Case(
        "user,item,step,click,pos 1,10,1,0,0 1,11,1,1,1",
        f"{MAP} position=pos",
        "pos=0 comes before the first position, 1; say --first-position 0",
        {"first_position": 0},
        first={"first_position": 1},
    ),
    "a position of nothing": Case(
        "user,item,step,click,pos 1,10,1,0,0 1,11,1,1,-1",
        f"{MAP} position=pos",
        "leave the position empty and say --missing drop",
        {"missing": "drop"},
        mended=("1,1,-1", "1,1,"),
    ),
    "two at one position": Case(
        "user,item,step,click,pos 1,10,1,0,1 1,11,1,1,1",
        f"{MAP} position=pos",
        "leave `position` out of the map",
        instead=(" position=pos", ""),
    ),
    "a row twice": Case(
        "user,item,step,click,pos 1,10,1,0,1 1,10,1,0,1",
        f"{MAP} position=pos",
        "with --duplicates drop if the whole row is",
        {"duplicates": "drop"},
    ),
    "too few steps": Case(
        "user,item,step,click 1,10,1,0 1,11,2,1",
        MAP,
        "give --max-steps 2 or more",
        {"max_steps": 2},
        first={"max_steps": 1},
    ),
    "the item's price as context": Case(
        "user,item,step,click,price 1,10,1,0,5 1,11,1,1,6",
        f"{MAP} context.price=price",
        "map item.price",
        instead=("context.price=price", "item.price=price"),
    ),
    "the item's context": Case(
        "user,item,step,click,price 1,10,1,0,5 1,11,1,1,6",
        f"{MAP} context.price=price",
        "leave it out of the map",
        instead=(" context.price=price", ""),
    ),
    "semicolons": Case("user;item;step;click 1;10;1;0", MAP, "say --delimiter ';'", {"delimiter": ";"}),
    "one reward for two": Case(
        "user,item,step,paid 1,10,1,0 1,11,1,9",
        "user_id=user item_id=item step=step feedback.paid=paid item_reward.paid=paid",
        "if it is a reward, map item_reward=paid",
        instead=(" feedback.paid=paid", ""),
    ),
    "a name of two": Case(
        "user,item,step,click,paid 1,10,1,0,0 1,11,1,1,9",
        f"{MAP} item_reward.click=paid",
        "give it another name",
        instead=("item_reward.click=paid", "item_reward.price=paid"),
    ),
    "weights beside a reward": Case(
        "user,item,step,click,r 1,10,1,0,1 1,11,1,1,1",
        f"{MAP} reward=r",
        "leave them out",
        {"reward_weights": {}},
        first={"reward_weights": {"click": 2.0}},
    ),
}

OF_IMPORT = {"propensity_of", "counted_times", "duplicates", "max_steps", "reward_weights"}


def read(folder, rows, words, options, name):
    """Import a table."""
    (folder / "log.csv").write_text("\n".join(rows.split(" ")) + "\n")
    common = {option: value for option, value in options.items() if option in OF_IMPORT}
    own = {option: value for option, value in options.items() if option not in OF_IMPORT}
    reader = TableReader(path=folder / "log.csv", map=tuple(words.split()), options=ImportOptions(**common), **own)
    return reader.read(folder / name)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_remedy_of_a_message_works(tmp_path, case):
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, case.rows, case.words, case.first or {}, "refused")
    assert case.said in str(caught.value)
    assert not (tmp_path / "refused").exists()
    rows, words = case.rows.replace(*case.mended), case.words.replace(*case.instead)
    assert (rows, words, case.then) != (case.rows, case.words, case.first), "nothing of it is followed"
    log = read(tmp_path, rows, words, {**(case.first or {}), **(case.then or {})}, "read")
    assert log.num_rows > 0
    assert np.isfinite(log.reward()).all()


def test_columns_of_items_whose_names_no_file_can_have(tmp_path):
    (tmp_path / "items.csv").write_text("item;Preis (EUR);Größe;id.x\n10;1.5;1;3\n11;2.5;2;4\n")
    rows = "user,item,step,click 1,10,1,0 1,11,2,1"
    given = {"items": tmp_path / "items.csv", "item_delimiter": ";"}
    words = f"{MAP} item_reward.paid=Preis~(EUR)@click".split()
    reader = TableReader(path=tmp_path / "log.csv", map=tuple(word.replace("~", " ") for word in words), **given)
    read(tmp_path, rows, MAP, given, "plain")
    log = reader.read(tmp_path / "out")
    assert log.catalog["Preis_EUR"].tolist() == [1.5, 2.5]
    assert log.reward().tolist() == [0.0, 2.5]
    told = "columns of the items that are kept by another name: Preis (EUR) as Preis_EUR, Größe as Gro_e, id.x as id_x"
    assert told in log.manifest["source"]["remarks"]
    (tmp_path / "items.csv").write_text("item;a b;a.b\n10;1;1\n11;2;2\n")
    with pytest.raises(InvalidInput, match="whose names are one in a file's; rename them"):
        read(tmp_path, rows, MAP, given, "other")


def test_logarithms_of_propensities_are_what_their_exponentials_are(tmp_path):
    rows = "user,item,step,click,p,q 1,10,1,0,.5,-0.6931471805599453 1,11,1,1,.25,-1.3862943611198906"
    one = read(tmp_path, rows, f"{MAP} propensity=p", {}, "one")
    two = read(tmp_path, rows, f"{MAP} log_propensity=q", {}, "two")
    np.testing.assert_allclose(one.rows["prefix_log_prob"], two.rows["prefix_log_prob"], rtol=1e-6)
    np.testing.assert_allclose(one.rows["behavior_log_prob"], np.log(0.125), rtol=1e-6)


@pytest.mark.parametrize(
    ("items", "said", "then"),
    [
        ("item;price 10;1 11;2", "say --item-delimiter ';'", {"item_delimiter": ";"}),
        ("item,price,name 10,1,groß 11,2,x", "as in --item-encoding latin-1", {"item_encoding": "latin-1"}),
        ("10,1 11,2", "--item-columns NAME NAME", {"item_columns": ("item", "price")}),
    ],
)
def test_a_file_of_items_may_be_written_otherwise_than_the_log(tmp_path, items, said, then):
    (tmp_path / "items.csv").write_bytes("\n".join([*items.split(" "), ""]).encode("latin-1"))
    rows = "user,item,step,click,käufer 1,10,1,0,ö 1,11,2,1,ö"
    given = {"items": tmp_path / "items.csv"}
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, rows, MAP, given, "refused")
    assert said in str(caught.value)
    log = read(tmp_path, rows, MAP, {**given, **then}, "read")
    assert log.catalog["price"].tolist() == [1.0, 2.0]
