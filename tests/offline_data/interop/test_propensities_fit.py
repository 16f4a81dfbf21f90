"""The parts of estimated propensities against brute force: likelihood, popularity, context, split, calibration."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from offline_data.collection.collection import LogRequest, collect
from offline_data.interop import propensities
from offline_data.interop.propensities import _calibrated, _Choices, _fit, _Model, _popularity, _split
from offline_data.interop.slate_likelihood import choice_odds
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput
from tests.reference import propensities_reference as reference

ITEMS, ROWS = 5, 40


def problem(seed: int, size: int, *, some: bool = False, strange: bool = False) -> tuple[Any, list[list[int]], Any]:
    """Rows of a biased choice among five items.

    Args:
        seed: of the rows.
        size: of the slates.
        some: each step offers four of the five, in any order.
        strange: slates repeat items, have empty positions, or both.

    Returns:
        The rows, their slates with -1 in empty positions, and what each offers, or None.
    """
    rng = np.random.default_rng(seed)
    weights = np.exp(1.5 * rng.normal(size=ITEMS))
    slates, offers = [], []
    for _ in range(ROWS):
        offer = rng.permutation(ITEMS)[: ITEMS - some]
        share = weights[offer] / weights[offer].sum()
        slate = rng.choice(offer, size, replace=False, p=share).tolist()
        if strange and size > 1 and rng.random() < 0.5:
            slate[int(rng.integers(1, size))] = int(rng.choice([-1, slate[0]]))
        slates.append(slate)
        offers.append(offer.tolist())
    table = np.array(slates)
    chosen = np.array([[item >= 0 and item not in slate[:k] for k, item in enumerate(slate)] for slate in slates])
    table = np.where(table >= 0, table, table.max(axis=1, keepdims=True))
    choices = _Choices(
        table,
        chosen,
        ITEMS,
        rng.normal(size=(ITEMS, 2)),
        rng.normal(size=(ROWS, 2)),
        rng.normal(size=(ROWS, 2)),
        rng.normal(size=(ROWS, 1)),
        np.array(offers) if some else None,
    )
    return choices, slates, offers if some else None


VARIANTS = [
    {"size": 1},
    {"size": 3},
    {"size": 3, "strange": True},
    {"size": 1, "some": True},
    {"size": 3, "some": True},
    {"size": 3, "some": True, "strange": True},
]
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


# --- the likelihood


@pytest.mark.parametrize("seed", range(5))
def test_odds_are_those_of_all_orders(seed):
    """The probability of a slate is the sum over all orders of five items that begin with it."""
    rng = np.random.default_rng(seed)
    logits, slate = 2.0 * rng.normal(size=ITEMS), rng.permutation(ITEMS)[:3]
    odds, _ = choice_odds(logits[None], slate[None], np.ones((1, 3), np.bool_))
    weights = {item: math.exp(value) for item, value in enumerate(logits.tolist())}
    for k in range(3):
        expected = reference.probability_by_orders(weights, slate[: k + 1].tolist())
        assert np.prod(odds[0, : k + 1]) == pytest.approx(expected, rel=1e-9)
    assert reference.probability_by_orders(weights, []) == pytest.approx(1.0)


@pytest.mark.parametrize("seed", range(3))
def test_what_a_slate_leaves_is_exact_however_little(seed):
    """At a low temperature all but nothing is left of a total, in which it has vanished: one row of logits or many."""
    rng = np.random.default_rng(seed)
    logits, slates = 40.0 * rng.normal(size=12), np.stack([rng.permutation(12)[:4] for _ in range(50)])
    slates[:20] = np.argsort(-logits)[:4]
    slates[10:30, 3], chosen = slates[10:30, 1], np.ones((50, 4), np.bool_)
    chosen[10:30, 3] = False
    alike, _ = choice_odds(logits[None], slates, chosen)
    single, _ = choice_odds(np.repeat(logits[None], 50, axis=0), slates, chosen)
    np.testing.assert_allclose(alike, single, rtol=1e-9)


@every_variant
@pytest.mark.parametrize(("smoothing", "personal"), [(1e-9, True), (0.05, True), (0.05, False)])
def test_log_probs_are_of_what_is_left(variant, smoothing, personal):
    """By temperature and smoothing; a copy, or an empty position, is no choice, and takes nothing from those after."""
    choices, slates, offers = problem(0, **variant)
    popular = np.random.default_rng(3).normal(size=ITEMS)
    table = np.random.default_rng(1).normal(size=(5, 2)) * personal
    model: Any = _Model(popular, table if personal else None, temperature=0.7, smoothing=smoothing)
    found = model.log_probs(choices, np.arange(ROWS))
    for row, slate in enumerate(slates):
        logits = popular + choices.context(np.array([row]))[0] @ table @ choices.embeddings.T
        offered = range(ITEMS) if offers is None else offers[row]
        expected = reference.item_probabilities({i: logits[i] / 0.7 for i in offered}, slate, smoothing)
        np.testing.assert_allclose(found[row][choices.chosen[row]], np.log(expected), rtol=1e-9, atol=1e-12)
        assert (found[row][~choices.chosen[row]] == 0.0).all()


# --- what is fitted


@every_variant
@pytest.mark.parametrize("seed", range(2))
def test_popularity_is_the_optimum(variant, seed):
    choices, slates, offers = problem(seed, **variant)
    rows = np.random.default_rng(0).permutation(ROWS)[: ROWS - 5]
    found = _popularity(choices, rows)
    few = None if offers is None else [offers[row] for row in rows]
    expected = reference.popularity([slates[row] for row in rows], ITEMS, few)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert np.exp(found).sum() == pytest.approx(1.0)


@every_variant
def test_a_context_model_is_the_optimum(variant):
    """Its loss is the least of the penalised likelihood, and it is where SciPy's is without a gradient."""
    choices, slates, offers = problem(1, **variant)
    rows = np.arange(20, ROWS)
    popular = np.log(np.random.default_rng(2).dirichlet(np.ones(ITEMS)))
    model: Any = _fit(choices, rows, popular)
    found = np.concatenate([model.weights - popular, model.context_weights.ravel()])
    few = None if offers is None else offers[20:]
    arguments = (slates[20:], choices.context(rows), choices.embeddings, popular, 0.1, few)
    expected = reference.best_context_model(*arguments)
    np.testing.assert_allclose(found, expected, atol=0.02)
    least = reference.penalised_loss(expected, *arguments)
    assert reference.penalised_loss(found, *arguments) <= least + 1e-4 * abs(least)


