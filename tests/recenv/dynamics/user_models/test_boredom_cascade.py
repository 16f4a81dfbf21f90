"""Boredom against a plain reference, against SARDINE's own bookkeeping, and by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from recenv.dynamics.choice_models.position_based import PositionBased
from recenv.dynamics.kernel_groups import Response
from recenv.dynamics.user_models.boredom_cascade import BoredomCascade, BoredomCascadeConfig
from recenv.engine.slates import fill_utilities
from recenv.errors import InvalidInput
from recenv.items.catalog import Catalog
from recenv.session_config import SessionConfig
from tests.reference import boredom_cascade_reference as reference

pytestmark = pytest.mark.kernels

State = dict[str, np.ndarray]
OFF = np.empty(0, np.float32)


class Answer:
    """What `respond` wrote for clicked positions; of what it must write itself, every number is junk beforehand."""

    def __init__(self, model: BoredomCascade, state: State, slates: Any, clicked: Any, active: Any = None):
        slates = np.asarray(slates, np.int32)
        indices = len(slates)
        self.clicked = np.full((indices, model.max_clicks), -1, np.int16)
        for b, positions in enumerate(clicked):
            self.clicked[b, : len(positions)] = positions
        active = np.ones(indices, np.bool_) if active is None else np.asarray(active)
        self.feedback = np.zeros((*slates.shape, 2), np.float32)
        # Behind the model's own rewards lie the pieces'.
        self.rewards = np.zeros((indices, 3), np.float32)
        self.wanted, self.benefit = np.full((2, indices, model.max_clicks), np.nan)
        self.left = np.ones(indices, np.bool_)
        model.respond(
            state,
            Response(
                slates,
                self.clicked,
                np.empty((indices, 0)),
                active,
                self.feedback,
                self.rewards,
                self.wanted,
                self.benefit,
                self.left,
                np.zeros(indices, np.bool_),
            ),
        )


def utilities_of(model: BoredomCascade, state: State, slates: Any) -> np.ndarray:
    slates = np.asarray(slates, np.int32)
    out = np.full(slates.shape, np.nan, np.float32)
    taste = np.float32(model.affinity_weight) * state["interest"]
    fill_utilities(taste, model.catalog.embeddings, model.item_utility, slates, out)
    model.adjust(state, slates, out)
    return out


def item_of(catalog: Catalog, item_id: int) -> dict[str, Any]:
    return {
        "embedding": catalog.embeddings[item_id].tolist(),
        "topic": int(catalog.topics[item_id]),
        "length": float(catalog.length[item_id]),
    }


@st.composite
def topical_catalogs(draw: st.DrawFn, dim: int) -> Catalog:
    """Draw a few items whose topics are the caller's own numbers, with gaps."""
    count = draw(st.integers(1, 6))
    rows = st.lists(st.integers(-4, 4), min_size=dim, max_size=dim).filter(any)
    topics = st.sampled_from([0, 3, 7, 1_000_000])
    return Catalog.from_arrays(
        np.array(draw(st.lists(rows, min_size=count, max_size=count)), np.float64),
        np.array(draw(st.lists(topics, min_size=count, max_size=count))),
        length=np.array(draw(st.lists(st.floats(0.5, 20.0), min_size=count, max_size=count))),
    )


@st.composite
def configs(draw: st.DrawFn) -> BoredomCascadeConfig:
    return BoredomCascadeConfig(
        affinity_weight=draw(st.floats(-4.0, 4.0)),
        boredom_threshold=draw(st.integers(1, 4)),
        boredom_window=draw(st.integers(1, 4)),
        boredom_steps=draw(st.integers(1, 4)),
        boredom_penalty=draw(st.floats(0.0, 4.0)),
        weariness=draw(st.floats(0.0, 4.0)),
        influence=draw(st.sampled_from([0.0, 1.0]) | st.floats(0.0, 1.0)),
    )


UNIFORMS = st.floats(2**-33, 0.4) | st.floats(0.6, 1 - 2**-33)


def started(model: BoredomCascade, data: st.DataObject) -> State:
    count = model.num_initial_draws()
    return model.start(np.array([data.draw(st.lists(UNIFORMS, min_size=count, max_size=count))]))


# --- against the plain reference


