"""Slots that a service has and a log does not show: `slate_size` leaves them empty, and what was read stays."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.minari import export_minari
from offline_data.interop.minari_import import import_minari
from offline_data.store.histories import ObservationBuilder
from recenv.errors import InvalidInput

COLUMNS = {"user_id": "user", "item_id": "item", "step": "step", "feedback": {"click": "click"}}
SLATES = (
    "user,item,step,click,p,whole\na,10,1,0,.5,.2\na,11,1,1,.25,.2\na,12,2,1,.2,.3\nb,10,1,1,.5,.1\nb,12,1,0,.5,.1\n"
    "b,11,1,0,1,.1\n"
)
PLACED = "user,item,step,click,p,whole,rank\na,10,1,0,.5,.2,2\na,11,1,1,.25,.2,4\na,12,2,1,.2,.3,3\nb,10,1,1,.5,.1,1\n"
SINGLE = "user,item,step,click,p,rank\na,10,1,0,.5,2\na,11,2,1,.25,3\nb,10,1,1,.5,1\n"


@pytest.fixture
def read(tmp_path):
    def run(rows: str, name: str, *, columns=None, **options):
        (tmp_path / "log.csv").write_text(rows)
        mapped = ColumnMap(**{**COLUMNS, **(columns or {})})
        return import_table(tmp_path / "log.csv", tmp_path / name, mapped, options=ImportOptions(**options))

    return run


@pytest.mark.parametrize("of", ["item", "slate", "none"])
@pytest.mark.parametrize("rows", [SLATES, PLACED], ids=["order", "positions"])
def test_what_was_read_stays_and_the_rest_is_empty(read, rows, of):
    placed = rows is PLACED
    if of == "none":
        header, _, body = rows.partition("\n")
        users = (body.replace("a,", f"a{user},").replace("b,", f"b{user},") for user in range(9))
        rows = f"{header}\n{''.join(users)}"
    columns = {} if of == "none" else {"propensity": "whole" if of == "slate" else "p"}
    options = {"propensity_of": "slate" if of == "slate" else "item"} if columns else {"estimate_propensities": True}
    if placed:
        columns["position"] = "rank"
    short, wide = (read(rows, f"out{size}", columns=columns, slate_size=size, **options) for size in (None, 6))
    size = short.slate_size
    assert (size, wide.slate_size) == (4 if placed else 3, 6)
    for name, values in short.rows.items():
        found = wide.rows[name]
        found = found[:, :size] if values.ndim > 1 and values.shape[1] == size else found
        np.testing.assert_allclose(found, values, rtol=1e-12)  # estimates round otherwise
    assert not wide.rows["shown"][:, size:].any()
    np.testing.assert_array_equal(wide.rows["slate"][:, size:], short.rows["slate"][:, -1:].repeat(6 - size, axis=1))
    if "prefix_log_prob" in short.rows:
        np.testing.assert_array_equal(wide.rows["prefix_log_prob"][:, -1], wide.rows["behavior_log_prob"])
        assert (np.ptp(wide.rows["prefix_log_prob"][:, size - 1 :], axis=1) == 0.0).all()
    for name in (*short.sessions, *short.events):
        mine, others = (log.sessions | log.events for log in (short, wide))
        np.testing.assert_array_equal(mine[name], others[name])
    every = np.arange(short.num_rows)
    for name, values in ObservationBuilder(short).observe(every).items():
        np.testing.assert_array_equal(ObservationBuilder(wide).observe(every)[name], values)


@pytest.mark.parametrize("of", ["item", "slate"])
def test_single_items_of_a_service_of_slates_stand_where_they_stood(read, of):
    columns = {"propensity": "p", "position": "rank"}
    log = read(SINGLE, "out", columns=columns, slate_size=3, propensity_of=of)
    np.testing.assert_array_equal(log.rows["shown"], [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    half, quarter = np.log([0.5, 0.25])
    np.testing.assert_allclose(log.rows["prefix_log_prob"], [[0, half, half], [0, 0, quarter], [half, half, half]])
    np.testing.assert_allclose(log.rows["behavior_log_prob"], [half, quarter, half])
    assert "position" not in log.rows
    one = read(SINGLE, "one", columns=columns, slate_size=1, propensity_of=of)
    np.testing.assert_array_equal(one.rows["position"], [1, 2, 0])


def test_longer_slates_are_refused_and_the_remedy_works(read):
    with pytest.raises(
        InvalidInput,
        match=r"data row 6: a step of 3 items exceeds slate_size=2; give --slate-size 3 or more",
    ):
        read(SLATES, "out", slate_size=2)
    assert read(SLATES, "out", slate_size=3).slate_size == 3
    with pytest.raises(InvalidInput, match=r"a slate of 4 positions exceeds slate_size=3; give --slate-size 4 or more"):
        read(PLACED, "placed", columns={"position": "rank"}, slate_size=3)
    for wrong in (0, 1025, 2.5, True):
        with pytest.raises(InvalidInput, match="slate_size="):
            ImportOptions(slate_size=wrong)  # type: ignore[arg-type]


def test_mostly_empty_slates_are_refused(read):
    rows = "user,item,step,click\n" + "".join(f"{n},{n},1,0\n" for n in range(20_000))
    with pytest.raises(
        InvalidInput, match=r"slate_size=1024 leaves 99.9% of all positions empty; give a lower --slate-size, 1 or more"
    ):
        read(rows, "out", slate_size=1024)


def test_a_log_that_comes_back_whole_has_its_own(read, tmp_path):
    pytest.importorskip("minari")
    export_minari(read(SLATES, "log", slate_size=4), "shop-v0", tmp_path / "minari")
    assert import_minari(tmp_path / "minari/shop-v0", tmp_path / "back").slate_size == 4
    with pytest.raises(InvalidInput, match=r"slate_size=5 is not the 4 of .*; leave out --slate-size"):
        import_minari(tmp_path / "minari/shop-v0", tmp_path / "other", options=ImportOptions(slate_size=5))
