"""Each Open Bandit policy's click rate as the other's log tells it: by hand, and on the published sample."""

from dataclasses import replace

import numpy as np
import pytest

from offline_data.interop.open_bandit_judging import bandit_estimators, judge_open_bandit, model_columns
from offline_data.interop.readers.open_bandit import position_item_frequencies, read_open_bandit
from recenv.errors import InvalidInput
from tests.offline_data.interop.open_bandit_files import BTS_ROWS, HEADER, RANDOM_ROWS, write_log


@pytest.fixture
def root(tmp_path):
    """A small dataset of two items."""
    write_log(tmp_path, "random", RANDOM_ROWS)
    write_log(tmp_path, "bts", BTS_ROWS)
    return tmp_path


def test_both_directions_by_hand(root):
    thompson, uniform = judge_open_bandit(root, "all", estimators=["snips"], num_bootstrap=50)
    # random log: ratios (2/3, 1/3, 0, 0, 1) / 0.5, clicks 1, 0, 0, 1, 1
    (snips,), (error,) = thompson.estimates, thompson.relative_errors
    assert snips.value == pytest.approx((2 / 3 + 1) / 2)
    assert snips.effective_sample_size == pytest.approx(2.0**2 / (4 / 9 + 1 / 9 + 1))
    assert (thompson.log, thompson.on_policy.estimator) == ("random", "on_policy")
    assert "plug-in" in thompson.policy
    assert thompson.on_policy.value == pytest.approx(2 / 5)
    assert thompson.on_policy.effective_sample_size == pytest.approx(5.0)
    assert error.mean == pytest.approx(((2 / 3 + 1) / 2 - 0.4) / 0.4)
    assert error.low <= error.high
    # Thompson log: ratios .5 / (.9, .8, .2, .7, .6), clicks 1, 0, 1, 0, 0
    ratios = 0.5 / np.array([0.9, 0.8, 0.2, 0.7, 0.6])
    assert uniform.estimates[0].value == pytest.approx((ratios[0] + ratios[2]) / ratios.sum())
    assert (uniform.policy, uniform.log, uniform.on_policy.value) == ("uniform random", "bts", pytest.approx(3 / 5))


def test_the_seed_is_all_that_it_depends_on(root):
    once, again = (judge_open_bandit(root, "all", estimators=["snips"], seed=1, num_bootstrap=20) for _ in range(2))
    assert once == again


def test_a_model_does_not_see_the_row_that_it_is_read_on(tmp_path):
    """A click that is turned round changes no value of its own row, and some of the others."""
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(2)), int(rng.integers(1, 4)), int(rng.random() < 0.5), 0.5) for _ in range(90)]
    write_log(tmp_path, "random", rows)
    log = read_open_bandit(tmp_path, "random", "all", users=True)
    probability = np.full((3, 2), 0.5)
    before = model_columns(log, probability)
    turned = np.where(np.arange(90) == 7, 1 - log.click, log.click)
    log = replace(log, click=turned)
    after = model_columns(log, probability)
    for name in ("q_value", "state_value"):
        assert after[name][7] == before[name][7]
        assert np.mean(after[name] != before[name]) > 0.5
    # Two items, each as likely: the value is the mean of both items' rates, and here one is the logged item's.
    one = model_columns(log, np.array([[1.0, 0.0]] * 3))["state_value"]
    two = model_columns(log, np.array([[0.0, 1.0]] * 3))["state_value"]
    assert after["state_value"] == pytest.approx((one + two) / 2)
    assert after["q_value"] == pytest.approx(np.where(log.item_id == 0, one, two))


def test_the_users_features_are_read(tmp_path):
    """Users of one kind click always, the others never: the model tells them apart."""
    header = (*HEADER[:6], "user_feature_0")
    file = write_log(tmp_path, "random", [(n % 2, 1 + n % 3, int(n % 5 == 0), 0.5) for n in range(300)], header=header,
                     compressed=False)  # fmt: skip
    lines = file.read_text().splitlines()
    kinds = ["often" if n % 5 == 0 else "never" for n in range(300)]
    file.write_text(
        "\n".join([lines[0], *(f"{line[:-4]}{k}" for line, k in zip(lines[1:], kinds, strict=True))]) + "\n"
    )
    log = read_open_bandit(tmp_path, "random", "all", users=True)
    values = model_columns(log, np.full((3, 2), 0.5))["state_value"]
    often = np.array(kinds) == "often"
    assert values[often].min() > 0.5 > 0.2 > values[~often].max()


def test_logs_that_cannot_be_compared(root):
    write_log(root, "bts", BTS_ROWS, num_items=3)
    with pytest.raises(InvalidInput, match="lists 2 items and that of bts/all 3"):
        judge_open_bandit(root, "all")
    write_log(root, "bts", BTS_ROWS[:-1])
    with pytest.raises(InvalidInput, match=r"sum to \[0\.\] in place of 1 at positions \[3\]"):
        judge_open_bandit(root, "all", estimators=["snips"])
    write_log(root, "bts", [(item, position, 0, share) for item, position, _, share in BTS_ROWS])
    with pytest.raises(InvalidInput, match="has no click: there is no rate to be compared with"):
        judge_open_bandit(root, "all", estimators=["snips"])


def test_published_sample_gives_the_published_magnitude(sample):
    """Against SNIPS and the rates of both logs as published; few clicks have much weight, which is doubted."""
    thompson, uniform = judge_open_bandit(sample, "all", num_bootstrap=300)
    names = [each.estimator for each in thompson.estimates]
    assert names == bandit_estimators()
    assert {"dm", "dr", "snips", "wdr"} <= set(names)
    snips = thompson.estimates[names.index("snips")]
    assert snips.value == pytest.approx(0.0053, abs=1e-4)
    assert (snips.low, snips.high) == pytest.approx((0.0024, 0.0081), abs=1e-4)
    assert snips.doubts == ("few sessions make its spread",)
    # By chance the random log shows rarely what the other shows often: a mean weight of .96, which is flagged.
    assert snips.mean_weight is not None
    assert snips.mean_weight.high < 1.0
    assert thompson.on_policy.value == pytest.approx(0.0042, abs=1e-12)
    assert (thompson.on_policy.low, thompson.on_policy.high) == pytest.approx((0.0029, 0.0055), abs=1e-4)
    assert thompson.on_policy.trusted
    assert uniform.on_policy.value == pytest.approx(0.0038, abs=1e-12)
    for judged in (thompson, uniform):
        for found, error in zip(judged.estimates, judged.relative_errors, strict=True):
            assert error.mean == pytest.approx(abs(found.value / judged.on_policy.value - 1.0))
            assert error.mean < 0.8, found.estimator
            assert 0.0 <= error.low <= error.high
    frequencies = position_item_frequencies(read_open_bandit(sample, "bts", "all"))
    assert frequencies.shape == (3, 80)
