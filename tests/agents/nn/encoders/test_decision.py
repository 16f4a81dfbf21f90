from __future__ import annotations

import pytest
import torch

from agents.families import ENCODERS
from agents.nn.encoders.decision import DecisionConfig, DecisionEncoder
from agents.nn.encoders.transformer import TransformerEncoder
from agents.testing.encoders import LENGTH, observe, space
from recenv.errors import InvalidInput


def build(**config: float) -> DecisionEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return DecisionEncoder(space(), DecisionConfig(8, 2, 2, **config))


def test_without_a_wanted_outcome_the_target_is_it():
    encoder, observation = build(target=1.5), observe(3)
    expected = encoder(**observation, wanted=torch.full((4,), 1.5))
    assert torch.equal(encoder(**observation), expected)
    assert torch.equal(encoder(**observation, wanted=None), expected)
    assert not torch.allclose(build(target=-1.0)(**observation), expected)


def test_each_session_has_an_outcome_of_its_own():
    encoder, observation = build(), observe(3)
    wanted = torch.tensor([-1.0, 0.0, 2.0, 2.0])
    features = encoder(**observation, wanted=wanted)
    for row in range(4):
        alone = {key: value[row : row + 1] for key, value in observation.items()}
        torch.testing.assert_close(encoder(**alone, wanted=wanted[row : row + 1])[0], features[row])


def test_history_is_read_in_the_light_of_the_outcome():
    """What the context's token has read changes with it, not the context alone."""
    encoder, observation = build(), observe(LENGTH)
    low, high = (encoder(**observation, wanted=torch.full((4,), z))[:, -8:] for z in (-2.0, 2.0))
    assert ((low - high).abs().amax(1) > 1e-3).all()


def test_it_is_the_transformer_with_one_number_more():
    """With no weight on the outcome's column it reads as the transformer of the same weights does."""
    encoder, plain = build(), TransformerEncoder(space(), DecisionConfig(8, 2, 2))
    weights = encoder.state_dict()
    weights["query.weight"] = weights["query.weight"][:, :-1]
    plain.load_state_dict(weights)
    with torch.no_grad():
        encoder.query.weight[:, -1] = 0.0
    features, expected = encoder(**observe(3)), plain(**observe(3))
    width = plain.num_context
    assert encoder.num_features == plain.num_features + 1
    torch.testing.assert_close(features[:, :width], expected[:, :width])
    assert features[:, width].tolist() == [2.0] * 4
    torch.testing.assert_close(features[:, width + 1 :], expected[:, width:])


def test_outcome_takes_the_parameters_dtype():
    features = build().to(torch.bfloat16)(**observe(3), wanted=torch.zeros(4, dtype=torch.float64))
    assert features.dtype == torch.bfloat16


def test_only_this_encoder_is_conditioned():
    assert {name for name in ENCODERS.registered() if ENCODERS.get(name).conditions} == {"decision"}


@pytest.mark.parametrize(("changes", "message"), [({"target": float("nan")}, "target=nan"), ({"width": 0}, "width=0")])
def test_config_out_of_range_is_refused(changes, message):
    with pytest.raises(InvalidInput, match=message):
        DecisionConfig(**changes)
