from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from agents.nn.encoders.pooled import PooledConfig, PooledEncoder
from agents.testing.encoders import DIM, LENGTH, observe, pad, space
from recenv.errors import InvalidInput

DECAYS = 4


def test_features_are_the_weighted_sums_of_the_history():
    encoder, given = PooledEncoder(space(), PooledConfig(DECAYS)), pad(observe(LENGTH - 1), 1, 9.0)
    nn.init.normal_(encoder.position_weights, generator=torch.Generator().manual_seed(2))
    features = encoder(**given)
    for b in range(len(features)):
        expected = []
        for k in range(DECAYS):
            pooled = torch.zeros(encoder.num_event)
            for h in range(LENGTH):
                item = int(given["history_items"][b, h])
                if item >= 0:
                    event = torch.cat([encoder.embeddings[item], given["history_feedback"][b, h], torch.ones(1)])
                    pooled += encoder.position_weights[h, k] * event
            expected += [*pooled]
        torch.testing.assert_close(features[b, : DIM + 2], torch.cat([given["profile"][b], given["clock"][b]]))
        # In whichever order: what follows is a linear layer.
        torch.testing.assert_close(features[b, DIM + 2 :].sort().values, torch.stack(expected).sort().values)


def test_initial_weights_are_exponential_moving_averages():
    weights = PooledEncoder(replace(space(), history_length=50), PooledConfig(DECAYS)).position_weights
    assert weights[-1].tolist() == pytest.approx([0.7, 0.5, 0.3, 0.1])  # 1 - rate, of the latest item
    torch.testing.assert_close(weights[:-1], weights[1:] * torch.linspace(0.3, 0.9, DECAYS))
    assert (weights.sum(dim=0) <= 1.0 + 1e-6).all()


def test_empty_history_is_the_context_alone():
    encoder, given = PooledEncoder(space(), PooledConfig()), pad(observe(0), 3, 9.0)
    features = encoder(**given)
    assert torch.equal(features[:, : DIM + 2], torch.cat([given["profile"], given["clock"]], dim=1))
    assert not features[:, DIM + 2 :].any()


@pytest.mark.parametrize(("value", "message"), [(0, "is outside"), (65, "is outside"), (math.nan, "not an integer")])
def test_config_out_of_range_is_refused(value, message):
    with pytest.raises(InvalidInput, match=message):
        PooledConfig(value)
