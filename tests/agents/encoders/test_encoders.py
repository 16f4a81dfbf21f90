"""What every registered encoder promises; a new one inherits these tests."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.encoders import ENCODERS, SessionEncoder
from agents.networks import NetworkConfig, make_encoder
from agents.session_space import SessionSpace
from tests.agents.encoders.observations import ITEMS, LENGTH, observe, pad, space

EACH = pytest.mark.parametrize("name", sorted(ENCODERS.registered()))
SPACES = pytest.mark.parametrize(("profile", "calendar"), [(True, False), (False, False), (True, True), (False, True)])


def build(name: str, given_space: SessionSpace | None = None) -> SessionEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make_encoder(given_space or space(), NetworkConfig(encoder=ENCODERS.get(name).Config()))


@EACH
@given(st.integers(0, 8), st.integers(0, 8), st.sampled_from([0.0, 99.0, -1e30, float("nan"), float("inf")]))
@settings(max_examples=25)
def test_padding_does_not_count(name, events, padding, garbage):
    encoder, observation = build(name), observe(events)
    padded = pad(observation, padding, garbage)
    torch.testing.assert_close(encoder(**padded), encoder(**observation), atol=1e-5, rtol=1e-5)


@EACH
def test_no_nan_reaches_a_gradient_from_padding(name):
    encoder = build(name)
    features = encoder(**pad(observe(0), LENGTH, float("nan")))
    assert features.isfinite().all()
    if features.requires_grad:
        features.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@EACH
def test_last_events_of_a_longer_history_count(name):
    encoder, observation = build(name), observe(LENGTH + 3)
    last = {key: value[:, 3:] if key.startswith("history") else value for key, value in observation.items()}
    torch.testing.assert_close(encoder(**observation), encoder(**last))
    changed = observation | {"history_items": (observation["history_items"] + 1) % ITEMS}
    assert not torch.allclose(encoder(**observation), encoder(**changed))


@EACH
@SPACES
def test_features_have_the_promised_width(name, profile, calendar):
    encoder = build(name, space(has_profile=profile, has_calendar=calendar))
    features = encoder(**observe(3, profile=profile, calendar=calendar))
    assert features.shape == (4, encoder.num_features)
    assert features.dtype == torch.float32


@EACH
def test_gradient_reaches_every_parameter_and_no_embedding(name):
    encoder = build(name)
    features = encoder(**observe(LENGTH))
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    if features.requires_grad:
        (features * weights).sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert (parameter.grad.reshape(len(parameter), -1).abs().sum(1) > 0).all(), key
    assert not encoder.embeddings.requires_grad
    assert "embeddings" not in encoder.state_dict()


@EACH
def test_compiles_as_one_graph(name):
    encoder, observation = build(name), pad(observe(3), 2, 0.0)
    compiled = torch.compile(encoder, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(**observation), encoder(**observation))


@EACH
@pytest.mark.parametrize(("network", "observed"), [(torch.bfloat16, torch.float32), (torch.float32, torch.float64)])
def test_features_have_the_parameters_dtype(name, network, observed):
    observation = pad(observe(3), 2, 0.0)
    expected = build(name)(**observation)
    given_ = {key: value.to(observed) if value.is_floating_point() else value for key, value in observation.items()}
    features = build(name).to(network)(**given_)
    assert features.dtype == network
    tolerance = 0.06 if network == torch.bfloat16 else 1e-6
    torch.testing.assert_close(features.float(), expected, atol=tolerance, rtol=tolerance)


@EACH
def test_permuting_the_catalog_changes_nothing(name):
    order = np.random.default_rng(2).permutation(ITEMS)
    observation = pad(observe(3), 2, 0.0)
    items = observation["history_items"].long()
    moved = torch.where(items < 0, items, torch.from_numpy(np.argsort(order))[items])
    permuted = build(name, space(embeddings=space().embeddings[order]))
    assert torch.equal(permuted(**observation | {"history_items": moved}), build(name)(**observation))
