"""The study of DRPO's paper; what it was taken to mean stands in `recsession.experiments.drpo_paper.protocol`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from offline_data.behavior.three_part import SCENARIOS
from recenv.session_config import SessionConfig
from recsession.experiments.drpo_paper import published
from recsession.experiments.drpo_paper.protocol import (
    FIXED_SHARE,
    NOISE_METHODS,
    Protocol,
    fixed_filter,
    method,
    settings,
)
from recsession.experiments.drpo_paper.units import BehaviorsUnit, FilteredGradientUnit, PhantomUnit
from recsession.experiments.drpo_paper.verdict import sentences
from recsession.experiments.learning_task import LearningTask, Method
from recsession.experiments.learning_units import ChosenMethodUnit, LogUnit, MethodUnit
from recsession.experiments.reproduce.base import Study
from recsession.experiments.sealed_unit import SealedUnit, with_needs
from recsession.experiments.seed_statistics import improvement, rank_agreement, seed_interval
from recsession.families import STUDIES

if TYPE_CHECKING:
    from offline_data.describe.pages import Section

Units = Mapping[Any, Sequence[MethodUnit]]


@STUDIES.register("drpo")
class DrpoStudy(Study):
    """DRPO's paper (arXiv:2602.10430): nine methods in two scenarios, noise, ablation, sensitivity, phantom gradients.

    The small form is the first table alone, with three seeds: half an hour or so on two cores; the full form is all of
    it with ten seeds and intervals, some six times as much. Grids are the published ones, and their settings are chosen
    on the seeds 100 and 101 (100 alone in the small form), which are not reported. Each number stands beside the
    paper's own. Its simulator was never released: ranks and directions are compared, and absolute numbers are not
    expected to be the same.
    """

    Config = Protocol
    forms: Mapping[str, Any] = {"small": Protocol(("table",), development_seeds=(100,)), "full": Protocol()}
    num_seeds: Mapping[str, int] = {"small": 3, "full": 10}
    title = "DRPO's paper, its experiments anew"

    def development_seeds(self) -> Sequence[int]:
        """Return those of the protocol."""
        return self.config.development_seeds

    def worlds(self) -> Mapping[str, SessionConfig]:
        """Return the bandit, with the noise that its rewards have by default."""
        return {"embedding_bandit": self.config.world()}

    def units(self) -> list[SealedUnit]:
        """Return the work of the experiments that are asked for."""
        found: list[SealedUnit] = [self._behaviors(seed) for seed in self.seeds]
        for experiment in self.config.experiments:
            found += _all(self._units(experiment))
        return with_needs(found)

    def numbers(self) -> dict[str, Any]:
        """Return what they come to, an entry for each experiment, and what the behaviors themselves earn."""
        behaviors = [self._behaviors(seed).result() for seed in self.seeds]
        found: dict[str, Any] = {
            "behaviors": {name: seed_interval([each[name] for each in behaviors]) for name in behaviors[0]}
        }
        for experiment in self.config.experiments:
            results = {key: [unit.result() for unit in units] for key, units in self._units(experiment).items()}
            found[experiment] = getattr(self, f"_{experiment}_numbers")(results)
        return found

    @classmethod
    def verdict(cls, numbers: Mapping[str, Any]) -> Sequence[str]:
        """Return what the numbers say; see `Study.verdict`."""
        return sentences(numbers)

    @classmethod
    def sections(cls, numbers: Mapping[str, Any]) -> Sequence[Section]:
        """Return the page's tables and figures; see `Study.sections`."""
        from recsession.experiments.drpo_paper.figures import sections

        return sections(numbers)

    # --- the work

    def _behaviors(self, seed: int) -> BehaviorsUnit:
        config = self.config.world(rating_noise=0.0)
        return BehaviorsUnit(config, self.config.num_evaluation_sessions, self.folder / "world" / f"seed-{seed}", seed)

    def _units(self, experiment: str) -> Units:
        """Return the units whose results an experiment's numbers are made of, by what they measure, one a seed."""
        protocol, medium = self.config, SCENARIOS["medium"]
        expert, suboptimal, _ = medium
        match experiment:
            case "table":
                return {
                    (scenario, name): self._chosen(scenario, protocol.task(shares), name)
                    for scenario, shares in SCENARIOS.items()
                    for name in protocol.methods
                }
            case "noise":
                known = [name for name in NOISE_METHODS if name == "asymre" or name in protocol.methods]
                found: dict[Any, Sequence[MethodUnit]] = {}
                for share in published.NOISE_SHARES:
                    rest = (1.0 - share) / (expert + suboptimal)
                    task = protocol.task((rest * expert, rest * suboptimal, share))
                    for name in known:
                        found[name, share] = self._chosen(f"noise-{share:g}", task, name, "medium")
                return found
            case "ablation":
                plain = self._logs("medium", protocol.task(medium))
                unfiltered = [FilteredGradientUnit(log, method("signed_pg"), "filtered", FIXED_SHARE) for log in plain]
                others = {"soft base": "asymre", "soft base, adaptive filter": "drpo"}
                return {
                    "hard filter alone": unfiltered,
                    "soft base, fixed filter": _each(plain, "fixed-filter", fixed_filter(FIXED_SHARE)),
                    **{row: _each(plain, name, self._only(name)) for row, name in others.items()},
                }
            case "sensitivity":
                return {
                    (policy_noise, reward_noise, share): _each(
                        self._logs(
                            f"policy-{policy_noise:g}-reward-{reward_noise:g}",
                            protocol.task(medium, reward_noise=reward_noise, policy_noise=policy_noise),
                        ),
                        f"top-{share:g}",
                        fixed_filter(share),
                    )
                    for policy_noise in published.POLICY_NOISES
                    for reward_noise in published.REWARD_NOISES
                    for share in published.TOP_SHARES
                }
            case _:
                probed = {"evaluate_interval": max(1, protocol.trainer.num_steps // 50)}
                probed |= {"log_interval": probed["evaluate_interval"]}
                positives = replace(method("positive_only"), trainer=probed)
                return {
                    "": [PhantomUnit(log, positives, "phantom") for log in self._logs("medium", protocol.task(medium))]
                }

    def _logs(self, name: str, task: LearningTask, seeds: Iterable[int] | None = None) -> list[LogUnit]:
        seeds = self.seeds if seeds is None else seeds
        return [LogUnit(task, self.folder / name / f"seed-{seed}", seed) for seed in seeds]

    def _only(self, name: str) -> Method:
        return next(iter(settings(name, self.config.trainer.num_steps).values()))

    def _chosen(self, place: str, task: LearningTask, name: str, chosen_in: str | None = None) -> list[MethodUnit]:
        """Return a method's units on a task's logs, with the setting that is best on the logs of other seeds.

        Args:
            place: the task's folder.
            task: what is learned from.
            name: of the method.
            chosen_in: the scenario whose logs the setting is chosen on; None for the task itself.
        """
        grid, first = settings(name, self.config.trainer.num_steps), self._only(name)
        logs = self._logs(place, task)
        if len(grid) == 1 or not self.config.development_seeds:
            return _each(logs, name, first)
        scenario = chosen_in or place
        shares = SCENARIOS[scenario]
        tried = self._logs(scenario, self.config.task(shares), self.config.development_seeds)
        units = {
            label: tuple(MethodUnit(log, each, f"{name}-{place_of(label)}") for log in tried)
            for label, each in grid.items()
        }
        return [ChosenMethodUnit(log, first, name, grid, units) for log in logs]

    # --- the numbers

    def _table_numbers(self, results: Mapping[Any, list[dict[str, Any]]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for scenario in SCENARIOS:
            paper = published.TABLE[scenario]
            methods = {
                name: {**_both_ways(results[scenario, name]), **_choice(results[scenario, name]), "paper": paper[name]}
                for name in self.config.methods
            }
            runs = {name: each["by_mean"]["per_seed"] for name, each in methods.items()}
            agreement = rank_agreement([paper[name] for name in runs], list(runs.values())) if len(runs) > 1 else None
            ours = [name for name in ("drpo", "drpo_exp") if name in runs]
            found[scenario] = {
                "methods": methods,
                "rank_agreement": agreement,
                "improvements": [
                    {
                        "of": name,
                        "over": other,
                        "paper": paper[name] - paper[other],
                        **improvement(runs[name], runs[other]),
                    }
                    for name in ours
                    for other in runs
                    if other not in ours
                ],
            }
        return found

    def _noise_numbers(self, results: Mapping[Any, list[dict[str, Any]]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for (name, share), runs in results.items():
            found.setdefault(name, {"rewards": {}})["rewards"][f"{share:g}"] = _both_ways(runs)["by_mean"]
        for each in found.values():
            first, *_, last = (rewards["per_seed"] for rewards in each["rewards"].values())
            each["loss"] = seed_interval([before - after for before, after in zip(first, last, strict=True)])
        return found

    def _ablation_numbers(self, results: Mapping[Any, list[dict[str, Any]]]) -> dict[str, Any]:
        return {
            row: {**_both_ways(results[row]), "paper": paper / published.ECPM}
            for row, paper in published.ABLATION.items()
        }

    def _sensitivity_numbers(self, results: Mapping[Any, list[dict[str, Any]]]) -> list[dict[str, Any]]:
        return [
            {
                "policy_noise": policy,
                "reward_noise": reward,
                "share": share,
                "by_mean": _both_ways(runs)["by_mean"],
                "paper": published.SENSITIVITY[policy][reward][published.TOP_SHARES.index(share)] / published.ECPM,
            }
            for (policy, reward, share), runs in results.items()
        ]

    def _phantom_numbers(self, results: Mapping[Any, list[dict[str, Any]]]) -> dict[str, Any]:
        curves = [run["curve"] for run in results[""]]
        ends = [(curve[0], curve[-1]) for curve in curves]
        growth = [last["negative_both"] / first["negative_both"] for first, last in ends]
        ratios = {
            name: [last[f"negative_{name}"] / last[f"positive_{name}"] for _, last in ends] for name in ("mu", "sigma")
        }
        keys = [key for key in curves[0][0] if key != "step"]
        mean = [
            {"step": points[0]["step"], **{key: sum(p[key] for p in points) / len(points) for key in keys}}
            for points in zip(*curves, strict=True)
        ]
        quantities = {"growth": growth, **ratios}
        return {
            "curve": mean,
            **{
                name: {**seed_interval(values), "paper": published.PHANTOM[name]} for name, values in quantities.items()
            },
        }


def place_of(label: str) -> str:
    """Return a setting's label as a part of a file's name: `beta 0.5, cap 20` is `beta-0.5-cap-20`."""
    return label.replace(",", "").replace(" ", "-").replace("+", "")


def _each(logs: Sequence[LogUnit], name: str, learner: Method) -> list[MethodUnit]:
    return [MethodUnit(log, learner, name) for log in logs]


def _all(units: Units) -> list[SealedUnit]:
    return [unit for each in units.values() for unit in each]


def _both_ways(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    ways = {way: seed_interval([run[way] for run in runs]) for way in ("by_mean", "sampled")}
    stopped = [run["stopped"] for run in runs if run["stopped"]]
    return {**ways, **({"stopped": stopped} if stopped else {})}


def _choice(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the setting that was chosen, which is the same for all seeds, and what each had on the others."""
    return {key: runs[0][key] for key in ("chosen", "grid") if key in runs[0]}
