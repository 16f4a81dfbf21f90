"""What every piece promises."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from recenv.dynamics.kernel_groups import State
from recenv.dynamics.pieces.base import Piece, Stage
from recenv.families import PIECES
from recenv.session_config import SECTION_PIECES, SessionConfig
from recenv.testing.contract import Contract, examples_of, where
from recenv.testing.user_models import check_answers
from recenv.testing.worlds import CLICK_ALL, EVERY_PIECE, copies, played, response_to, small_world
from recenv.world import World, make_world

check_piece: Final = Contract("check_piece", PIECES)
"""The contract of pieces."""


def config_with(part: type[Piece], **changes: Any) -> SessionConfig:
    """Return the config of a small world in which a piece is on, of its first example, and no other.

    Args:
        part: the piece's class.
        **changes: as `SessionConfig.override` takes them, other pieces among them.
    """
    bare = small_world().override(**dict.fromkeys(SECTION_PIECES)).override(**changes)
    return bare.override(pieces={PIECES.name_of(part): dict(examples_of(part)[0])})


def piece_of(world: World, part: type[Piece]) -> Piece:
    """Return the piece of a world that is of a class."""
    return world.pieces.on[PIECES.name_of(part)]


def settled(world: World, part: type[Piece], state: State, draws: np.ndarray, active: np.ndarray) -> State:
    """Return what a piece writes after users clicked all of the slate 0, 1, 2, ..., and the state that it leaves."""
    clicked = np.tile(np.arange(world.config.slate_size, dtype=np.int16), (len(draws), 1))
    response = response_to(world, clicked, draws, active)
    response.wanted[:], response.benefit[:], response.left[:] = 3.0, 0.5, False
    state = copies(state)
    piece_of(world, part).settle(state, response)
    written = ("feedback", "rewards", "wanted", "benefit", "left", "returned")
    return {**{name: getattr(response, name) for name in written}, **state}


def played_world(part: type[Piece]) -> tuple[World, State, np.ndarray]:
    """Return a world with a piece whose users click everything, the state of forty after two steps, and uniforms."""
    world = make_world(config_with(part, choice=dict(CLICK_ALL)))
    *_, (batch, _) = played(world, 40, 2)
    total = world.user_model.num_response_draws() + world.pieces.num_draws
    return world, batch.state, np.random.default_rng(7).uniform(size=(40, total))


@check_piece.promise
def makes_a_world(part: Any) -> None:
    """A session takes it by its name, comes back from JSON, and names each of its rewards with a weight."""
    config = config_with(part)
    assert SessionConfig.from_json(config.to_json()) == config
    world = make_world(config)
    piece = piece_of(world, part)
    assert isinstance(piece, part)
    assert isinstance(piece.stage, Stage)
    assert list(world.pieces.on) == [PIECES.name_of(part)]
    assert len(piece.reward_weights) == len(piece.reward_names)
    assert len(set(world.reward_names)) == len(world.reward_names)
    assert world.reward_names[len(world.user_model.reward_names) :] == piece.reward_names


@check_piece.promise
def starts_what_its_layout_says(part: Any) -> None:
    """New users have the arrays of `state_layout`, finite, in `state_ranges`, and none of the user model's."""
    world = make_world(config_with(part))
    layout = piece_of(world, part).state_layout()
    assert not set(layout) & set(world.user_model.state_layout())
    state = world.pieces.start(np.random.default_rng(0).uniform(size=(50, world.pieces.num_initial_draws)))
    assert {key: (values.shape, values.dtype) for key, values in state.items()} == {
        key: ((50, *shape), np.dtype(dtype)) for key, (shape, dtype) in layout.items()
    }
    ranges = world.pieces.state_ranges()
    assert set(piece_of(world, part).state_ranges()) <= set(layout)
    for key, values in state.items():
        assert np.isfinite(values).all(), key
        low, high = ranges.get(key, (-np.inf, np.inf))
        assert low <= values.min() <= values.max() <= high, key


