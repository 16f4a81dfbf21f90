"""Mixtures against enumeration: per step a log-sum-exp, per session the product of conditionals is the marginal."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from scipy import stats

from offline_data.behavior.base import SessionView, make_behavior
from offline_data.behavior.mixture import _draw_items
from recenv.errors import InvalidInput
from tests.offline_data.behavior.mixture_cases import (
    COMPONENTS,
    WEIGHTS,
    judged,
    mixture,
    present,
    repeated,
    slates_and_their_draws,
)
from tests.reference import behavior_reference as reference

pytestmark = pytest.mark.kernels


NESTED = {"name": "mixture", "components": ["uniform"], "weights": [1.0]}


# --- per step


def test_a_step_is_the_logsumexp_of_its_components(small_world, sessions_under_way):
    world = small_world(4, 3)
    slates, _ = slates_and_their_draws(world)
    view = repeated(sessions_under_way(world, 1), len(slates))
    policy = mixture(world)
    joint, prefix = judged(policy, view, slates)
    prefix = present(prefix)
    answers = [present(judged(part, view, slates)[1]) for part in policy.components]
    for row, slate in enumerate(slates.tolist()):
        for k in range(3):
            expected = [math.log(w) + answer[row, k] for w, answer in zip(WEIGHTS, answers, strict=True)]
            assert prefix[row, k] == pytest.approx(reference.log_sum_exp(expected), rel=1e-12)
        begins_alike = [math.exp(joint[r]) for r, other in enumerate(slates.tolist()) if other[:2] == slate[:2]]
        assert sum(begins_alike) == pytest.approx(math.exp(prefix[row, 1]), rel=1e-12)
    np.testing.assert_array_equal(joint, prefix[:, -1])
    assert np.exp(joint).sum() == pytest.approx(1.0, abs=1e-12)


def test_a_step_of_protos_is_the_mixture_of_densities(small_world, sessions_under_way):
    world = small_world()
    view = SessionView.of(sessions_under_way(world, 5))
    policy = mixture(world, kind="proto")
    action = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    density, prefix = judged(policy, view, action)
    means = [*(part.direction(view) for part in policy.components[:2]), np.zeros((5, 3))]
    scales = [0.5, 0.4, 1.0 / math.sqrt(3.0)]
    expected = sum(
        w * stats.norm.pdf(action, m, s).prod(axis=1) for w, m, s in zip(WEIGHTS, means, scales, strict=True)
    )
    np.testing.assert_allclose(density, np.log(expected), rtol=1e-9)
    assert prefix is None


def test_far_outside_every_component_the_log_density_is_finite(small_world, sessions_under_way):
    world = small_world()
    view = SessionView.of(sessions_under_way(world, 1))
    policy = mixture(world, kind="proto")
    far = np.full((1, 3), 1e4, np.float32)
    density, _ = judged(policy, view, far)
    best = max(math.log(w) + judged(p, view, far)[0][0] for w, p in zip(WEIGHTS, policy.components, strict=True))
    assert density[0] == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("mixing", ["step", "session"])
def test_components_act_as_often_as_their_weights_say(small_world, sessions_under_way, mixing):
    """Of 1000 midpoints an interval of length w holds 1000 w, give or take one; the rest of the draws go to it."""
    world = small_world()
    policy = mixture(world, mixing)
    view = repeated(sessions_under_way(world, 1, num_steps=0), 1000)
    draws = np.random.default_rng(1).random((1000, policy.num_draws))
    draws[:, 0] = (np.arange(1000) + 0.5) / 1000
    decision = policy.act(view, draws, np.zeros((1000, policy.num_memory)))
    assert decision.component.dtype == np.int8
    np.testing.assert_allclose(np.bincount(decision.component), [200, 300, 500], atol=1)
    for index, part in enumerate(policy.components):
        indices = np.flatnonzero(decision.component == index)
        alone = part.act(view.take(indices), draws[indices, 1 : 1 + part.num_draws], np.zeros((len(indices), 0)))
        np.testing.assert_array_equal(decision.action[indices], alone.action)


def test_every_step_draws_its_component_anew(small_world, sessions_under_way):
    world = small_world()
    policy = mixture(world)
    assert policy.num_memory == 0
    view = replace(repeated(sessions_under_way(world, 1), 3), steps=np.full(3, 4, np.uint64))
    draws = np.full((3, policy.num_draws), 0.5)
    draws[:, 0] = [0.1, 0.4, 0.9]
    np.testing.assert_array_equal(policy.act(view, draws, np.zeros((3, 0))).component, [0, 1, 2])


# --- weights of zero and one


@pytest.mark.parametrize("mixing", ["step", "session"])
@pytest.mark.parametrize("acting", [0, 1, 2])
def test_a_component_of_weight_one_is_all_there_is(small_world, sessions_under_way, mixing, acting):
    world = small_world(4, 2)
    weights = tuple(float(index == acting) for index in range(3))
    policy = mixture(world, mixing, weights)
    batch = sessions_under_way(world, 6, num_steps=0)
    draws = np.random.default_rng(2).random((6, policy.num_draws))
    draws[:2, 0] = 2.0**-33, 1.0 - 2.0**-33
    memory = np.zeros((6, policy.num_memory))
    for _ in range(2):
        view = SessionView.of(batch)
        decision = policy.act(view, draws, memory)
        part = policy.components[acting]
        alone = part.act(view, draws[:, 1 : 1 + part.num_draws], np.zeros((6, 0)))
        np.testing.assert_array_equal(decision.component, acting)
        np.testing.assert_array_equal(decision.action, alone.action)
        np.testing.assert_allclose(decision.log_prob, alone.log_prob, rtol=1e-12)
        np.testing.assert_allclose(
            present(decision.prefix_log_prob), present(alone.prefix_log_prob), rtol=1e-12, atol=1e-15
        )
        batch.step(decision.action)


def test_a_component_of_weight_zero_does_not_act_where_the_weights_sum_to_less_than_one(
    small_world, sessions_under_way
):
    """Weights may miss one by 1e-9, and a uniform may be as near to one as 2**-33."""
    world = small_world()
    policy = mixture(world, weights=(0.3, 0.7 - 5e-10, 0.0))
    draws = np.full((1, policy.num_draws), 1.0 - 2.0**-33)
    assert policy.act(SessionView.of(sessions_under_way(world, 1)), draws, np.zeros((1, 0))).component[0] == 1


def test_a_component_that_cannot_act_adds_nothing_to_the_probability(small_world, sessions_under_way):
    """Every component gives a slate that repeats an item probability zero, so the mixture does; and no NaN."""
    world = small_world(4, 3)
    view = repeated(sessions_under_way(world, 1), 2)
    joint, prefix = judged(mixture(world, weights=(0.0, 0.4, 0.6)), view, np.array([[1, 1, 2], [0, 1, 2]]))
    prefix = present(prefix)
    np.testing.assert_array_equal(prefix == -np.inf, [[False, True, True], [False] * 3])
    np.testing.assert_array_equal(joint, prefix[:, -1])
    assert not np.isnan(prefix).any()


@pytest.mark.parametrize("mixing", ["step", "session", "position"])
def test_a_component_of_weight_zero_is_never_asked(small_world, sessions_under_way, mixing):
    policy = mixture(small_world(), mixing, (0.4, 0.0, 0.6))
    draws = np.random.default_rng(5).random((20, policy.num_draws))
    policy.components[1] = None
    view = SessionView.of(sessions_under_way(small_world(), 20, num_steps=0))
    memory = np.zeros((20, policy.num_memory))
    policy.remember(view, memory)
    decision = policy.act(view, draws, memory)
    assert set(np.unique(decision.component)) == {0, 2}
    assert np.isfinite(policy.log_prob(view, decision.action, memory)[0]).all()
    assert np.isfinite(policy.next_item_log_prob(view, np.zeros((20, 0), int), memory)).all()


# --- per slate position


def test_every_slate_is_a_product_over_its_positions(small_world, sessions_under_way):
    world = small_world(4, 3)
    slates, _ = slates_and_their_draws(world)
    view = repeated(sessions_under_way(world, 1), len(slates))
    policy = mixture(world, "position")
    joint, prefix = judged(policy, view, slates)
    prefix = present(prefix)
    answers = [present(judged(part, view, slates)[1]) for part in policy.components]
    for row in range(len(slates)):
        expected = reference.position_mixture(WEIGHTS, [answer[row] for answer in answers])
        np.testing.assert_allclose(prefix[row], expected, rtol=1e-12)
    np.testing.assert_array_equal(joint, prefix[:, -1])
    assert np.exp(joint).sum() == pytest.approx(1.0, abs=1e-12)
    # The mixture of whole slates is another distribution.
    assert np.abs(judged(mixture(world), view, slates)[0] - joint).max() > 0.01


def test_each_position_is_filled_by_its_own_component(small_world, sessions_under_way):
    """Over a grid of uniforms an item comes as often as the component that fills its position says."""
    world, grid = small_world(4, 2), 40
    policy = mixture(world, "position")
    assert policy.num_draws == 4
    points = (np.arange(grid) + 0.5) / grid
    draws = np.array(list(product((0.1, 0.4, 0.9), (0.1, 0.4, 0.9), points, points)))
    view = repeated(sessions_under_way(world, 1), len(draws))
    decision = policy.act(view, draws, np.zeros((len(draws), 0)))
    np.testing.assert_array_equal(decision.component, np.searchsorted([0.2, 0.5], draws[:, :2]))
    assert decision.component.dtype == np.int8
    one = view.take(np.zeros(1, np.int64))
    for first, second in product(range(3), repeat=2):
        rows = np.flatnonzero((decision.component == [first, second]).all(axis=1))
        chance = np.exp(policy.components[first].next_item_log_prob(one, np.zeros((1, 0), int), np.zeros((1, 0))))[0]
        share = np.bincount(decision.action[rows, 0], minlength=4) / len(rows)
        np.testing.assert_allclose(share, chance, atol=1.0 / grid + 1e-12)
        for item in range(4):
            after = rows[decision.action[rows, 0] == item]
            chance = np.exp(policy.components[second].next_item_log_prob(one, np.array([[item]]), np.zeros((1, 0))))[0]
            share = np.bincount(decision.action[after, 1], minlength=4) / len(after)
            np.testing.assert_allclose(share, chance, atol=1.0 / grid + 1e-12)


def test_a_table_of_items_too_large_for_all_sessions_is_made_for_some_at_a_time(
    small_world, sessions_under_way, monkeypatch
):
    world = small_world(5, 3)
    policy = mixture(world, "position")
    view, draws = SessionView.of(sessions_under_way(world, 7)), np.random.default_rng(6).random((7, 6))
    whole = policy.act(view, draws, np.zeros((7, 0)))
    monkeypatch.setattr("offline_data.behavior.mixture._TABLE_SIZE", 2 * 5 * 3)
    next_items, asked = policy._next_items, []
    monkeypatch.setattr(policy, "_next_items", lambda *args: asked.append(len(args[1])) or next_items(*args))
    parts = policy.act(view, draws, np.zeros((7, 0)))
    assert asked == [2] * 9 + [1] * 3
    for name in ("action", "log_prob", "prefix_log_prob", "component"):
        assert getattr(parts, name).tobytes() == getattr(whole, name).tobytes()


@pytest.mark.parametrize("draw", [2.0**-33, 1.0 - 2.0**-33, 1.0])
def test_an_item_of_weight_zero_is_never_drawn(draw):
    """Whatever rounding leaves beyond the sum, or an item that is taken stands first: nothing falls to it."""
    shares = np.array([0.0, 0.3, 0.0, 0.7 - 1e-9, 0.0, 0.0])
    with np.errstate(divide="ignore"):
        tables = np.log(shares)[None, None]
    items = np.full(1, -1, np.int32)
    _draw_items(tables, np.zeros(1, np.int64), np.array([draw]), items)
    assert items[0] == (1 if draw < 0.5 else 3)


# --- bad input


@pytest.mark.parametrize("mixing", ["step", "session", "position"])
def test_no_session_to_act_for_is_no_action(small_world, sessions_under_way, mixing):
    policy = mixture(small_world(), mixing)
    none = SessionView.of(sessions_under_way(small_world(), 1)).take(np.zeros(0, np.int64))
    decision = policy.act(none, np.zeros((0, policy.num_draws)), np.zeros((0, policy.num_memory)))
    assert decision.action.shape == (0, 2)
    assert decision.log_prob.shape == (0,)


def test_a_mixture_of_protos_has_no_positions(small_world):
    with pytest.raises(InvalidInput, match="mixing='position' draws a component for each slate position, and action_k"):
        mixture(small_world(), "position", kind="proto")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": (0.5, 0.4, 0.2)}, r"weights sum to 1\.1\d*; they must sum to 1"),
        ({"weights": None}, "weights=None of a mixture is not a list; give one entry a component"),
        ({"components": "uniform"}, "components='uniform' of a mixture is not a list"),
        ({"components": ("expert", 3, "uniform")}, "behavior spec 3 is neither a name nor an object"),
        ({"weights": (0.5, 0.5)}, "3 components and 2 weights; give one each"),
        ({"weights": (1.5, -0.5, 0.0)}, r"mixture weight=1\.5 is outside \[0\.0, 1\.0\]; set mixture weight to"),
        ({"weights": (-0.5, 0.5, 1.0)}, r"mixture weight=-0\.5 is outside"),
        ({"weights": (float("nan"), 0.5, 0.5)}, "mixture weight=nan is not a finite number"),
        ({"components": (), "weights": ()}, "mixture has 0 components; give 1 to 127"),
        ({"components": ("uniform",) * 128, "weights": (1 / 128,) * 128}, "mixture has 128 components; give 1 to 127"),
        ({"components": ("expert", "uniform", NESTED)}, "cannot hold a mixture; list its components"),
        (
            {"components": ("expert", "uniform", {**NESTED, "name": "offline_data.behavior.mixture:MixturePolicy"})},
            "cannot hold a mixture; list its components",
        ),
        ({"components": ("expert", "clickbat", "uniform")}, "behavior policy 'clickbat'; did you mean 'clickbait'?"),
        (
            {"components": ("expert", "uniform", {"name": "clickbait", "temprature": 1.0})},
            "behavior policy option 'temprature'; did you mean 'temperature'?",
        ),
        ({"components": ("expert", "uniform", {"temperature": 1.0})}, "has no 'name' that is a text; add the name"),
        ({"mixing": "sesion"}, "unknown mixing 'sesion'; did you mean 'session'?"),
        ({"wieghts": (1.0,)}, "unknown behavior policy option 'wieghts'; did you mean 'weights'?"),
    ],
)
def test_a_wrong_spec_is_refused(small_world, changes, message):
    spec = {"name": "mixture", "components": COMPONENTS, "weights": WEIGHTS, **changes}
    with pytest.raises(InvalidInput, match=message):
        make_behavior(small_world(), spec)
