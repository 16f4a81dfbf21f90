"""Our turn in off-policy evaluation: from columns a number a round, which are validated in each estimate."""

from __future__ import annotations

import sys

import numpy as np
from ope_rounds import LIMIT, play, rounds

from offline_data import ESTIMATORS, LoggedSessions


def main() -> None:
    log = rounds(*map(int, sys.argv[1:]))
    every = np.arange(len(log.action))
    with np.errstate(divide="ignore"):
        columns = {
            "reward": log.reward,
            "behavior_log_prob": np.log(log.propensity),
            "target_log_prob": np.log(log.policy[every, log.action]),
            "q_value": log.model[every, log.action],
            "state_value": np.einsum("ij,ij->i", log.policy, log.model),
        }
    del log, every

    def value(name: str) -> float:
        estimator = ESTIMATORS.get(name)
        given = {key: each for key, each in columns.items() if "log" in key or key in {*estimator.needs, "reward"}}
        config = estimator.Config(LIMIT) if hasattr(estimator, "limited") else None
        return estimator(config)(LoggedSessions(**given, discount=1.0)).value

    names = ("ips", "snips", "cips", "dm", "dr", "wdr", "switch_dr", "dr_os")
    play({name: lambda name=name: value(name) for name in names})


if __name__ == "__main__":
    main()
