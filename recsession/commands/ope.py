"""`recsession ope`: estimate a policy's value from a log of another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from agents.policies.files import load_policy
from agents.training.evaluation import off_policy_sessions
from agents.training.trainer import check_device
from agents.values.critics import FITTED_Q, CriticConfig
from offline_data.families import ESTIMATORS
from offline_data.interop.readers.open_bandit import open_bandit_comparison
from offline_data.ope.base import MAX_BOOTSTRAP, Estimate, estimate
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require_range
from recsession.inputs import refuse_given
from recsession.lines import say


@dataclass(frozen=True)
class Ope:
    """Estimate a policy's value from a log of another, or read the Open Bandit Dataset."""

    log: str
    """Folder of a logged dataset, or `open-bandit`."""
    policy: Path | None = None
    """Policy file of `recsession train`; its value as a sampled policy is estimated."""
    path: Path | None = None
    """With `open-bandit`: folder that holds random/ and bts/."""
    campaign: str = "all"
    """With `open-bandit`: all, men or women."""
    estimators: tuple[str, ...] = ()
    """Names of registered estimators, or MODULE:CLASS; all of the registered by default."""
    num_bootstrap: int = 1000
    """Resamplings for an interval, of users with all of their sessions."""
    seed: int = 0
    """Of the bootstrap and of the fitted Q evaluation."""
    device: str = "cpu"
    """cpu or cuda."""
    critic: CriticConfig = FITTED_Q
    """The fitted Q evaluation that `dm`, `dr` and `wdr` read."""

    def __post_init__(self) -> None:
        require_range("seed", self.seed, 0, 2**31 - 1, integer=True)
        require_range("num_bootstrap", self.num_bootstrap, 2, MAX_BOOTSTRAP, integer=True)

    def run(self) -> None:
        """Estimate and print."""
        check_device(self.device)
        if self.log == "open-bandit":
            unread = ("policy", "estimators", "critic", "device")
            refuse_given(self, unread, "--log open-bandit compares its own two policies")
            if self.path is None:
                raise InvalidInput("--log open-bandit has no --path; give the folder that holds random/ and bts/")
            for row in open_bandit_comparison(
                self.path, self.campaign, seed=self.seed, num_bootstrap=self.num_bootstrap
            ):
                say(row.policy, f"  from the {row.log} log: {_estimate_line(row.estimate, 5)}")
            return
        refuse_given(self, ("path", "campaign"), f"--log {self.log} is a dataset's folder, not open-bandit")
        for name in self.estimators:
            ESTIMATORS.resolve(name)
        dataset = LoggedDataset.open(self.log, verify=True)
        if self.policy is None:
            raise InvalidInput(f"--log {self.log} has no --policy; give a policy file of `recsession train`")
        actor = load_policy(self.policy, self.device)
        with tqdm(total=self.critic.num_steps, unit="step", desc="fitted Q evaluation", delay=0.1) as bar:
            sessions = off_policy_sessions(
                actor,
                dataset,
                config=self.critic,
                seed=self.seed,
                device=self.device,
                progress=bar.update,
            )
        if dataset.propensities == "estimated":
            say("the log's propensities are estimates: what rests on them is biased as far as they are wrong")
        names = self.estimators or ESTIMATORS.registered()
        width = max(9, *map(len, names))
        for name in names:
            answer = estimate(name, sessions, num_bootstrap=self.num_bootstrap, seed=self.seed)
            say(f"{name:<{width}} {_estimate_line(answer, 2)}")


def _estimate_line(answer: Estimate, digits: int) -> str:
    mark = "" if answer.trusted else "   untrusted: below 100"
    return (
        f"{answer.value:.{digits}f} [{answer.low:.{digits}f}, {answer.high:.{digits}f}]   "
        f"effective sample size {answer.effective_sample_size:,.1f} of {answer.num_sessions:,}{mark}"
    )
