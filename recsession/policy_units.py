"""What is slow about judging policies by a log, a fitted Q and roll-outs, as units of work that leave files.

A file's name has the SHA-256 of the policy: a folder of such work goes on where it stopped, and takes more policies
later (see `offline_data.units`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from agents.nn.tensor_files import load_tensors, save_tensors
from agents.policies.base import Policy
from agents.policies.files import load_policy
from agents.training.evaluation import log_sessions, models_read, num_steps, policy_columns, roll_out
from agents.training.item_sessions import sessions_of_items, target_prefixes
from agents.training.model_based import simulated_value
from agents.values.critics import CriticConfig
from agents.values.fitted_q import require_fit
from offline_data.fitting.fit_file import SavedFit
from offline_data.ope.answers import Answer
from offline_data.ope.estimate import Estimate
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.statistics import by_user
from offline_data.ope.trust import Verdict
from offline_data.store.dataset import LoggedDataset, file_digest
from offline_data.units import Progress
from recenv.errors import InvalidInput, require
from recenv.statistics import Interval
from recsession.experiments.sealed_unit import SealedUnit
from recsession.judging import shared_share, warn_of_shared

USER_MODEL: Final = "user model"
"""What a value in a fitted user model is called among the estimators."""
_SIMULATED: Final = "a fitted user model's word, which no reward checks: it ranks policies"
_PREFIXES: Final = "target_prefix_log_prob"
_REMEDY: Final = "remove it, and run the same command again to find it anew"


@dataclass(frozen=True)
class Judged:
    """A policy that is to be judged."""

    name: str
    """Short, and no other's."""
    file: Path
    """Where it lies."""
    digest: str
    """SHA-256 of its file."""
    shared: float | None
    """Share of the log's sessions that it learned from; None where it does not know what it learned from."""
    warnings: tuple[str, ...]
    """What to do about those, if there are any."""


