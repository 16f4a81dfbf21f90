"""Libraries that others learn with, run over every registered environment: what they see is what the environment gave.

Gymnasium's checker and `RecordEpisodeStatistics`, Stable-Baselines3's checker and PPO, sb3-contrib's MaskablePPO,
TorchRL's checker and rollouts.
A checker looks at shapes and dtypes; wrong data pass it, so everything that a client recorded is compared with the bare
environment stepped with the same actions.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torchrl.envs import (
    ActionMask,
    EnvBase,
    GymEnv,
    GymWrapper,
    TransformedEnv,
    check_env_specs,
    default_info_dict_reader,
)

import recenv
from recenv import (
    CandidateAction,
    FlatObservation,
    HistoryTokens,
    ProtoAction,
    RecSessionVectorEnv,
    SemanticIdAction,
    SingleItemAction,
    VectorCandidateAction,
    VectorFlatObservation,
    VectorProtoAction,
    VectorSemanticIdAction,
    VectorSingleItemAction,
)

pytestmark = pytest.mark.clients

IDS = sorted(name for name in gymnasium.registry if name.startswith("RecSession-"))
# Sessions short enough to end often; in the second world by the user as well, in the third among the step's candidates.
WORLDS: list[Any] = [
    *(pytest.param(name, {"max_steps": 7}, id=name) for name in IDS),
    pytest.param("RecSession-v0", {"num_items": 40, "slate_size": 4, "max_steps": 9, "budget": 14.0}, id="users leave"),
    pytest.param("RecSession-v0", {"num_items": 40, "num_candidates": 15, "max_steps": 7}, id="candidates"),
]
WRAPPERS: list[Any] = [ProtoAction, CandidateAction, SemanticIdAction, FlatObservation, HistoryTokens]


def single(name: str, options: dict[str, Any]) -> gymnasium.Env:
    return gymnasium.make(name, **options)


def vector(name: str, options: dict[str, Any], mode: str = "Disabled", num_envs: int = 4) -> gymnasium.vector.VectorEnv:
    # Plain keywords: with a vector entry point `vector_kwargs` is an error.
    return gymnasium.make_vec(
        name, num_envs=num_envs, vectorization_mode="vector_entry_point", autoreset_mode=mode, **options
    )


def draw_actions(space: gymnasium.Space, count: int) -> list[np.ndarray]:
    space.seed(5)
    return [space.sample() for _ in range(count)]


def test_every_registered_environment_is_found():
    assert "RecSession-v0" in IDS
    assert recenv.RecSessionEnv is type(gymnasium.make("RecSession-v0").unwrapped)


# --- Gymnasium


@pytest.mark.parametrize("wrapper", [None, *WRAPPERS])
@pytest.mark.parametrize("name", IDS)
def test_gymnasiums_checker_finds_nothing(name: str, wrapper: Any):
    env = gymnasium.make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*is different from the unwrapped version")
        check_env(env.unwrapped if wrapper is None else wrapper(env))


@pytest.mark.parametrize("mode", list(AutoresetMode))
@pytest.mark.parametrize(("name", "options"), WORLDS)
def test_recorded_returns_are_those_of_single_sessions(name: str, options: dict[str, Any], mode: AutoresetMode):
    env = RecordEpisodeStatistics(vector(name, options, mode.value))
    singles = [single(name, options) for _ in range(4)]
    env.reset(seed=11)
    for b, one in enumerate(singles):
        one.reset(seed=11 + b)
    sums, lengths, waiting, ended = np.zeros(4), np.zeros(4, int), np.zeros(4, np.bool_), 0
    for actions in draw_actions(env.action_space, 40):
        _, _, terminated, truncated, infos = env.step(actions)
        done = np.logical_or(terminated, truncated)
        assert ("episode" in infos) == bool(done.any())
        for b, one in enumerate(singles):
            if waiting[b]:  # NEXT_STEP: this step only begins the next episode
                waiting[b] = False
                continue
            _, reward, left, limit, _ = one.step(actions[b])
            sums[b] += float(reward)
            lengths[b] += 1
            assert (left or limit) == done[b]
            if done[b]:
                assert infos["_episode"][b]
                assert infos["episode"]["r"][b] == pytest.approx(sums[b], rel=1e-6)
                assert infos["episode"]["l"][b] == lengths[b]
                sums[b], lengths[b], ended = 0.0, 0, ended + 1
                waiting[b] = mode is AutoresetMode.NEXT_STEP
                one.reset()
        if mode is AutoresetMode.DISABLED and done.any():
            env.reset(options={"reset_mask": done.copy()})
    assert ended >= 12


# --- Stable-Baselines3


def flat_proto(name: str, **options: Any) -> gymnasium.Env:
    return FlatObservation(ProtoAction(single(name, options)))


@pytest.mark.parametrize("name", IDS)
def test_stable_baselines3s_checker_finds_nothing(name: str):
    env_checker = importlib.import_module("stable_baselines3.common.env_checker")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env_checker.check_env(flat_proto(name))
        # An array of two dimensions, the feedback of the history, gets a remark in the observations that keep it.
        warnings.filterwarnings("ignore", ".*unconventional shape")
        for env in (single(name, {}), SemanticIdAction(single(name, {})), HistoryTokens(single(name, {}))):
            env_checker.check_env(env)


@pytest.mark.parametrize("name", IDS)
def test_ppo_learns_from_the_sessions_that_there_were(name: str):
    num_steps = 256
    model = importlib.import_module("stable_baselines3").PPO(
        "MlpPolicy", flat_proto(name, max_steps=7), n_steps=num_steps, batch_size=64, n_epochs=2, seed=0, device="cpu"
    )
    before = {key: value.clone() for key, value in model.policy.state_dict().items()}
    model.learn(num_steps)
    assert model.num_timesteps == num_steps
    after = model.policy.state_dict()
    assert any((after[key] != value).any() for key, value in before.items())
    assert all(value.isfinite().all() for value in after.values())
    # The one rollout that it learned from, again.
    buffer, env = model.rollout_buffer, flat_proto(name, max_steps=7)
    observations, actions = (values.reshape(num_steps, -1) for values in (buffer.observations, buffer.actions))
    observation, _ = env.reset(seed=0)
    ended = 0
    for step in range(num_steps):
        np.testing.assert_array_equal(observations[step], observation)
        action = np.clip(actions[step], -1.0, 1.0)
        observation, reward, terminated, truncated, _ = env.step(action)
        if not truncated:  # there PPO adds the value of the last observation
            assert buffer.rewards[step, 0] == np.float32(float(reward))
        if terminated or truncated:
            observation, _ = env.reset()
            ended += 1
    assert ended >= num_steps // 7


# --- sb3-contrib


class Recording(gymnasium.Wrapper):
    """Keeps the share of filled positions of every slate."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.filled: list[float] = []

    def step(self, action: Any) -> Any:
        outcome = self.env.step(action)
        self.filled.append(float(outcome[4]["shown"].mean()))
        return outcome


