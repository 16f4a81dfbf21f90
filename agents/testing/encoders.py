"""What every encoder promises, and random observations of a tiny space."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from agents import ENCODERS, NetworkConfig, SessionEncoder, SessionSpace, make_encoder
from agents.testing.policy_cases import compiling
from offline_data.store.context import ContextColumn
from offline_data.testing.histories import PaddedHistories, padded_histories
from recenv.engine.session_batch import SessionBatch
from recenv.session_config import SessionConfig
from recenv.testing.contract import Contract, example_config, quick
from recenv.testing.worlds import SMALL_WORLD
from recenv.world import make_world

check_encoder: Final = Contract("check_encoder", ENCODERS)
"""The contract of encoders."""

LENGTH, DIM, CHANNELS, ITEMS = 5, 4, 3, 7
CONTEXT: Final = (ContextColumn("age", "number"), ContextColumn("city", "category", values=("Berlin",)))
"""Of three coordinates."""
# Measured over 200 seeds of weights: |difference| / (1 + |value|) was at most 0.0173 (transformer), else 0.0037.
BF16: Final = 0.02


def space(**changes: Any) -> SessionSpace:
    """Return a space of seven items in four dimensions, histories of five and three channels.

    Args:
        **changes: fields of `SessionSpace`.
    """
    embeddings = np.random.default_rng(0).normal(size=(ITEMS, DIM)).astype(np.float32)
    return replace(SessionSpace(embeddings, np.full(ITEMS, 1 / ITEMS, np.float32), LENGTH, CHANNELS, 2, 9), **changes)


def observe(
    events: int,
    *,
    count: int = 4,
    seed: int = 1,
    profile: bool = True,
    calendar: bool = False,
    context: bool = False,
) -> dict:
    """Return random observations of `count` sessions with `events` consumed items each."""
    generator = torch.Generator().manual_seed(seed)
    observation = {
        "history_items": torch.randint(0, ITEMS, (count, events), generator=generator, dtype=torch.int32),
        "history_feedback": torch.rand(count, events, CHANNELS, generator=generator),
        "clock": torch.rand(count, 2, generator=generator),
    }
    extra = {
        "profile": torch.randn(count, DIM, generator=generator),
        "calendar": torch.rand(count, 2, generator=generator),
        "context": torch.randn(count, 3, generator=generator),
    }
    wanted = {"profile": profile, "calendar": calendar, "context": context}
    return observation | {key: values for key, values in extra.items() if wanted[key]}


def pad(observation: dict[str, Tensor], padding: int, garbage: float) -> dict[str, Tensor]:
    """Return an observation with padding in front of its histories, and `garbage` for the padding's feedback."""
    return observation | {
        "history_items": functional.pad(observation["history_items"], (padding, 0), value=-1),
        "history_feedback": functional.pad(observation["history_feedback"], (0, 0, padding, 0), value=garbage),
    }