def test_rows_in_pieces_are_one_fit(monkeypatch):
    """What is worked on at once changes nothing, with and without a limited offer."""
    for some in (False, True):
        choices, _, _ = problem(1, 3, some=some)
        whole: Any = _fit(choices, np.arange(ROWS), popularity := _popularity(choices, np.arange(ROWS)))
        with monkeypatch.context() as patch:
            patch.setattr(propensities, "_LOGITS_AT_ONCE", 7 * choices.width)
            np.testing.assert_allclose(_popularity(choices, np.arange(ROWS)), popularity, rtol=1e-12)
            pieces: Any = _fit(choices, np.arange(ROWS), popularity)
        np.testing.assert_allclose(pieces.context_weights, whole.context_weights, atol=1e-5)


# --- what is read of a log


@pytest.fixture(scope="module")
def log(small_world, tmp_path_factory) -> LoggedDataset:
    """Sixty sessions of a world whose histories are shorter than its sessions."""
    config = small_world(15, 3, history_length=2, max_steps=8).config
    path = tmp_path_factory.mktemp("log") / "log"
    return collect(path, LogRequest(config, {"name": "greedy", "temperature": 0.5}, "slate", 60, 3))


def test_the_history_is_what_was_consumed_last_before_the_row(log):
    choices: Any = _Choices.of(log)
    session = np.repeat(np.arange(log.num_sessions), np.diff(log.offsets))
    bounds = np.asarray(log.sessions["event_offsets"])
    consumed = [log.events["item"][bounds[s] : bounds[s + 1]].tolist() for s in session]
    before = np.asarray(log.rows["consumed"]).tolist()
    assert max(before) > log.history_length == 2
    expected = reference.history_means(consumed, before, np.asarray(log.catalog["embeddings"], np.float64), 2)
    np.testing.assert_allclose(choices.history, expected, atol=1e-12)
    np.testing.assert_array_equal(choices.profile, np.asarray(log.sessions["profile"])[session])
    both = np.concatenate([choices.profile, expected], axis=1)
    np.testing.assert_allclose(choices.context(np.arange(log.num_rows)), both, atol=1e-12)


