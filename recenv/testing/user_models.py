"""What every user model promises."""

from __future__ import annotations

import dataclasses
import json
import warnings
from typing import Any, Final

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given

from recenv.dynamics.kernel_groups import State
from recenv.envs.session_env import observation_space
from recenv.errors import InvalidInput
from recenv.families import USER_MODELS
from recenv.items.catalog import Catalog
from recenv.session_config import SECTION_PIECES, SessionConfig
from recenv.testing.contract import Contract, quick, where
from recenv.testing.worlds import CLICK_ALL, EVERY_PIECE, catalogs, copies, played, response_to, small_world
from recenv.world import World, make_world

check_user_model: Final = Contract("check_user_model", USER_MODELS)
"""The contract of user models."""

CHOICES: Final = ("multinomial_logit", "exponential_cascade", "position_based", dict(CLICK_ALL), None)


def world_of(part: Any, **changes: Any) -> World:
    """Return a small world of a user model's own users.

    Args:
        part: its class.
        **changes: as `SessionConfig.override` takes them.
    """
    return make_world(small_world(user_model=USER_MODELS.name_of(part)).override(**changes))


def respond(
    world: World, state: State, draws: np.ndarray, clicked: np.ndarray, active: np.ndarray
) -> dict[str, np.ndarray]:
    """Return what a user model writes about the slate 0, 1, 2, ..., and the state that it leaves."""
    state, response = copies(state), response_to(world, clicked, draws, active)
    world.user_model.respond(state, response)
    return {**{name: getattr(response, name) for name in ("feedback", "rewards", "wanted", "benefit", "left")}, **state}


@check_user_model.promise
def makes_a_world(part: Any) -> None:
    """A world of its users is made, comes back from JSON, and names its feedback and its rewards once each."""
    assert isinstance(part.Config.name, str)
    world = world_of(part, num_items=20, slate_size=3)
    assert isinstance(world.user_model, part)
    assert SessionConfig.from_json(world.config.to_json()) == world.config
    assert world.user_model.feedback_names[0] == "click"
    assert world.user_model.reward_weights.shape == (len(world.user_model.reward_names),)
    assert world.reward_weights.shape == (len(world.reward_names),) == (len(set(world.reward_names)),)
    assert -1 <= part.watch_channel < len(part.feedback_names)
    assert part.watch_channel != 0
    assert -1 <= part.minutes_reward < len(part.reward_names)


@check_user_model.promise
def brings_the_world_that_it_says(part: Any) -> None:
    """Choosing it brings its `defaults`, and no other piece; what it `requires` cannot be switched off."""
    name = USER_MODELS.name_of(part)
    config = SessionConfig().override(user_model=name)
    assert set(part.defaults) <= {field.name for field in dataclasses.fields(SessionConfig)} - {"user_model"}
    for key, value in part.defaults.items():
        assert getattr(config, key) is not None
        assert config.override(**{key: value}) == config
    off = set(SECTION_PIECES) - set(part.defaults)
    assert not any(config.piece_configs()[piece] for piece in off)
    assert set(part.requires) <= set(part.defaults)
    for section in part.requires:
        with pytest.raises(InvalidInput, match=f"^{section}=None, and user_model '{name}' needs that piece"):
            config.override(**{section: None})


@check_user_model.promise
def starts_what_its_layout_says(part: Any) -> None:
    """New users have the arrays of `state_layout`, finite, in `state_ranges`, `interest` among them, none a piece's."""
    world = world_of(part)
    model, layout = world.user_model, world.user_model.state_layout()
    assert layout["interest"] == ((world.catalog.embedding_dim,), np.float32)
    assert not set(layout) & set(world.pieces.state_layout())
    state = model.start(np.random.default_rng(0).uniform(size=(50, model.num_initial_draws())))
    assert {key: (values.shape, values.dtype) for key, values in state.items()} == {
        key: ((50, *shape), np.dtype(dtype)) for key, (shape, dtype) in layout.items()
    }
    ranges = model.state_ranges()
    assert set(ranges) <= set(layout)
    for key, values in state.items():
        assert np.isfinite(values).all(), key
        low, high = ranges.get(key, (-np.inf, np.inf))
        assert low <= values.min() <= values.max() <= high, key
    # Every draw counts, and each user's own alone.
    assert len(np.unique(state["interest"], axis=0)) > 1


@check_user_model.promise
def tells_an_oracle_what_an_item_is_worth(part: Any) -> None:
    """`worth`, `item_worth` and `item_utility` are finite, of their shapes, and each session's its own."""
    world = world_of(part)
    model, num_items = world.user_model, world.catalog.num_items
    *_, (batch, _) = played(world)
    worth = model.worth(batch.state)
    assert (worth.shape, worth.dtype) == ((200, world.catalog.embedding_dim), np.float32)
    for values, dtype in ((model.item_utility, np.float32), (model.item_worth, np.float64)):
        assert (values.shape, values.dtype) == ((num_items,), dtype)
        assert np.isfinite(values).all()
    assert np.isfinite(worth).all()
    assert isinstance(model.affinity_weight, float)
    assert worth.any() or model.item_worth.any()
    np.testing.assert_array_equal(model.worth({key: values[7:9] for key, values in batch.state.items()}), worth[7:9])


@check_user_model.promise
def answers_within_its_promises(part: Any) -> None:
    """Feedback lies in [0, 1] and only where there was a click; all else stays finite and in range.

    Under every choice model, with its own pieces and with every piece.
    """
    for choice in CHOICES:
        for pieces in ({}, EVERY_PIECE):
            with where(f"choice {json.dumps(choice)}, {'every piece' if pieces else 'its own pieces'}"):
                check_answers(world_of(part, **{**pieces, **({} if choice is None else {"choice": choice})}))


