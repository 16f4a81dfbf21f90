from __future__ import annotations

import pytest
import torch
from torch import nn

from agents.nn.encoders.gru import GruConfig, GruEncoder
from agents.testing.encoders import LENGTH, observe, space
from recenv.errors import InvalidInput


@pytest.mark.parametrize("num_layers", [1, 2])
def test_equals_the_library_unit(num_layers):
    encoder, observation = GruEncoder(space(), GruConfig(6, num_layers)), observe(LENGTH)
    library = nn.GRU(encoder.num_event, 6, num_layers, batch_first=True)
    for layer in range(num_layers):
        for kind, module in (("ih", encoder.inputs[layer]), ("hh", encoder.states[layer])):
            for part in ("weight", "bias"):
                getattr(library, f"{part}_{kind}_l{layer}").data.copy_(getattr(module, part).data)
    events = torch.cat(
        [
            torch.from_numpy(space().embeddings)[observation["history_items"].long()],
            observation["history_feedback"],
            torch.ones(4, LENGTH, 1),
        ],
        dim=-1,
    )
    torch.testing.assert_close(encoder(**observation)[:, encoder.num_context :], library(events)[1][-1])


@pytest.mark.parametrize("changes", [{"width": 0}, {"num_layers": 0}, {"width": 2.5}])
def test_config_out_of_range_is_refused(changes):
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        GruConfig(**changes)
