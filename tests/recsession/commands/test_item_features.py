"""From a table of ids alone to a policy and its worth; what tells items apart is said, and chosen."""

from __future__ import annotations

import json

import numpy as np
import pytest

BUDGET = "--trainer.num-steps 3 --trainer.batch-size 32 --trainer.policy.network.hidden-sizes 8"
CRITIC = "--critic.num-rounds 1 --critic.steps-per-round 2 --critic.batch-size 32 --critic.network.hidden-sizes 8"
ROLES = "user_id=user step=step item_id=item feedback.click=click propensity=p"


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A table of slates of two items, and of the items' columns."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = ["user,step,item,click,p"]
    for user in range(30):
        for step in range(4):
            slate = rng.permutation(8)[:2]
            rows += [
                f"u{user},{step},sku{item},{rng.integers(0, 2)},{p}"
                for item, p in zip(slate, (0.125, 0.142857), strict=True)
            ]
    (tmp_path / "log.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "items.csv").write_text(
        "item,price,brand\n" + "".join(f"sku{n},{n * n},{'ab'[n % 2]}\n" for n in range(8))
    )
    return tmp_path


@pytest.fixture
def told(shop, run):
    """Runs a command in the shop's folder, and returns what it said."""

    def say(words):
        code, out, err = run(*words.split())
        assert code == 0, err
        return out

    return say


def test_from_a_table_of_ids_to_a_policy_and_its_worth(shop, told):
    out = told(f"import table --path log.csv --out log --map {ROLES}")
    assert "items have no embeddings: a policy tells them apart by what stands together in the log that it" in out
    out = told(f"train awr --log log --out run {BUDGET} {CRITIC}")
    assert "items are told apart by 8 factors of what stands together in the log\n" in out
    request = json.loads((shop / "run" / "request.json").read_text())
    assert (request["trainer"]["item_features"], request["critic"]["item_features"]) == ("auto", "auto")
    out = told(f"ope --log log --policy run/policy --num-bootstrap 10 {CRITIC}")
    assert "\ndr " in out


def test_columns_of_the_items_are_said_and_chosen(shop, told):
    out = told(f"import table --path log.csv --out log --items items.csv --map {ROLES}")
    assert "note: items have 3 coordinates made of their columns price (number), brand (category)\n" in out
    for choice, expected in (
        ("auto", "3 coordinates of their price, brand; and by 8 factors of what stands together in the log\n"),
        ("catalog", "3 coordinates of their price, brand\n"),
        ("log", "8 factors of what stands together in the log\n"),
    ):
        out = told(f"train awr --log log --out by-{choice} --item-features {choice} {BUDGET} {CRITIC}")
        assert f"items are told apart by {expected}" in out
        told(f"ope --log log --policy by-{choice}/policy --num-bootstrap 10 {CRITIC}")


def test_what_the_log_does_not_have_is_refused_before_any_work(shop, told, run):
    told(f"import table --path log.csv --out log --item-features none --items items.csv --map {ROLES}")
    code, _, err = run("train", "bc", "--log", "log", "--out", "run", "--item-features", "both")
    assert code == 2
    assert "item features 'both': log has no embeddings of its items; say log, or import it" in err
    assert not (shop / "run").exists()
