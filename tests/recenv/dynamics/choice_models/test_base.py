"""What every choice model promises: rows apart, empty positions never clicked, ranges."""

from __future__ import annotations

import math
from typing import Any

import pytest

from recenv import ChoiceModel, InvalidInput
from recenv.dynamics.choice_models.exponential_cascade import ExponentialCascade
from recenv.dynamics.choice_models.multinomial_logit import MultinomialLogit
from recenv.dynamics.choice_models.position_based import PositionBased
from tests.recenv.dynamics.choice_models.choice_cases import EMPTY, ENDS, choose

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("model", [MultinomialLogit(-1e6), ExponentialCascade(1e6), PositionBased(0.0, -1e6, 1.0)])
def test_a_slate_of_empty_positions_gets_no_click(model: ChoiceModel):
    assert (choose(model, [EMPTY, EMPTY], [*ENDS]) == -1).all()
    assert (choose(model, [EMPTY], [*ENDS]) == -1).all()


def test_a_slate_of_one_item():
    for model in (MultinomialLogit(0.0), ExponentialCascade(0.5), PositionBased(1.0, 0.0)):
        assert choose(model, [0.0], [ENDS[0], 0.499, 0.501, ENDS[1]]).tolist() == [[0], [0], [-1], [-1]]


def test_clicks_and_uniforms_of_a_slate():
    for model, count in ((MultinomialLogit(), 1), (ExponentialCascade(), 1), (PositionBased(), 10)):
        assert model.max_clicks(10) == count
        assert model.num_draws(10) == count


@pytest.mark.parametrize(
    ("model", "field", "wrong"),
    [
        *(
            (model, "position_decay", value)
            for model in (MultinomialLogit, ExponentialCascade, PositionBased)
            for value in (0.0, 1.01, math.nan)
        ),
        *((MultinomialLogit, "no_click_utility", value) for value in (1.1e6, -math.inf)),
        *((ExponentialCascade, "attention", value) for value in (0.0, 1.1e6)),
        *((PositionBased, "relevance_slope", value) for value in (-0.1, math.inf)),
        *((PositionBased, "relevance_midpoint", value) for value in (1.1e6, "1")),
    ],
)
def test_a_config_out_of_range_is_refused(model: Any, field: str, wrong: Any):
    with pytest.raises(InvalidInput, match=rf"^{field}=.*set {field} to"):
        model(**{field: wrong})
