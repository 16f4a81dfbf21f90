from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agents.objectives.asymre import AsymreConfig, AsymreObjective
from agents.objectives.signed_pg import SignedPgObjective
from recenv.errors import InvalidInput
from tests.agents.objectives.loss_values import assert_equal, on_a_unit_normal, standardized
from tests.reference.regression_reference import mean_gradient, normal_log_prob, weighted


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.3])
def test_objective_equals_the_reference(make_actor, random_batch, shift):
    batch: Any = random_batch.double()
    found = on_a_unit_normal(AsymreObjective, make_actor(), batch, baseline_shift=shift)
    action, mean = batch["proto"].numpy(), np.zeros(2)
    value, gradient = weighted(standardized(batch["score"]) - shift, normal_log_prob(action, mean))
    assert_equal(found, (value.mean(), mean_gradient(gradient, action, mean)))


def test_at_the_behaviors_value_it_is_the_signed_policy_gradient(make_actor, random_batch):
    batch: Any = random_batch.double()
    found = on_a_unit_normal(AsymreObjective, make_actor(), batch, baseline_shift=0.0)
    assert_equal(found, on_a_unit_normal(SignedPgObjective, make_actor(), batch))


def test_shift_is_a_buffer_to_schedule(make_actor, random_batch):
    objective = AsymreObjective(make_actor())
    objective.refresh(random_batch["score"])
    before = objective(random_batch)["loss_actor"].item()
    objective.baseline_shift = -3.0  # type: ignore[assignment]
    assert objective(random_batch)["loss_actor"].item() != before
    assert objective.state_dict()["baseline_shift"] == -3.0


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), "low"])
def test_config_refuses(value):
    with pytest.raises(InvalidInput, match=f"baseline_shift={value!r}"):
        AsymreConfig(value)
