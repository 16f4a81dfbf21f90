"""What every registered encoder promises; a new one inherits these tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.families import ENCODERS
from agents.nn.encoders.base import SessionEncoder
from agents.nn.networks import NetworkConfig, make_encoder
from agents.nn.session_space import SessionSpace
from recenv.engine.session_batch import SessionBatch
from recenv.session_config import SessionConfig
from recenv.world import make_world
from tests.agents.nn.encoders.observations import CHANNELS, ITEMS, LENGTH, observe, pad, space
from tests.strategies.logs import padded_histories
from tests.strategies.worlds import SMALL

# Measured over 200 seeds of weights: |difference| / (1 + |value|) was at most 0.0173 (transformer), else 0.0037.
BF16 = 0.02

EACH = pytest.mark.parametrize("name", sorted(ENCODERS.registered()))
SPACES = pytest.mark.parametrize(("profile", "calendar"), [(True, False), (False, False), (True, True), (False, True)])


def build(name: str, given_space: SessionSpace | None = None) -> SessionEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make_encoder(given_space or space(), NetworkConfig(encoder=ENCODERS.get(name).Config()))


@EACH
@given(padded_histories(ITEMS, CHANNELS, LENGTH + 3), st.booleans())
@settings(max_examples=50)
def test_each_session_is_read_as_if_it_were_alone_and_not_padded(name, histories, bare):
    encoder = build(name, space(has_profile=not bare, has_calendar=not bare))
    count = len(histories.lengths)
    observation = observe(0, count=count, profile=not bare, calendar=not bare)
    observation |= {
        "history_items": torch.from_numpy(histories.items),
        "history_feedback": torch.from_numpy(histories.feedback),
    }
    features = encoder(**observation)
    assert features.shape == (count, encoder.num_features)
    for row, length in enumerate(histories.lengths):
        alone = {key: value[row : row + 1] for key, value in observation.items()}
        for key in ("history_items", "history_feedback"):
            alone[key] = alone[key][:, alone[key].shape[1] - length :]
        torch.testing.assert_close(encoder(**alone)[0], features[row], atol=1e-5, rtol=1e-5)


@EACH
@pytest.mark.parametrize("options", [{}, {"retention": {"max_sessions": 3}}, {"freshness": {"horizon": 60.0}}])
def test_sessions_of_a_world_are_read(name, options):
    world = make_world(SessionConfig().override(**SMALL, **options))
    own = SessionSpace.of_world(world)
    encoder, sessions, rng = build(name, own), SessionBatch(world, 12), np.random.default_rng(0)
    indices = np.arange(12)
    sessions.start(indices, indices.astype(np.uint64), np.zeros(12, np.uint64))
    seen = []
    for _ in range(4):
        batch: Any = own.batch(sessions.observe())
        observation = dict(batch["observation"].items())
        features = encoder(**observation)
        assert features.shape == (12, encoder.num_features)
        assert features.isfinite().all()
        for row in (0, 7):
            alone = encoder(**{key: value[row : row + 1] for key, value in observation.items()})
            torch.testing.assert_close(alone[0], features[row], atol=1e-5, rtol=1e-5)
        # Each part of the observation counts, in every session; of a history, where there is one.
        for key in ("profile", "clock", *(("calendar",) if own.has_calendar else ())):
            changed = encoder(**observation | {key: observation[key] + 1.0})
            assert ((changed - features).abs().amax(1) > 1e-3).all(), key
        real = observation["history_items"] >= 0
        changed = encoder(**observation | {"history_feedback": observation["history_feedback"] + 1.0})
        assert torch.equal((changed != features).any(1), real.any(1))
        seen.append(real.sum(1))
        sessions.step(rng.integers(own.num_items, size=(12, own.slate_size)))
    assert len(seen[-1].unique()) > 2


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
    tolerance = BF16 if network == torch.bfloat16 else 1e-6
    torch.testing.assert_close(features.float(), expected, atol=tolerance, rtol=tolerance)


@EACH
def test_permuting_the_catalog_changes_nothing(name):
    order = np.random.default_rng(2).permutation(ITEMS)
    observation = pad(observe(3), 2, 0.0)
    items = observation["history_items"].long()
    moved = torch.where(items < 0, items, torch.from_numpy(np.argsort(order))[items])
    permuted = build(name, space(embeddings=space().embeddings[order]))
    assert torch.equal(permuted(**observation | {"history_items": moved}), build(name)(**observation))
