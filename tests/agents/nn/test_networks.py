from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from agents.families import ENCODERS
from agents.nn.networks import ItemTable, NetworkConfig, make_encoder, mlp
from agents.testing.encoders import DIM, ITEMS, space
from recenv.errors import InvalidInput


def test_mlp_has_the_named_widths():
    network = mlp(7, (5, 4), 2)
    shapes = [tuple(layer.weight.shape) for layer in network if isinstance(layer, nn.Linear)]
    assert shapes == [(5, 7), (4, 5), (2, 4)]
    # Layer normalisation at the input: neither scale nor offset of the features matter.
    features = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(features), network(100.0 * features + 5.0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((), "hidden_sizes is empty"),
        ((16, 0), "hidden_sizes=0 is outside"),
        ((16.0,), "hidden_sizes=16.0 is not an integer"),
        ((65_537,), "hidden_sizes=65537 is outside"),
    ],
)
def test_config_out_of_range_is_refused(sizes, message):
    with pytest.raises(InvalidInput, match=message):
        NetworkConfig(sizes)


@pytest.mark.parametrize("name", sorted(ENCODERS.registered()))
def test_the_config_chooses_the_encoder(name):
    config = ENCODERS.get(name).Config()
    encoder = make_encoder(space(), NetworkConfig(encoder=config))
    assert type(encoder) is ENCODERS.get(name)
    assert encoder.config is config


def _table(seed: int = 0) -> ItemTable:
    table = ItemTable(space(), 3)
    for parameter in table.parameters():
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(seed))
    return table


def test_picked_items_are_rows_of_all():
    table, items = _table(), torch.tensor([[0, 6], [3, 3]])
    vectors, biases = table()
    expected = torch.from_numpy(space().embeddings) @ table.project.weight.T + table.own
    torch.testing.assert_close(vectors, expected)
    picked = table(items)
    torch.testing.assert_close(picked[0], vectors[items])
    assert torch.equal(picked[1], biases[items])


def test_permuting_the_items_permutes_the_table():
    table, order = _table(), np.random.default_rng(1).permutation(ITEMS)
    permuted = ItemTable(replace(space(), embeddings=space().embeddings[order]), 3)
    state = {key: value if key == "project.weight" else value[order] for key, value in table.state_dict().items()}
    permuted.load_state_dict(state)
    torch.testing.assert_close(permuted()[0], table()[0][order])
    assert permuted.embeddings.shape == (ITEMS, DIM)
    assert "embeddings" not in state
