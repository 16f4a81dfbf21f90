from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from agents.encoders import NetworkConfig, SessionEncoder, mlp
from recenv.errors import InvalidInput

NUM_ITEMS, DIM, CHANNELS, DECAYS = 6, 3, 2, 4


def make(length: int, generator_seed: int = 0) -> SessionEncoder:
    generator = torch.Generator().manual_seed(generator_seed)
    return SessionEncoder(torch.randn(NUM_ITEMS, DIM, generator=generator), length, CHANNELS, DECAYS)


def inputs(count: int, length: int, padding: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    items = torch.randint(0, NUM_ITEMS, (count, length), generator=generator, dtype=torch.int32)
    feedback = torch.rand(count, length, CHANNELS, generator=generator)
    items[:, :padding], feedback[:, :padding] = -1, 0.0
    profile, clock = torch.randn(count, DIM, generator=generator), torch.rand(count, 2, generator=generator)
    return {"profile": profile, "history_items": items, "history_feedback": feedback, "clock": clock}


def test_features_are_the_weighted_sums_of_the_history():
    encoder, given = make(4), inputs(5, 4, padding=1)
    nn.init.normal_(encoder.position_weights, generator=torch.Generator().manual_seed(2))
    features = encoder(**given)
    assert features.shape == (5, encoder.num_features)
    for b in range(5):
        expected = []
        for k in range(DECAYS):
            pooled = torch.zeros(DIM + CHANNELS + 1)
            for h in range(4):
                item = int(given["history_items"][b, h])
                if item >= 0:
                    event = torch.cat([encoder.embeddings[item], given["history_feedback"][b, h], torch.ones(1)])
                    pooled += encoder.position_weights[h, k] * event
            expected += [*pooled]
        torch.testing.assert_close(features[b, : DIM + 2], torch.cat([given["profile"][b], given["clock"][b]]))
        # In whichever order: what follows is a linear layer.
        torch.testing.assert_close(features[b, DIM + 2 :].sort().values, torch.stack(expected).sort().values)


def test_initial_weights_are_exponential_moving_averages():
    weights = make(50).position_weights
    assert weights[-1].tolist() == pytest.approx([0.7, 0.5, 0.3, 0.1])  # 1 - rate, of the latest item
    torch.testing.assert_close(weights[:-1], weights[1:] * torch.linspace(0.3, 0.9, DECAYS))
    assert (weights.sum(dim=0) <= 1.0 + 1e-6).all()


def test_padding_does_not_count():
    encoder, given = make(6), inputs(5, 6, padding=4)
    expected = encoder(**given)
    changed = {**given, "history_feedback": given["history_feedback"].clone()}
    changed["history_feedback"][:, :4] = 99.0
    assert torch.equal(encoder(**changed), expected)
    with torch.no_grad():
        encoder.position_weights[:4] = 99.0
    assert torch.equal(encoder(**given), expected)


def test_longer_history_of_padding_gives_the_same_features():
    long, short, given = make(9), make(5), inputs(5, 5, padding=2)
    torch.testing.assert_close(long.position_weights[-5:], short.position_weights)
    padded = {
        **given,
        "history_items": nn.functional.pad(given["history_items"], (4, 0), value=-1),
        "history_feedback": nn.functional.pad(given["history_feedback"], (0, 0, 4, 0)),
    }
    torch.testing.assert_close(long(**padded), short(**given))


def test_empty_history_is_profile_and_clock_alone():
    encoder, given = make(3), inputs(2, 3, padding=3)
    features = encoder(**given)
    assert torch.equal(features[:, : DIM + 2], torch.cat([given["profile"], given["clock"]], dim=1))
    assert not features[:, DIM + 2 :].any()


def test_embeddings_are_frozen():
    encoder, given = make(4), inputs(5, 4)
    before = encoder.embeddings.clone()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    encoder(**given).square().sum().backward()
    optimizer.step()
    assert [name for name, _ in encoder.named_parameters()] == ["position_weights"]
    assert encoder.position_weights.grad is not None
    assert encoder.position_weights.grad.abs().sum() > 0
    assert torch.equal(encoder.embeddings, before)
    assert not encoder.embeddings.requires_grad
    assert encoder.embeddings.grad is None
    assert "embeddings" not in encoder.state_dict()


def test_float64_embeddings_become_float32_features():
    encoder = SessionEncoder(torch.randn(NUM_ITEMS, DIM, dtype=torch.float64), 4, CHANNELS, DECAYS)
    assert encoder(**inputs(5, 4)).dtype == torch.float32


def test_mlp_has_the_named_widths():
    network = mlp(7, (5, 4), 2)
    shapes = [tuple(layer.weight.shape) for layer in network if isinstance(layer, nn.Linear)]
    assert shapes == [(5, 7), (4, 5), (2, 4)]
    assert network(torch.zeros(3, 7)).shape == (3, 2)
    # Layer normalisation at the input: neither scale nor offset of the features matter.
    features = torch.randn(3, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(features), network(100.0 * features + 5.0), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_sizes": ()}, "hidden_sizes is empty"),
        ({"hidden_sizes": (16, 0)}, "hidden_sizes=0 is outside"),
        ({"hidden_sizes": (16.0,)}, "hidden_sizes=16.0 is not an integer"),
        ({"hidden_sizes": (65_537,)}, "hidden_sizes=65537 is outside"),
        ({"num_decays": 0}, "num_decays=0 is outside"),
        ({"num_decays": 65}, "num_decays=65 is outside"),
        ({"num_decays": math.nan}, "num_decays=nan is not an integer"),
    ],
)
def test_config_out_of_range_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        NetworkConfig(**changes)
