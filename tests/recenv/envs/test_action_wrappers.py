"""Proto-actions: the nearest items, of all and of those on offer."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from recenv import InvalidInput, ProtoAction, VectorProtoAction
from tests.recenv.envs.tensor import Tensor
from tests.recenv.envs.wrapper_cases import OFFERS, plain, single, vector

pytestmark = pytest.mark.kernels


# --- proto-actions


def test_a_proto_action_shows_its_nearest_items():
    env, bare = ProtoAction(single()), single()
    assert env.action_space == gymnasium.spaces.Box(-1.0, 1.0, (6,), np.float32)
    assert plain(env.reset(seed=3)) == plain(bare.reset(seed=3))
    for proto in np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32):
        scores = bare.world.catalog.embeddings @ proto
        slate = np.argsort(-scores, kind="stable")[:4]
        assert plain(env.step(proto)) == plain(bare.step(slate))


@pytest.mark.parametrize("offer", ["candidates", "available"])
def test_a_proto_action_shows_the_nearest_of_the_items_on_offer(offer: str):
    env, bare = ProtoAction(single(**OFFERS[offer])), single(**OFFERS[offer])
    limited = 0
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        bare.reset(seed=seed)
        for proto in np.random.default_rng(seed).normal(size=(6, 6)).astype(np.float32):
            allowed = observation["candidates"] if offer == "candidates" else np.flatnonzero(observation["available"])
            scores = bare.world.catalog.embeddings @ proto
            slate = allowed[np.argsort(-scores[allowed], kind="stable")[:4]]
            limited += int((slate != np.argsort(-scores, kind="stable")[:4]).any())
            observation, _, terminated, truncated, info = env.step(proto)
            assert plain((observation, info)) == plain((lambda o: (o[0], o[4]))(bare.step(slate)))
            assert info["shown"].all()
            if terminated or truncated:
                break
    assert limited > 5


def test_fewer_items_on_offer_than_positions_leave_positions_empty():
    class Offering(gymnasium.Wrapper):
        """Offers items 8 and 3 only."""

        def __init__(self, env: gymnasium.Env) -> None:
            super().__init__(env)
            inner = dict(env.observation_space.spaces)  # type: ignore[attr-defined]
            self.observation_space = gymnasium.spaces.Dict(
                {**inner, "candidates": gymnasium.spaces.Box(-1, 39, (3,), np.int32)}
            )

        def reset(self, **options: Any) -> Any:
            observation, info = self.env.reset(**options)
            return {**observation, "candidates": np.array([8, -1, 3], np.int32)}, info

    env = ProtoAction(Offering(single()))
    env.reset(seed=0)
    assert env.step(np.ones(6))[4]["shown"].tolist() == [True, True, False, False]


PROTO = "pass a proto-action of shape (6,)"


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(5), f"action has shape (5,) and dtype float64; {PROTO}"),
        (np.zeros((1, 6)), f"action has shape (1, 6) and dtype float64; {PROTO}"),
        (np.array(["a"] * 6), f"action has shape (6,) and dtype <U1; {PROTO}"),
        ([[0.0], [0.0, 1.0]], f"action is ragged; {PROTO}"),
        (
            np.full(6, np.nan),
            "proto-action holds a non-finite value; pass finite numbers (a policy that gives none has",
        ),
    ],
)
def test_bad_proto_actions_are_refused_and_move_nothing(action: Any, message: str):
    env, twin = ProtoAction(single()), ProtoAction(single())
    env.reset(seed=0)
    twin.reset(seed=0)
    with pytest.raises(InvalidInput) as caught:
        env.step(action)
    assert str(caught.value).startswith(message)
    assert plain(env.step(np.ones(6))) == plain(twin.step(np.ones(6)))


@pytest.mark.parametrize("size", [1e39, 1e300, 3e38, 1e-39, 1e-300, np.longdouble("1e-4000")])
@pytest.mark.parametrize("offer", OFFERS)
def test_only_the_direction_of_a_point_matters_however_far_out_it_is(offer: str, size: Any):
    env, twin = (ProtoAction(single(**OFFERS[offer])) for _ in range(2))
    env.reset(seed=0)
    twin.reset(seed=0)
    for proto in np.random.default_rng(0).normal(size=(3, 6)):
        given = proto * size
        kept = given.copy()
        assert plain(env.step(given)) == plain(twin.step(proto))
        assert given.tobytes() == kept.tobytes()
    for _ in range(3):
        assert plain(env.step(np.zeros(6))) == plain(twin.step([0] * 6))


@pytest.mark.parametrize("options", [{"gradient": True}, {"dtype": "bfloat16"}, {"gradient": True, "dtype": "float8"}])
def test_tensors_are_actions(options: Any):
    env, twin = ProtoAction(single()), ProtoAction(single())
    env.reset(seed=0)
    twin.reset(seed=0)
    for action in (Tensor(np.ones(6), **options), [Tensor(1.0, **options)] * 6, np.ones(6, np.float16), [1.0] * 6):
        assert plain(env.step(action)) == plain(twin.step(np.ones(6)))


def test_narrow_floats_of_jax_are_actions():
    narrow = pytest.importorskip("ml_dtypes")
    env, twin = VectorProtoAction(vector(2)), VectorProtoAction(vector(2))
    env.reset(seed=0)
    twin.reset(seed=0)
    for dtype in (narrow.bfloat16, narrow.float8_e4m3fn, narrow.float8_e5m2):
        assert plain(env.step(np.ones((2, 6), dtype))) == plain(twin.step(np.ones((2, 6))))
    with pytest.raises(InvalidInput, match=r"action has shape \(2, 6\) and dtype \|V2; pass proto-actions"):
        env.step(np.zeros((2, 6), "V2"))


def test_tensors_are_slates_where_they_are_integers():
    env, twin = single(), single()
    env.reset(seed=0)
    twin.reset(seed=0)
    assert plain(env.step(Tensor([3, 2, 1, 0]))) == plain(twin.step([3, 2, 1, 0]))  # type: ignore[arg-type]
    for action, message in {
        Tensor(np.ones(4), gradient=True): "action has dtype float64; pass integer item ids (a proto-action needs",
        Tensor(np.ones(4), dtype="bfloat16"): "action has dtype float32; pass integer item ids",
        Tensor(np.ones(4), dtype="sparse"): "action of type Tensor makes no array (no strides); pass integer item ids ",
    }.items():
        with pytest.raises(InvalidInput) as caught:
            env.step(action)  # type: ignore[arg-type]
        assert str(caught.value).startswith(message)
    assert plain(env.step([3, 2, 1, 0])) == plain(twin.step([3, 2, 1, 0]))  # type: ignore[arg-type]
