"""What every wrapper of RecSession's environments shares: whom it may wrap, and batches of one."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper

from recenv.engine.session_batch import Observation
from recenv.errors import InvalidInput

Task = Literal["actions", "observations"]
_REASONS: dict[Task, str] = {
    "actions": "ProtoAction makes a slate of a point, and SemanticIdAction of codes",
    "observations": "FlatObservation makes features of the history, and HistoryTokens tokens",
}


class VectorForm(VectorWrapper):
    """A vector wrapper that says how it resets, in the attribute that TorchRL looks for."""

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """When a session that ended starts again."""
        return self.env.metadata["autoreset_mode"]


def check_wrapped(name: str, task: Task, env: object, *, vector: bool = False) -> None:
    """Refuse an environment of the other form, and a second wrapper of the same task.

    Args:
        name: of the wrapper's single form.
        task: what it changes; each wrapper class has it as an attribute.
        env: what is to be wrapped.
        vector: whether the wrapper is the vector form.

    Raises:
        InvalidInput: naming the wrapper that fits, where there is one.
    """
    own, other = (f"Vector{name}", name) if vector else (name, f"Vector{name}")
    if not isinstance(env, VectorEnv if vector else gymnasium.Env):
        takes = f"{own} takes a {'vector' if vector else 'single'} environment"
        if isinstance(env, gymnasium.Env | VectorEnv):
            raise InvalidInput(f"{takes} and env={env} is a {'single' if vector else 'vector'} one; use {other}")
        raise InvalidInput(f"{takes}, not a {type(env).__name__}; pass a RecSession environment")
    inner: Any = env
    while isinstance(inner, gymnasium.Wrapper | VectorWrapper):
        if getattr(type(inner), "task", None) == task:
            raise InvalidInput(f"{own} cannot wrap env={env}: {_REASONS[task]}; use one of them, once")
        inner = inner.env


def rows_of_one(observation: Observation) -> Observation:
    """Return a batch of one observation."""
    return {name: values[None] for name, values in observation.items()}
