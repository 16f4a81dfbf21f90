"""`recsession ope`: estimate from a log of another what policies are worth, and which is better."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final, Literal

from tqdm import tqdm

from agents.policies.files import load_policy
from agents.training.evaluation import MAX_FOLDS, num_steps, off_policy_sessions, usual_estimators
from agents.training.item_sessions import require_prefixes, sessions_of_items, target_prefixes
from agents.training.log_columns import lacking
from agents.training.trainer import check_device
from agents.values.critics import FITTED_Q, CriticConfig
from agents.values.fitted_q import usual_fitted_q
from offline_data.dial.quality import MAX_SESSIONS
from offline_data.families import ESTIMATORS, INTERVALS
from offline_data.fitting.fit_file import SavedFit
from offline_data.interop.open_bandit_judging import judge_open_bandit
from offline_data.ope.answers import Answer, answers_of
from offline_data.ope.bootstrap import MAX_BOOTSTRAP
from offline_data.ope.estimate import Estimate, estimate
from offline_data.ope.selection import Selection, choose
from offline_data.ope.sessions import LoggedSessions
from offline_data.ope.trust import disagreement, holds_one
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require, require_range
from recenv.statistics import Interval
from recsession.inputs import refuse_given
from recsession.judging import shared_share, warn_of_shared
from recsession.lines import say
from recsession.policy_comparison import PolicyComparison
from recsession.policy_tables import AUTO, comparison_lines

_WEIGHT: Final = "mean weight"
_OFF_ONE: Final = (
    "   is not 1: the policy learned from these sessions or does what the log never shows, or propensities are wrong"
)


@dataclass(frozen=True)
class Ope:
    """Estimate a policy's value from a log of another, or of several, or read the Open Bandit Dataset.

    Judge by sessions that the policy did not learn from, see `recsession split`: others flatter it, and are warned of.
    Of one policy are printed what the log's own policy earned, the mean of the weights of whole sessions, which is 1
    where the log shows what the policy would do, and each estimate with its interval. Of --policies, each estimate
    beside its difference to what the log's own policy earned in the same sessions, and to the other policies; with
    --truth, in a simulated log, what they are really worth, and how good the estimates were at saying so.
    """

    log: str
    """Folder of a logged dataset, or `open-bandit`."""
    policy: Path | None = None
    """Policy file of `recsession train`; its value as a sampled policy is estimated."""
    policies: tuple[Path, ...] = ()
    """Several of them, to be compared with each other and with what the log's own policy earned."""
    truth: bool = False
    """Roll the policies out in the simulator that the log came from, and judge the estimates by that."""
    user_model: Path | None = None
    """File of `recsession fit`, of a log of the same simulated world: adds a row `user model`, what each policy earns
    in that. It is as right as the model, and has no interval: it ranks policies."""
    num_truth_sessions: int = 2000
    """Fresh users of each, with --truth and with --user-model."""
    out: Path | None = None
    """Folder for results.json and report.html, and for what each policy's fitted Q says: the same command goes on where
    it stopped, and more policies may be asked for later."""
    workers: int = 1
    """Processes that share the policies; the results do not depend on it."""
    path: Path | None = None
    """With `open-bandit`: folder that holds random/ and bts/."""
    campaign: str = "all"
    """With `open-bandit`: all, men or women."""
    estimators: tuple[str, ...] = ()
    """Names of registered estimators, or MODULE:CLASS; by default all that read what any log has, or those of them that
    a log without propensities allows. Where none reads a model, as snips and pdsnips do not, none is fitted. With
    `auto` among them one is chosen by the log, of the others that are named, or of all, and marked with the reason."""
    by: Literal["step", "item"] = "step"
    """What is weighed: steps, of which a slate is one action, or, in a log of slates that knows the propensity of each
    position, items: what a position earned by those down to it, which is less wild, and right where users do not look
    at what is below before they act. A fitted Q knows whole slates alone: by item there are estimators without one."""
    interval: str = "student"
    """Of each estimate: a registered interval that needs no bounds (student, percentile, bca, studentized, ...), or
    MODULE:CLASS."""
    num_bootstrap: int = 1000
    """Resamplings of users with all of their sessions, where an interval is made of them."""
    num_folds: int = 1
    """Of the log's users. With 2, each half is judged by a Q that was fitted to the other, in as many steps together: a
    small log a Q knows by heart, and intervals of `dr`, `wdr` and `drl`, made of its errors there, are too narrow."""
    seed: int = 0
    """Of the bootstrap, the folds and the fitted Q evaluation."""
    device: str = "cpu"
    """cpu or cuda."""
    critic: CriticConfig = FITTED_Q
    """The fitted Q evaluation that `dm`, `dr` and `wdr` read. Where nothing of it is set, a small log of short sessions
    has fewer rounds: 10, or as many as sessions have steps, or as pass ten times over the log."""

    def __post_init__(self) -> None:
        require_range("seed", self.seed, 0, 2**31 - 1, integer=True)
        require_range("num_bootstrap", self.num_bootstrap, 2, MAX_BOOTSTRAP, integer=True)
        require_range("num_folds", self.num_folds, 1, MAX_FOLDS, integer=True)
        require_range("num_truth_sessions", self.num_truth_sessions, 2, MAX_SESSIONS, integer=True)
        require_range("workers", self.workers, 1, 256, integer=True)

    def run(self) -> None:
        """Estimate and print."""
        check_device(self.device)
        if self.log == "open-bandit":
            self._judge_open_bandit()
            return
        refuse_given(self, ("path", "campaign"), f"--log {self.log} is a dataset's folder, not open-bandit")
        files = self._files()
        INTERVALS.resolve(self.interval)
        chooses, given = AUTO in self.estimators, tuple(name for name in self.estimators if name != AUTO)
        asked = {name: ESTIMATORS.resolve(name) for name in given or usual_estimators()}
        if self.by == "item":
            modelled = [name for name, part in asked.items() if part.reads_model()]
            require(
                not given or not modelled,
                f"{', '.join(modelled)} read a fitted Q, which knows whole slates and no items; leave --by item out, "
                "or choose of ips, pdis, cips, snips, pdsnips",
            )
            asked = {name: part for name, part in asked.items() if name not in modelled}
        fits = any(part.reads_model() for part in asked.values())
        if not fits:
            unread = {entry.name for entry in fields(CriticConfig)} - {"discount"}
            why = "--by item fits no model" if self.by == "item" else f"--estimators {' '.join(asked)} fit no model"
            refuse_given(self.critic, unread, why, prefix="critic.", usual=FITTED_Q)
            refuse_given(self, ("num_folds",), why)
        dataset = LoggedDataset.open(self.log)
        if self.by == "item":
            require_prefixes(dataset)
        missing = lacking("propensities", dataset)
        left_out = [name for name, part in asked.items() if missing and not given and part.weighs()]
        names = tuple(name for name in asked if name not in left_out)
        critic = usual_fitted_q(dataset) if self.critic == FITTED_Q else self.critic
        notes = []
        if left_out:
            notes.append(f"without propensities nothing can be weighed, as {', '.join(left_out)} do: {missing}")
        if dataset.propensities == "estimated":
            notes.append("the log's propensities are estimates: what rests on them is biased as far as they are wrong")
        if self.policy is not None and self._alone:
            self._estimate(self.policy, dataset, names, critic, notes)
            return
        comparison = PolicyComparison(
            files,
            dataset,
            names,
            critic,
            by_item=self.by == "item",
            interval=self.interval,
            num_bootstrap=self.num_bootstrap,
            num_truth_sessions=self.num_truth_sessions if self.truth else None,
            user_model=None if self.user_model is None else SavedFit.of_file(self.user_model, dataset),
            num_model_sessions=self.num_truth_sessions,
            seed=self.seed,
            device=self.device,
            chooses=chooses,
            num_folds=self.num_folds,
        )
        results = comparison.run(self.out, self.workers, say)
        say(*notes, *comparison_lines(results))
        if self.out is not None:
            say(f"report: {self.out / 'report.html'}")

    @property
    def _alone(self) -> bool:
        """Whether one policy is judged by the log alone: what is printed then is of that one."""
        return self.policy is not None and self.out is None and not self.truth and self.user_model is None

    def _files(self) -> tuple[Path, ...]:
        """Return the files of the policies that are asked for."""
        require(
            self.policy is None or not self.policies,
            "--policy is one policy and --policies are several; give all of them to --policies",
        )
        files = self.policies or (() if self.policy is None else (self.policy,))
        require(
            len(files) > 0,
            f"--log {self.log} has no --policy; give a policy file of `recsession train`, or several to --policies",
        )
        if not self.truth and self.user_model is None:
            refuse_given(self, ("num_truth_sessions",), "without --truth and --user-model nothing is rolled out")
        if self._alone:
            refuse_given(self, ("workers",), "one policy is one piece of work")
        return files

    def _judge_open_bandit(self) -> None:
        read = {"log", "path", "campaign", "estimators", "num_bootstrap", "seed"}
        unread = {entry.name for entry in fields(self)} - read
        refuse_given(self, unread, "--log open-bandit compares its own two policies")
        require(
            AUTO not in self.estimators,
            "--estimators auto chooses for the policies of a log; name those of open-bandit, or leave --estimators out",
        )
        if self.path is None:
            raise InvalidInput("--log open-bandit has no --path; give the folder that holds random/ and bts/")
        options = {"estimators": self.estimators or None, "seed": self.seed, "num_bootstrap": self.num_bootstrap}
        for found in judge_open_bandit(self.path, self.campaign, **options):
            say(f"{found.policy}: {_rate(found.on_policy)} clicks a shown item in its own log")
            say(f"  from the {found.log} log, with the error relative to that:")
            width = max(len(each.estimator) for each in found.estimates)
            for each, error in zip(found.estimates, found.relative_errors, strict=True):
                worth = _worth(each) if each.no_interval is None else each.no_interval
                say(f"  {each.estimator:<{width}}  {_rate(each)}   error {_share(error)}   {worth}")

    def _estimate(
        self,
        file: Path,
        dataset: LoggedDataset,
        names: tuple[str, ...],
        critic: CriticConfig,
        notes: list[str],
    ) -> None:
        """Estimate one policy's value, and print it."""
        dataset.verify()
        actor = load_policy(file, self.device)
        say(*warn_of_shared(actor, file, dataset))
        steps = num_steps(names, critic, self.num_folds)
        with tqdm(total=steps, unit="step", desc="fitted Q", delay=0.1, disable=steps == 0) as bar:
            sessions = off_policy_sessions(
                actor,
                dataset,
                estimators=names,
                config=critic,
                seed=self.seed,
                device=self.device,
                progress=bar.update,
                num_folds=self.num_folds,
            )
        if self.by == "item":
            sessions = sessions_of_items(sessions, dataset, target_prefixes(actor, dataset, device=self.device))
        options = {"interval": self.interval, "num_bootstrap": self.num_bootstrap, "seed": self.seed}
        shared = shared_share(actor, dataset)
        if AUTO in self.estimators:
            found = answers_of(sessions, names, shared, **options)
            selection = choose([found])
            out = [f"{each.estimator}: {each.out}" for each in selection.candidates if each.out is not None]
            say(*notes, *(out if selection.estimator is not None else [selection.reason]))
            known = {name: each.estimate for name, each in found.items() if isinstance(each, Answer)}
            self._tell(sessions, known, selection)
            return
        answers = {name: estimate(name, sessions, shared=shared, **options) for name in names}
        say(*notes)
        self._tell(sessions, disagreement(answers))

    def _tell(self, sessions: LoggedSessions, answers: dict[str, Estimate], selection: Selection | None = None) -> None:
        """Print what the log itself earned, what the weights sum to, the estimates, and which of them is chosen."""
        width = max(map(len, (_WEIGHT, *answers)))
        say(
            f"{'the log':<{width}} {_numbers(sessions.logged_return())}   {sessions.num_sessions:,} sessions, as logged"
        )
        weights = [answer.mean_weight for answer in answers.values() if answer.mean_weight is not None]
        if weights:
            say(f"{_WEIGHT:<{width}} {_numbers(weights[0])}{'' if holds_one(weights[0]) else _OFF_ONE}")
        for name, answer in answers.items():
            value = _number(answer.value) if answer.ends is None else _numbers(answer.ends)
            weighs = answer.mean_weight is not None
            chosen = selection if selection is not None and name == selection.estimator else None
            why = "" if chosen is None else f"   chosen: {chosen.reason}"
            say(f"{name:<{width}} {value}   {_worth(answer) if weighs else answer.no_interval or ''}{why}")


def _numbers(interval: Interval) -> str:
    """Return a number with its interval, to four digits that matter; of large ones all before the point."""
    return f"{_number(interval.mean)} [{_number(interval.low)}, {_number(interval.high)}]"


def _number(number: float) -> str:
    return f"{number:,.0f}" if 1e4 <= abs(number) < 1e15 else f"{number:#.4g}".removesuffix(".")


def _rate(answer: Estimate) -> str:
    """Return a click rate with its interval."""
    return f"{answer.value:.5f}" if answer.ends is None else f"{answer.ends:.5f}"


def _share(interval: Interval) -> str:
    """Return a share of something as a percentage, with its interval."""
    return "{:.0f} % [{:.0f}, {:.0f}]".format(*(100.0 * each for each in (interval.mean, interval.low, interval.high)))


def _worth(answer: Estimate) -> str:
    """Return by how many sessions an answer speaks, and why it is not to be trusted if so."""
    size = f"effective sample size {answer.effective_sample_size:,.1f} of {answer.num_sessions:,}"
    return size if answer.trusted else f"{size}   {answer.verdict}"
