"""Popularity ranks by the log of the catalogue's prior."""

from __future__ import annotations

import numpy as np
import pytest

from offline_data.behavior.base import SessionView, make_behavior
from offline_data.behavior.popularity import PopularityPolicy, log_popularity
from recenv.items.catalog import Catalog

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_the_first_item_follows_a_power_of_the_prior(small_world, temperature):
    world = small_world(7, 1)
    policy = make_behavior(world, {"name": "popularity", "temperature": temperature})
    assert isinstance(policy, PopularityPolicy)
    view = SessionView({}, {}, np.zeros(7, np.uint64))
    log_prob, _ = policy.log_prob(view, np.arange(7)[:, None], np.zeros((7, 0)))
    weights = world.catalog.popularity.astype(np.float64) ** (1.0 / temperature)
    np.testing.assert_allclose(np.exp(log_prob), weights / weights.sum(), rtol=1e-10)


def test_an_item_that_nobody_took_counts_as_the_rarest_taken():
    catalog = Catalog.from_arrays(np.eye(4), popularity=np.array([6.0, 0.0, 1.0, 3.0]))
    np.testing.assert_allclose(log_popularity(catalog), np.log([0.6, 0.1, 0.1, 0.3]), rtol=1e-6)
