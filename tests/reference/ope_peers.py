"""Writes ope_peers.json: what Open Bandit Pipeline and SCOPE-RL estimate from the logs of `ope_problems`.

It runs in an environment of its own, by what ope_peers.txt names: obp asks for an older Python than it needs.

    python -m venv peers
    peers/bin/pip install --no-deps --ignore-requires-python -r tests/reference/ope_peers.txt
    peers/bin/python tests/reference/ope_peers.py

State-marginal self-normalised dr is left out, which begins with the value of the second state, and the other marginal
dr are asked where the model's last value is 0: they shift the values by one state and insert the 0 behind the last
before the last one.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import obp.ope as obp
import ope_problems
from scope_rl.ope.discrete import basic_estimators as scope
from scope_rl.ope.discrete import marginal_estimators as marginal


def bandit_values() -> dict[str, float]:
    """Return obp's values of the bandit."""
    log = ope_problems.bandit()
    action, rows = log["action"], np.arange(len(log["action"]))
    given: dict[str, Any] = {
        "reward": log["reward"],
        "action": action,
        "pscore": log["behavior"][rows, action],
        "action_dist": log["target"][:, :, None],
        "position": np.zeros(len(rows), int),
        "estimated_rewards_by_reg_model": log["model"][:, :, None],
    }
    embeddings: dict[str, Any] = {
        **given,
        "action_embed": log["embedding"],
        "pi_b": log["behavior"][:, :, None],
        "p_e_a": log["embedding_of"].transpose(0, 2, 1),
        "context": np.zeros((len(rows), 1)),
    }
    found = {
        "dm": obp.DirectMethod(),
        "ips": obp.InverseProbabilityWeighting(),
        "clipped 1.5": obp.InverseProbabilityWeighting(lambda_=1.5),
        "snips": obp.SelfNormalizedInverseProbabilityWeighting(),
        "dr": obp.DoublyRobust(),
        "clipped dr 1.5": obp.DoublyRobust(lambda_=1.5),
        "sndr": obp.SelfNormalizedDoublyRobust(),
        "switch dr 1.5": obp.SwitchDoublyRobust(lambda_=1.5),
        "dr os 2.0": obp.DoublyRobustWithShrinkage(lambda_=2.0),
    }
    values = {name: estimator.estimate_policy_value(**given) for name, estimator in found.items()}
    weighing = obp.MarginalizedInverseProbabilityWeighting(n_actions=log["target"].shape[1])
    return {**values, "mips": weighing.estimate_policy_value(**embeddings)}


def slate_values() -> dict[str, float]:
    """Return obp's values of the slates."""
    log = ope_problems.slates()
    count, size, actions = log["behavior"].shape
    place = (*np.ix_(range(count), range(size)), log["action"])
    cascade = {name: log[name][place].cumprod(axis=1) for name in ("behavior", "target")}
    given: dict[str, Any] = {
        "slate_id": np.repeat(np.arange(count), size),
        "position": np.tile(np.arange(size), count),
        "action": log["action"].ravel(),
        "reward": log["reward"].ravel(),
        "pscore": np.repeat(cascade["behavior"][:, -1], size),
        "evaluation_policy_pscore": np.repeat(cascade["target"][:, -1], size),
        "pscore_item_position": log["behavior_item"].ravel(),
        "evaluation_policy_pscore_item_position": log["target_item"].ravel(),
        "pscore_cascade": cascade["behavior"].ravel(),
        "evaluation_policy_pscore_cascade": cascade["target"].ravel(),
        "q_hat": log["model"].ravel(),
        "evaluation_policy_action_dist": log["target"].ravel(),
    }
    found = {
        "sips": obp.SlateStandardIPS(len_list=size),
        "iips": obp.SlateIndependentIPS(len_list=size),
        "rips": obp.SlateRewardInteractionIPS(len_list=size),
        "snsips": obp.SelfNormalizedSlateStandardIPS(len_list=size),
        "sniips": obp.SelfNormalizedSlateIndependentIPS(len_list=size),
        "snrips": obp.SelfNormalizedSlateRewardInteractionIPS(len_list=size),
        "cascade dr": obp.SlateCascadeDoublyRobust(len_list=size, n_unique_action=actions),
    }
    return {name: estimator.estimate_policy_value(**given) for name, estimator in found.items()}


def session_values() -> dict[str, float]:
    """Return SCOPE-RL's values of the sessions, discounted by 0.9."""
    given = _session_arrays(ope_problems.sessions())
    worthless = _session_arrays(ope_problems.sessions(ends_worthless=True))
    basic = {
        "dm": scope.DirectMethod(),
        "tis": scope.TrajectoryWiseImportanceSampling(),
        "pdis": scope.PerDecisionImportanceSampling(),
        "sntis": scope.SelfNormalizedTIS(),
        "snpdis": scope.SelfNormalizedPDIS(),
        "dr": scope.DoublyRobust(),
        "sndr": scope.SelfNormalizedDR(),
        "drl, without discount": marginal.DoubleReinforcementLearning(),
    }
    values = {name: estimator.estimate_policy_value(**given) for name, estimator in basic.items()}
    for steps in (1, 2):
        of_steps = {
            "sm-is": (marginal.StateMarginalIS(), given),
            "sm-snis": (marginal.StateMarginalSNIS(), given),
            "sm-dr": (marginal.StateMarginalDR(), worthless),
            "sam-is": (marginal.StateActionMarginalIS(), given),
            "sam-snis": (marginal.StateActionMarginalSNIS(), given),
            "sam-dr": (marginal.StateActionMarginalDR(), worthless),
            "sam-sndr": (marginal.StateActionMarginalSNDR(), worthless),
        }
        for name, (estimator, log) in of_steps.items():
            values[f"{name} {steps}"] = estimator.estimate_policy_value(n_step_pdis=steps, **log)
    return values


def _session_arrays(log: dict[str, np.ndarray]) -> dict[str, Any]:
    count, steps, actions = log["behavior"].shape
    place = (*np.ix_(range(count), range(steps)), log["action"])
    return {
        "step_per_trajectory": steps,
        "action": log["action"].ravel(),
        "reward": log["reward"].ravel(),
        "pscore": log["behavior"][place].ravel(),
        "evaluation_policy_action_dist": log["target"].reshape(-1, actions),
        "state_action_value_prediction": log["model"].reshape(-1, actions),
        "initial_state_value_prediction": (log["model"] * log["target"])[:, 0].sum(axis=1),
        "state_marginal_importance_weight": log["state_weight"].ravel(),
        "state_action_marginal_importance_weight": log["state_action_weight"].ravel(),
        "gamma": 0.9,
    }


def main() -> None:
    """Write the values beside this file."""
    values = {
        "versions": {name: version(name) for name in ("obp", "scope-rl", "numpy")},
        "bandit": bandit_values(),
        "slates": slate_values(),
        "sessions": session_values(),
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(values, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
