"""The kernels over more than one tile of items and of coordinates, against sums and logs written out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from offline_data.ranking.plackett_luce import (
    Law,
    Utilities,
    _walk,
    draw_slates,
    inner_products,
    judge_slates,
    log_softmax,
    logit_table,
    tiles_of,
)
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels

NUM_SESSIONS = 11  # more than are weighed together


def problem(num_items, dim, spread=1.0):
    """Return utilities of all parts, the embeddings, and what is offered."""
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(num_items, dim)).astype(np.float32)
    items, personal, extras = (
        spread * rng.normal(size=shape) for shape in (num_items, (NUM_SESSIONS, dim), (NUM_SESSIONS, num_items))
    )
    offered = rng.uniform(size=(NUM_SESSIONS, num_items)) < 0.7
    return Utilities(items, personal / np.sqrt(dim), extras.astype(np.float32)), embeddings, offered


def written_out(utilities, embeddings, temperature, offered):
    table = np.tile(utilities.items, (NUM_SESSIONS, 1))
    if utilities.personal is not None:
        table += utilities.personal @ embeddings.T.astype(np.float64)
    if utilities.extras is not None:
        table += utilities.extras
    return table / temperature if offered is None else np.where(offered, table / temperature, -np.inf)


@pytest.mark.parametrize("num_items", [1, 127, 128, 129, 300])
@pytest.mark.parametrize("dim", [1, 8, 9, 17])
def test_the_parts_of_a_score_add_up(num_items, dim):
    utilities, embeddings, offered = problem(num_items, dim)
    for parts in (
        utilities,
        utilities._replace(extras=None),
        utilities._replace(personal=None),
        Utilities(utilities.items),
    ):
        for subset in (offered, None):
            table = logit_table(Law(parts, tiles_of(embeddings), 0.3, subset), NUM_SESSIONS)
            expected = written_out(parts, embeddings, 0.3, subset)
            np.testing.assert_allclose(table, expected, rtol=1e-12, atol=1e-12)


def test_inner_products_are_the_same_in_batches_of_any_size():
    rng = np.random.default_rng(3)
    weights, embeddings = rng.normal(size=(NUM_SESSIONS, 7)), rng.normal(size=(150, 7)).astype(np.float32)
    together = inner_products(weights, embeddings)
    np.testing.assert_allclose(together, weights @ embeddings.T.astype(np.float64), rtol=1e-12, atol=1e-12)
    for b in range(NUM_SESSIONS):
        np.testing.assert_array_equal(inner_products(weights[b : b + 1], embeddings)[0], together[b])


# Utilities near each other, and so far apart that one slate is scaled anew more than once.
@pytest.mark.parametrize("spread", [1.0, 900.0])
@pytest.mark.parametrize("kept", [("personal", "extras"), ("personal",), ("extras",), ()], ids=str)
@pytest.mark.parametrize("limited", [True, False])
def test_slates_of_many_tiles(spread, kept, limited):
    utilities, embeddings, offered = problem(300, 9, spread)
    utilities = Utilities(utilities.items, **{name: getattr(utilities, name) for name in kept})
    law = Law(utilities, tiles_of(embeddings), 0.5, offered if limited else None)
    table = written_out(utilities, embeddings, *law[2:])
    rng = np.random.default_rng(1)
    drawn, prefix = draw_slates(law, 6, rng.uniform(size=(NUM_SESSIONS, 6)))
    assert drawn.dtype == np.int32
    np.testing.assert_array_equal(judge_slates(law, drawn), prefix)
    mapped = drawn.copy()
    mapped.setflags(write=False)  # as a log's column is
    np.testing.assert_array_equal(judge_slates(law, mapped), prefix)
    among = [np.flatnonzero(row > -np.inf) for row in table]
    given = np.array([rng.choice(items, 6, replace=False) for items in among], np.int32)
    for slates, answer in ((drawn, prefix), (given, judge_slates(law, given))):
        for row, slate, found in zip(table, slates.tolist(), answer, strict=True):
            np.testing.assert_allclose(found, reference.plackett_luce_prefixes(row, slate), rtol=1e-12, atol=1e-12)
    # What is drawn is what is likely.
    assert prefix[:, -1].mean() > judge_slates(law, given)[:, -1].mean()


@pytest.mark.parametrize("alike", [True, False])
def test_a_session_does_not_depend_on_its_company(alike):
    """Also where one before it was scaled anew."""
    utilities, embeddings, _ = problem(140, 9, 300.0)
    tiles, draws = tiles_of(embeddings), np.random.default_rng(2).uniform(size=(NUM_SESSIONS, 5))
    personal, extras = np.asarray(utilities.personal), np.asarray(utilities.extras)
    utilities = Utilities(utilities.items) if alike else utilities
    slates, prefix = draw_slates(Law(utilities, tiles), 5, draws)
    for b in range(NUM_SESSIONS):
        own = utilities if alike else Utilities(utilities.items, personal[[b]], extras[[b]])
        alone, alone_prefix = draw_slates(Law(own, tiles), 5, draws[[b]])
        np.testing.assert_array_equal(alone[0], slates[b])
        np.testing.assert_array_equal(alone_prefix[0], prefix[b])
        np.testing.assert_array_equal(judge_slates(Law(own, tiles), slates[[b]])[0], prefix[b])


def test_an_item_takes_its_share_of_the_uniform_in_the_order_of_the_items():
    utilities, grid = Utilities(np.random.default_rng(4).normal(size=300)), 4000
    draws = ((np.arange(grid) + 0.5) / grid)[:, None]
    slates, prefix = draw_slates(Law(utilities), 1, draws)
    assert (np.diff(slates[:, 0]) >= 0).all()
    chance = special.softmax(utilities.items)
    np.testing.assert_allclose(np.bincount(slates[:, 0], minlength=300) / grid, chance, atol=1.0 / grid + 1e-12)
    np.testing.assert_allclose(prefix[:, 0], np.log(chance[slates[:, 0]]), rtol=1e-12)


def test_log_softmax_is_scipys():
    table = np.random.default_rng(5).normal(size=(4, 9)) * [[0.1], [1.0], [100.0], [3000.0]]
    table[:, 3] = -np.inf
    np.testing.assert_allclose(log_softmax(table), special.log_softmax(table, axis=1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("threshold", "found", "inside"), [(0.0, 1, 0.0), (0.3, 3, 0.0), (0.31, 3, 0.01), (1.1, 3, 0.8)]
)
def test_a_walk_ends_at_what_has_a_weight(threshold, found, inside):
    """Weights that underflowed, or of items that are taken, stand at both ends: rounding leaves nothing to them."""
    place, rest = _walk(np.array([0.0, 0.3, 0.0, 0.7, 0.0]), threshold)
    assert place == found
    assert rest == pytest.approx(inside)
