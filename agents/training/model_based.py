"""What a policy is worth in a user model that was fitted to a log: simulated, and as right as the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents.policies.base import Policy
from agents.training.evaluation import roll_out
from offline_data.fitting.fit_file import doubts_of
from offline_data.fitting.user_fit import UserFit, fit_user_model
from offline_data.store.dataset import LoggedDataset
from recenv.errors import require
from recenv.session_config import SessionConfig
from recenv.statistics import Interval
from recenv.world import make_world


@dataclass(frozen=True)
class UserModelValue:
    """A simulated value, and how well the model that it was simulated in predicts what it has not seen.

    Examples:
        >>> from agents import GaussianPolicyConfig, SessionSpace, make_policy, value_in_user_model
        >>> from offline_data import LogRequest, collect
        >>> log = collect("log", LogRequest(num_sessions=100))
        >>> policy = make_policy(SessionSpace.of_log(log), GaussianPolicyConfig())
        >>> answer = value_in_user_model(policy, log, num_sessions=20)
        >>> answer.simulated.low < answer.simulated.mean < answer.simulated.high, len(answer.doubts) > 0
        (True, True)
    """

    simulated: Interval
    """Mean return of simulated sessions, undiscounted, with its 95 % interval: of the simulation, and not of the
    model's error."""
    fit: UserFit
    """The model, with its calibration on held-out sessions."""

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why the value may be off: what the fit leaves out of the world, what it held, and how it predicts."""
        held_out = self.fit.held_out
        return doubts_of(held_out.gain.low, held_out.verdict, self.fit.approximations, self.fit.notes)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values: the value, its doubts, and the calibration."""
        return {
            "simulated": self.simulated.as_dict(),
            "doubts": list(self.doubts),
            "held_out": self.fit.held_out.as_dict(),
        }


def value_in_user_model(
    policy: Policy, dataset: LoggedDataset, *, fit: UserFit | None = None, num_sessions: int = 2000, seed: int = 0
) -> UserModelValue:
    """Return a policy's value, sampled, in a user model fitted to a log.

    Nothing is weighed, and no propensity read: it is as good as the model, and its doubts say what is known of that.

    Args:
        policy: what is to be judged.
        dataset: a log of a simulated world, whose items, users and rewards stay as they are but for what is fitted.
        fit: the model; None fits one to the log by `fit_user_model`.
        num_sessions: simulated.
        seed: of the fit's split, the simulated users and the policy's draws.

    Raises:
        InvalidInput: for a log that was read in, one whose user model has no likelihood, or a policy of another space.
    """
    require(
        dataset.has_world,
        f"{dataset.path} was read in, and has no world whose users a model could stand for; choose dm, or an estimator "
        "that weighs",
    )
    fit = fit_user_model(dataset, seed=seed) if fit is None else fit
    return UserModelValue(simulated_value(policy, fit.config, num_sessions=num_sessions, seed=seed), fit)


def simulated_value(policy: Policy, config: SessionConfig, *, num_sessions: int, seed: int) -> Interval:
    """Return a policy's mean return, sampled, in the world of a fitted user model; see `UserModelValue.simulated`.

    Args:
        policy: what is to be judged.
        config: of the model.
        num_sessions: simulated.
        seed: of the simulated users and the policy's draws.

    Raises:
        InvalidInput: for a policy of another space.
    """
    role = "value in a user model"
    return Interval.of(roll_out(policy, make_world(config), num_sessions, seed, deterministic=False, role=role))