def check_answers(world: World) -> None:
    """Hold sessions of a world, played to their ends, to what users may answer."""
    space = observation_space(world)
    answered = np.zeros(world.num_feedback, np.bool_)
    for batch, outcome in played(world):
        feedback, vector = outcome.feedback, outcome.reward_vector
        assert ((feedback >= 0.0) & (feedback <= 1.0)).all()
        clicked = feedback[:, :, 0] == 1.0
        assert (clicked | (feedback[:, :, 0] == 0.0)).all()
        assert not feedback[~clicked].any()
        assert not (clicked & ~outcome.shown).any()
        assert np.isfinite(vector).all()
        np.testing.assert_allclose(outcome.reward, vector.astype(np.float64) @ world.reward_weights, atol=1e-9)
        for key, values in batch.state.items():
            assert np.isfinite(values).all(), key
        observation = batch.observe()
        for b in (0, 17, 111):
            assert {key: values[b] for key, values in observation.items()} in space
        answered |= feedback.any(axis=(0, 1))
    assert answered[0]


@check_user_model.promise
def leaves_alone_who_is_not_there(part: Any) -> None:
    """A session that is not active stays as it is; of an active one all is written but the pieces' arrays."""
    world = world_of(part, choice=dict(CLICK_ALL))
    *_, (batch, _) = played(world, 30, 3)
    model, rng = world.user_model, np.random.default_rng(6)
    draws = rng.uniform(size=(30, model.num_response_draws()))
    clicked = np.tile(np.arange(4, dtype=np.int16), (30, 1))
    active = rng.uniform(size=30) < 0.5
    written = respond(world, batch.state, draws, clicked, active)
    for key in ("feedback", "rewards", "left"):
        assert not written[key][~active].any(), key
    for key, values in batch.state.items():
        np.testing.assert_array_equal(written[key][~active], values[~active])
    assert (written["feedback"][active][:, :, 0] == 1.0).all()
    assert np.isfinite(written["wanted"][active]).all()
    assert (written["wanted"][active] >= 0.0).all()
    assert np.isfinite(written["benefit"][active]).all()
    assert (written["benefit"][active] != -7.0).all()
    # The pieces' arrays are only read.
    for key in world.pieces.state_layout():
        np.testing.assert_array_equal(written[key], batch.state[key])


@check_user_model.promise
def takes_no_more_draws_than_it_says(part: Any) -> None:
    """The uniforms that it counts fix start and step, bit by bit, in a batch and alone; no more are read."""
    world = world_of(part, choice=dict(CLICK_ALL))
    model, rng = world.user_model, np.random.default_rng(7)
    start = rng.uniform(size=(40, model.num_initial_draws()))
    *_, (batch, _) = played(world, 40, 2)
    draws = rng.uniform(size=(40, model.num_response_draws() + 3))
    clicked = np.tile(np.arange(4, dtype=np.int16), (40, 1))
    everyone = np.ones(40, np.bool_)
    answers = []
    for tail in (0.25, np.nan):
        draws[:, model.num_response_draws() :] = tail
        answers.append(respond(world, batch.state, draws, clicked, everyone))
    # And alone, where the last of them is the last of the array.
    exact = draws[:, : model.num_response_draws()].copy()
    alone = [
        respond(
            world,
            {key: values[b : b + 1] for key, values in batch.state.items()},
            exact[b : b + 1],
            clicked[:1],
            everyone[:1],
        )
        for b in range(40)
    ]
    answers.append({key: np.concatenate([answer[key] for answer in alone]) for key in answers[0]})
    for key, values in answers[0].items():
        assert values.tobytes() == answers[1][key].tobytes() == answers[2][key].tobytes(), key
    begun = model.start(start)
    for b in (0, 23):
        for key, values in model.start(start[b : b + 1]).items():
            assert values.tobytes() == begun[key][b : b + 1].tobytes(), key


@check_user_model.promise
def resumes_the_users_who_return_alone(part: Any) -> None:
    """`resume` touches nobody but who begins anew, and leaves numbers."""
    world = world_of(part)
    *_, (batch, _) = played(world, 60, 8)
    returned = np.arange(60) % 2 == 0
    after = copies(batch.state)
    world.user_model.resume(after, returned)
    for key, values in batch.state.items():
        np.testing.assert_array_equal(after[key][~returned], values[~returned])
        assert np.isfinite(after[key]).all()


@check_user_model.promise
def passes_gymnasiums_checker(part: Any) -> None:
    """Its environment passes `gymnasium.utils.env_checker` without a warning, with few and all pieces."""
    for pieces in ({}, EVERY_PIECE):
        config = world_of(part, **pieces, expose_user_state=True).config
        with where("every piece" if pieces else "its own pieces"), warnings.catch_warnings():
            warnings.simplefilter("error")
            check_env(gymnasium.make("recenv:RecSession-v0", config=config).unwrapped)


@check_user_model.promise
def lives_on_any_catalog(part: Any) -> None:
    """Property: on any items of the caller's own, in any number of dimensions, three steps stay finite."""

    @quick()
    @given(catalogs())
    def run(catalog: Catalog) -> None:
        config = world_of(part).config.override(slate_size=1, num_items=catalog.num_items)
        world = make_world(config, catalog)
        for batch, outcome in played(world, 4, 3):
            assert np.isfinite(outcome.reward_vector).all()
            for key, values in batch.state.items():
                assert np.isfinite(values).all(), key

    run()