def test_repeats_and_empty_positions_are_no_choices(log):
    slates = [[3, 3, 4], [3, 4, 3], [-1, 5, 5], [6, -1, -1], [7, -1, 8]]
    table = np.array(slates + [[0, 1, 2]] * (log.num_rows - len(slates)), np.int32)
    shown = table >= 0
    choices: Any = _Choices.of(replace(log, rows={**log.rows, "slate": table, "shown": shown}))
    expected = [[1, 0, 1], [1, 1, 0], [0, 1, 0], [1, 0, 0], [1, 0, 1]]
    np.testing.assert_array_equal(choices.chosen[:5], np.array(expected, np.bool_))
    assert choices.chosen[5:].all()
    assert all(set(row) <= set(slate) for row, slate in zip(choices.slate[:5].tolist(), slates, strict=True))


# --- the split


def users(log: LoggedDataset, user_id: np.ndarray) -> LoggedDataset:
    return replace(log, sessions={**log.sessions, "user_id": user_id})


def test_a_user_is_in_one_part_with_all_his_sessions(log):
    """Three fifths, one and one of twenty users of three sessions each; every row is in one part."""
    user_id = np.random.default_rng(0).permutation(np.repeat(100 + np.arange(20), 3))
    row_user = np.repeat(user_id, np.diff(log.offsets))
    parts = _split(users(log, user_id), np.random.default_rng(0))
    assert sorted(np.concatenate(parts).tolist()) == list(range(log.num_rows))
    of_part = [set(row_user[part].tolist()) for part in parts]
    assert [len(each) for each in of_part] == [12, 4, 4]
    assert len(set.union(*of_part)) == 20
    assert any((np.diff(part) < 0).any() for part in parts), "a fit on the first rows only must see all of the log"


@pytest.mark.parametrize(("count", "sizes"), [(9, [36, 12, 12]), (10, [6, 2, 2])])
def test_few_users_are_split_by_session(log, count, sizes):
    user_id = np.arange(60) % count
    row_user, row_session = (np.repeat(ids, np.diff(log.offsets)) for ids in (user_id, np.arange(60)))
    parts = _split(users(log, user_id), np.random.default_rng(0))
    unit = row_session if count < 10 else row_user
    assert [len(set(unit[part].tolist())) for part in parts] == sizes


def test_few_sessions_are_refused(log):
    few = {"user_id": np.arange(9), "offsets": log.offsets[:10]}
    with pytest.raises(InvalidInput, match="has 9 sessions"):
        _split(replace(log, sessions={**log.sessions, **few}), np.random.default_rng(0))


# --- calibration


WORLDS = [
    (seed, behavior, size)
    for seed in range(4)
    for behavior, size in (({"name": "popularity"}, 3), ({"name": "clickbait", "temperature": 0.3}, 3), ("uniform", 1))
]


@pytest.mark.parametrize(("seed", "behavior", "size"), WORLDS, ids=str)
def test_calibration_finds_the_least_loss_of_all_temperatures(small_world, tmp_path, seed, behavior, size):
    """In twelve small worlds, in several of which a search from the whole interval ends in a worse valley."""
    config = small_world(15, size, world_seed=seed).config
    dataset = collect(tmp_path / "log", LogRequest(config, behavior, "slate", 40, seed))
    choices: Any = _Choices.of(dataset)
    fitted, rows, _ = _split(dataset, np.random.default_rng(seed))
    model = _Model(_popularity(choices, fitted), None)
    loss, found = _calibrated(model, choices, rows)

    def loss_of(log_temperature: float, smoothing: float) -> float:
        tried = replace(model, temperature=math.exp(log_temperature), smoothing=smoothing)
        return -float(tried.log_probs(choices, rows).sum()) / choices.chosen[rows].sum()

    assert loss == pytest.approx(loss_of(math.log(found.temperature), found.smoothing), rel=1e-12)
    everywhere = min(loss_of(x, share) for x in np.linspace(-3.0, 3.0, 61) for share in propensities._SMOOTHING)
    assert loss < everywhere + 5e-4
