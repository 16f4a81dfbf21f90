"""The myopic gap: every user model's own world rewards looking ahead, and the measure cannot be fooled cheaply."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from offline_data.behavior.base import make_behavior
from offline_data.collection.rollout import play_sessions
from recenv.dynamics.user_models.base import expert_oracle
from recenv.errors import InvalidInput
from recenv.families import USER_MODELS
from recenv.random_streams import derive_seeds
from recenv.session_config import SessionConfig
from recenv.statistics import Interval
from recenv.world import World, make_world
from recsession.experiments.myopic_gap import MyopicGap, OracleFamily, myopic_gap, paired_ratio

NUM_SESSIONS = 200


def of_experts(greedy: float, *far_sighted: float) -> OracleFamily:
    return OracleFamily(expert_oracle(greedy), tuple(map(expert_oracle, far_sighted)))


def test_a_model_without_oracles_is_named(monkeypatch):
    monkeypatch.setattr(USER_MODELS.get("boredom_cascade"), "greedy_oracle", None)
    with pytest.raises(InvalidInput, match="user_model 'boredom_cascade' names no oracles; give it a greedy_oracle"):
        OracleFamily.of("boredom_cascade")


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in USER_MODELS.registered() if USER_MODELS.get(n).far_sighted_oracles])
def test_looking_ahead_pays_in_the_models_own_world(name):
    world = make_world(SessionConfig().override(user_model=name))
    gap = myopic_gap(world, OracleFamily.of(name), NUM_SESSIONS, seed=0)
    assert gap.uniform.low > 0.0
    assert gap.greedy.low > gap.uniform.high
    assert gap.far_sighted.low > gap.uniform.high
    assert gap.greedy_is_greedy, gap.first_step_leads
    assert gap.ratio.low >= 1.2, gap


# --- the measure


def small_world(num_items: int) -> World:
    small = {"embedding_dim": 3, "num_topics": 2, "max_steps": 6, "history_length": 3, "no_click_utility": -1.0}
    return make_world(SessionConfig().override(**small, num_items=num_items, slate_size=3))


@pytest.fixture(scope="module")
def world() -> World:
    return small_world(12)


def rows_of(world, spec, role, count=60, seed=3):
    seeds = (derive_seeds(seed, f"gap {role} {who}", np.arange(count)) for who in ("users", "luck"))
    return play_sessions(world, make_behavior(world, spec), *seeds)


def test_the_member_is_selected_on_users_of_its_own(world):
    family = of_experts(0.0, -2.0, 0.5, 2.0)
    gap = myopic_gap(world, family, 60, seed=3)
    selection = [rows_of(world, spec, "selection").session_returns().mean() for spec in family.far_sighted]
    assert gap.spec == family.far_sighted[int(np.argmax(selection))]
    fresh = {
        name: rows_of(world, spec, "fresh").session_returns()
        for name, spec in (("uniform", "uniform"), ("greedy", family.greedy), ("far_sighted", gap.spec))
    }
    for name, returns in fresh.items():
        assert getattr(gap, name) == Interval.of(returns)
    assert gap.ratio == paired_ratio(fresh["far_sighted"], fresh["greedy"])
    assert gap.far_sighted.mean not in selection


def test_first_steps_are_compared_on_the_same_users(world):
    family = of_experts(0.0, 0.5, 2.0)
    gap = myopic_gap(world, family, 60, seed=3)
    greedy, *members = (rows_of(world, spec, "selection") for spec in (family.greedy, *family.far_sighted))
    for rows, lead in zip(members, gap.first_step_leads, strict=True):
        firsts = [r.columns["reward"][r.columns["step"] == 0] for r in (greedy, rows)]
        assert lead == Interval.of(firsts[0] - firsts[1])


def test_a_greedy_oracle_that_is_none_is_found_out():
    world = small_world(40)
    honest = of_experts(0.0, 0.25, 0.5)
    fake = dataclasses.replace(honest, greedy={"name": "expert", "quality_weight": -20.0, "temperature": 0.02})
    assert myopic_gap(world, honest, 400, seed=0).greedy_is_greedy
    assert not myopic_gap(world, fake, 400, seed=0).greedy_is_greedy


def test_a_gap_is_a_function_of_its_seed(world):
    family = of_experts(0.0, 1.0)
    gap = myopic_gap(world, family, 20, seed=3)
    assert gap == myopic_gap(world, family, 20, seed=3)
    assert gap.uniform != myopic_gap(world, family, 20, seed=4).uniform


@pytest.mark.parametrize(
    ("ratio", "lead", "verdict"),
    [
        ((1.4, 1.3, 1.5), 0.5, "far sight pays here: at least 1.30 times what the greedy oracle earns"),
        ((1.4, 1.3, 1.5), -0.5, "the far-sighted oracle earns more, but already in the first step"),
        ((1.0, 1.0, 1.0), 0.0, "nothing to gain from far sight here: .* earns at most 1.000 times what the greedy one"),
        ((0.8, 0.7, 0.9), 0.5, "nothing to gain from far sight here: .* at most 0.900 times"),
        ((1.0, 0.5, 1.5), 0.5, "whether far sight pays here is not decided by so few users; take more"),
    ],
)
def test_a_gap_is_said_in_a_sentence(ratio, lead, verdict):
    some, leads = Interval(1.0, 1.0, 1.0), (Interval(lead, lead - 0.1, lead + 0.1),)
    assert re.match(verdict, MyopicGap(some, some, some, {"name": "expert"}, Interval(*ratio), leads).verdict)


def test_one_session_is_refused(world):
    with pytest.raises(InvalidInput, match="num_sessions=1 is outside"):
        myopic_gap(world, of_experts(0.0, 1.0), 1, seed=0)


# --- the ratio


def test_ratio_worked_by_hand():
    # Means 6 and 2, ratio 3; influences (f - 3 g) / 2: 0.5, 0, -0.5, standard deviation 1/2 over three users.
    ratio = paired_ratio(np.array([4.0, 6.0, 8.0]), np.array([1.0, 2.0, 3.0]))
    assert ratio == Interval.of(np.array([3.5, 3.0, 2.5]))
    assert ratio.mean == 3.0
    assert ratio.high == pytest.approx(3.0 + 1.96 * 0.5 / np.sqrt(3.0))


def test_ratio_of_proportional_returns_is_certain():
    returns = np.random.default_rng(0).uniform(1.0, 9.0, 50)
    ratio = paired_ratio(1.5 * returns, returns)
    assert ratio.low == pytest.approx(1.5)
    assert ratio.high == pytest.approx(1.5)


def test_ratio_covers_at_its_rate():
    """2000 samples of 100 pairs; fewer than 1820 or more than 1945 cover with probability below 1e-4 at 0.94 to 0.95.

    That is 1e-7 at a true coverage of 0.940 and 1e-6 at 0.950 (binomial).
    """
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        greedy = rng.uniform(0.0, 2.0, 100)
        ratio = paired_ratio(greedy + rng.uniform(0.0, 1.0, 100), greedy)
        covered += ratio.low <= 1.5 <= ratio.high
    assert 1820 <= covered <= 1945


@pytest.mark.parametrize("returns", [[0.0, 0.0], [-1.0, 0.5], [np.nan, 1.0]])
def test_ratio_to_nothing_is_refused(returns):
    with pytest.raises(InvalidInput, match="in the denominator is not above zero"):
        paired_ratio(np.ones(2), np.array(returns))