def test_an_untrained_maskable_ppo_fills_every_position():
    """Among ids it repeats items, which leaves positions empty: masks cannot tell one position what another chose."""
    masked = importlib.import_module("sb3_contrib").MaskablePPO
    options: dict[str, Any] = {"num_candidates": 20, "max_steps": 7}
    filled = {}
    for name, wrap in {"ids": lambda env: env, "places": CandidateAction}.items():
        env = Recording(wrap(single("RecSession-v0", options)))
        model = masked("MultiInputPolicy", env, n_steps=64, batch_size=64, n_epochs=1, seed=0, device="cpu")
        model.learn(64)
        filled[name] = float(np.mean(env.filled))
    assert filled["ids"] == pytest.approx(0.8, abs=0.05)
    assert filled["places"] == 1.0


def test_maskable_ppo_and_dqn_learn_from_many_sessions_at_once():
    masked = importlib.import_module("sb3_contrib").MaskablePPO
    recenv_sb3 = importlib.import_module("recenv.sb3")
    options: dict[str, Any] = {"num_candidates": 20, "max_steps": 7, "num_items": 200}
    many = RecSessionVectorEnv(8, autoreset_mode="SameStep", **options)
    env = recenv_sb3.SessionVecEnv(VectorFlatObservation(VectorCandidateAction(many), candidates=True))
    model = masked("MlpPolicy", env, n_steps=16, batch_size=64, n_epochs=1, seed=0, device="cpu")
    model.learn(128)
    assert model.num_timesteps == 128
    masks = np.stack(env.env_method("action_masks"))
    assert masks.shape == (8, 10 * 20)
    actions, _ = model.predict(env.reset(), action_masks=masks)
    assert np.stack([info["shown"] for info in env.step(actions)[3]]).all()
    one = RecSessionVectorEnv(8, autoreset_mode="SameStep", slate_size=1, max_steps=7, num_items=200)
    dqn = importlib.import_module("stable_baselines3").DQN(
        "MlpPolicy",
        recenv_sb3.SessionVecEnv(VectorFlatObservation(VectorSingleItemAction(one))),
        learning_starts=16,
        buffer_size=1000,
        seed=0,
        device="cpu",
    )
    assert dqn.learn(128).num_timesteps == 128