def build(part: type[SessionEncoder], given_space: SessionSpace | None = None) -> SessionEncoder:
    """Return an encoder of a part's first example, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return make_encoder(given_space or space(), NetworkConfig(encoder=example_config(part)))


@check_encoder.promise
def says_its_name(part: Any) -> None:
    """Its config has a name."""
    assert isinstance(part.Config.name, str)


@check_encoder.promise
def each_session_is_read_as_if_it_were_alone_and_not_padded(part: Any) -> None:
    """Property: each session is read as if it were alone and not padded, whatever lies in the padding."""

    @quick(50)
    @given(padded_histories(ITEMS, CHANNELS, LENGTH + 3), st.booleans())
    def run(histories: PaddedHistories, bare: bool) -> None:
        encoder = build(part, space(has_profile=not bare, has_calendar=not bare))
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

    run()


@check_encoder.promise_each(
    lambda part: (({},), ({"retention": {"max_sessions": 3}},), ({"freshness": {"horizon": 60.0}},))
)
def sessions_of_a_world_are_read(part: Any, options: dict[str, Any]) -> None:
    """Sessions of a world are read, one at a time as together, and each part of the observation counts."""
    world = make_world(SessionConfig().override(**SMALL_WORLD, budget=14.0, **options))
    own = SessionSpace.of_world(world)
    encoder, sessions, rng = build(part, own), SessionBatch(world, 12), np.random.default_rng(0)
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


@check_encoder.promise
def context_of_a_step_is_read(part: Any) -> None:
    """The context of a step is read: each of its coordinates counts, in every session."""
    own = space(context=CONTEXT, has_profile=False)
    encoder, observation = build(part, own), observe(3, profile=False, context=True)
    features = encoder(**observation)
    assert features.shape == (4, encoder.num_features)
    for place in range(3):
        changed = observation["context"].clone()
        changed[:, place] += 1.0
        assert ((encoder(**observation | {"context": changed}) - features).abs().amax(1) > 1e-3).all(), place


@check_encoder.promise
def no_nan_reaches_a_gradient_from_padding(part: Any) -> None:
    """NaN in the padding reaches neither features nor gradients."""
    encoder = build(part)
    features = encoder(**pad(observe(0), LENGTH, float("nan")))
    assert features.isfinite().all()
    if features.requires_grad:
        features.square().sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in encoder.parameters())


@check_encoder.promise
def last_events_of_a_longer_history_count(part: Any) -> None:
    """Of a history longer than the space's the last events count, and their items do."""
    encoder, observation = build(part), observe(LENGTH + 3)
    last = {key: value[:, 3:] if key.startswith("history") else value for key, value in observation.items()}
    torch.testing.assert_close(encoder(**observation), encoder(**last))
    changed = observation | {"history_items": (observation["history_items"] + 1) % ITEMS}
    assert not torch.allclose(encoder(**observation), encoder(**changed))


@check_encoder.promise_each(lambda part: itertools.product((True, False), (False, True)))
def features_have_the_promised_width(part: Any, profile: bool, calendar: bool) -> None:
    """Features are [B, num_features] float32, with and without profile and calendar."""
    encoder = build(part, space(has_profile=profile, has_calendar=calendar))
    features = encoder(**observe(3, profile=profile, calendar=calendar))
    assert features.shape == (4, encoder.num_features)
    assert features.dtype == torch.float32


@check_encoder.promise
def gradient_reaches_every_parameter_and_no_embedding(part: Any) -> None:
    """Every parameter gets a gradient in every row; the embeddings are no parameter, and not saved."""
    encoder = build(part)
    features = encoder(**observe(LENGTH))
    weights = torch.randn(features.shape, generator=torch.Generator().manual_seed(0))
    if features.requires_grad:
        (features * weights).sum().backward()
    for key, parameter in encoder.named_parameters():
        assert parameter.grad is not None, key
        assert (parameter.grad.reshape(len(parameter), -1).abs().sum(1) > 0).all(), key
    assert not encoder.embeddings.requires_grad
    assert "embeddings" not in encoder.state_dict()


@check_encoder.promise
def compiles_as_one_graph(part: Any) -> None:
    """It compiles as one graph, to the same features."""
    encoder, observation = build(part), pad(observe(3), 2, 0.0)
    with compiling():
        compiled = torch.compile(encoder, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(**observation), encoder(**observation))


@check_encoder.promise_each(lambda part: ((torch.bfloat16, torch.float32), (torch.float32, torch.float64)))
def features_have_the_parameters_dtype(part: Any, network: torch.dtype, observed: torch.dtype) -> None:
    """Features have the parameters' dtype, whatever the observation's, and nearly the same values in bfloat16."""
    observation = pad(observe(3), 2, 0.0)
    expected = build(part)(**observation)
    given_ = {key: value.to(observed) if value.is_floating_point() else value for key, value in observation.items()}
    features = build(part).to(network)(**given_)
    assert features.dtype == network
    tolerance = BF16 if network == torch.bfloat16 else 1e-6
    torch.testing.assert_close(features.float(), expected, atol=tolerance, rtol=tolerance)


@check_encoder.promise
def permuting_the_catalog_changes_nothing(part: Any) -> None:
    """Renumbering the items changes nothing."""
    order = np.random.default_rng(2).permutation(ITEMS)
    observation = pad(observe(3), 2, 0.0)
    items = observation["history_items"].long()
    moved = torch.where(items < 0, items, torch.from_numpy(np.argsort(order))[items])
    permuted = build(part, space(embeddings=space().embeddings[order]))
    assert torch.equal(permuted(**observation | {"history_items": moved}), build(part)(**observation))