@check_piece.promise
def lives_in_a_session_alone_and_beside_every_other(part: Any) -> None:
    """Sessions with it are played to their ends: feedback, rewards, state and observation stay finite and in range."""
    for others in ({}, EVERY_PIECE):
        with where("every piece" if others else "no other piece"):
            check_answers(make_world(config_with(part, **others)))


@check_piece.promise
def leaves_alone_who_is_not_there(part: Any) -> None:
    """A session that is not active stays as it is, in state and answer."""
    world, state, draws = played_world(part)
    active = np.arange(40) % 2 == 0
    written = settled(world, part, state, draws, active)
    for key in ("feedback", "rewards", "left", "returned"):
        assert not written[key][~active].any(), key
    for key, values in state.items():
        np.testing.assert_array_equal(written[key][~active], values[~active], err_msg=key)


@check_piece.promise
def writes_its_own_rewards_and_state_alone(part: Any) -> None:
    """It writes its own components of the reward and its own arrays; feedback and the user model's state stay."""
    world, state, draws = played_world(part)
    piece, written = piece_of(world, part), settled(world, part, state, draws, np.ones(40, np.bool_))
    own = np.zeros(len(world.reward_names), np.bool_)
    own[piece.first_reward : piece.first_reward + len(piece.reward_names)] = True
    assert not written["rewards"][:, ~own].any()
    assert not written["feedback"].any()
    for key in world.user_model.state_layout():
        np.testing.assert_array_equal(written[key], state[key], err_msg=key)
    assert ((written["wanted"] >= 0.0) & (written["wanted"] <= 3.0)).all()  # what is watched is cut, never lengthened


@check_piece.promise
def takes_no_more_draws_than_it_says(part: Any) -> None:
    """The uniforms from `first_draw` on fix a step, bit by bit, in a batch and alone; no others are read."""
    world, state, draws = played_world(part)
    piece, everyone = piece_of(world, part), np.ones(40, np.bool_)
    expected = settled(world, part, state, draws, everyone)
    others = np.full_like(draws, np.nan)
    own = slice(piece.first_draw, piece.first_draw + piece.num_draws)
    others[:, own] = draws[:, own]
    found = settled(world, part, state, others, everyone)
    alone = [
        settled(world, part, {key: values[b : b + 1] for key, values in state.items()}, draws[b : b + 1], everyone[:1])
        for b in range(40)
    ]
    for key, values in expected.items():
        one_by_one = np.concatenate([answer[key] for answer in alone])
        assert values.tobytes() == found[key].tobytes() == one_by_one.tobytes(), key


@check_piece.promise
def utilities_stay_utilities(part: Any) -> None:
    """What it adds to utilities is finite, and empty positions stay empty."""
    world, state, _ = played_world(part)
    slates = np.tile(np.arange(4, dtype=np.int32), (40, 1))
    slates[:, 3] = -1
    utilities = np.where(slates < 0, -np.inf, 0.5).astype(np.float32)
    piece_of(world, part).add_utility(state, slates, utilities)
    np.testing.assert_array_equal(np.isfinite(utilities), slates >= 0)
    assert (utilities[:, 3] == -np.inf).all()
    taste = np.zeros((40, world.catalog.embedding_dim), np.float32)
    piece_of(world, part).add_taste(state, taste)
    assert np.isfinite(taste).all()


@check_piece.promise
def resumes_the_users_who_return_alone(part: Any) -> None:
    """`resume` touches nobody but who begins anew, and leaves numbers."""
    world, state, _ = played_world(part)
    returned, after = np.arange(40) % 2 == 0, copies(state)
    piece_of(world, part).resume(after, returned)
    for key, values in state.items():
        np.testing.assert_array_equal(after[key][~returned], values[~returned], err_msg=key)
        assert np.isfinite(after[key]).all()
