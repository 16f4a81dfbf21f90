"""Open Bandit Pipeline's turn (Saito et al. 2020, arXiv:2008.07146): from distributions over all actions."""

# pyright: reportMissingImports=false
from __future__ import annotations

import sys
from typing import Any

import numpy as np
from obp import ope
from ope_rounds import LIMIT, play, rounds


def main() -> None:
    log = rounds(*map(int, sys.argv[1:]))
    given = {
        "reward": log.reward,
        "action": log.action,
        "position": np.zeros(len(log.action), int),
        "pscore": log.propensity,
        "action_dist": log.policy[:, :, None],
    }
    model = {"estimated_rewards_by_reg_model": log.model[:, :, None]}

    def value(estimator: Any, arguments: dict[str, Any]) -> float:
        return float(estimator.estimate_policy_value(**arguments))

    contenders = {
        "ips": (ope.InverseProbabilityWeighting(), given),
        "snips": (ope.SelfNormalizedInverseProbabilityWeighting(), given),
        "cips": (ope.InverseProbabilityWeighting(lambda_=LIMIT), given),
        "dm": (ope.DirectMethod(), given | model),
        "dr": (ope.DoublyRobust(), given | model),
        "wdr": (ope.SelfNormalizedDoublyRobust(), given | model),
        "switch_dr": (ope.SwitchDoublyRobust(lambda_=LIMIT), given | model),
        "dr_os": (ope.DoublyRobustWithShrinkage(lambda_=LIMIT), given | model),
    }
    play({name: lambda both=both: value(*both) for name, both in contenders.items()})


if __name__ == "__main__":
    main()
