"""Vowpal Wabbit's dsjson: exact propensities, candidates, context, and lines that are no decisions."""

from __future__ import annotations

import gzip
import json

import numpy as np
import pytest

from offline_data.interop.readers.vw import VwReader
from recenv.errors import InvalidInput

ACTIONS = [
    {"_tag": name, "i": {"price": price, "color": color}}
    for name, price, color in (("tea", 2.0, "green"), ("mate", 3.0, "green"), ("cola", 1.0, "black"))
]


def bandit(cost=0.0, index=1, order=(2, 1, 3), p=(0.5, 0.25, 0.25), **more):
    shared = {"User": {"id": "ann", "age": 30, "_note": "x"}, "FromUrl": [{"weather": "sunny"}], "new": True}
    return {
        "_label_cost": cost,
        "_label_probability": p[0],
        "_label_Action": index + 1,
        "_labelIndex": index,
        "Timestamp": "2024-05-01T12:00:00.5000000Z",
        "a": list(order),
        "p": list(p),
        "c": {**shared, "_multi": ACTIONS},
        **more,
    }


def slots(costs=(-0.5, -1.0), taken=((2, 1, 0), (0, 1)), p=((0.5, 0.25, 0.25), (0.75, 0.25)), **more):
    outcomes = [{"_label_cost": c, "_a": a, "_p": q} for c, a, q in zip(costs, taken, p, strict=True)]
    return {"c": {"_multi": ACTIONS, "_slots": [{}] * len(costs)}, "_outcomes": outcomes, **more}


def read(tmp_path, *events, path="log.dsjson", **options):
    (tmp_path / "log.dsjson").write_text("\n".join(json.dumps(event) for event in events) + "\n")
    return VwReader(path=tmp_path / path, **options).read(tmp_path / "out")


def remarks(log):
    return log.manifest["source"]["remarks"]


def test_a_contextual_bandit(tmp_path):
    log = read(tmp_path, bandit(-1.0), bandit(0.5, 0, (1, 2, 3), (0.125, 0.5, 0.375)))
    assert log.catalog["source_id"].tolist() == ["cola", "mate", "tea"]
    assert (log.num_sessions, log.num_rows, log.propensities) == (2, 2, "exact")
    assert log.rows["slate"][:, 0].tolist() == [1, 2]
    np.testing.assert_array_equal(log.rows["behavior_log_prob"], np.log([0.5, 0.125]))
    assert log.reward().tolist() == [1.0, -0.5], "a cost is a negative reward"
    assert log.rows["feedback"][:, 0, 0].tolist() == [1.0, 0.0]
    assert log.rows["candidates"][:].tolist() == [[0, 1, 2], [0, 1, 2]]
    assert [(c.name, c.kind) for c in log.context] == [
        ("User.id", "category"),
        ("User.age", "number"),
        ("FromUrl.weather", "category"),
        ("new", "number"),
    ]
    assert log.rows["timestamp"][0] == 1714564800.5
    assert "a cost is a negative reward: the reward is minus _label_cost" in remarks(log)


def test_features_of_actions_are_their_embeddings(tmp_path):
    log = read(tmp_path, bandit())
    made = log.manifest["source"]["item_features"]
    assert [(each["column"], each["as"]) for each in made] == [("i.price", "number"), ("i.color", "category")]
    vectors = log.catalog["embeddings"]
    assert vectors[1] @ vectors[2] > vectors[0] @ vectors[2], "mate is more like tea than cola is"
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, rtol=1e-6)


def test_slots_have_a_cost_each(tmp_path):
    log = read(tmp_path, slots(), slots((0.0, -2.0), ((0,), 1), ((0.5,), 0.25)))
    assert log.rows["slate"][:].tolist() == [[0, 2], [2, 1]]
    assert log.rows["item_reward"][:, :, 0].tolist() == [[0.5, 1.0], [0.0, 2.0]]
    assert log.reward().tolist() == [1.5, 2.0]
    np.testing.assert_allclose(np.exp(log.rows["behavior_log_prob"]), [0.375, 0.125], rtol=1e-6)
    np.testing.assert_allclose(np.exp(log.rows["prefix_log_prob"][0]), [0.5, 0.375], rtol=1e-6)