@dataclass(frozen=True)
class ColumnsUnit(SealedUnit):
    """What a policy, and its fitted Q, say of a log's rows."""

    folder: Path
    """Of all that is known of the policies."""
    policy: Judged
    """Which."""
    log: Path
    """The log's folder."""
    estimators: tuple[str, ...]
    """What will be asked for, as `policy_columns` takes it."""
    critic: CriticConfig
    """Of the fitted Q, and the discount of the rewards."""
    by_item: bool
    """Whether slates are unfolded into their items."""
    num_folds: int
    """Of the log, each judged by a Q that was fitted to the others."""
    seed: int
    """Of the fitted Q, and of the folds."""
    device: str
    """Of the networks."""

    @property
    def name(self) -> str:
        """The stem of its files."""
        read = models_read(self.estimators)
        folds = [f"{self.num_folds}-folds"] if read and self.num_folds > 1 else []
        items = ["items"] if self.by_item else []
        return "-".join([self.policy.digest[:16], *items, *(read or ["weights"]), *folds])

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        return self.policy.name

    @property
    def cost(self) -> int:
        """Gradient steps."""
        return num_steps(self.estimators, self.critic, self.num_folds)

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Write the columns beside the result, and return their names."""
        actor, dataset = load_policy(self.policy.file, self.device), LoggedDataset.open(self.log)
        columns = policy_columns(
            actor,
            dataset,
            estimators=self.estimators,
            config=self.critic,
            seed=self.seed,
            device=self.device,
            progress=progress,
            num_folds=self.num_folds,
        )
        if self.by_item:
            columns[_PREFIXES] = target_prefixes(actor, dataset, device=self.device)
        save_tensors(self._columns, "columns", {name: torch.from_numpy(values) for name, values in columns.items()})
        return {"policy": self.policy.digest, "columns": sorted(columns)}

    def sessions(self, dataset: LoggedDataset) -> LoggedSessions:
        """Return the log's sessions with the columns, of items where that is asked for.

        Raises:
            InvalidInput: if a file is damaged, or is not of this log.
        """
        columns = load_tensors(self._columns, "columns", _REMEDY)
        told = sorted(columns) == self.result()["columns"]
        require(told, f"{self._columns} holds {', '.join(columns)}, which {self.result_file} does not say; {_REMEDY}")
        arrays = {name: each.numpy() for name, each in columns.items()}
        prefixes = arrays.pop(_PREFIXES, None)
        sessions = log_sessions(dataset, arrays, discount=self.critic.discount)
        return sessions if prefixes is None else sessions_of_items(sessions, dataset, prefixes)

    @property
    def _columns(self) -> Path:
        return self.folder / f"{self.name}.columns"


@dataclass(frozen=True)
class TruthUnit(SealedUnit):
    """What a policy earns in the simulator that the log came from."""

    folder: Path
    """Of all that is known of the policies."""
    policy: Judged
    """Which."""
    log: Path
    """The log's folder."""
    num_sessions: int
    """Fresh users."""
    seed: int
    """Root seed of users and of the policy's draws."""
    device: str
    """Of the network."""

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.policy.digest[:16]}-truth-{self.num_sessions}"

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        return f"{self.policy.name} in the simulator"

    @property
    def cost(self) -> int:
        """None beside gradient steps."""
        return 0

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Roll the policy out, sampled as the estimates take it."""
        actor, world = load_policy(self.policy.file, self.device), LoggedDataset.open(self.log).world
        returns = roll_out(actor, world, self.num_sessions, self.seed, deterministic=False, role="truth")
        return Interval.of(returns).as_dict()


@dataclass(frozen=True)
class UserModelUnit(SealedUnit):
    """What a policy earns in a user model that was fitted to a log."""

    folder: Path
    """Of all that is known of the policies."""
    policy: Judged
    """Which."""
    fit: SavedFit
    """The model."""
    num_sessions: int
    """Simulated."""
    seed: int
    """Of the simulated users and the policy's draws."""
    device: str
    """Of the network."""

    @property
    def name(self) -> str:
        """The stem of its file."""
        return f"{self.policy.digest[:16]}-in-{self.fit.digest[:16]}-{self.num_sessions}"

    @property
    def title(self) -> str:
        """What a progress bar calls it."""
        return f"{self.policy.name} in the user model"

    @property
    def cost(self) -> int:
        """None beside gradient steps."""
        return 0

    def measure(self, progress: Progress) -> dict[str, Any]:
        """Simulate the policy there, sampled as the estimates take it."""
        actor = load_policy(self.policy.file, self.device)
        return simulated_value(actor, self.fit.config, num_sessions=self.num_sessions, seed=self.seed).as_dict()

    def answer(self, sessions: LoggedSessions) -> Answer:
        """Return the result as an estimate without an interval, whose doubts are those of the fit.

        It is of no logged session, so that each user of the log counts alike.

        Args:
            sessions: of the log.
        """
        value, count = self.result()["mean"], sessions.num_sessions
        num_units = len(by_user(np.empty((count, 0)), sessions.user_id))
        found = SimulatedEstimate(
            USER_MODEL, value, None, None, count, count, no_interval=_SIMULATED, of_fit=self.fit.doubts
        )
        return Answer(found, np.full(num_units, value))


@dataclass(frozen=True)
class SimulatedEstimate(Estimate):
    """A value in a fitted user model, among estimates: no logged reward checks it, and it has no interval."""

    of_fit: tuple[str, ...] = ()
    """What the fit says against itself."""

    @property
    def verdict(self) -> Verdict:
        """Untrusted, for the fit's own reasons."""
        return Verdict("untrusted", (_SIMULATED, *self.of_fit))


def policies_to_judge(files: Sequence[Path], dataset: LoggedDataset, device: str) -> list[Judged]:
    """Return the policies in files, each fit to be judged by a log.

    Raises:
        InvalidInput: for a file that is no policy or twice the same, or a policy of other items or actions than the
            log's; the message names the file.
    """
    found: dict[str, Judged] = {}
    for file, name in zip(files, _short_names(files), strict=True):
        actor = load_policy(file, device)
        if len(files) > 1:
            _require_fit(actor, file, dataset)
        digest = file_digest(file)
        twice = found.get(digest)
        require(twice is None, f"{file} is the same policy as {twice.file if twice else ''}; leave one of them out")
        found[digest] = Judged(
            name, file, digest, shared_share(actor, dataset), tuple(warn_of_shared(actor, file, dataset))
        )
    return list(found.values())


def _require_fit(actor: Policy, file: Path, dataset: LoggedDataset) -> None:
    try:
        require_fit(actor, dataset)
    except InvalidInput as error:
        raise InvalidInput(f"{file} cannot be judged by this log: {error}; or leave it out") from error


def _short_names(files: Sequence[Path]) -> list[str]:
    """Return a name for each file: its folder's where it is called policy, as `recsession train` calls it."""
    names = [file.resolve().parent.name if file.name == "policy" else file.stem for file in files]
    return names if len(set(names)) == len(names) else [os.fspath(file) for file in files]
