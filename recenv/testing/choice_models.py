"""What every choice model promises."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from recenv.families import CHOICE_MODELS
from recenv.session_config import SessionConfig
from recenv.testing.contract import Contract, example_config, quick
from recenv.testing.worlds import played, small_world
from recenv.world import make_world

check_choice_model: Final = Contract("check_choice_model", CHOICE_MODELS)
"""The contract of choice models."""


def clicks_of(model: Any, utilities: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return what a model writes, [B, C], whose form is checked: positions in increasing order, then -1.

    Args:
        model: a choice model.
        utilities: [B, K] float32, which must stay as they are.
        draws: [B, at least num_draws] uniforms.
    """
    size, before = utilities.shape[1], utilities.copy()
    clicked = np.full((len(utilities), model.max_clicks(size)), 77, np.int16)
    model.choose(utilities, draws, clicked)
    np.testing.assert_array_equal(utilities, before)
    filled = clicked >= 0
    assert clicked.min() >= -1
    assert clicked.max() < size
    assert (filled[:, 1:] <= filled[:, :-1]).all()
    assert (np.diff(clicked, axis=1)[filled[:, 1:]] > 0).all()
    return clicked


def marks_of(clicked: np.ndarray, slate_size: int) -> np.ndarray:
    """Return which positions are clicked, [B, K] bool."""
    marks = np.zeros((len(clicked), slate_size), np.bool_)
    marks[np.nonzero(clicked >= 0)[0], clicked[clicked >= 0]] = True
    return marks


def random_slates(seed: int, count: int = 40, size: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return utilities [B, K] float32, a fifth of the positions empty, and more uniforms than a step takes."""
    rng = np.random.default_rng(seed)
    utilities = rng.normal(size=(count, size)).astype(np.float32)
    utilities[rng.random((count, size)) < 0.2] = -np.inf
    return utilities, rng.random((count, 40))


@check_choice_model.promise
def rows_do_not_touch_one_another(part: Any) -> None:
    """Each session is answered as if it were alone, and an empty position is never clicked."""
    model = example_config(part)
    utilities, draws = random_slates(1)
    together = clicks_of(model, utilities, draws)
    alone = [clicks_of(model, utilities[b : b + 1], draws[b : b + 1]) for b in range(len(utilities))]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    marks = marks_of(together, utilities.shape[1])
    assert marks.any()
    assert not marks[utilities == -np.inf].any()


@check_choice_model.promise
def takes_no_more_draws_than_it_says(part: Any) -> None:
    """`num_draws` uniforms fix the clicks, and no more are read."""
    model = example_config(part)
    utilities, draws = random_slates(2)
    num_draws = model.num_draws(utilities.shape[1])
    assert 0 < num_draws <= draws.shape[1]
    expected = clicks_of(model, utilities, draws)
    np.testing.assert_array_equal(clicks_of(model, utilities, draws[:, :num_draws].copy()), expected)
    draws[:, num_draws:] = np.nan
    np.testing.assert_array_equal(clicks_of(model, utilities, draws), expected)


@check_choice_model.promise
def a_slate_of_empty_positions_gets_no_click(part: Any) -> None:
    """Where nothing is shown, nothing is clicked."""
    model = example_config(part)
    for size in (1, 2, 5):
        draws = random_slates(3)[1]
        assert (clicks_of(model, np.full((40, size), -np.inf, np.float32), draws) == -1).all()


@check_choice_model.promise
def any_slate_is_answered(part: Any) -> None:
    """Property: utilities of any size, ties and empty positions among them, give clicks in order on what is shown."""
    shown = st.lists(st.just(-np.inf) | st.floats(-100.0, 100.0, width=32), min_size=1, max_size=6)

    @quick()
    @given(shown, st.lists(st.floats(2**-33, 1 - 2**-33), min_size=40, max_size=40))
    def run(slate: list[float], draws: list[float]) -> None:
        utilities = np.array([slate], np.float32)
        marks = marks_of(clicks_of(example_config(part), utilities, np.array([draws])), len(slate))
        assert not marks[utilities == -np.inf].any()

    run()


@check_choice_model.promise
def a_better_item_is_clicked_more(part: Any) -> None:
    """An item that gains a unit of utility is clicked as often or oftener; of 4,000 slates, by five standard errors."""
    model, rng = example_config(part), np.random.default_rng(4)
    utilities, draws = rng.normal(size=(4000, 4)).astype(np.float32), rng.random((4000, 40))
    for position in range(4):
        better = utilities.copy()
        better[:, position] += 1.0
        before, after = (marks_of(clicks_of(model, given_, draws), 4)[:, position] for given_ in (utilities, better))
        assert after.mean() >= before.mean() - 5.0 * np.sqrt(0.5 / 4000)


@check_choice_model.promise
def makes_a_world(part: Any) -> None:
    """A session takes it by its name, comes back from JSON, and is played."""
    assert isinstance(part.name, str)
    config = small_world().override(choice=CHOICE_MODELS.name_of(part))
    assert isinstance(config.choice, part)
    assert SessionConfig.from_json(config.to_json()) == config
    for _, outcome in played(make_world(config), 20, 4):
        assert np.isfinite(outcome.reward_vector).all()
        assert not ((outcome.feedback[:, :, 0] > 0.0) & ~outcome.shown).any()