def test_slates_have_one_cost(tmp_path):
    event = slots((0, 0), ((1, 0), 0), ((0.5, 0.5), 1.0), _label_cost=-3.0)
    event["c"]["_multi"] = [{"_slot_id": min(n, 1), **action} for n, action in enumerate((*ACTIONS,))]
    event["c"]["_multi"][1]["_slot_id"] = 0
    log = read(tmp_path, event)
    assert log.rows["slate"][:].tolist() == [[1, 0]]
    assert log.reward().tolist() == [3.0]


def test_lines_that_are_left_out_are_counted(tmp_path):
    unlabelled = bandit()
    del unlabelled["_label_cost"]
    dangling = {"RewardValue": 1.0, "EventId": "x", "Timestamp": "2024-05-01T12:00:00Z"}
    log = read(tmp_path, bandit(), dangling, dangling, unlabelled, bandit(_skipLearn=True), bandit(_skipLearn=False))
    assert log.num_rows == 2
    assert remarks(log)[1] == (
        "lines that are left out: 2 tell of no decision (c), as dangling outcomes do; 1 have no cost (_label_cost); "
        "1 are not to be learned from (_skipLearn)"
    )
    with pytest.raises(InvalidInput, match="has no decision with an outcome"):
        read(tmp_path, dangling)


@pytest.mark.parametrize(
    ("event", "message"),
    [
        (bandit(p=(0.5, 0.25, 0.125)), "p sums to 0.875 in place of 1"),
        (bandit(p=(0.5, 0.25, -0.25)), "p=-0.25 is no number from 0 to 1.001"),
        (bandit(p=(0.5, 0.5)), "p has 2 probabilities of 3 actions"),
        (bandit(index=0), "_label_probability=0.5 is not that of the action in p, 0.25"),
        (bandit(_label_probability=0), "_label_probability=0 is no number from 1e-30 to 1.001"),
        (bandit(_labelIndex=7, _label_Action=8), "_labelIndex=7 is none of its 3 actions"),
        (bandit(_label_Action=3), "_labelIndex=1 and _label_Action=3 are two actions"),
        (bandit(_label_cost="1"), "_label_cost='1' is no number"),
        (bandit(pdrop=1.0), "pdrop=1.0 is no number from 0 to"),
        (bandit(c={}), "it has no list of actions"),
        (
            bandit(c={"_multi": [{"f": 1}] * 3}, a=None),
            "two of its actions are 'f=1'; say which feature names",
        ),
        (bandit(_label_ca={"action": 1}), "its action is a number (_label_ca), and no item"),
        (slots(taken=((2, 1, 0), (2, 1))), "it takes one action for two slots"),
        (slots(taken=((2, 1, 0), (7, 1))), "are not of its 3 actions"),
        (slots(p=((0.5, 0.25, 0.125), (0.5, 0.5))), "_p of slot 0 sums to 0.875"),
    ],
)
def test_decisions_that_contradict_themselves(tmp_path, event, message):
    with pytest.raises(InvalidInput) as caught:
        read(tmp_path, bandit(), event)
    assert str(caught.value).startswith(f"{tmp_path / 'log.dsjson'}: line 2: ")
    assert message in str(caught.value)
    assert str(caught.value).endswith("; mend it, or leave such out with --broken drop")
    log = read(tmp_path, bandit(), event, broken="drop")
    assert log.num_rows == 1
    assert "lines that are left out: 1 contradict themselves" in remarks(log)


def test_what_is_no_json_is_named_with_its_line(tmp_path):
    (tmp_path / "log.dsjson").write_text(json.dumps(bandit()) + "\n{oops\n")
    with pytest.raises(InvalidInput, match="line 2 is not JSON"):
        VwReader(path=tmp_path / "log.dsjson").read(tmp_path / "out")


