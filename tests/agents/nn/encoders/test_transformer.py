from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from agents.nn.encoders.transformer import TransformerConfig, TransformerEncoder
from agents.testing.encoders import LENGTH, observe, pad, space
from recenv.errors import InvalidInput


def test_an_event_reads_no_later_one():
    encoder, seen = TransformerEncoder(space(), TransformerConfig(8, 2, 2)), []
    encoder.blocks[0].register_forward_hook(lambda _, __, output: seen.append(output[0]))
    observation = observe(LENGTH)
    encoder(**observation)
    changed = observation | {"history_feedback": observation["history_feedback"].clone()}
    changed["history_feedback"][:, 3] += 1.0
    encoder(**changed)
    torch.testing.assert_close(seen[0][:, :3], seen[1][:, :3])
    assert ((seen[0][:, 3:] - seen[1][:, 3:]).abs().amax(-1) > 1e-6).all()


@pytest.mark.parametrize(("events", "padding"), [(LENGTH, 0), (2, 1), (0, 2), (LENGTH + 2, 0)])
def test_equals_attention_written_out(events, padding):
    """Token by token and head by head, of what is no padding."""
    encoder: Any = TransformerEncoder(space(), TransformerConfig(8, 2, 2))
    observation = observe(events)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5, generator=torch.Generator().manual_seed(parameter.numel()))
    features = encoder(**pad(observation, padding, 9.0))
    embeddings = torch.from_numpy(space().embeddings)
    for row in range(4):
        context = torch.cat([observation["profile"][row], observation["clock"][row]])
        tokens = []
        for place in range(max(events - LENGTH, 0), events):
            item, feedback = (
                observation["history_items"][row, place].long(),
                observation["history_feedback"][row, place],
            )
            event = encoder.event(torch.cat([embeddings[item], feedback, torch.ones(1)]))
            tokens.append(event + encoder.positions[place - events])
        tokens.append(encoder.query(context))
        for block in encoder.blocks:
            normed = [block.attention_norm(token) for token in tokens]
            queries, keys, values = ([weight @ token for token in normed] for weight in block.project.weight.chunk(3))
            read = []
            for place, token in enumerate(tokens):
                past = slice(0, place + 1)
                heads = []
                for head in (slice(0, 4), slice(4, 8)):
                    scores = torch.stack(keys[past])[:, head] @ queries[place][head] / 2.0
                    heads.append(torch.softmax(scores, 0) @ torch.stack(values[past])[:, head])
                read.append(token + block.merge(torch.cat(heads)))
            tokens = [token + block.narrow(nn.functional.silu(block.widen(block.norm(token)))) for token in read]
        expected = torch.cat([context, encoder.norm(tokens[-1])])
        torch.testing.assert_close(features[row], expected, atol=1e-5, rtol=1e-5)


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
