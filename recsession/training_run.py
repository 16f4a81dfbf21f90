"""What `recsession train` does: fit a critic and train a policy with a registered objective, into a folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import field, fields, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import torch
import tyro
from tqdm import tqdm

from agents.families import ENCODERS, OBJECTIVES, POLICIES, SCORES
from agents.nn.file_formats import FORMAT_VERSION, check_run
from agents.nn.item_features import resolve_choice
from agents.nn.networks import NetworkConfig
from agents.objectives.base import Objective
from agents.policies.files import save_policy
from agents.policies.gaussian import GaussianPolicyConfig
from agents.training.evaluation import roll_out
from agents.training.log_columns import check_needs, reads_scores
from agents.training.trainer import (
    TrainerConfig,
    check_device,
    check_encoder,
    check_policy,
    default_encoder,
    default_policy,
    train,
)
from agents.values.critics import CriticConfig
from agents.values.score_files import kept_judgement
from agents.values.scores.base import Judgement, judge_log, score_log
from offline_data.store.dataset import LoggedDataset
from offline_data.store.folder_claim import FolderClaim, as_json
from recenv.errors import require, require_range, shown
from recenv.files.atomic_files import replacing, write_json
from recenv.plain_config import to_plain
from recenv.statistics import Interval
from recsession.inputs import parse, refuse_given
from recsession.judging import how_to_judge
from recsession.lines import say

_POLICY_HELP: Final = f"One of {', '.join(POLICIES.registered())}; by default what the log's actions ask for."
_ENCODER_HELP: Final = f"What reads the observation, in policy and critic: {', '.join(ENCODERS.registered())}."
_FEATURES_HELP: Final = (
    "What tells the items of an imported log apart, in policy and critic: catalog (its embeddings), log (factors of "
    "what its users consume and its slates show together), both, or auto: catalog where the source gave embeddings, "
    "both where the import made them of columns, and else log."
)
_SCORE_HELP: Final = f"Of every logged step, which the objective reads: {', '.join(SCORES.registered())}."


def run_training(name: str, words: Sequence[str]) -> None:
    """Parse the options, fit the critic, train the policy, and say what was written.

    Args:
        name: of the objective.
        words: the options.

    Raises:
        InvalidInput: for bad input.
    """
    objective = OBJECTIVES.resolve(name)
    _refuse_options_of_others(name, objective, words)
    trainer, critic = _chosen_parts(objective, words)
    reader = trainer.policy.network.encoder
    options = make_dataclass(
        "Train",
        [
            ("log", Annotated[Path, tyro.conf.arg(help="Folder of the logged dataset.")]),
            ("out", Annotated[Path, tyro.conf.arg(help="Folder of policy, scores, metrics and checkpoint.")]),
            (
                "policy",
                Annotated[str, tyro.conf.arg(help=_POLICY_HELP)],
                field(default=POLICIES.name_of(type(trainer.policy))),
            ),
            (
                "encoder",
                Annotated[str, tyro.conf.arg(help=_ENCODER_HELP)],
                field(default=ENCODERS.name_of(type(reader))),
            ),
            (
                "item_features",
                Annotated[str, tyro.conf.arg(help=_FEATURES_HELP)],
                field(default=trainer.item_features),
            ),
            ("score", Annotated[str, tyro.conf.arg(help=_SCORE_HELP)], field(default="q_minus_v")),
            ("seed", Annotated[int, tyro.conf.arg(help="Of weights and batches.")], field(default=0)),
            ("device", Annotated[str, tyro.conf.arg(help="cpu or cuda.")], field(default="cpu")),
            ("objective", objective.Config, field(default_factory=objective.Config)),
            ("trainer", TrainerConfig, field(default=trainer)),
            ("critic", CriticConfig, field(default=critic)),
        ],
        frozen=True,
    )
    description = f"Train a policy with the objective {name!r}; run it again to go on after a stop."
    chosen: Any = parse(options, f"train {name}", words, description)
    check_device(chosen.device)
    require_range("seed", chosen.seed, 0, 2**31 - 1, integer=True)
    if not reads_scores(objective, chosen.objective):
        refuse_given(chosen, ("score", "critic"), f"the objective {name!r} reads no score")
    read = SCORES.resolve(chosen.score).critic_fields
    if read is not None:
        unread = {entry.name for entry in fields(critic)} - set(read)
        refuse_given(chosen.critic, unread, f"--score {chosen.score} fits no critic", prefix="critic.", usual=critic)
    dataset = LoggedDataset.open(chosen.log)
    check_needs(name, objective, dataset, chosen.objective)
    check_policy(chosen.trainer.policy, dataset)
    check_encoder(name, objective, chosen.trainer.policy)
    resolve_choice(dataset, chosen.item_features)
    found = ("selection.json", "selection.html")
    files = ("policy", "scores.npy", "advantages.npy", "metrics.jsonl", *found, "checkpoint")
    claim = FolderClaim(chosen.out, _request(name, dataset, chosen), files=files)
    check_run(chosen.out, claim.remedy)
    with claim.alone():
        dataset.verify()
        claim.begin()
        _fit_and_train(name, dataset, chosen, chosen.out)


def _refuse_options_of_others(name: str, objective: type[Objective], words: Sequence[str]) -> None:
    """Say whose an option is that this objective has not, and others have.

    Raises:
        InvalidInput: for such an option.
    """
    own = {entry.name for entry in fields(objective.Config)}
    for word in words:
        option = word.partition("=")[0]
        field_name = option.removeprefix("--objective.").removeprefix("no-").partition(".")[0].replace("-", "_")
        if not option.startswith("--objective.") or field_name in own:
            continue
        ours = [other for other in OBJECTIVES.registered() if OBJECTIVES.source(other)]
        having = [each for each in ours if field_name in {e.name for e in fields(OBJECTIVES.get(each).Config)}]
        require(
            not having,
            f"{option} is no option of {name}; leave it out, or train what has it: {', '.join(having)}",
        )


def _chosen_parts(objective: type[Objective], words: Sequence[str]) -> tuple[TrainerConfig, CriticConfig]:
    """Return the configs of the policy and the encoder that the words name, whose options the command then takes.

    Raises:
        InvalidInput: for an unknown name.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for option in ("--policy", "--encoder", "--log", "--item-features"):
        parser.add_argument(option, nargs="?")
    given, _ = parser.parse_known_args(list(words))
    encoder = ENCODERS.resolve(given.encoder).Config() if given.encoder else default_encoder(objective)
    if given.policy:
        policy = POLICIES.resolve(given.policy).Config()
    elif given.log and (Path(given.log) / "manifest.json").exists():
        policy = default_policy(LoggedDataset.open(given.log), objective)
    else:
        policy = GaussianPolicyConfig()
    network = replace(policy.network, encoder=encoder)
    critic = CriticConfig(network=NetworkConfig(encoder=encoder)) if given.encoder else CriticConfig()
    features = given.item_features or "auto"
    trainer = TrainerConfig(policy=replace(policy, network=network), item_features=features)
    return trainer, replace(critic, item_features=features)


