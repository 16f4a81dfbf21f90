"""RecoGym's turn (Rohde et al. 2018): one product of 1,000 a step, organic sessions in between."""

# pyright: reportMissingImports=false
from __future__ import annotations

import sys
from importlib.util import find_spec
from itertools import cycle
from types import ModuleType
from typing import Any

import numpy as np
from turns import Contender, take_turns

# Its package imports every agent, and with them torch; the environments need of them the name of a type.
spec = find_spec("recogym")
if spec is None:
    raise ModuleNotFoundError("No module named 'recogym'")
package: Any = ModuleType("recogym")
package.__path__ = list(spec.submodule_search_locations or ())
agents: Any = ModuleType("recogym.agents")
agents.Agent = object
sys.modules.update({"recogym": package, "recogym.agents": agents})

from recogym.envs.reco_env_v1 import RecoEnv1, env_1_args  # noqa: E402


def main() -> None:
    env = RecoEnv1()
    env.init_gym({**env_1_args, "num_products": 1000, "random_seed": 0})
    products = cycle(np.random.default_rng(0).integers(1000, size=10_000).tolist())

    def begin() -> None:
        env.reset()
        # The first step shows the organic session that precedes the first recommendation.
        env.step(None)

    def play() -> int:
        *_, done, _ = env.step(next(products))
        if done:
            begin()
        return 1

    begin()
    take_turns([Contender("RecoGym, 1 of 1,000", 1, play)])


if __name__ == "__main__":
    main()
