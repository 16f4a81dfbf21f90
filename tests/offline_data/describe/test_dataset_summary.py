"""Every number of a summary is what numpy gives on whole columns, however the rows are cut into blocks."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from offline_data.collection.collection import collect
from offline_data.collection.corruption import Corruption
from offline_data.describe import dataset_summary
from offline_data.describe.dataset_summary import policy_name, summarize
from offline_data.describe.streamed_statistics import QUANTILES
from offline_data.dial.quality import mixture_spec
from offline_data.ranking.ranking import gaussian_log_prob
from offline_data.store import log_checks, session_blocks
from offline_data.store.columns import COLUMNS
from offline_data.store.log_checks import CHECKS
from recenv.errors import InvalidInput
from recenv.statistics import Interval

pytestmark = pytest.mark.kernels

QUALITY = {
    "expert": {"name": "expert"},
    "noise": {"name": "clickbait"},
    "expert_return": {"mean": 9.0, "low": 8.8, "high": 9.2},
    "noise_return": {"mean": 1.0, "low": 0.9, "high": 1.1},
}


@pytest.fixture(scope="module", params=["slate", "proto"])
def log(request, small_request, tmp_path_factory):
    """A log of a per-session mixture in groups of two, a fifth of whose sessions has lost its propensities."""
    corruption = Corruption(reward_noise=0.5, label_flips=0.1, missing_propensities=0.2)
    asked = replace(small_request, action_kind=request.param, corruption=corruption, quality=QUALITY)
    return collect(tmp_path_factory.mktemp("summary") / "log", asked)


@pytest.fixture(autouse=True, params=[1, 1 << 18])
def _rows_at_once(request, monkeypatch):
    monkeypatch.setattr(session_blocks, "ROWS_AT_ONCE", request.param)


def per_session(log, values):
    return [values[start:stop] for start, stop in zip(log.offsets[:-1], log.offsets[1:], strict=True)]


def effective(log_weights):
    weights = np.exp(np.asarray(log_weights, np.longdouble))
    return float(weights.sum() ** 2 / (weights**2).sum())


def test_sizes(log):
    size = summarize(log)["size"]
    assert (size["sessions"], size["steps"], size["items"], size["slate_size"]) == (40, log.num_rows, 12, 3)
    assert size["users"] == 20
    assert size["events"] == (log.rows["feedback"][:, :, 0] > 0).sum()
    files = [file for file in log.path.rglob("*.npy") if file.is_file()]
    assert size["files"] == len(files)
    for folder, total in size["bytes"].items():
        assert total == sum(file.stat().st_size for file in files if file.parent.name == folder)
    assert sum(size["bytes"].values()) == sum(file.stat().st_size for file in files)


def test_returns_and_lengths(log):
    found = summarize(log)
    for name, values in (("session_return", log.session_returns()), ("session_length", np.diff(log.offsets))):
        item = found[name]
        assert item["count"] == 40
        assert item["mean"] == pytest.approx(values.mean())
        np.testing.assert_allclose(list(item["quantiles"].values()), np.quantile(values, QUANTILES))
        assert item["counts"] == np.histogram(values, item["edges"])[0].tolist()
        # Both sessions of a group are the same user's, so that the interval is of the twenty users' means.
        by_user = values.reshape(20, 2).mean(axis=1)
        assert item["interval"] == pytest.approx(Interval.of(by_user).as_dict())


def test_ends_rewards_and_answers(log):
    found = summarize(log)
    left, stopped = log.rows["terminated"], log.rows["truncated"] & ~log.rows["terminated"]
    assert found["ends"] == {"left": left.sum(), "time_limit": stopped.sum(), "log_ends": 0}
    assert left.sum() + stopped.sum() == 40
    vector = np.asarray(log.rows["reward_vector"], np.float64)
    assert [each["name"] for each in found["rewards"]] == log.manifest["reward_names"]
    np.testing.assert_allclose([each["mean_per_step"] for each in found["rewards"]], vector.mean(axis=0))
    shares = [each["weighted_per_session"] for each in found["rewards"]]
    np.testing.assert_allclose(shares, vector.sum(axis=0) * log.reward_weights / 40)
    assert sum(shares) == pytest.approx(found["session_return"]["mean"])
    feedback, shown = log.rows["feedback"], log.rows["shown"]
    answers = found["feedback"]
    assert list(answers["mean_per_shown_item"]) == log.manifest["feedback_names"]
    np.testing.assert_allclose(list(answers["mean_per_shown_item"].values()), feedback[shown].mean(axis=0), rtol=1e-6)
    assert answers["shown_per_step"] == pytest.approx(shown.sum() / log.num_rows)
    clicked = feedback[:, :, 0] > 0
    assert answers["clicks_per_step"] == pytest.approx(clicked.sum() / log.num_rows)
    np.testing.assert_allclose(answers["click_rate_by_position"], clicked.sum(axis=0) / shown.sum(axis=0))


def test_score_is_that_of_the_sessions_own_mean_return(log):
    score = summarize(log)["normalized_score"]
    mean = (log.session_returns().mean() - 1.0) / 8.0
    half = (0.2 * abs(mean) + 0.1 * abs(1.0 - mean)) / 8.0
    assert [score[key] for key in ("mean", "low", "high")] == pytest.approx([mean, mean - half, mean + half])
    assert score["quality"] == QUALITY
    other = {**QUALITY, "noise": {"name": "uniform"}, "noise_return": {"mean": 0.0, "low": 0.0, "high": 0.0}}
    measured = summarize(log, other)["normalized_score"]
    assert measured["mean"] == pytest.approx(log.session_returns().mean() / 9.0)
    assert measured["quality"]["noise"] == {"name": "uniform"}


def test_propensities(log):
    found, log_prob = summarize(log)["propensity"], np.asarray(log.rows["behavior_log_prob"])
    known = np.isfinite(log_prob)
    assert found["kind"] == "partial"
    assert 0 < found["known_steps"] == known.sum() < log.num_rows
    assert found["known_sessions"] == sum(each.all() for each in per_session(log, known))
    np.testing.assert_allclose(list(found["log_prob"]["quantiles"].values()), np.quantile(log_prob[known], QUANTILES))
    assert found["log_prob"]["mean"] == pytest.approx(log_prob[known].mean())


def test_overlap_is_that_of_the_uniform_policy(log, monkeypatch):
    monkeypatch.setattr(dataset_summary, "TRUSTED_SAMPLE_SIZE", 5.0)
    found, log_prob = summarize(log)["overlap"], np.asarray(log.rows["behavior_log_prob"])
    if log.action_kind == "slate":
        uniform = np.full(log.num_rows, -math.log(12 * 11 * 10))
    else:
        proto = np.asarray(log.rows["proto"])
        uniform = gaussian_log_prob(proto, np.zeros(proto.shape), 1.0 / math.sqrt(proto.shape[1]))
    known = np.isfinite(log_prob)
    assert found["uniform"]["steps"] == pytest.approx(effective((uniform - log_prob)[known]))
    assert found["uniform"]["mean_weight"] == pytest.approx(np.exp((uniform - log_prob)[known]).mean())
    sessions = [each.sum() for each in per_session(log, uniform - log_prob) if np.isfinite(each).all()]
    assert found["uniform"]["sessions"] == pytest.approx(effective(sessions))
    # Weights of exp(reach) a step, squared on average, over sessions of mean length: five are left.
    squared = math.exp(found["reach"] * log.num_rows / 40)
    assert len(sessions) / squared == pytest.approx(5.0)


def test_no_session_reaches_a_hundred_of_forty(log):
    assert summarize(log)["overlap"]["reach"] == 0.0


def test_coverage(log):
    found = summarize(log)["coverage"]
    slate, shown = np.asarray(log.rows["slate"]), log.rows["shown"]
    counts = np.bincount(slate[shown], minlength=12)
    clicks = np.bincount(slate[log.rows["feedback"][:, :, 0] > 0], minlength=12)
    assert found["items_shown"] == np.unique(slate[shown]).size
    assert found["items_clicked"] == (clicks > 0).sum()
    shares = counts[counts > 0] / counts.sum()
    assert found["entropy"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert found["effective_items"] == pytest.approx(math.exp(found["entropy"]))
    pairs = np.abs(counts[:, None] - counts[None, :]).sum() / (2 * 12 * counts.sum())
    assert found["gini"] == pytest.approx(pairs)
    order = np.argsort(-counts, kind="stable")
    assert [top["item"] for top in found["top_items"]] == order[:10][counts[order[:10]] > 0].tolist()
    for top in found["top_items"]:
        assert top["share_of_exposure"] == pytest.approx(counts[top["item"]] / counts.sum())
        assert top["click_rate"] == pytest.approx(clicks[top["item"]] / counts[top["item"]])
        assert top["source_id"] is None
    curve = np.array(found["curve"])
    np.testing.assert_allclose(curve[:, 0], np.arange(13) / 12)
    np.testing.assert_allclose(curve[:, 1], np.append(0.0, counts[order].cumsum() / counts.sum()))


def test_who_acted(log):
    latent, labels = summarize(log)["latent"], log.open_latent_labels()
    found = latent["components"]
    assert latent["mixing"] == "session"
    assert [part["component"] for part in found] == ["expert", "clickbait"]
    assert [part["weight"] for part in found] == [0.4, 0.6]
    for index, part in enumerate(found):
        assert part["share"] == pytest.approx((labels == index).mean())
        assert part["steps_alone"] == (labels == index).sum()
        assert part["sessions_alone"] == sum((each == index).all() for each in per_session(log, labels))
    assert sum(part["sessions_alone"] for part in found) == 40


def test_a_sound_log_does_not_contradict_itself(log):
    found = summarize(log)
    assert found["checks"] == dict.fromkeys(CHECKS, 0)
    assert found["injected"] == {"reward_noise": 0.5, "label_flips": 0.1, "missing_propensities": 0.2}


def test_columns_are_explained(log):
    columns = summarize(log)["columns"]
    assert {f"{each['name']}.npy" for each in columns} == set(log.manifest["schema"])
    for each in columns:
        assert each["meaning"] == COLUMNS[each["name"]].meaning
        entry = log.manifest["schema"][f"{each['name']}.npy"]
        assert (each["dtype"], each["shape"], each["bytes"]) == (entry["dtype"], entry["shape"], entry["bytes"])


def test_summary_is_plain_json(log):
    found = summarize(log)
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_memory_does_not_grow_with_the_rows(log, monkeypatch):
    """No reading of a column of rows is longer than the longest session, where blocks hold one session."""
    monkeypatch.setattr(session_blocks, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(log_checks, "_ROWS_AT_ONCE", 1)
    longest = int(np.diff(log.offsets).max())
    read: list[int] = []

    class Watched(np.ndarray):
        def __getitem__(self, key):
            values = super().__getitem__(key)
            read.append(np.shape(values)[0])
            return values.view(np.ndarray)

    rows = {name: np.asarray(values).view(Watched) for name, values in log.rows.items()}
    assert summarize(replace(log, rows=rows)) == summarize(log)
    assert read
    assert max(read) <= longest < log.num_rows


# --- other logs


def test_candidates_and_items_that_appear(small_world, small_request, tmp_path):
    few = replace(small_request, config=small_world(12, 3, num_candidates=5).config, behavior="uniform")
    found = summarize(collect(tmp_path / "few", few))["overlap"]
    # The log is of the uniform policy itself: every weight is one.
    assert found["uniform"]["sessions"] == pytest.approx(40.0)
    changing = replace(few, config=small_world(12, 3, freshness=True).config)
    found = summarize(collect(tmp_path / "changing", changing))["overlap"]
    assert found["uniform"] is None


def test_a_policy_without_components_acts_alone(small_request, tmp_path):
    found = summarize(collect(tmp_path / "log", replace(small_request, behavior="clickbait")))
    whole = {"steps_alone": found["size"]["steps"], "sessions_alone": 40}
    part = {"component": "clickbait", "weight": 1.0, "share": 1.0, **whole}
    assert found["latent"] == {"mixing": None, "components": [part]}
    assert found["normalized_score"] is None


def test_a_policy_that_is_a_mixture_by_another_name(small_request, tmp_path):
    behavior = {"name": "epsilon_greedy", "base": "clickbait", "epsilon": 0.5}
    log = collect(tmp_path / "log", replace(small_request, behavior=behavior))
    found, uniform = summarize(log)["latent"], log.open_latent_labels() == 1
    assert found["mixing"] == "step"
    assert [part["component"] for part in found["components"]] == ["clickbait", "uniform"]
    assert [part["share"] for part in found["components"]] == pytest.approx([1 - uniform.mean(), uniform.mean()])
    assert 0.3 < uniform.mean() < 0.7


def test_labels_of_each_position(small_request, tmp_path):
    behavior = mixture_spec(0.5, "clickbait", "position")
    log = collect(tmp_path / "log", replace(small_request, behavior=behavior))
    labels = log.open_latent_labels()
    assert labels.shape == (log.num_rows, 3)
    for index, part in enumerate(summarize(log)["latent"]["components"]):
        assert part["share"] == pytest.approx((labels == index).mean())
        assert part["steps_alone"] == (labels == index).all(axis=1).sum()


def test_a_foreign_log(foreign_log):
    log = foreign_log()
    found = summarize(log)
    json.dumps(found, allow_nan=False)
    assert found["size"]["users"] == 3
    assert found["source"]["reader"] == "<b>shop</b>"
    assert found["source"]["user_model"] is None
    assert found["source"]["behavior"] is None
    assert found["source"]["lacking"] == ["profiles of the users"]
    assert found["session_return"]["mean"] == 1.0
    assert found["session_length"]["quantiles"]["p50"] == 1.5
    # Returns 1, 1 of user 0, then 1 and 1: all the same.
    assert found["session_return"]["interval"] == {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert found["ends"] == {"left": 2, "time_limit": 1, "log_ends": 1}
    assert found["rewards"] == [
        {"name": "click", "weight": 0.5, "mean_per_step": pytest.approx(8 / 7), "weighted_per_session": 1.0}
    ]
    assert found["feedback"]["mean_per_shown_item"] == pytest.approx({"click": 4 / 7, "dwell|<i>": 0.25})
    assert found["propensity"] == {"kind": "missing", "known_steps": 0, "known_sessions": 0, "log_prob": None}
    assert found["overlap"] is found["normalized_score"] is found["latent"] is None
    assert found["injected"] == {}
    assert found["coverage"]["items_shown"] == 5
    assert found["coverage"]["top_items"][0] == {
        "item": 3, "source_id": "d", "share_of_exposure": pytest.approx(3 / 7), "click_rate": pytest.approx(2 / 3)
    }  # fmt: skip
    assert not any(found["checks"].values())


def test_overlap_of_a_foreign_log(foreign_log):
    log_prob = np.log([0.5, 0.1, 0.5, 0.2, 0.5, 0.1, 0.3])
    found = summarize(foreign_log(log_prob))["overlap"]
    weights = (1 / 6) / np.exp(log_prob)
    assert found["uniform"]["steps"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
    whole = np.array([weights[:3].prod(), weights[3], weights[4:6].prod(), weights[6]])
    assert found["uniform"]["sessions"] == pytest.approx(whole.sum() ** 2 / (whole**2).sum())


def test_a_log_that_contradicts_itself_is_refused(log):
    reward = np.array(log.rows["reward_vector"])
    reward[3] = np.nan
    with pytest.raises(InvalidInput, match=f"contradicts itself: 1 {CHECKS['numbers_not_finite']}; "):
        summarize(replace(log, rows={**log.rows, "reward_vector": reward}))


def test_policies_are_named_with_their_options():
    assert policy_name("uniform") == policy_name({"name": "uniform"}) == "uniform"
    assert policy_name({"name": "expert", "quality_weight": 1.0}) == "expert(quality_weight=1.0)"