@given(st.data(), st.integers(2, 5).flatmap(topical_catalogs), configs())
def test_steps_equal_the_reference(data: st.DataObject, catalog: Catalog, config: BoredomCascadeConfig):
    slate_size = data.draw(st.integers(1, 4))
    model = BoredomCascade(config, catalog, slate_size)
    state = started(model, data)
    user: dict[str, Any] = {"interest": state["interest"][0].tolist(), "clicks": [], "boring": {}}
    topics = sorted({item_of(catalog, i)["topic"] for i in range(catalog.num_items)})
    for _ in range(8):
        slate = data.draw(st.lists(st.integers(-1, catalog.num_items - 1), min_size=slate_size, max_size=slate_size))
        expected = [-np.inf if i < 0 else reference.utility(user, item_of(catalog, i), asdict(config)) for i in slate]
        np.testing.assert_allclose(utilities_of(model, state, [slate])[0], expected, atol=1e-4)

        shown = [k for k, item in enumerate(slate) if item >= 0]
        clicked = sorted(data.draw(st.sets(st.sampled_from(shown)))) if shown else []
        items = [item_of(catalog, slate[k]) for k in clicked]
        user, benefits, minutes = reference.respond(user, items, asdict(config))
        assume(user["interest"] is not None)
        answer = Answer(model, state, [slate], [clicked])
        np.testing.assert_allclose(state["interest"][0], user["interest"], atol=1e-5)
        step = len(user["clicks"])
        remaining = [max(0, user["boring"].get(topic, -1) - step + 1) for topic in topics]
        np.testing.assert_array_equal(state["boring"][0], remaining)
        recent = user["clicks"][: -config.boredom_window - 1 : -1]
        counts = [[clicks.count(topic) for topic in topics] for clicks in recent]
        np.testing.assert_array_equal(state["recent_clicks"][0, : len(recent)], counts)
        feedback = np.zeros((slate_size, 2))
        feedback[clicked, 0] = 1.0
        np.testing.assert_array_equal(answer.feedback[0], feedback)
        np.testing.assert_array_equal(answer.rewards[0], [len(items), 0.0, 0.0])
        np.testing.assert_allclose(answer.benefit[0, : len(items)], benefits, atol=1e-5)
        np.testing.assert_allclose(answer.wanted[0, : len(items)], minutes, atol=2e-4)
        assert not answer.left[0]


# --- SARDINE's own model


@pytest.mark.parametrize("boredom_type", ["user_tloi", "user_car"])
@given(st.data())
def test_sardines_constants_are_sardines_model(boredom_type: str, data: st.DataObject):
    """Step by step, with the same uniforms: clicks, boredom, and the interest that both move.

    Where a coordinate of the interest bores, an item must lie on one coordinate for the two to be the same.
    """
    num_topics, slate_size = 3, 6
    if boredom_type == "user_tloi":
        # Four items a topic, so that boredom sets in.
        embeddings = np.tile(np.eye(num_topics), (4, 1))
        config = BoredomCascadeConfig(boredom_penalty=1e3, weariness=0.0)
    else:
        rows = np.random.default_rng(data.draw(st.integers(0, 99))).random((12, num_topics))
        embeddings = rows + np.tile(np.eye(num_topics), (4, 1))
        config = BoredomCascadeConfig(boredom_penalty=0.0, weariness=1e3)
    catalog = Catalog.from_arrays(embeddings, np.arange(12) % num_topics)
    model, choice = BoredomCascade(config, catalog, slate_size), PositionBased(100.0, 0.65, 0.85)
    state = model.start(np.array([[0.5 + 0.01 * data.draw(st.integers(1, 49)) for _ in range(num_topics)]]))
    user = reference.SardineUser(state["interest"][0].tolist(), num_topics, boredom_type)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    for _ in range(20):
        slate = rng.permutation(12)[:slate_size].astype(np.int32)
        items = [(catalog.embeddings[i].tolist(), int(catalog.topics[i])) for i in slate]
        draws = rng.random((1, slate_size))
        probabilities = user.click_probabilities(items)
        # A slope of 100 magnifies what float32 leaves of the interest.
        assume(all(abs(u - p) > 1e-4 for u, p in zip(draws[0], probabilities, strict=True)))
        expected = [k for k in range(slate_size) if draws[0, k] < probabilities[k]]
        clicked = np.empty((1, slate_size), np.int16)
        choice.choose(utilities_of(model, state, slate[None]), draws, clicked)
        assert [k for k in clicked[0].tolist() if k >= 0] == expected
        answer = Answer(model, state, slate[None], [expected])
        user.step([items[k] for k in expected])
        assert answer.rewards[0, 0] == len(expected)
        np.testing.assert_allclose(state["interest"][0], user.user_embedd, atol=2e-6)
        timeouts = [timeout if bored else 0 for bored, timeout in zip(user.bored, user.bored_timeout, strict=True)]
        np.testing.assert_array_equal(state["boring"][0], timeouts)


def test_defaults_are_sardines_rule_of_boredom():
    config = BoredomCascadeConfig()
    assert (config.boredom_threshold, config.boredom_window, config.boredom_steps, config.influence) == (5, 5, 5, 0.05)
    assert config.affinity_weight == 1.0
    session = SessionConfig().override(user_model="boredom_cascade")
    assert isinstance(session.choice, PositionBased)
    assert session.choice.position_decay == 0.85
    assert session.time_budget is None
    assert session.satiation is None


