"""Observations of the events of users are those of the log, to the bit; what would be misread is named."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offline_data.interop.foreign_log import import_interactions
from offline_data.interop.import_options import ImportOptions
from offline_data.interop.interactions import Ids, Interactions
from offline_data.serving.serving_space import ServingSpace
from offline_data.serving.visits import Visit
from offline_data.store.context import ContextColumn
from offline_data.store.histories import ObservationBuilder
from recenv.errors import InvalidInput
from tests.conftest import ROOT

SKUS = np.array(["00123", "123", "A-1", "B-2", "\N{SNOWMAN} x"])


@st.composite
def logs(draw: Any) -> tuple[Interactions, dict[str, Any], ImportOptions]:
    """Sessions of slates with empty positions, feedback and context, and what was shown of them, entry by entry."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ids: Any = draw(st.sampled_from([SKUS, np.array([-3, 7, 8, 123, 2**40])]))
    sessions = draw(st.integers(1, 4))
    entries: dict[str, list[Any]] = {name: [] for name in ("user", "session", "step", "position", "item")}
    for session in range(sessions):
        for step in range(draw(st.integers(1, 6))):
            for position in np.flatnonzero(rng.random(4) < 0.5) if draw(st.booleans()) else [draw(st.integers(0, 3))]:
                values = session // 2, session, step, int(position), int(rng.integers(len(ids)))
                for name, value in zip(entries, values, strict=True):
                    entries[name].append(value)
    raw: dict[str, Any] = {name: np.array(values) for name, values in entries.items()}
    count = len(raw["user"])
    clicks = rng.choice([0.0, 0.5, 1.0], count)
    raw |= {"click": clicks, "like": rng.random(count), "cart": rng.choice([0.0, 1.0], count), "sku": ids[raw["item"]]}
    step = np.unique([raw["session"], raw["step"]], axis=1, return_inverse=True)[1].reshape(-1)
    raw |= {"city": np.array(["Oslo", "Rome"])[step % 2], "age": np.array([31.5, np.nan, 8.0])[step % 3]}
    told = Interactions(
        files=[],
        user=Ids.of(raw["user"]),
        item=Ids(raw["item"], ids),
        feedback={name: raw[name] for name in ("click", "like", "cart")},
        session=raw["session"],
        step=raw["step"],
        position=raw["position"],
        context={"city": Ids.of(raw["city"]), "age": raw["age"]},
        catalog={"embeddings": np.eye(len(ids), dtype=np.float32)},
    )
    options = ImportOptions(history_length=draw(st.integers(1, 6)), max_steps=draw(st.sampled_from([None, 6, 9])))
    return told, raw, options


def visits_of(raw: dict[str, Any], only_consumed: bool) -> list[Visit]:
    """Return what a server knows before each row: the rows of its session before it, as the source tells them."""
    order = np.lexsort([raw[name] for name in ("position", "step", "session")])
    table = [{name: values[entry] for name, values in raw.items()} for entry in order]
    visits = []
    for session in np.unique(raw["session"]):
        mine = [entry for entry in table if entry["session"] == session]
        for number, step in enumerate(sorted({entry["step"] for entry in mine})):
            before = [entry for entry in mine if entry["step"] < step and (entry["click"] > 0 or not only_consumed)]
            channels = ("like", "cart") if only_consumed else ("click", "like", "cart")
            now = next(entry for entry in mine if entry["step"] == step)
            age = None if np.isnan(now["age"]) else now["age"]
            visits.append(
                Visit(
                    [(entry["sku"], {name: entry[name] for name in channels}) for entry in before],
                    step=number,
                    context={"age": age, "city": now["city"]},
                )
            )
    return visits


