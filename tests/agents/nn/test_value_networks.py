from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from agents.batches.replay import LogStorage
from agents.families import ENCODERS
from agents.nn.networks import NetworkConfig
from agents.nn.session_space import SessionSpace
from agents.nn.value_networks import ActionNetwork, ItemNetwork, StateNetwork, ValueEnsemble
from recenv.world import make_world
from tests.agents.slate_table import table_log

NETWORK = NetworkConfig((16,))


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return table_log(tmp_path_factory.mktemp("table") / "log")


@pytest.fixture(scope="module")
def batches(log, slate_log, table):
    """A space, a kind of action and 20 rows: simulated proto-actions and slates, and an imported log's slates."""

    def rows(log):
        kind = log.action_kind
        batch: Any = LogStorage(log, columns=(kind,)).get(slice(0, 20))
        return SessionSpace.of_log(log), kind, batch["observation"], batch[kind]

    return {"proto": rows(log), "slate": rows(slate_log), "imported": rows(table)}


def action_value(space, kind, shift=0.0, unit=1.0, *, num=1, network=NETWORK, seed=0):
    torch.manual_seed(seed)
    return ValueEnsemble([ActionNetwork(space, network, kind, 3) for _ in range(num)], shift, unit)


def state_value(space, *, num=1, network=NETWORK, seed=0):
    torch.manual_seed(seed)
    return ValueEnsemble([StateNetwork(space, network) for _ in range(num)], 0.0, 1.0)


