"""What the two networks of a critic learn from: each from its own error alone."""

from __future__ import annotations

import pytest
import torch

from agents.nn.networks import NetworkConfig
from agents.nn.value_networks import ActionNetwork
from agents.values.critics import CriticConfig, fit_critic
from offline_data.store.dataset import LoggedDataset


@pytest.fixture(scope="module")
def uniform_log(make_log):
    return make_log("uniform", 100)


def fitted(log: LoggedDataset, **config) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Parameters of V, and of Q or A, after a few steps towards returns that do not depend on them."""
    chosen = CriticConfig(NetworkConfig((16,)), num_rounds=1, steps_per_round=5, batch_size=64, **config)
    critic = fit_critic(log, chosen)
    return [p.detach() for p in critic.state_value.parameters()], [p.detach() for p in critic.action_value.parameters()]


def test_v_learns_nothing_from_the_error_of_a(uniform_log, monkeypatch):
    """V is the mean return, whatever A makes of what is left over: the same numbers beside an A that is always 0."""
    expected = fitted(uniform_log)[0]
    forward = ActionNetwork.forward
    monkeypatch.setattr(ActionNetwork, "forward", lambda *args, **kwargs: 0.0 * forward(*args, **kwargs))
    assert all(map(torch.equal, fitted(uniform_log)[0], expected))


def test_q_learns_nothing_from_the_error_of_v(uniform_log):
    """Q is the mean return of the action, whatever expectile of it V is."""
    low, high = (fitted(uniform_log, expectile=expectile, trace_decay=0.0) for expectile in (0.1, 0.9))
    assert all(map(torch.equal, low[1], high[1]))
    assert not all(map(torch.equal, low[0], high[0]))
