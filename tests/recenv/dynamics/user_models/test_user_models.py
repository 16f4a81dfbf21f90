"""The contract of user models, over every registered one and one from outside; and heirs, which are no parents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import gymnasium
import numpy as np
import pytest

from recenv import USER_MODELS, InvalidInput, SessionConfig
from recenv.dynamics.user_models.interest_evolution import InterestEvolution, InterestEvolutionConfig
from recenv.testing.user_models import check_user_model
from tests.strategies.worlds import SMALL


@check_user_model.over("tests.outside_parts.window_shopper:WindowShopper")
def test_contract(part, check):
    check(part)


class GenerousHeir(InterestEvolution):
    """Pays a hundred a minute, and has its parent's config."""

    @property
    def reward_weights(self) -> np.ndarray:
        return np.array([0.0, 100.0, 0.0])


@dataclass(frozen=True)
class GenerousConfig(InterestEvolutionConfig):
    """A config of its own."""

    name: ClassVar[str] = f"{__name__}:Generous"


class Generous(GenerousHeir):
    """With that."""

    Config = GenerousConfig


def test_an_heir_acts_by_a_config_of_its_own_or_is_refused():
    """With its parent's it would be saved, and read back, as its parent."""
    for given in (GenerousHeir, f"{__name__}:GenerousHeir"):
        with pytest.raises(
            InvalidInput, match="GenerousHeir has the config of the user model 'interest_evolution', and"
        ):
            USER_MODELS.resolve(given)
    with pytest.raises(
        InvalidInput, match="is registered as 'generous', and its InterestEvolutionConfig is called 'inte"
    ):
        USER_MODELS.register("generous")(GenerousHeir)
    env = gymnasium.make("RecSession-v0", user_model=f"{__name__}:Generous", **SMALL)
    world = env.unwrapped.world  # type: ignore[attr-defined]
    assert type(world.user_model) is Generous
    assert world.reward_weights[1] == 100.0
    assert SessionConfig.from_json(world.config.to_json()) == world.config
    assert world.config.to_dict()["user_model"]["name"] == f"{__name__}:Generous"
