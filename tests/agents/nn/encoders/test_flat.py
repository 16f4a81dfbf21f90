from __future__ import annotations

import torch

from agents.nn.encoders.flat import FlatConfig, FlatEncoder
from agents.testing.encoders import CHANNELS, DIM, LENGTH, observe, pad, space


def test_every_event_has_its_place_counted_from_the_latest():
    encoder, observation = FlatEncoder(space(), FlatConfig()), observe(2)
    features = encoder(**pad(observation, 1, 7.0))
    context = torch.cat([observation["profile"], observation["clock"]], dim=1)
    assert torch.equal(features[:, : DIM + 2], context)
    places = features[:, DIM + 2 :].unflatten(1, (LENGTH, DIM + CHANNELS + 1))
    assert not places[:, :3].any()
    embeddings = torch.from_numpy(space().embeddings)
    assert torch.equal(places[:, 3:, :DIM], embeddings[observation["history_items"].long()])
    assert torch.equal(places[:, 3:, DIM:-1], observation["history_feedback"])
    assert (places[:, 3:, -1] == 1.0).all()