# --- by hand


def hand_model(max_clicks: int = 3, **options: Any) -> BoredomCascade:
    """Two topics of two items each, along the axes of the plane."""
    catalog = Catalog.from_arrays(
        np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), np.array([4, 4, 9, 9]), length=np.full(4, 8.0)
    )
    return BoredomCascade(BoredomCascadeConfig(**options), catalog, max_clicks)


def hand_state(model: BoredomCascade, indices: int = 1, interest: tuple[float, float] = (0.6, 0.8)) -> State:
    state = {name: np.zeros((indices, *shape), dtype) for name, (shape, dtype) in model.state_layout().items()}
    state["interest"][:] = interest
    return state


def test_interest_moves_towards_the_mean_vector_of_the_clicked_items():
    model = hand_model(influence=0.5)
    state = hand_state(model)
    answer = Answer(model, state, [[0, 2, 1]], [[0, 1, 2]])
    # Half of (0.6, 0.8) and half of (2/3, 1/3), scaled to length one; a scalar mean would give both coordinates 1/2.
    moved = np.array([0.3 + 1 / 3, 0.4 + 1 / 6])
    np.testing.assert_allclose(state["interest"][0], moved / np.linalg.norm(moved), rtol=1e-6)
    # What an item gives is by the interest before the step.
    np.testing.assert_allclose(answer.benefit[0], [0.6, 0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(answer.wanted[0], [6.4, 7.2, 6.4], rtol=1e-6)


def test_an_item_of_the_interest_s_own_direction_is_watched_whole():
    catalog = Catalog.from_arrays(np.array([[3.0, 4.0], [-3.0, -4.0]]), length=np.full(2, 8.0))
    model = BoredomCascade(BoredomCascadeConfig(), catalog, 2)
    answer = Answer(model, hand_state(model), [[0, 1]], [[0, 1]])
    # 0.6 and 0.8 rounded to float32 make a vector longer than one.
    assert answer.benefit[0].tolist() == [1.0, -1.0]
    assert answer.wanted[0].tolist() == [8.0, 0.0]


def test_interest_stays_without_a_click_and_where_the_pull_has_no_direction():
    model = hand_model(influence=0.5)
    state = hand_state(model, indices=2, interest=(0.0, 1.0))
    Answer(model, state, [[0, 2, 1], [3, 0, 1]], [[], [0]])
    np.testing.assert_array_equal(state["interest"], [[0.0, 1.0], [0.0, 1.0]])


def test_a_topic_bores_for_its_steps_and_no_longer():
    model = hand_model(boredom_threshold=3, boredom_window=2, boredom_steps=2, influence=0.0, weariness=0.25)
    state = hand_state(model)
    history = []
    for clicked in ([0, 1], [0], [], [], []):
        Answer(model, state, [[0, 1, 2]], [clicked])
        history.append(state["boring"][0].tolist())
    assert history == [[0, 0], [2, 0], [1, 0], [0, 0], [0, 0]]
    state["boring"][0] = [1, 0]
    np.testing.assert_allclose(utilities_of(model, state, [[0, 2, -1, 3]])[0], [0.6 - 10.25, 0.55, -np.inf, -1.05])
    state["boring"][0] = [1, 4]
    np.testing.assert_allclose(
        utilities_of(model, state, [[0, 2, -1, 3]])[0], [0.6 - 10.5, -9.7, -np.inf, -11.3], rtol=1e-6
    )


def test_clicks_beyond_the_window_do_not_count():
    model = hand_model(boredom_threshold=2, boredom_window=2, boredom_steps=3)
    state = hand_state(model)
    for clicked, boring in (([0], 0), ([], 0), ([0], 0), ([1], 3)):
        Answer(model, state, [[0, 1, 2]], [clicked])
        assert state["boring"][0].tolist() == [boring, 0]


def test_a_topic_clicked_while_it_bores_bores_again_when_it_is_over():
    model = hand_model(boredom_threshold=1, boredom_window=2, boredom_steps=2)
    state = hand_state(model)
    remaining = []
    for clicked in ([0], [0], [], [], [], []):
        Answer(model, state, [[0, 1, 2]], [clicked])
        remaining.append(int(state["boring"][0, 0]))
    # The click of the second step is still in the window when boredom is over, at the end of the third.
    assert remaining == [2, 1, 2, 1, 0, 0]


def test_counts_of_a_long_slate_stop_at_255():
    model = hand_model(max_clicks=600, boredom_threshold=255, boredom_window=2)
    state = hand_state(model)
    slate = np.zeros((1, 600), np.int32)
    Answer(model, state, slate, [range(300)])
    assert state["recent_clicks"][0].tolist() == [[255, 0], [0, 0]]
    assert state["boring"][0, 0] == 5
    state["boring"][:] = 0
    Answer(model, state, slate, [range(2)])
    # 255 and 2 are 257, not 1.
    assert state["boring"][0, 0] == 5


def test_inactive_sessions_stay_as_they_are_and_get_zeros():
    model = hand_model(boredom_threshold=1)
    state = hand_state(model, indices=3)
    state["recent_clicks"][:, 0, 1] = 1
    state["boring"][:, 1] = 3
    before = {name: values.copy() for name, values in state.items()}
    answer = Answer(model, state, [[0, 1, 2]] * 3, [[0], [0], []], active=[True, False, False])
    for name, values in state.items():
        np.testing.assert_array_equal(values[1:], before[name][1:])
        assert (values[0] != before[name][0]).any()
    assert answer.rewards[0].tolist() == [1.0, 0.0, 0.0]
    assert not answer.feedback[1:].any()
    assert not answer.rewards[1:].any()
    assert not answer.left.any()


def test_who_comes_back_is_bored_no_more_and_keeps_the_interest():
    model = hand_model(boredom_threshold=1)
    state = hand_state(model, indices=2)
    for _ in range(3):
        Answer(model, state, [[0, 1, 2]] * 2, [[0, 2]] * 2)
    before = {name: values.copy() for name, values in state.items()}
    assert before["boring"].tolist() == [[3, 3]] * 2
    assert before["recent_clicks"][:, :3].all()  # of the last three steps, and not of the last alone
    model.resume(state, np.array([False, True]))
    for name in ("recent_clicks", "boring"):
        assert not state[name][1].any()
        np.testing.assert_array_equal(state[name][0], before[name][0])
    np.testing.assert_array_equal(state["interest"], before["interest"])


def test_start_draws_directions_of_a_cube():
    model = hand_model()
    assert model.num_initial_draws() == 2
    assert model.num_response_draws() == 0
    state = model.start(np.array([[0.75, 0.5], [0.1, 0.2]]))
    np.testing.assert_allclose(state["interest"], [[1.0, 0.0], [-0.8, -0.6]], rtol=1e-6)
    assert set(state) == set(model.state_layout())
    for name, (shape, dtype) in model.state_layout().items():
        assert state[name].shape == (2, *shape)
        assert state[name].dtype == dtype
    assert not state["recent_clicks"].any()
    assert not state["boring"].any()


def test_users_are_the_same_alone_and_in_a_batch():
    model = BoredomCascade(BoredomCascadeConfig(), Catalog.from_arrays(np.eye(19)), 1)
    draws = np.random.default_rng(0).random((30, 40))[:, 1:20]
    together = model.start(draws)["interest"]
    for b in range(30):
        np.testing.assert_array_equal(model.start(draws[b : b + 1])["interest"][0], together[b])


def test_a_default_session_has_few_bytes_of_state():
    config = SessionConfig()
    catalog = Catalog.generate(config.catalog, 0)
    layout = BoredomCascade(BoredomCascadeConfig(), catalog, 10).state_layout()
    assert sum(int(np.prod(shape)) * np.dtype(dtype).itemsize for shape, dtype in layout.values()) == 64 + 100 + 20


def test_worth_is_the_gradient_of_the_benefit():
    model = hand_model()
    state = hand_state(model)
    answer = Answer(model, state | {"interest": state["interest"].copy()}, [[0, 2, 3]], [[0, 1, 2]])
    given = model.catalog.embeddings[[0, 2, 3]] @ model.worth(state)[0] + model.item_worth[[0, 2, 3]]
    np.testing.assert_allclose(answer.benefit[0], given, rtol=1e-6)


def test_weights_follow_the_names_of_the_rewards():
    model = hand_model(click_reward=2.0, minute_reward=3.0)
    assert dict(zip(model.reward_names, model.reward_weights, strict=True)) == {"click": 2.0, "watch_minutes": 3.0}
    assert model.reward_names[model.minutes_reward] == "watch_minutes"
    assert model.feedback_names[model.watch_channel] == "watch_fraction"


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *((f"boredom_{name}", value) for name in ("threshold", "window", "steps") for value in (0, 256, 5.0)),
        *((name, value) for name in ("boredom_penalty", "weariness") for value in (-0.1, 1.1e6, float("inf"))),
        ("influence", 1.01),
        ("influence", -0.01),
        ("affinity_weight", 1001.0),
        ("click_reward", -1.1e6),
        ("minute_reward", 1.1e6),
    ],
)
def test_a_config_out_of_range_is_refused(field: str, wrong: Any):
    with pytest.raises(InvalidInput, match=rf"^{field}=.*set {field} to"):
        BoredomCascadeConfig(**{field: wrong})