def test_names_of_actions(tmp_path):
    def names(part, actions, **options):
        (tmp_path / part).mkdir()
        event = bandit(p=(1.0,), order=(1,), index=0, c={"_multi": actions})
        return read(tmp_path / part, event, **options).catalog["source_id"].tolist()

    action = {"TAction": {"topic": "Herbs"}, "i": {"id": "x7"}}
    assert names("a", [action]) == ["x7"]
    assert names("b", [action], item="TAction.topic") == ["Herbs"]
    assert names("c", [{"TAction": {"topic": "Herbs", "new": False}}]) == ["TAction.new=0, TAction.topic=Herbs"]
    with pytest.raises(
        InvalidInput, match=r"an action has no feature topic; it has TAction\.topic, i\.id: say another"
    ):
        names("d", [action], item="topic")


def test_actions_that_are_there_twice_are_shown_with_the_probability_of_either(tmp_path):
    log = read(tmp_path, bandit(c={"_multi": [{"f": 1}, {"f": 1}, {"f": 2}]}))
    assert log.catalog["source_id"].tolist() == ["f=1", "f=2"]
    np.testing.assert_allclose(np.exp(log.rows["behavior_log_prob"]), [0.75])
    assert log.rows["candidates"][:].tolist() == [[0, 1]]


def test_actions_may_count_from_zero(tmp_path):
    log = read(tmp_path, bandit(order=(1, 0, 2)))
    np.testing.assert_allclose(np.exp(log.rows["behavior_log_prob"]), [0.5])


def test_users_and_their_visits(tmp_path):
    def at(user, time):
        event = bandit(Timestamp=time)
        event["c"] = {**event["c"], "User": {"id": user, "age": 30}}
        return event

    log = read(
        tmp_path,
        at("bob", "2024-05-01T12:05:00Z"),
        at("ann", "2024-05-01T12:00:00Z"),
        at("bob", "2024-05-01T12:00:00Z"),
        at("bob", "2024-05-03T12:00:00Z"),
        user="User.id",
    )
    assert log.offsets.tolist() == [0, 1, 3, 4]
    assert log.sessions["source_user_id"].tolist() == ["ann", "bob", "bob"]
    assert np.diff(log.rows["timestamp"][1:3]).tolist() == [300.0]
    assert "User.id" not in [column.name for column in log.context]


def test_what_of_the_context_is_read(tmp_path):
    log = read(tmp_path, bandit(), context=("User.age", "FromUrl"))
    assert [column.name for column in log.context] == ["User.age", "FromUrl.weather"]
    with pytest.raises(InvalidInput, match=r"'User\.ag'.*User\.age"):
        read(tmp_path, bandit(), context=("User.ag",))


def test_absent_numbers_are_zero_and_absent_words_missing(tmp_path):
    other = bandit()
    other["c"] = {"_multi": ACTIONS}
    log = read(tmp_path, bandit(), other)
    assert log.context[1].mean == 15.0
    assert log.rows["context"][1, :2].tolist() == [0.0, 1.0]


def test_decisions_that_were_kept_unevenly(tmp_path):
    events = [bandit(-1.0, pdrop=0.0) for _ in range(100)] + [bandit(0.0, pdrop=0.5) for _ in range(100)]
    with pytest.raises(InvalidInput, match=r"kept with probabilities from 0\.5 to 1 .*say --dropped thin"):
        read(tmp_path, *events)
    thinned = read(tmp_path, *events, dropped="thin")
    assert thinned.num_rows < 200
    assert thinned.reward().sum() == thinned.num_rows - 100, "the least kept all stay"
    assert 30 <= thinned.reward().sum() <= 70  # 100 fair coins, of a fixed seed
    (tmp_path / "even").mkdir()
    assert read(tmp_path / "even", bandit(pdrop=0.9), bandit(pdrop=0.9)).num_rows == 2


def test_packed_parts_in_a_folder(tmp_path):
    (tmp_path / "day").mkdir()
    for n in range(2):
        (tmp_path / "day" / f"{n}.json.gz").write_bytes(gzip.compress(json.dumps(bandit()).encode()))
    log = VwReader(path=tmp_path / "day").read(tmp_path / "out")
    assert log.num_rows == 2
    assert sorted(log.manifest["source"]["files"]) == ["0.json.gz", "1.json.gz"]