@settings(max_examples=40)
@given(made=logs())
def test_what_is_built_of_the_events_before_a_row_is_its_observation_to_the_bit(made, tmp_path_factory):
    told, raw, options = made
    folder = tmp_path_factory.mktemp("log")
    (folder / "source").touch()
    told = Interactions(**{**vars(told), "files": [(folder / "source", len(raw["user"]))]})
    log = import_interactions(folder / "log", told, "test", options=options)
    expected = ObservationBuilder(log).observe(np.arange(log.num_rows))
    space = ServingSpace(
        num_items=log.num_items,
        slate_size=log.slate_size,
        history_length=log.history_length,
        num_channels=2,
        max_steps=log.max_steps,
        observed=tuple(expected),
        feedback_names=tuple(log.manifest["feedback_names"]),
        context=log.context,
        item_ids=log.catalog["source_id"],
    )
    for serving in (space, ServingSpace.of_metadata(space.to_metadata())):
        for only_consumed in (True, False):
            found = serving.observe(visits_of(raw, only_consumed))
            assert list(found) == list(expected)
            for name, values in found.items():
                assert values.dtype == expected[name].dtype
                np.testing.assert_array_equal(values, expected[name], err_msg=name)


def space_of(ids: Any = SKUS, **changes: Any) -> ServingSpace:
    facts = {"history_length": 3, "num_channels": 2, "feedback_names": ("click", "like", "cart"), **changes}
    return ServingSpace(num_items=len(SKUS), slate_size=2, max_steps=4, item_ids=ids, **facts)


