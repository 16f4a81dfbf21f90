"""Several policies compared by the sessions of one log: estimates, paired differences, and what the truth says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

from agents.values.critics import CriticConfig
from offline_data.fitting.fit_file import SavedFit
from offline_data.ope.answers import Answer, answers_of, logged_answer
from offline_data.ope.differences import paired_difference
from offline_data.ope.judged import judge_estimates
from offline_data.ope.selection import Selection, choose
from offline_data.ope.sessions import LoggedSessions
from offline_data.store.dataset import LoggedDataset
from offline_data.store.folder_claim import FolderClaim, as_json
from offline_data.units import run_units
from recenv.errors import InvalidInput, require
from recenv.files.atomic_files import write_json
from recenv.plain_config import to_plain
from recenv.statistics import Interval
from recsession.experiments.sealed_unit import SealedUnit
from recsession.policy_tables import AUTO, GRADES
from recsession.policy_units import USER_MODEL, ColumnsUnit, Judged, TruthUnit, UserModelUnit, policies_to_judge


@dataclass(frozen=True, eq=False)
class PolicyComparison:
    """What is to be compared, and how."""

    files: Sequence[Path]
    """Of the policies."""
    dataset: LoggedDataset
    """The log."""
    estimators: tuple[str, ...]
    """By name."""
    critic: CriticConfig
    """Of each policy's fitted Q, and the discount of the rewards."""
    by_item: bool
    """Whether slates are unfolded into their items."""
    interval: str
    """Of each estimate, by name."""
    num_bootstrap: int
    """Resamples of an interval that is made of them."""
    num_truth_sessions: int | None
    """Of each policy in the log's simulator; None where the truth is not asked for."""
    user_model: SavedFit | None
    """A user model that was fitted to the log's world, in which the policies are simulated; None for none."""
    num_model_sessions: int
    """Of each policy in that."""
    seed: int
    """Of everything."""
    device: str
    """Of the networks."""
    chooses: bool = False
    """Whether one of the estimators is chosen by the log."""
    num_folds: int = 1
    """Of the log, each judged by a Q that was fitted to the others."""

    def __post_init__(self) -> None:
        simulated = {"--truth": self.num_truth_sessions is not None, "--user-model": self.user_model is not None}
        require(
            self.num_truth_sessions is None or self.dataset.has_world,
            f"{self.dataset.path} is of no simulated world, and nobody knows what a policy would have earned there; "
            "leave --truth out",
        )
        for option, given in simulated.items():
            require(
                not given or self.critic.discount == 1.0,
                f"critic.discount={self.critic.discount} discounts the estimates, and the simulator's returns are "
                f"plain sums; leave it at 1, or {option} out",
            )

    @cached_property
    def policies(self) -> list[Judged]:
        """The policies, checked; see `policies_to_judge`."""
        return policies_to_judge(self.files, self.dataset, self.device)

    def run(self, out: Path | None, workers: int, tell: Callable[[str], object] = str) -> dict[str, Any]:
        """Do what is not done yet and return the results; with a folder, leave `results.json` and `report.html` there.

        The log is compared with its checksums, which reads it whole, when the folder is known to be ours.

        Args:
            out: folder of the work; None for a temporary one.
            workers: processes.
            tell: called with each warning about a policy, before the work.

        Raises:
            InvalidInput: if `out` holds other work, or cannot be written; if the log was changed, or a policy cannot be
                judged by it.
        """
        if out is None:
            with TemporaryDirectory(prefix="recsession-ope-") as folder:
                return self._run(Path(folder), workers, tell)
        claim = FolderClaim(out, as_json(self._request), files=("results.json", "report.html"))
        with claim.held():
            results = self._run(out, workers, tell)
            write_json(out / "results.json", results)
            from recsession.policy_page import write_policy_page  # matplotlib, which no worker needs

            write_policy_page(results, out / "report.html")
            return results

    @property
    def _request(self) -> dict[str, Any]:
        """What a policy's files in the folder depend on, besides the policy."""
        return {
            "judged_by": self.dataset.manifest["checksum"],
            "critic": to_plain(self.critic),
            "seed": self.seed,
        }

    @property
    def _user_model(self) -> dict[str, str]:
        fit = self.user_model
        if fit is None:
            return {}
        return {USER_MODEL: f"{fit.file}, SHA-256 {fit.digest[:12]}..., {self.num_model_sessions:,} sessions"}

    def _run(self, folder: Path, workers: int, tell: Callable[[str], object]) -> dict[str, Any]:
        self.dataset.verify()
        for policy in self.policies:
            for warning in policy.warnings:
                tell(f"{policy.name}: {warning}")
        of_log = {"folder": folder, "log": self.dataset.path, "seed": self.seed, "device": self.device}
        of_model = {"estimators": self.estimators, "critic": self.critic, "num_folds": self.num_folds}
        columns = [ColumnsUnit(policy=each, **of_log, **of_model, by_item=self.by_item) for each in self.policies]
        count = self.num_truth_sessions
        truths = []
        if count is not None:
            truths = [TruthUnit(policy=each, **of_log, num_sessions=count) for each in self.policies]
        models = []
        if self.user_model is not None:
            of_model = {"fit": self.user_model, "num_sessions": self.num_model_sessions}
            models = [
                UserModelUnit(folder, each, **of_model, seed=self.seed, device=self.device) for each in self.policies
            ]
        units: list[SealedUnit] = [*columns, *truths, *models]
        total = sum(unit.cost for unit in units)
        with tqdm(total=total, unit="step", desc="fitted Q", delay=0.1, disable=total == 0) as bar:
            run_units(units, workers=workers, folder=folder, progress=bar.update, describe=bar.set_description)
        answers, sessions = [], None
        for unit in columns:
            sessions = unit.sessions(self.dataset)
            options = {"interval": self.interval, "num_bootstrap": self.num_bootstrap, "seed": self.seed}
            answers.append(answers_of(sessions, self.estimators, unit.policy.shared, **options))
        assert sessions is not None
        for answer, model in zip(answers, models, strict=False):  # none where no user model is given
            answer[USER_MODEL] = model.answer(sessions)
        found = [Interval(**truth.result()) for truth in truths] or [None] * len(columns)
        return {
            **compared(self.policies, answers, found, sessions, chooses=self.chooses),
            "log": str(self.dataset.path),
            "estimators": list(answers[0]),
            "making": {
                **self._request,
                "by": "item" if self.by_item else "step",
                "num_folds": self.num_folds,
                "interval": self.interval,
                "num_bootstrap": self.num_bootstrap,
                "num_truth_sessions": count,
                **self._user_model,
                "world hash": self.dataset.manifest.get("world_hash"),
            },
        }


