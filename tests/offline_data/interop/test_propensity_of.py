"""Whose a propensity is, the slate's or the item's, and rewards of items: said where a table leaves it open."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.interop.column_map import ColumnMap, import_table
from offline_data.interop.import_options import ImportOptions
from recenv.errors import InvalidInput


@pytest.fixture
def imported(tmp_path):
    """Imports rows of `item,step,click,` and one more column, whose role is given."""

    def build(rows, role="propensity", name="out", **options):
        file = tmp_path / "log.csv"
        file.write_text("item,step,click,more\n" + "".join(f"{row}\n" for row in rows))
        roles = {"user_id": "step", "item_id": "item", "step": "step", "feedback.click": "click", role: "more"}
        return import_table(file, tmp_path / name, ColumnMap.of(roles), options=ImportOptions(**options))

    return build


OPEN = ("10,1,0,0.04", "11,1,1,0.04", "12,2,0,0.02", "13,2,0,0.02")


def test_one_number_throughout_each_slate_is_refused_until_it_is_said_whose_it_is(imported):
    with pytest.raises(InvalidInput) as caught:
        imported(OPEN)
    assert "data row 1: propensity is the same throughout each slate, here 0.04, and differs" in str(caught.value)
    assert "say --propensity-of slate if it is the whole slate's, or --propensity-of item" in str(caught.value)
    slate, item = (imported(OPEN, name=of, propensity_of=of) for of in ("slate", "item"))
    np.testing.assert_allclose(np.exp(slate.rows["behavior_log_prob"]), [0.04, 0.02])
    assert "prefix_log_prob" not in slate.rows
    np.testing.assert_allclose(np.exp(item.rows["behavior_log_prob"]), [0.0016, 0.0004])
    np.testing.assert_allclose(np.exp(item.rows["prefix_log_prob"][:, 0]), [0.04, 0.02])
    assert slate.manifest["source"]["options"]["propensity_of"] == "slate"


@pytest.mark.parametrize(
    ("rows", "whole", "warned"),
    [
        # Every slate has one number: taken as the item's, with a warning.
        (("10,1,0,0.1", "11,1,1,0.1", "12,2,0,0.1", "13,2,0,0.1"), [0.01, 0.01], True),
        # A slate of one item says nothing: there slate and item are the same.
        (("10,1,0,0.5", "12,2,0,0.1", "13,2,0,0.1"), [0.5, 0.01], True),
        (("10,1,0,0.5", "12,2,0,0.1"), [0.5, 0.1], False),
        # One slate whose numbers differ is enough.
        (("10,1,0,0.04", "11,1,1,0.04", "12,2,0,0.02", "13,2,0,0.03"), [0.0016, 0.0006], False),
        # What is missing in part says nothing.
        (("10,1,0,0.04", "11,1,1,", "12,2,0,0.02", "13,2,0,0.02"), [np.nan, 0.0004], True),
    ],
)
def test_where_it_is_the_items(imported, rows, whole, warned):
    log = imported(rows)
    np.testing.assert_allclose(np.exp(log.rows["behavior_log_prob"]), whole)
    warnings = [text for text in log.manifest["source"]["remarks"] if text.startswith("warning: every propensity")]
    assert len(warnings) == warned


def test_what_cannot_be_the_slates(imported):
    with pytest.raises(InvalidInput, match=r"data row 2: propensity=0\.2.* is not that of its slate's first item"):
        imported(("10,1,0,0.1", "11,1,0,0.2"), propensity_of="slate")
    with pytest.raises(InvalidInput, match="--propensity-of slate, and the log has no propensity"):
        imported(("10,1,0,0.1",), role="item_reward", propensity_of="slate")
    with pytest.raises(InvalidInput, match="unknown propensity_of 'items'; did you mean 'item'"):
        ImportOptions(propensity_of="items")  # type: ignore[arg-type]
    for wrong in ("0", "-0.1", "1.01", "50"):
        with pytest.raises(InvalidInput, match=r"data row 1: more=.* is not in \(0, 1\]"):
            imported((f"10,1,0,{wrong}",))


# --- rewards of items


REVENUE = ("10,1,0,0", "11,1,1,19.99", "12,2,0,0", "13,2,0,-5")


def test_a_reward_of_an_item_is_kept_by_item_and_summed_over_the_slate(imported):
    log = imported(REVENUE, "item_reward.revenue")
    np.testing.assert_array_equal(log.rows["item_reward"][:, :, 0], np.array([[0, 19.99], [0, -5]], np.float32))
    np.testing.assert_array_equal(log.reward(), np.array([19.99, -5], np.float32))
    assert (log.manifest["reward_weights"], log.manifest["feedback_names"]) == ({"revenue": 1.0}, ["click"])
    assert log.manifest["source"]["item_rewards"] == ["revenue"]
    assert log.manifest["source"]["options"]["columns"]["item_reward"] == {"revenue": "more"}


def test_rewards_of_items_are_weighed_beside_feedback(imported):
    log = imported(REVENUE, "item_reward", reward_weights={"click": 2.0, "item_reward": 0.5})
    np.testing.assert_allclose(log.reward(), [2.0 + 0.5 * 19.99, -2.5], rtol=1e-6)
    with pytest.raises(InvalidInput, match="reward weights of revenu: no such feedback; choose of click, revenue"):
        imported(REVENUE, "item_reward.revenue", "other", reward_weights={"revenu": 1.0})


def test_without_feedback_a_click_is_an_item_of_positive_reward(tmp_path):
    (tmp_path / "log.csv").write_text("item,step,more\n10,1,0\n11,1,19.99\n")
    roles = ColumnMap.of({"user_id": "step", "item_id": "item", "step": "step", "item_reward": "more"})
    log = import_table(tmp_path / "log.csv", tmp_path / "out", roles)
    np.testing.assert_array_equal(log.rows["feedback"][:, :, 0], [[0, 1]])


@pytest.mark.parametrize(
    ("role", "message"),
    [
        (
            "reward.revenue",
            "revenue=19.99 is not the reward of its step's first item; if it is of the item, map item_r",
        ),
        ("feedback.revenue", "=19.99.* is not in .*item_reward=.* of the item"),
        ("item_reward.click", "item_reward.click is named as a feedback or a reward is"),
    ],
)
def test_where_a_reward_of_an_item_does_not_belong(imported, role, message):
    with pytest.raises(InvalidInput, match=message):
        imported(REVENUE, role)
