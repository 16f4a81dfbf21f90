from __future__ import annotations

import math

import torch

from agents.distributions.plackett_luce import PlackettLuce
from agents.distributions.uniform_slates import UniformSlates

NUM = 60_000


def offer() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor([[7, 1, 5, 3, 9], [2, 4, -1, 6, -1]]), torch.tensor([[1, 0, 1, 1, 1], [1, 1, 0, 1, 0]]) > 0


def test_every_ordered_slate_is_as_frequent():
    """False alarm: a count is off by six standard deviations in one of 30 with probability below 1e-7."""
    torch.manual_seed(0)
    ids, offered = offer()
    slates = UniformSlates.of_offer(ids, offered, 2).sample((NUM,))
    for row, allowed in enumerate(([3, 5, 7, 9], [2, 4, 6])):
        found, counts = slates[:, row].unique(dim=0, return_counts=True)
        assert found.tolist() == [[a, b] for a in allowed for b in allowed if a != b]
        chance = 1.0 / (len(allowed) * (len(allowed) - 1))
        spread = math.sqrt(NUM * chance * (1.0 - chance))
        assert (counts - NUM * chance).abs().max() < 6.0 * spread


def test_log_prob_is_that_of_plackett_luce_with_equal_logits():
    ids, offered = offer()
    uniform = UniformSlates.of_offer(ids, offered, 3)
    slates = uniform.sample((20,))
    equal = PlackettLuce(torch.zeros(2, 5).masked_fill(~offered, -torch.inf), ids, slate_size=3)
    torch.testing.assert_close(uniform.log_prob(slates), equal.log_prob(slates))
    torch.testing.assert_close(uniform.log_prob(slates)[0, 1], torch.tensor(-math.log(6.0)))


def test_a_whole_catalogue_needs_no_table():
    torch.manual_seed(0)
    uniform = UniformSlates(torch.tensor([10**6, 3]), slate_size=3)
    slates = uniform.sample((500,))
    assert slates.shape == (500, 2, 3)
    assert slates[:, 0].max() > 990_000
    assert slates[:, 1].sort(dim=-1).values.tolist() == [[0, 1, 2]] * 500
    assert (slates.sort(dim=-1).values.diff(dim=-1) > 0).all()


def test_too_few_items_have_no_slate():
    ids, offered = offer()
    uniform = UniformSlates.of_offer(ids, offered, 4)
    assert uniform.log_prob(uniform.sample())[1] == -torch.inf
    assert uniform.log_prob(uniform.sample())[0].isfinite()


def test_every_item_of_a_large_catalogue_has_its_chance():
    """Even ids are half of all. False alarm: off by six standard deviations, 1e-8; in float32, 72 % would be even."""
    torch.manual_seed(0)
    slates = UniformSlates(torch.tensor([30_000_000]), slate_size=2).sample((NUM,))
    even = (slates % 2 == 0).double().mean()
    assert (even - 0.5).abs() < 6.0 * 0.5 / math.sqrt(2 * NUM)