@pytest.mark.parametrize("name", ["proto", "slate", "imported"])
@pytest.mark.parametrize("encoder", ENCODERS.registered())
def test_every_encoder_reads_every_log_and_compiles_whole(batches, name, encoder):
    torch.compiler.reset()
    space, kind, observation, action = batches[name]
    network = NetworkConfig((16,), ENCODERS.get(encoder).Config())
    state = state_value(space, num=2, network=network)
    value = action_value(space, kind, num=2, network=network)
    both = torch.stack([action, action.flip(0)])
    for function, expected_shape in (
        (lambda: state.members(observation), (2, 20)),
        (lambda: state(observation), (20,)),
        (lambda: value.members(observation, both), (2, 2, 20)),
        (lambda: value(observation, action), (20,)),
    ):
        expected = function()
        assert expected.shape == expected_shape
        assert expected.dtype == torch.float32
        assert expected.std() > 0
        torch.testing.assert_close(torch.compile(function, fullgraph=True, backend="eager")(), expected)
    (state(observation).sum() + value(observation, action).sum()).backward()
    for parameter in (*state.parameters(), *value.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_stacked_actions_are_each_an_action(batches):
    for space, kind, observation, action in batches.values():
        value = action_value(space, kind)
        both = value(observation, torch.stack([action, action.flip(0)]))
        torch.testing.assert_close(both, torch.stack([value(observation, action), value(observation, action.flip(0))]))
        assert not torch.allclose(*both)


def test_proto_actions_value_reads_the_direction_alone(batches):
    space, kind, observation, proto = batches["proto"]
    value = action_value(space, kind)
    expected = value(observation, proto)
    torch.testing.assert_close(value(observation, 3.0 * proto), expected)
    assert not torch.allclose(value(observation, -proto), expected)


def test_slates_value_reads_items_positions_and_profile(batches):
    space, kind, observation, slate = batches["slate"]
    value = action_value(space, kind)
    expected = value(observation, slate)
    for other in (slate.flip(1), (slate + 1) % space.num_items):
        assert (value(observation, other) != expected).all()
    features = value.networks[0].action(observation, slate).unflatten(-1, (space.slate_size, -1))  # type: ignore[operator]
    items = torch.from_numpy(space.embeddings.copy())[slate.long()]
    matches = (items * observation["profile"][:, None]).sum(-1, keepdim=True)
    assert features.shape == (20, space.slate_size, space.embedding_dim + 3 + 1)
    for part in (items, matches, torch.zeros(1, 1, 3)):
        assert any(
            torch.allclose(features[..., start : start + part.shape[-1]], part.expand(20, space.slate_size, -1))
            for start in range(features.shape[-1] - part.shape[-1] + 1)
        )


def test_items_are_told_apart_by_what_is_learned_of_them(batches):
    space, kind, observation, _ = batches["imported"]
    value = action_value(space, kind)
    first, second = (torch.tensor([[item, 0]]).expand(20, -1) for item in (2, 3))  # of one embedding
    torch.testing.assert_close(value(observation, first), value(observation, second))
    network: Any = value.networks[0]
    learned = network.action.learned
    with torch.no_grad():
        learned[3] += 1.0
    assert (value(observation, first) != value(observation, second)).all()


def test_only_shown_items_learn(batches):
    space, kind, observation, slate = batches["slate"]
    value = action_value(space, kind)
    value(observation, slate).sum().backward()
    network: Any = value.networks[0]
    learned = network.action.learned
    shown = np.isin(np.arange(space.num_items), slate.numpy())
    assert np.array_equal((learned.grad != 0).any(dim=1).numpy(), shown)
    assert not shown.all()


def test_an_empty_position_has_what_is_learned_of_it(batches):
    space, kind, observation, slate = batches["imported"]
    value, slate = action_value(replace(space, varied=True), kind), slate.clone()
    slate[:, 1] = -1
    network: Any = value.networks[0]
    expected = value(observation, slate)
    expected.sum().backward()
    learned = network.action.learned
    assert learned.shape[0] == space.num_items + 1
    assert learned.grad[-1].any()
    with torch.no_grad():
        learned[-1] += 1.0
    assert (value(observation, slate) != expected).all()
    with pytest.raises(IndexError):
        action_value(space, kind)(observation, slate)


def test_what_the_step_offers_is_not_read(config):
    space = SessionSpace.of_world(make_world(config.override(num_candidates=10)))
    assert "candidates" in space.observed
    assert "candidates" not in StateNetwork(space, NETWORK).features.names


def test_ensemble_is_the_mean_of_its_networks(batches):
    space, kind, observation, action = batches["proto"]
    value = action_value(space, kind, 7.0, 3.0, num=3)
    members = value.members(observation, action)
    for network, member in zip(value.networks, members, strict=True):
        torch.testing.assert_close(member, 7.0 + 3.0 * network(observation, action))
    torch.testing.assert_close(value(observation, action), members.mean(dim=0))
    assert members.std(dim=0).min() > 0
    # The first network is what it is alone.
    assert torch.equal(action_value(space, kind, 7.0, 3.0)(observation, action), members[0])


def test_networks_know_no_item_by_its_number(batches):
    """Before training, renaming the items changes nothing."""
    space, kind, observation, slate = batches["slate"]
    order = np.random.default_rng(0).permutation(space.num_items)
    place = torch.from_numpy(np.argsort(order))
    renamed = replace(space, embeddings=space.embeddings[order], popularity=space.popularity[order])
    observation, history = copy.deepcopy(observation), observation["history_items"]
    expected = action_value(space, kind)(observation, slate)
    observation["history_items"] = torch.where(history < 0, -1, place[history.clamp_min(0).long()].int())
    torch.testing.assert_close(action_value(renamed, kind)(observation, place[slate.long()]), expected)


def item_value(space, seed=0):
    torch.manual_seed(seed)
    return ItemNetwork(space, NETWORK, 4)


def test_every_item_has_a_value_and_none_has_one_too(batches):
    """Of some items they are those of all, in the order asked for; what is padding gets any."""
    torch.compiler.reset()
    for name in ("slate", "imported"):
        space, _, observation, slate = batches[name]
        network = item_value(space)
        every, some = network(observation), network(observation, slate)
        assert every.shape == (20, 1 + space.num_items)
        torch.testing.assert_close(some[:, 0], every[:, 0])
        torch.testing.assert_close(some[:, 1:], every[:, 1:].gather(1, slate.long()))
        assert every[:, 1:].std(dim=1).min() > 0
        assert every[:, 0].std() > 0  # of no item too: by the observation
        padded = network(observation, torch.cat([slate, torch.full_like(slate[:, :1], -1)], dim=1))
        torch.testing.assert_close(padded[:, :-1], some)
        compiled = torch.compile(network, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(observation), every)
        some.sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_single_items_are_told_apart_by_what_is_learned_of_them(batches):
    space, _, observation, _ = batches["imported"]
    network = item_value(space)
    before = network(observation)
    torch.testing.assert_close(before[:, 3], before[:, 4])  # of one embedding
    with torch.no_grad():
        network.item_table.bias[3] += 1.0
    torch.testing.assert_close(network(observation)[:, 4], before[:, 4] + 1.0)
    torch.testing.assert_close(network(observation)[:, 3], before[:, 3])
