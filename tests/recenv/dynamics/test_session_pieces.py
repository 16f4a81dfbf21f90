"""The pieces together: a settled step against a plain reference, what each adds, and a piece from outside."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv import Catalog, SessionConfig
from recenv.engine.session_batch import SessionBatch
from recenv.families import PIECES
from recenv.session_config import SECTION_PIECES
from recenv.testing.worlds import EVERY_PIECE, catalogs
from recenv.world import make_world
from tests.recenv.dynamics.pieces.piece_cases import WATCH, Settled, pieces_of
from tests.reference import pieces_reference as reference
from tests.strategies.worlds import satiations, satisfactions, small_worlds, time_budgets

pytestmark = pytest.mark.kernels

UNIFORMS = st.floats(2**-33, 1 - 2**-33)
EVERY: dict[str, Any] = {name: EVERY_PIECE[name] for name in SECTION_PIECES}


@st.composite
def clicks_of(draw: st.DrawFn, num_items: int) -> list[tuple[int, float, float]]:
    """Draw the clicks of one slate: none, one or several."""
    positions = sorted(draw(st.sets(st.integers(0, num_items - 1))))
    return [(k, draw(st.floats(0.0, 20.0)), draw(st.floats(-4.0, 4.0))) for k in positions]


@given(st.data(), catalogs(), satiations(), time_budgets(), satisfactions())
def test_settled_steps_equal_the_reference(data: st.DataObject, catalog: Catalog, satiation, time_budget, satisfaction):
    # Any of the three may be off, and what is on does not feel the others.
    on = data.draw(st.sets(st.sampled_from(["satiation", "time_budget", "satisfaction"])))
    given_pieces = {"satiation": satiation, "time_budget": time_budget, "satisfaction": satisfaction}
    dim, size = catalog.embedding_dim, catalog.num_items
    pieces = pieces_of(catalog, **{name: piece for name, piece in given_pieces.items() if name in on})
    tired = data.draw(st.lists(st.floats(-2.0, 2.0, width=32), min_size=dim, max_size=dim))
    budget = data.draw(st.sampled_from([0.25, 4.0]) | st.floats(0.0625, 300.0, width=32))
    exposure = data.draw(st.floats(-5.0, 5.0, width=32))
    begun = {"satiation": tired, "budget": budget, "exposure": exposure}
    settled = None
    for _ in range(3):
        clicks, draws = data.draw(clicks_of(size)), data.draw(st.lists(UNIFORMS, min_size=4, max_size=4))
        wanted, benefits = [c[1] for c in clicks], [c[2] for c in clicks]
        if settled is None:
            kept = {name: value for name, value in begun.items() if name in pieces.state_layout()}
            settled = Settled(pieces, [clicks], draws, num_items=size, **kept)
        else:
            settled.settle(pieces, [clicks], draws, size=size)
        state = settled.state
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
            scale = 1.0 + abs(budget) + 6 * (300.0 + 20.0 * 2.0 * 4.0)
            assume(abs(budget) > 1e-6 * scale)
            np.testing.assert_allclose(state["budget"][0], budget, atol=1e-6 * scale)
            assert settled.left[0] == left
            if left:
                break
        else:
            assert not settled.left[0]
        np.testing.assert_allclose(settled.rewards[0], [0.0, sum(watches)], rtol=1e-5, atol=1e-3)
        feedback = np.zeros((size, 2))
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


def test_inactive_sessions_stay_as_they_are():
    pieces, clicks = pieces_of(minutes_reward=0, **EVERY), [[(0, 4.0, 1.0), (1, 2.0, 0.5)]] * 8
    settled = Settled(pieces, clicks, 0.7, budget=50.0, satiation=0.25)
    assert not settled.returned.any()
    before = {name: values.copy() for name, values in settled.state.items()}
    active = np.arange(8) % 2 == 0
    settled.settle(pieces, clicks, 0.01, active, left=active)
    for name, values in settled.state.items():
        np.testing.assert_array_equal(values[~active], before[name][~active])
        if name not in ("day", "session_number", "budget", "satiation"):  # a return gives those anew
            assert (values[active] != before[name][active]).any(), name
    for values in (settled.feedback, settled.rewards, settled.left | settled.returned):
        assert not values[~active].any()
        assert values[active].any()


@pytest.mark.parametrize(
    ("name", "keys", "num_draws"),
    [
        ("satiation", {"satiation"}, 0),
        ("time_budget", {"budget"}, 0),
        ("satisfaction", {"exposure", "satisfaction"}, 2),
        # Those of the pieces before it have their places though they are off.
        ("leave_hazard", set(), 3),
        ("retention", {"day", "session_number"}, 4),
        ("freshness", {"day"}, 0),
    ],
)
def test_layout_is_what_a_start_gives_and_holds_what_is_on(name: str, keys: set[str], num_draws: int):
    only: Any = {name: True}
    pieces = pieces_of(**only)
    assert set(pieces.state_layout()) == keys
    state = pieces.start(np.full((2, pieces.num_initial_draws), 0.25))
    assert {key: (values.shape, values.dtype) for key, values in state.items()} == {
        key: ((2, *shape), np.dtype(dtype)) for key, (shape, dtype) in pieces.state_layout().items()
    }
    assert pieces.num_draws == num_draws
    assert pieces.has_calendar == ("day" in keys)
    assert len(pieces.reward_names) == len(pieces.reward_weights) == (2 if name == "retention" else 0)


def test_without_a_piece_there_is_nothing():
    pieces = pieces_of()
    assert (pieces.state_layout(), pieces.num_draws, pieces.reward_names, pieces.on) == ({}, 0, (), {})


def test_every_piece_of_the_small_world_is_on():
    config = small_worlds()["every piece"]
    assert set(SECTION_PIECES) <= set(PIECES.registered())
    assert list(make_world(config).pieces.on) == list(SECTION_PIECES)
    assert set(EVERY_PIECE) == {*SECTION_PIECES, "choice", "num_candidates"}


def test_satisfaction_colours_every_item_of_a_session():
    # Same users, same slates: with everything else off, what the mood adds moves the share of clicks.
    shares = []
    for weight in (-3.0, 0.0, 3.0):
        off = dict.fromkeys(SECTION_PIECES)
        config = SessionConfig().override(**off, num_items=40, embedding_dim=6, slate_size=4)
        batch = SessionBatch(make_world(config.override(satisfaction={"satisfaction_weight": weight})), 400)
        batch.start(np.arange(400), np.arange(400, dtype=np.uint64), np.zeros(400))
        batch.state["exposure"][:] = 5.0
        batch.state["satisfaction"][:] = reference.sigmoid(5.0)
        shares.append(batch.step(np.tile(np.arange(4), (400, 1))).feedback[:, :, 0].sum() / 400)
    assert shares[0] < 0.5 * shares[1]
    assert shares[1] < shares[2]


# --- a piece from outside

PATIENCE = "tests.outside_parts.patience:Patience"


def played(config: SessionConfig, num_sessions: int = 200, num_steps: int = 8) -> dict[str, np.ndarray]:
    batch = SessionBatch(make_world(config), num_sessions)
    batch.start(np.arange(num_sessions), np.arange(num_sessions, dtype=np.uint64), np.zeros(num_sessions))
    slates = np.random.default_rng(0).integers(40, size=(num_steps, num_sessions, 4))
    outcomes = [batch.step(slate) for slate in slates]
    kept: dict[str, np.ndarray] = {
        name: np.array([getattr(outcome, name) for outcome in outcomes])
        for name in ("feedback", "reward_vector", "reward", "terminated")
    }
    return kept | batch.state


@pytest.mark.parametrize("on", [{}, EVERY], ids=["alone", "every piece"])
def test_a_piece_from_outside_lives_in_a_session(on: dict[str, Any]):
    base = SessionConfig().override(num_items=40, slate_size=4, no_click_utility=3.0, **dict.fromkeys(SECTION_PIECES))
    base = base.override(**{name: on[name] for name in on if name not in ("freshness", "retention")})
    config = base.override(pieces={PATIENCE: {"patience": 2, "boredom": 0.0}})
    without, with_it = played(base), played(config)
    names = make_world(config).reward_names
    assert names[-1] == "idle"
    clicked = with_it["feedback"][..., 0].any(axis=2)
    there = np.cumsum(with_it["terminated"], axis=0) - with_it["terminated"] == 0
    np.testing.assert_array_equal(with_it["reward_vector"][..., -1], there & ~clicked)
    # Its draws and its reward stand behind the others': until it ends a session, nothing else has changed.
    np.testing.assert_array_equal(with_it["feedback"][0], without["feedback"][0])
    alike = there & (np.cumsum(without["terminated"], axis=0) - without["terminated"] == 0)
    np.testing.assert_array_equal(with_it["feedback"][alike], without["feedback"][alike])
    np.testing.assert_array_equal(with_it["reward_vector"][..., :-1][alike], without["reward_vector"][alike])
    assert with_it["terminated"].sum() > without["terminated"].sum()
    assert with_it["reward"].sum() < without["reward"].sum()
    # And what it takes from utilities makes idle steps.
    idle = [
        played(config.override(pieces={PATIENCE: {"boredom": boredom, "leave_rate": 0.0}}))["reward_vector"][..., -1]
        for boredom in (0.0, 9.0)
    ]
    assert idle[1].sum() > idle[0].sum()
    assert with_it["idle"].dtype == np.int32