# --- TorchRL


def recorded(env: EnvBase, actions: list[np.ndarray], seed: int) -> Any:
    """Return TorchRL's rollout of the actions over as many episodes as they last, time first."""
    remaining = iter(actions)

    def policy(tensordict: Any) -> Any:  # by this name TorchRL knows what to pass
        return tensordict.set("action", torch.as_tensor(next(remaining)))

    start = env.reset(seed=seed)
    rollout = env.rollout(len(actions), policy, break_when_any_done=False, auto_reset=False, tensordict=start)
    return rollout.transpose(0, 1) if env.batch_size else rollout


def assert_recorded(rollout: Any, bare: Any, actions: list[np.ndarray], seed: int) -> None:
    """Compare every observation, last ones included, reward and end with the bare environment's, to the bit."""
    many = isinstance(bare, gymnasium.vector.VectorEnv)

    def assert_same(state: Any, observation: Any) -> None:
        named = observation if isinstance(observation, dict) else {"observation": observation}
        for key, values in named.items():
            np.testing.assert_array_equal(state[key].numpy(), values)

    observation, _ = bare.reset(seed=seed)
    ended = 0
    for step, action in enumerate(actions):
        state = rollout[step]
        assert_same(state, observation)
        observation, reward, terminated, truncated, _ = bare.step(action)
        assert_same(state["next"], observation)
        np.testing.assert_array_equal(state["next", "reward"].numpy()[..., 0], np.float32(reward))
        np.testing.assert_array_equal(state["next", "terminated"].numpy()[..., 0], terminated)
        np.testing.assert_array_equal(state["next", "truncated"].numpy()[..., 0], truncated)
        done = np.logical_or(terminated, truncated)
        np.testing.assert_array_equal(state["next", "done"].numpy()[..., 0], done)
        if done.any():
            ended += int(done.sum())
            observation, _ = bare.reset(options={"reset_mask": done}) if many else bare.reset()
    assert ended >= len(actions) * (4 if many else 1) // 14


@pytest.mark.parametrize(("name", "options"), WORLDS)
def test_torchrl_records_a_single_environment(name: str, options: dict[str, Any]):
    """The recipe: `GymWrapper(gymnasium.make(...), categorical_action_encoding=True)`, or `GymEnv(id, ...)` likewise.

    Without the keyword a slate is K one-hot vectors of N numbers each. `env.reset(seed=s)` starts episode 0 of seed s;
    `env.set_seed(s)` does so too, so that the rollout after it begins with episode 1.
    """
    for env in (
        GymWrapper(single(name, options), categorical_action_encoding=True),
        GymEnv(name, categorical_action_encoding=True, **options),
    ):
        check_env_specs(env)
        actions = draw_actions(single(name, options).action_space, 30)
        assert_recorded(recorded(env, actions, seed=3), single(name, options), actions, seed=3)


@pytest.mark.parametrize(("name", "options"), WORLDS)
def test_torchrl_records_a_vector_environment(name: str, options: dict[str, Any]):
    """The recipe: the vector environment made by Gymnasium with autoreset disabled, and TorchRL resets what ended.

    ```python
    many = gymnasium.make_vec(
        "RecSession-v0", num_envs=64, vectorization_mode="vector_entry_point", autoreset_mode="Disabled"
    )
    env = torchrl.envs.GymWrapper(many, categorical_action_encoding=True)
    ```

    `break_when_any_done=False` goes on over the ends. What does not work in TorchRL 0.14: NEXT_STEP is refused;
    SAME_STEP passes `check_env_specs` and records wrong last observations where the observation is a Dict;
    `GymEnv(id, num_envs=8)` builds a NEXT_STEP environment of its own, passes too, and records the steps in between.
    """
    env = GymWrapper(vector(name, options), categorical_action_encoding=True)
    check_env_specs(env)
    actions = draw_actions(vector(name, options).action_space, 30)
    assert_recorded(recorded(env, actions, seed=3), vector(name, options), actions, seed=3)