def test_events_by_hand():
    visits = [
        Visit(["A-1", ("B-2", {"cart": 1}), ["123", {"like": np.float32(0.5)}], "A-1"], step=2),
        Visit(np.array(["B-2", "A-1"]), step=9, num_consumed=4),
        Visit([("B-2", {"click": 0.0, "like": 1.0})], step=np.int64(1)),  # type: ignore[arg-type]
        Visit(),
    ]
    found = space_of().observe(visits)
    assert found["history_items"].tolist() == [[3, 1, 2], [-1, 3, 2], [-1, -1, -1], [-1, -1, -1]]
    assert found["history_feedback"][0].tolist() == [[0, 1], [0.5, 0], [0, 0]]
    assert not found["history_feedback"][1:].any()
    assert found["clock"].tolist() == [[0.5, 1.0], [1.0, 1.0], [0.25, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize(
    "ids", [SKUS, SKUS[::-1], np.array([5, 2**62, -9, 0, 123])], ids=["text", "unordered", "whole"]
)
def test_ids_go_in_and_come_out(ids):
    space = space_of(ids)
    found = space.observe([Visit(ids[[4, 0, 2]], step=1), Visit(ids[[1]].tolist(), step=1)])
    assert found["history_items"].tolist() == [[4, 0, 2], [-1, -1, 1]]
    assert space.ids_of(found["history_items"][:1]).tolist() == [ids[[4, 0, 2]].tolist()]


def test_without_ids_an_item_is_its_index():
    space = space_of(None)
    assert space.observe([Visit([np.int32(4), 0], step=1)])["history_items"].tolist() == [[-1, 4, 0]]
    with pytest.raises(InvalidInput, match="event 5: the policy knows no item of this id among its 5"):
        space.observe([Visit([5], step=1)])
    assert space.ids_of(np.array([[1, 0]])).tolist() == [[1, 0]]


def test_unknown_ids_are_named_or_skipped():
    space = space_of()
    visit = Visit(["gone", "A-1", "A-1\0", "new" * 9, "B-2", "zz", "0123"], step=3)
    with pytest.raises(InvalidInput, match=r"event 'gone', 'A-1\\x00', 'newnewnewnewnewnewnewnewnew', ...: the policy"):
        space.observe([visit])
    found = space.observe([visit], unknown="skip")
    assert found["history_items"].tolist() == [[-1, 2, 3]]
    assert found["clock"].tolist() == [[0.75, 1.0]]
    with pytest.raises(InvalidInput, match=r"unknown way with unknown ids 'drop'; .*refuse, skip"):
        space.observe([visit], unknown="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ids", "wrong", "message"),
    [
        (SKUS, 123, "event 123 is of type int, and the items' ids are texts; pass one, as the log has it"),
        (SKUS, np.int64(123), "is of type int64, and the items' ids are texts"),
        (SKUS, b"123", "is of type bytes, and"),
        (SKUS, None, "event None is of type NoneType, and"),
        (np.arange(5), "3", "event '3' is of type str, and the items' ids are whole numbers"),
        (np.arange(5), 3.0, "event 3.0 is of type float, and the items' ids are whole numbers"),
        (np.arange(5), True, "event True is of type bool, and"),
        (np.arange(5), 2**70, "the policy knows no item of this id among its 5"),
        (None, "A-1", "event 'A-1' is of type str, and the items' ids are whole numbers"),
    ],
)
def test_an_id_of_another_type_is_never_misread(ids, wrong, message):
    with pytest.raises(InvalidInput, match=message):
        space_of(ids).observe([Visit([wrong], step=1)])


@pytest.mark.parametrize(
    ("visit", "message"),
    [
        (lambda: Visit("A-1"), "events='A-1' of a visit is no list; pass one of ids, or pairs of an id"),
        (lambda: Visit(3), "events=3 of a visit is no list"),  # type: ignore[arg-type]
        (lambda: Visit({"A-1": 1}), "events=.* of a visit is no list"),  # type: ignore[arg-type]
        (lambda: Visit(["A-1"]), "step=0 and 1 consumed items: nothing is consumed before the first slate; pass how m"),
        (lambda: Visit([], step=-1), "step=-1 is outside"),
        (lambda: Visit([], step=1.5), "step=1.5 is not an integer"),  # type: ignore[arg-type]
        (lambda: Visit([], step=None), "step=None is not an integer"),  # type: ignore[arg-type]
        (lambda: Visit(["A-1"] * 3, 2, 2), "num_consumed=2 is less than the 3 events of the visit"),
        (lambda: Visit([("A-1", {"lik": 1})], 1), "unknown feedback 'lik'; did you mean 'like'"),
        (lambda: Visit([("A-1", {"like": 2})], 1), r"event \('A-1', {'like': 2}\): like=2 is not in \[0, 1\]; scale"),
        (lambda: Visit([("A-1", {"like": np.nan})], 1), "like=nan is not in"),
        (lambda: Visit([("A-1", {"like": "1"})], 1), "like='1' is not in"),
        (lambda: Visit([("A-1", 1.0)], 1), r"event \('A-1', 1.0\) is neither an id nor \('ID', {'CHANNEL': 1.0}\)"),
        (lambda: Visit([("A-1", {}, 3)], 1), "is neither an id nor"),
        (lambda: Visit([], context={"city": "Oslo"}), "a visit has the context 'city', and the policy reads none"),
        (lambda: Visit([], context=["Oslo"]), r"context=\['Oslo'\] of a visit is no dict"),  # type: ignore[arg-type]
        (
            lambda: Visit([], candidates=["A-1"]),
            "a visit has candidates, and the policy chooses among all of its items",
        ),
        (lambda: "A-1", "a visit is a str; pass Visit"),
    ],
)
def test_what_is_no_visit_is_refused(visit, message):
    space = space_of()
    with pytest.raises(InvalidInput, match=message):
        space.observe([visit()])


def test_a_policy_of_an_older_version_knows_no_channels():
    space = space_of(feedback_names=None)
    assert space.observe([Visit(["A-1", ("B-2", {})], 1)])["history_items"].tolist() == [[-1, 2, 3]]
    with pytest.raises(InvalidInput, match="has feedback, and the policy is of an older version, which does not know"):
        space.observe([Visit([("A-1", {"like": 1.0})], 1)])


def test_what_is_not_known_of_the_context_is_said():
    columns = (ContextColumn("age", "number", 30.0, 10.0, True), ContextColumn("city", "category", values=("Oslo",)))
    space = space_of(context=columns, observed=("history_items", "history_feedback", "clock", "context"))
    visits = [Visit(context={"city": "Oslo", "age": 50}), Visit(context={"city": None, "age": None})]
    assert space.observe(visits)["context"].tolist() == [[2, 0, 1, 0], [0, 1, 0, 1]]
    with pytest.raises(
        InvalidInput, match="the context of a visit lacks age, which the policy reads; pass None for what"
    ):
        space.observe([Visit(context={"city": "Oslo"})])


def test_candidates_are_ids():
    base = ("history_items", "history_feedback", "clock")
    visits = [Visit(candidates=["B-2", "00123", "B-2"]), Visit(candidates=np.array(["A-1"]))]
    found = space_of(observed=(*base, "candidates")).observe(visits)
    assert found["candidates"].tolist() == [[0, 3], [2, -1]]
    assert found["candidates"].dtype == np.int32
    found = space_of(observed=(*base, "available")).observe(visits)
    assert found["available"].tolist() == [[1, 0, 0, 1, 0], [0, 0, 1, 0, 0]]
    space = space_of(observed=(*base, "candidates"))
    for visit, message in (
        (Visit(), "a visit has no candidates, and the policy chooses among them; pass their ids"),
        (Visit(candidates=[]), "a visit has no candidate that the policy knows"),
        (Visit(candidates=["B-2", "gone"]), "candidate 'gone': the policy knows no item of this id"),
    ):
        with pytest.raises(InvalidInput, match=message):
            space.observe([visit])
    assert space.observe([Visit(candidates=["gone", "B-2"])], unknown="skip")["candidates"].tolist() == [[3]]
    with pytest.raises(InvalidInput, match="a visit has no candidate that the policy knows"):
        space.observe([Visit(candidates=["gone"])], unknown="skip")


def test_further_entries_are_given_as_they_are():
    space = space_of(observed=("profile", "history_items", "history_feedback", "clock"))
    found = space.observe([Visit(entries={"profile": [0.5, 1]}), Visit(entries={"profile": np.ones(2)})])
    assert found["profile"].tolist() == [[0.5, 1.0], [1.0, 1.0]]
    for visits, message in (
        ([Visit()], "a visit has no 'profile', which the policy reads; pass it in `entries`"),
        ([Visit(entries={"profile": "x"})], "profile of a visit is no array of numbers"),
        ([Visit(entries={"profile": [1]}), Visit(entries={"profile": [1, 2]})], "profile of the visits has different"),
        ([], "visits are none; pass one a user"),
    ):
        with pytest.raises(InvalidInput, match=message):
            space.observe(visits)


@pytest.mark.parametrize("ids", [SKUS, np.array([5, 2**62, -9, 0, 123]), None], ids=["text", "whole", "none"])
def test_metadata_come_back(ids):
    space = space_of(ids, context=(ContextColumn("age", "number", 30.0, 10.0, True),))
    told = space.to_metadata()
    assert all(isinstance(text, str) for text in told.values())
    assert told["max_steps"] == "4"
    found = ServingSpace.of_metadata({**told, "something": "else"})
    for name, value in vars(space).items():
        np.testing.assert_array_equal(getattr(found, name), value)
    assert found.item_ids is None or found.item_ids.dtype == ids.dtype


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"slate_size": None}, "the model's metadata lack slate_size, as a model of an older version does; export"),
        ({"slate_size": "0"}, "slate_size=0 is outside"),
        ({"max_steps": "x"}, "max_steps of the model's metadata is not JSON"),
        ({"item_ids": '["a", "b"]'}, r"source_id has shape \(2,\)"),
        ({"item_ids": '["a", "b", "c", "d", "a"]'}, "source_id holds .* twice"),
        ({"item_ids": '["a", 1, "c", "d", "e"]'}, "item_ids of the model's metadata is no list of texts or of whole"),
        ({"item_ids": "3"}, "item_ids of the model's metadata is no list"),
        ({"item_ids": f"[{10**30}]"}, "holds a number beyond 64 bits"),
        ({"item_ids": "[" * 2000}, "is not JSON"),
        ({"feedback_names": '["click"]'}, r"feedback_names=\('click',\) are not those of the click and 2 channels"),
        ({"feedback_names": "3"}, "feedback_names=3 is no tuple of different names"),
        ({"observed": "null"}, "observed=None is no tuple of different names"),
        ({"context": "{}"}, "context is no list of objects"),
    ],
)
def test_metadata_of_something_else_are_refused(changes, message):
    told = {name: text for name, text in {**space_of().to_metadata(), **changes}.items() if text is not None}
    with pytest.raises(InvalidInput, match=message):
        ServingSpace.of_metadata(told).observe([Visit()])


def test_neither_needs_pytorch():
    script = (
        "import sys; sys.modules['torch'] = sys.modules['tensordict'] = None\n"
        "import json\n"
        "from offline_data import ServingSpace, Visit\n"
        "space = ServingSpace.of_metadata(json.loads(sys.argv[1]))\n"
        "print(space.observe([Visit(['A-1'], 1)])['history_items'].tolist())\n"
    )
    told = json.dumps(space_of().to_metadata())
    found = subprocess.run([sys.executable, "-c", script, told], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout == "[[-1, -1, 2]]\n"
