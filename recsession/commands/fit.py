"""`recsession fit`: fit a user model to a logged dataset."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from tqdm import tqdm

from offline_data.fitting.held_out import HeldOut
from offline_data.fitting.maximum_likelihood import ParameterEstimate
from offline_data.fitting.open_bandit_fit import fit_open_bandit
from offline_data.fitting.user_fit import fit_user_model
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require_range
from recenv.files.atomic_files import claimed_file, write_json
from recenv.items.catalog import Catalog
from recsession.inputs import refuse_given
from recsession.lines import say

_MARK: Final = b"recsession-user-model"
"""What every file of a fit has in it."""


@dataclass(frozen=True)
class Fit:
    """Fit a user model to a log by maximum likelihood, and judge its predictions on sessions held out.

    The file has a full session config: gymnasium.make(..., config=FILE) and SessionConfig.from_file(FILE) take it.
    """

    log: str
    """Folder of a logged dataset, or `open-bandit`."""
    out: Path
    """JSON file of the config, the estimates with 95 % intervals, and the judgement."""
    path: Path | None = None
    """With `open-bandit`: folder that holds random/ and bts/."""
    campaign: str = "all"
    """With `open-bandit`: all, men or women."""
    holdout_fraction: float = 0.2
    """Share of the users (with `open-bandit`, of the rows) that judge the fit."""
    interest: Literal["mean_path", "profile"] = "mean_path"
    """What stands for the hidden interest: the observed profile, or the mean path from there."""
    seed: int = 0
    """Of the split."""

    def __post_init__(self) -> None:
        require_range("holdout_fraction", self.holdout_fraction, 0.0, 1.0, low_open=True, high_open=True)
        require_range("seed", self.seed, 0, 2**63 - 1, integer=True)

    files: ClassVar = ("out",)

    def run(self) -> None:
        """Fit, write and print."""
        with claimed_file(self.out, mark=_MARK):
            self._fit()

    def _fit(self) -> None:
        if self.log == "open-bandit":
            refuse_given(self, ("interest",), "--log open-bandit has clicks of single items, and no hidden interest")
            with claimed_file(self._items_file):
                self._open_bandit()
            return
        refuse_given(self, ("path", "campaign"), f"--log {self.log} is a dataset's folder, not open-bandit")
        dataset = LoggedDataset.open(self.log, verify=True)
        own = dataset.config.items is not None
        with claimed_file(self._items_file) if own else nullcontext():
            self._user_model(dataset)

    @property
    def _items_file(self) -> Path:
        return self.out.with_suffix(".items.npz")

    def _write(self, result: dict[str, Any], log: str, items: Catalog | None) -> None:
        if items is not None:
            items.save(self._items_file)
            # The two lie side by side, wherever they are moved.
            result["config"]["items"]["path"] = result["items"] = self._items_file.name
        write_json(self.out, {**result, "log": log}, mark=_MARK)

    def _user_model(self, dataset: LoggedDataset) -> None:
        with tqdm(unit="row", unit_scale=True, delay=0.1) as bar:
            fit = fit_user_model(
                dataset,
                holdout_fraction=self.holdout_fraction,
                seed=self.seed,
                interest=self.interest,
                progress=bar.update,
            )
        self._write(fit.as_dict(), self.log, fit.config.items)
        if not fit.exact:
            say(
                f"warning: the fit is approximate ({'; '.join(fit.approximations)}): the intervals are of the best "
                "approximating model and need not cover the world's values",
                "",
            )
        _print_estimates(fit.estimates)
        _print_held_out(fit.held_out, fit.notes)
        say(f"{self.out}: the user model; `config` in it is a session config")
        self._print_use()

    def _open_bandit(self) -> None:
        if self.path is None:
            raise InvalidInput("--log open-bandit has no --path; give the folder that holds random/ and bts/")
        fit = fit_open_bandit(self.path, self.campaign, holdout_fraction=self.holdout_fraction, seed=self.seed)
        self._write(fit.as_dict(), f"open-bandit {self.campaign}", fit.items)
        _print_estimates(fit.estimates)
        say("", f"{'position':<10}{'shown':>8}{'clicks':>8}{'rate':>10}   95 % interval")
        for row in fit.positions:
            rate = row["clicked"] / max(row["shown"], 1.0)
            say(
                f"{row['position'] + 1:<10}{row['shown']:8,.0f}{row['clicked']:8,.0f}{rate:10.5f}   "
                f"[{row['low']:.5f}, {row['high']:.5f}]"
            )
        _print_held_out(fit.held_out, fit.as_dict()["notes"])
        say(f"{self.out}: the click model; {self._items_file}: its items, for Catalog.load(...)")
        self._print_use()

    def _print_use(self) -> None:
        say(f"use it with `recsession simulate --config {shlex.quote(str(self.out))}`")


def _print_estimates(estimates: dict[str, ParameterEstimate]) -> None:
    say(f"{'parameter':<22}{'estimate':>10}   {'95 % interval':<22}{'in the log':>10}")
    for name, estimate in estimates.items():
        interval = "none" if estimate.low is None else f"[{estimate.low:.4f}, {estimate.high:.4f}]"
        logged = "" if estimate.logged is None else f"{estimate.logged:10.4f}"
        say(f"{name:<22}{estimate.value:10.4f}   {interval:<22}{logged}".rstrip())


def _print_held_out(held_out: HeldOut, notes: Sequence[str]) -> None:
    """Print how a fit predicts, and what else a reader should know."""
    curve = held_out.reliability
    say("", f"held out: {held_out.num_sessions:,} sessions, {held_out.num_steps:,} steps; nats a step")
    say(f"{'fit':<22}{held_out.log_likelihood:10.5f}")
    say(f"{'constant rate':<22}{held_out.baseline:10.5f}   the fit gains {held_out.gain:.5f}")
    if held_out.gain_on_logged is not None:
        say(f"{'log its own config':<22}{held_out.logged:10.5f}   the fit gains {held_out.gain_on_logged:.5f}")
    say(
        held_out.verdict,
        "",
        f"calibration error {curve.calibration_error:.5f}; {curve.chance_error:.5f} would be "
        "chance alone; # is the observed rate, | the predicted one",
    )
    say(*curve.lines(), "")
    for line in notes:
        say(f"note: {line}")
