from __future__ import annotations

import pytest
import torch

from agents.encoders.transformer import TransformerConfig, TransformerEncoder
from recenv.errors import InvalidInput
from tests.agents.encoders.observations import LENGTH, observe, space


def test_an_event_reads_no_later_one():
    encoder, seen = TransformerEncoder(space(), TransformerConfig(8, 2, 2)), []
    encoder.blocks[0].register_forward_hook(lambda _, __, output: seen.append(output))
    observation = observe(LENGTH)
    encoder(**observation)
    changed = observation | {"history_feedback": observation["history_feedback"].clone()}
    changed["history_feedback"][:, 3] += 1.0
    encoder(**changed)
    torch.testing.assert_close(seen[0][:, :3], seen[1][:, :3])
    assert ((seen[0][:, 3:] - seen[1][:, 3:]).abs().amax(-1) > 1e-6).all()


def test_order_of_the_history_counts():
    encoder, observation = TransformerEncoder(space(), TransformerConfig(8, 1, 2)), observe(LENGTH)
    flipped = {key: value.flip(1) if key.startswith("history") else value for key, value in observation.items()}
    assert not torch.allclose(encoder(**observation), encoder(**flipped))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 10, "num_heads": 3}, "num_heads=3 does not divide width=10"),
        ({"width": 0}, "width=0 is outside"),
        ({"num_layers": 0}, "num_layers=0 is outside"),
        ({"num_heads": 0}, "num_heads=0 is outside"),
    ],
)
def test_config_out_of_range_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        TransformerConfig(**changes)