@pytest.mark.parametrize("name", IDS)
def test_torchrl_records_wrapped_environments(name: str):
    options = {"max_steps": 7}
    pairs = [
        (lambda: flat_proto(name, **options), {}),
        (lambda: HistoryTokens(single(name, options)), {"categorical_action_encoding": True}),
        (lambda: VectorFlatObservation(VectorProtoAction(vector(name, options))), {}),
    ]
    for make, encoding in pairs:
        env = GymWrapper(make(), **encoding)
        check_env_specs(env)
        actions = draw_actions(make().action_space, 30)
        assert_recorded(recorded(env, actions, seed=3), make(), actions, seed=3)


@pytest.mark.parametrize("one_item", [False, True])
def test_torchrls_action_mask_takes_the_places_mask(one_item: bool):
    options: dict[str, Any] = {"num_candidates": 8, "freshness": True, "num_items": 12, "max_steps": 7}
    options |= {"slate_size": 1 if one_item else 4}
    bare = CandidateAction(single("RecSession-v0", options))
    env = GymWrapper(SingleItemAction(bare) if one_item else bare, categorical_action_encoding=True)
    rollout = TransformedEnv(env.auto_register_info_dict(), ActionMask()).rollout(40, break_when_any_done=False)
    masks, actions = rollout["action_mask"], rollout["action"].unsqueeze(-1)
    assert masks.shape == (40, *((8,) if one_item else (4, 8)))
    assert masks.gather(-1, actions).all()
    assert rollout["next", "shown"].all()


@pytest.mark.parametrize("name", IDS)
@pytest.mark.parametrize("registered", ["by itself", "by a reader"])
def test_torchrl_reads_the_hidden_state_for_a_critic(name: str, registered: str):
    options = {"max_steps": 7, "expose_user_state": True}
    for make in (lambda: single(name, options), lambda: vector(name, options)):
        env: Any = GymWrapper(make(), categorical_action_encoding=True)
        if registered == "by itself":
            env = env.auto_register_info_dict()
        else:
            env.set_info_dict_reader(default_info_dict_reader())
        bare = make()
        actions = draw_actions(bare.action_space, 5)
        rollout = recorded(env, actions, seed=3)
        many = isinstance(bare, gymnasium.vector.VectorEnv)
        _, told = bare.reset(seed=3)
        for step, action in enumerate(actions):
            state = rollout[step]
            np.testing.assert_array_equal(state["user_state"].numpy(), told["user_state"])
            *_, told = bare.step(action)
            np.testing.assert_array_equal(state["next", "user_state"].numpy(), told["user_state"])
            assert state["user_state"].dtype == torch.float32
            assert state["user_state"].ndim == 1 + many


@pytest.mark.parametrize("name", IDS)
def test_torchrl_records_semantic_ids_and_understands_their_mask(name: str):
    """TorchRL draws token by token: use a policy that follows `ids.tree`, since most random codes name no item."""
    options = {"max_steps": 7}
    for make in (
        lambda: SemanticIdAction(single(name, options)),
        lambda: VectorSemanticIdAction(vector(name, options)),
    ):
        env = GymWrapper(make(), categorical_action_encoding=True)
        actions = draw_actions(make().action_space, 30)
        assert_recorded(recorded(env, actions, seed=3), make(), actions, seed=3)
    bare = SemanticIdAction(single(name, {"num_candidates": 20}))
    mask = bare.reset(seed=0)[1]["action_mask"]
    spec: Any = GymWrapper(bare, categorical_action_encoding=True).action_spec
    spec.update_mask(torch.as_tensor(mask))
    drawn = spec.rand((200,)).numpy()
    starts = np.cumsum([0, *bare.action_space.nvec[:-1]])  # type: ignore[attr-defined]
    assert mask[starts + drawn].all()
    assert not mask.all()