def _fit_and_train(name: str, dataset: LoggedDataset, chosen: Any, out: Path) -> None:
    if reads_scores(OBJECTIVES.resolve(name), chosen.objective):
        with tqdm(total=chosen.critic.num_steps, unit="step", desc="critic", delay=0.1) as bar:
            wanted = "outcomes" in OBJECTIVES.resolve(name).needs_of(chosen.objective)
            judged = _judgement(out, dataset, chosen, bar, wanted)
    else:
        judged = Judgement(torch.zeros(dataset.num_rows), None)  # read by nobody
    with tqdm(total=chosen.trainer.num_steps, unit="step", desc=shown(name), delay=0.1) as bar:
        run = train(
            dataset,
            judged.scores,
            name,
            chosen.objective,
            chosen.trainer,
            advantages=judged.advantages,
            seed=chosen.seed,
            device=chosen.device,
            checkpoint=out / "checkpoint",
            progress=bar.update,
        )
    save_policy(out / "policy", run.actor)
    if not dataset.has_world:
        say(f"items are told apart by {run.actor.space.told_apart_by}")
    with replacing(out / "metrics.jsonl") as temporary:
        temporary.write_text("".join(json.dumps(point) + "\n" for point in run.curve))
    for remark in run.remarks:
        say(remark)
    for finding, values in run.findings.items():
        write_json(out / f"{finding}.json", values)
    if "selection" in run.findings:
        from recsession.selection_page import write_selection_page  # matplotlib, which other trainings do without

        say(f"its curve: {write_selection_page(run.findings['selection'], out / 'selection.html')}")
    if run.stopped:
        say(f"warning: {run.stopped}")
    if not dataset.has_world:
        say(f"{out / 'policy'}: {how_to_judge(run.actor, out / 'policy', dataset)}")
        return
    returns = roll_out(run.actor, dataset.world, 1000, chosen.seed, deterministic=True)
    say(f"{out / 'policy'}: session return {Interval.of(returns)} over 1,000 simulated sessions")
    say(f"judge it with `recsession evaluate --policy {out / 'policy'}`")


def _request(name: str, dataset: LoggedDataset, chosen: Any) -> dict[str, Any]:
    """Return what the run depends on, as JSON gives it back."""
    return as_json(
        {
            "format": FORMAT_VERSION,
            "objective": {"name": name, **to_plain(chosen.objective)},
            "trainer": to_plain(chosen.trainer),
            "critic": to_plain(chosen.critic),
            "score": chosen.score,
            "seed": chosen.seed,
            "log": dataset.manifest["schema"],
        }
    )


def _judgement(out: Path, dataset: LoggedDataset, chosen: Any, bar: tqdm[Any], wanted: bool) -> Judgement:
    """Return the score of every row, and what it earned where that is wanted, found once and kept in `out`."""
    settings = {"seed": chosen.seed, "device": chosen.device, "progress": bar.update}

    def judge() -> Judgement:
        if wanted:
            return judge_log(chosen.score, dataset, chosen.critic, **settings)
        return Judgement(score_log(chosen.score, dataset, chosen.critic, **settings), None)

    judged = kept_judgement(out, dataset.num_rows, judge)
    bar.update(chosen.critic.num_steps - bar.n)  # of scores that were there
    return judged