def compared(
    policies: Sequence[Judged],
    answers: Sequence[dict[str, Answer | InvalidInput]],
    truths: Sequence[Interval | None],
    sessions: LoggedSessions,
    *,
    chooses: bool = False,
) -> dict[str, Any]:
    """Return estimates, differences and what the truth says of them as plain values.

    Args:
        policies: in order.
        answers: of each policy, by estimator.
        truths: of each policy; None where it is not asked for.
        sessions: of the log.
        chooses: whether to say which estimator is to be believed, and what the truth says of that as of `AUTO`.
    """
    logged, own = sessions.logged_return(), logged_answer(sessions)
    told: list[dict[str, Any]] = []
    for policy, each, truth in zip(policies, answers, truths, strict=True):
        estimates = {
            name: {"refused": str(answer)}
            if isinstance(answer, InvalidInput)
            else {
                **answer.estimate.as_dict(),
                "against": list(answer.estimate.against),
                "against_log": _difference(answer, own),
            }
            for name, answer in each.items()
        }
        plain = {"name": policy.name, "file": str(policy.file), "sha256": policy.digest}
        true = None if truth is None else truth.as_dict()
        told.append({**plain, "warnings": list(policy.warnings), "estimates": estimates, "truth": true})
    names = list(answers[0])
    judged = {name: _judged(name, told, logged.mean) for name in names} if truths[0] is not None else None
    selection = None
    if chooses:  # not the user model: what its simulation spreads is not its error
        by_log = [{name: each[name] for name in names if name != USER_MODEL} for each in answers]
        selection = choose(by_log)
    if selection is not None and judged is not None:
        judged[AUTO] = _judged(AUTO, [*map(_by_choice, told, selection.of_each)], logged.mean)
    return {
        "num_sessions": sessions.num_sessions,
        "logged": logged.as_dict(),
        "policies": told,
        "pairs": [pair for name in names for pair in _pairs(name, policies, answers)],
        "judged": judged,
        **({} if selection is None else {"selection": selection.as_dict()}),
    }


def _by_choice(policy: dict[str, Any], alone: Selection) -> dict[str, Any]:
    """Return a policy with the estimate that is chosen for it alone."""
    found = {"refused": alone.reason} if alone.estimator is None else policy["estimates"][alone.estimator]
    return {**policy, "estimates": {AUTO: found}}


def _pairs(
    name: str, policies: Sequence[Judged], answers: Sequence[dict[str, Answer | InvalidInput]]
) -> Iterator[dict[str, Any]]:
    """Yield the difference of each two policies by an estimator, the better first."""
    known = [
        (policy.name, answer)
        for policy, each in zip(policies, answers, strict=True)
        if isinstance(answer := each[name], Answer)
    ]
    for one, two in combinations(known, 2):
        (first, a), (other, b) = sorted((one, two), key=lambda pair: -pair[1].estimate.value)
        grade = max((each.estimate.verdict.grade for each in (a, b)), key=GRADES.index)
        yield {"estimator": name, "first": first, "other": other, **_difference(a, b), "verdict": grade}


def _difference(one: Answer, two: Answer) -> dict[str, Any]:
    """Return a difference with its interval and chance; None where one of the two has no interval of its own."""
    found = paired_difference(one.influence, two.influence).as_dict()
    known = one.estimate.ends is not None and two.estimate.ends is not None
    return found if known else {**dict.fromkeys(found), "value": found["value"]}


def _judged(name: str, told: Sequence[dict[str, Any]], logged: float) -> dict[str, Any] | None:
    """Return what the truth says of an estimator; None where it answers for no policy."""
    known = [each for each in told if "value" in each["estimates"][name]]
    if not known:
        return None
    found, truth = [each["estimates"][name] for each in known], [each["truth"]["mean"] for each in known]
    judgement = judge_estimates(
        [each["value"] for each in found],
        truth,
        logged,
        low=np.array([each["low"] for each in found], np.float64),
        high=np.array([each["high"] for each in found], np.float64),
        called_better=[(each["against_log"]["low"] or -np.inf) > 0.0 for each in found],
    )
    return judgement.as_dict()
