"""Satiation, time budget, satisfaction: a settled step against a plain reference, with several clicks, and by hand."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.catalog import Catalog
from recenv.dynamics.pieces import PIECES, Freshness, Satiation, Satisfaction, SessionPieces, TimeBudget
from recenv.dynamics.user_models.base import Response
from recenv.engine.session_batch import SessionBatch
from recenv.errors import InvalidInput
from recenv.session_config import SessionConfig
from recenv.world import make_world
from tests.reference import pieces_reference as reference
from tests.strategies.worlds import EVERY_PIECE, catalogs, satiations, satisfactions, small_worlds, time_budgets

pytestmark = pytest.mark.kernels

GRID = 60 if numba.config.DISABLE_JIT else 200  # type: ignore[attr-defined]
UNIFORMS = st.floats(2**-33, 1 - 2**-33)
WATCH, MINUTES = 1, 1
OFF: dict[str, Any] = dict.fromkeys(PIECES)


def pieces_of(dim: int, **pieces: Any) -> SessionPieces:
    """Return the named pieces, and no other."""
    return SessionPieces(SessionConfig().override(**OFF).override(**pieces), dim)


class Settled:
    """What `settle` wrote for sessions that were shown the slate 0, 1, 2, ... of a catalogue.

    Args:
        pieces: the pieces.
        catalog: at least as many items as a slate has positions.
        clicks: for each session (position, wanted, benefit) of each click, in order.
        state: arrays of the pieces' state, updated.
        draws: [B, 4].
        watch_channel: of two feedback channels, or -1.
        minutes_reward: of two reward components, or -1.
    """

    def __init__(
        self,
        pieces: SessionPieces,
        catalog: Catalog,
        clicks: list[list[tuple[int, float, float]]],
        state: dict[str, np.ndarray],
        draws: Any = 0.5,
        *,
        watch_channel: int = WATCH,
        minutes_reward: int = MINUTES,
        active: Any = True,
        left: Any = False,
    ):
        count, size = len(clicks), catalog.num_items
        most = max(1, *(len(row) for row in clicks))
        clicked = np.full((count, most), -1, np.int16)
        wanted, benefit = np.full((count, most), np.nan), np.full((count, most), np.nan)
        for b, row in enumerate(clicks):
            for n, (position, minutes, gives) in enumerate(row):
                clicked[b, n], wanted[b, n], benefit[b, n] = position, minutes, gives
        self.feedback = np.zeros((count, size, 2), np.float32)
        self.rewards = np.zeros((count, 2), np.float32)
        self.left = np.broadcast_to(np.asarray(left), count).copy()
        self.returned = np.ones(count, np.bool_)
        pieces.settle(
            pieces.arrays(state),
            catalog.embeddings,
            catalog.length,
            watch_channel,
            minutes_reward,
            Response(
                np.tile(np.arange(size, dtype=np.int32), (count, 1)),
                clicked,
                np.broadcast_to(np.asarray(draws, np.float64), (count, 4)).copy(),
                np.broadcast_to(np.asarray(active), count).copy(),
                self.feedback,
                self.rewards,
                wanted,
                benefit,
                self.left,
            ),
            0,
            self.returned,
        )


@st.composite
def clicks_of(draw: st.DrawFn, num_items: int) -> list[tuple[int, float, float]]:
    """Draw the clicks of one slate: none, one or several."""
    positions = sorted(draw(st.sets(st.integers(0, num_items - 1))))
    return [(k, draw(st.floats(0.0, 20.0)), draw(st.floats(-4.0, 4.0))) for k in positions]


def row(values: list[float]) -> np.ndarray:
    return np.array([values], np.float32)


# --- against the plain reference


@given(st.data(), catalogs(), satiations(), time_budgets(), satisfactions())
def test_settled_steps_equal_the_reference(data: st.DataObject, catalog: Catalog, satiation, time_budget, satisfaction):
    # Any of the three may be off, and what is on does not feel the others.
    on = data.draw(st.sets(st.sampled_from(["satiation", "time_budget", "satisfaction"])))
    given_pieces = {"satiation": satiation, "time_budget": time_budget, "satisfaction": satisfaction}
    dim = catalog.embedding_dim
    pieces = pieces_of(dim, **{name: piece for name, piece in given_pieces.items() if name in on})
    state = pieces.start(np.empty((1, 0)))
    tired = data.draw(st.lists(st.floats(-2.0, 2.0, width=32), min_size=dim, max_size=dim))
    budget = data.draw(st.sampled_from([0.25, 4.0]) | st.floats(0.0625, 300.0, width=32))
    exposure = data.draw(st.floats(-5.0, 5.0, width=32))
    for name, value in (("satiation", tired), ("budget", budget), ("exposure", exposure)):
        if name in state:
            state[name][:] = value
    for _ in range(3):
        clicks, draws = data.draw(clicks_of(catalog.num_items)), data.draw(st.lists(UNIFORMS, min_size=4, max_size=4))
        wanted, benefits = [c[1] for c in clicks], [c[2] for c in clicks]
        settled = Settled(pieces, catalog, [clicks], state, draws)
        assert not settled.returned.any()
        if "satiation" in on:
            shown = [catalog.embeddings[k].tolist() for k, _, _ in clicks]
            tired = reference.tire(tired, shown, satiation.satiation_retention)
            np.testing.assert_allclose(state["satiation"][0], tired, atol=4e-6)
        watches = wanted
        if "time_budget" in on:
            budget, watches, left = reference.spend(
                budget, wanted, benefits, time_budget.quality_return, time_budget.no_click_cost
            )
            size = 1.0 + abs(budget) + 6 * (300.0 + 20.0 * 2.0 * 4.0)
            assume(abs(budget) > 1e-6 * size)
            np.testing.assert_allclose(state["budget"][0], budget, atol=1e-6 * size)
            assert settled.left[0] == left
            if left:
                break
        else:
            assert not settled.left[0]
        np.testing.assert_allclose(settled.rewards[0], [0.0, sum(watches)], rtol=1e-5, atol=1e-3)
        feedback = np.zeros((catalog.num_items, 2))
        for (k, _, _), watch in zip(clicks, watches, strict=True):
            feedback[k, WATCH] = watch / catalog.length[k]
        np.testing.assert_allclose(settled.feedback[0], feedback, rtol=1e-5, atol=2e-3)
        if "satisfaction" in on:
            exposure, satisfied = reference.please(
                exposure,
                benefits,
                draws,
                satisfaction.satisfaction_sensitivity,
                satisfaction.satisfaction_memory,
                satisfaction.satisfaction_gain,
                satisfaction.satisfaction_noise,
            )
            np.testing.assert_allclose(state["exposure"][0], exposure, rtol=2e-6, atol=2e-5)
            np.testing.assert_allclose(state["satisfaction"][0], satisfied, rtol=1e-4, atol=2e-5)


# --- satiation


def two_items() -> Catalog:
    return Catalog.from_arrays(np.array([[1.0, 0.0], [0.6, 0.8]]), length=np.array([4.0, 8.0]))


def test_satiation_worked_by_hand():
    pieces = pieces_of(2, satiation=Satiation(satiation_retention=0.75))
    state = {"satiation": np.array([[0.5, -1.0], [0.5, -1.0], [0.5, -1.0]], np.float32)}
    Settled(pieces, two_items(), [[], [(1, 1.0, 0.0)], [(0, 1.0, 0.0), (1, 1.0, 0.0)]], state)
    expected = [[0.375, -0.75], [0.375 + 0.15, -0.75 + 0.2], [0.375 + 0.4, -0.75 + 0.2]]
    np.testing.assert_allclose(state["satiation"], expected, rtol=1e-6)


def test_constant_consumption_satiates_up_to_the_item_itself():
    pieces = pieces_of(2, satiation=Satiation(satiation_retention=0.8))
    state = pieces.start(np.empty((1, 0)))
    assert not state["satiation"].any()
    for step in range(1, 60):
        Settled(pieces, two_items(), [[(1, 1.0, 0.0)]], state)
        np.testing.assert_allclose(state["satiation"][0], (1.0 - 0.8**step) * np.array([0.6, 0.8]), rtol=1e-5)


# --- time budget


def test_a_budget_worked_by_hand():
    pieces = pieces_of(2, time_budget=TimeBudget(10.0, quality_return=0.25, no_click_cost=2.0))
    state = {"budget": np.array([10.0, 10.0, 3.0, 2.0, 2.5], np.float32)}
    settled = Settled(
        pieces,
        two_items(),
        [
            [(0, 4.0, 2.0)],  # watches 4, is paid back 2
            [(0, 4.0, 2.0), (1, 8.0, -1.0)],  # then watches 8 and pays 2 more
            [(1, 8.0, 2.0)],  # three minutes of eight are left; 1.5 come back
            [],
            [],
        ],
        state,
    )
    np.testing.assert_allclose(state["budget"], [8.0, -2.0, 1.5, 0.0, 0.5])
    np.testing.assert_array_equal(settled.left, [False, True, False, True, False])
    np.testing.assert_allclose(settled.rewards[:, MINUTES], [4.0, 12.0, 3.0, 0.0, 0.0])
    np.testing.assert_allclose(settled.feedback[:, :, WATCH], [[1, 0], [1, 1], [0, 0.375], [0, 0], [0, 0]])
    assert not settled.rewards[:, 0].any()
    assert not settled.feedback[:, :, 0].any()


def test_a_second_click_finds_the_budget_spent_or_paid_back():
    # 2 minutes of 4, back 2 x 0.5 = 1: one minute for the second. Below zero nothing is left for it.
    pieces = pieces_of(2, time_budget=TimeBudget(quality_return=0.5))
    state = {"budget": np.array([2.0, 2.0], np.float32)}
    settled = Settled(pieces, two_items(), [[(0, 4.0, 1.0), (1, 8.0, 0.0)], [(0, 4.0, -3.0), (1, 8.0, 9.0)]], state)
    np.testing.assert_allclose(settled.feedback[:, :, WATCH], [[0.5, 0.125], [0.5, 0.0]])
    np.testing.assert_allclose(state["budget"], [0.0, -3.0])
    assert settled.left.all()


@pytest.mark.parametrize(("watch_channel", "minutes_reward"), [(-1, -1), (0, -1), (-1, 0)])
def test_minutes_go_where_the_user_model_says(watch_channel: int, minutes_reward: int):
    pieces = pieces_of(2, time_budget=TimeBudget(quality_return=0.0))
    state = {"budget": np.array([9.0], np.float32)}
    where = {"watch_channel": watch_channel, "minutes_reward": minutes_reward}
    settled = Settled(pieces, two_items(), [[(0, 2.0, 0.0), (1, 3.0, 0.0)]], state, **where)
    np.testing.assert_allclose(state["budget"], [4.0])
    expected = [[[0.5, 0.0], [0.375, 0.0]]] if watch_channel == 0 else np.zeros((1, 2, 2))
    np.testing.assert_allclose(settled.feedback, expected)
    np.testing.assert_allclose(settled.rewards, [[5.0, 0.0]] if minutes_reward == 0 else [[0.0, 0.0]])


def test_without_a_budget_all_that_is_wanted_is_watched_and_nobody_leaves():
    settled = Settled(pieces_of(2), two_items(), [[(0, 4.0, -9.0), (1, 2.0, -9.0)], []], {})
    np.testing.assert_allclose(settled.feedback[:, :, WATCH], [[1.0, 0.25], [0.0, 0.0]])
    np.testing.assert_allclose(settled.rewards[:, MINUTES], [6.0, 0.0])
    assert not settled.left.any()


# --- satisfaction


def test_satisfaction_worked_by_hand():
    pieces = pieces_of(2, satisfaction=Satisfaction(2.0, satisfaction_memory=0.5, satisfaction_gain=0.25))
    state = {"exposure": np.array([1.0, 1.0, 1.0], np.float32), "satisfaction": np.full(3, 0.5, np.float32)}
    Settled(pieces, two_items(), [[], [(0, 1.0, 2.0)], [(0, 1.0, 2.0), (1, 1.0, -8.0)]], state)
    np.testing.assert_allclose(state["exposure"], [0.5, 1.0, -1.0])
    # sigmoid(1), sigmoid(2), sigmoid(-2)
    np.testing.assert_allclose(state["satisfaction"], [0.7310586, 0.8807971, 0.1192029], rtol=1e-6)


def test_users_begin_half_satisfied():
    state = pieces_of(2, satisfaction=True).start(np.empty((3, 0)))
    np.testing.assert_array_equal(state["satisfaction"], [0.5, 0.5, 0.5])
    np.testing.assert_array_equal(state["exposure"], [0.0, 0.0, 0.0])


def test_innovation_is_normal():
    # A grid over both uniforms: the mean of the first four powers of a standard normal are 0, 1, 0, 3.
    middles = (np.arange(GRID) + 0.5) / GRID
    draws = np.full((GRID * GRID, 4), np.nan)
    draws[:, 0], draws[:, 1] = np.repeat(middles, GRID), np.tile(middles, GRID)
    pieces = pieces_of(2, satisfaction=Satisfaction(satisfaction_noise=0.5, satisfaction_memory=0.0))
    state = pieces.start(np.empty((GRID * GRID, 0)))
    Settled(pieces, two_items(), [[]] * (GRID * GRID), state, draws)
    noise = state["exposure"].astype(np.float64) / 0.5
    np.testing.assert_allclose([np.mean(noise**power) for power in (1, 3)], 0.0, atol=1e-6)
    np.testing.assert_allclose([np.mean(noise**2), np.mean(noise**4)], [1.0, 3.0], rtol=20 / GRID)


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_satisfaction_at_the_widest_odds(sign: float):
    # exp of plus or minus a million: certain, and no overflow.
    pieces = pieces_of(2, satisfaction=Satisfaction(1e3, satisfaction_gain=1e3))
    state = pieces.start(np.empty((1, 0)))
    Settled(pieces, two_items(), [[(0, 1.0, sign)]], state)
    assert state["satisfaction"][0] == pytest.approx(0.5 + 0.5 * sign, abs=1e-30)


def test_without_noise_no_draw_is_read():
    pieces = pieces_of(2, satisfaction=True)
    state = pieces.start(np.empty((1, 0)))
    Settled(pieces, two_items(), [[(0, 1.0, 1.0)]], state, np.nan)
    assert np.isfinite(state["exposure"]).all()


# --- all of them


def test_inactive_sessions_stay_as_they_are():
    config = small_worlds()["every piece"]
    pieces, catalog, count = SessionPieces(config, 2), two_items(), 8
    state = pieces.start(np.full((count, 1), 0.5))
    state["budget"][:] = 0.5
    before = {name: values.copy() for name, values in state.items()}
    active = np.arange(count) % 2 == 0
    rows = [[(0, 4.0, 1.0), (1, 2.0, 0.5)]] * count
    settled = Settled(pieces, catalog, rows, state, 0.01, active=active, watch_channel=WATCH, minutes_reward=0)
    for name, values in state.items():
        np.testing.assert_array_equal(values[~active], before[name][~active])
        if name not in ("day", "session_number", "budget", "satiation"):  # a return gives those anew
            assert (values[active] != before[name][active]).any(), name
    for values in (settled.feedback, settled.rewards, settled.left, settled.returned):
        assert not values[~active].any()


def test_layout_is_what_a_start_gives_and_holds_what_is_on():
    for name, keys in {
        "satiation": {"satiation"},
        "time_budget": {"budget"},
        "satisfaction": {"exposure", "satisfaction"},
        "leave_hazard": set(),
        "retention": {"day", "session_number"},
        "freshness": {"day"},
    }.items():
        pieces = pieces_of(3, **{name: True})
        assert set(pieces.state_layout()) == keys
        state = pieces.start(np.full((2, pieces.num_initial_draws), 0.25))
        assert {key: (values.shape, values.dtype) for key, values in state.items()} == {
            key: ((2, *shape), np.dtype(dtype)) for key, (shape, dtype) in pieces.state_layout().items()
        }
        assert pieces.num_draws == (4 if name in ("satisfaction", "leave_hazard", "retention") else 0)
    assert pieces_of(3).state_layout() == {}


def test_weights_of_utility_are_zero_where_a_piece_is_off():
    on = pieces_of(2, satiation=Satiation(3.0), satisfaction=Satisfaction(satisfaction_weight=0.5))
    assert (on.satiation_weight, on.satisfaction_weight) == (3.0, 0.5)
    off = pieces_of(2)
    assert (off.satiation_weight, off.satisfaction_weight) == (0.0, 0.0)
    assert (len(off.reward_names), len(off.reward_weights)) == (0, 0)


def test_satisfaction_colours_every_item():
    # Same users, same slates: with everything else off, what the mood adds moves the share of clicks.
    shares = []
    for weight in (-3.0, 0.0, 3.0):
        config = SessionConfig().override(
            **{**OFF, "satisfaction": Satisfaction(satisfaction_weight=weight)},
            num_items=40,
            embedding_dim=6,
            slate_size=4,
        )
        batch = SessionBatch(make_world(config), 400)
        batch.start(np.arange(400), np.arange(400, dtype=np.uint64), np.zeros(400))
        batch.state["exposure"][:] = 5.0
        batch.state["satisfaction"][:] = reference.sigmoid(5.0)
        clicks = batch.step(np.tile(np.arange(4), (400, 1))).feedback[:, :, 0].sum()
        shares.append(clicks / 400)
    assert shares[0] < 0.5 * shares[1]
    assert shares[1] < shares[2]


# --- freshness


def test_day_of_a_session_is_uniform_before_the_horizon():
    pieces = pieces_of(2, freshness=Freshness(horizon=8.0))
    assert pieces.num_initial_draws == 1
    np.testing.assert_allclose(pieces.start(np.array([[0.0], [0.25], [0.75]]))["day"], [0.0, 2.0, 6.0])
    assert pieces.last_day == 8.0
    assert pieces.has_calendar


def test_days_pass_with_returns_alone():
    pieces = pieces_of(2, retention={"max_absence": 6, "max_sessions": 4}, freshness={"horizon": 5.0})
    assert pieces.last_day == 5.0 + 3 * 6
    np.testing.assert_array_equal(pieces_of(2, retention=True).start(np.empty((2, 0)))["day"], [0.0, 0.0])


def test_every_piece_of_the_small_world_is_on():
    config = small_worlds()["every piece"]
    assert all(getattr(config, name) is not None for name in PIECES)
    assert set(EVERY_PIECE) == {*PIECES, "choice", "num_candidates"}


def test_a_bad_piece_is_refused_by_name():
    with pytest.raises(InvalidInput, match=r"^satiation_retention=1.0 is outside \[0.0, 1.0\); "):
        Satiation(satiation_retention=1.0)
