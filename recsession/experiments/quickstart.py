"""The main job in one command: simulate, log, learn, judge; over several seeds, resumable, with a report at the end.

The work is a list of units, each a pure function of the request that leaves one JSON file: `prepare` (log, critic,
scores, second log), `ceiling` (cloning on good data only) and one unit for each method, a seed each. A unit whose file
is there is not run again, and training goes on from its last checkpoint.
"""

from __future__ import annotations

import json
import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from queue import Empty
from typing import Any, Final

import numpy as np
import torch
from scipy import stats
from tqdm import tqdm

from agents.objectives.awr import AwrConfig
from agents.objectives.bc import BcConfig
from agents.objectives.drpo import DrpoConfig
from agents.objectives.signed_pg import SignedPgConfig
from agents.policies.files import save_policy
from agents.robust.density_cap import dual_threshold
from agents.training.diagnostics import filter_precision
from agents.training.evaluation import off_policy_sessions, roll_out
from agents.training.trainer import TrainerConfig, check_device, train
from agents.values.critics import FITTED_Q, CriticConfig, fit_critic, score_rows
from offline_data.collection.collection import LogRequest, collect
from offline_data.dial.quality import Reference, mixture_spec, reference_returns
from offline_data.families import BEHAVIORS
from offline_data.ope.base import estimate
from offline_data.store.atomic_files import make_folder, replacing, sole_writer, write_json
from offline_data.store.dataset import LoggedDataset
from recenv.errors import InvalidInput, require, require_range
from recenv.plain_config import to_plain
from recenv.session_config import SessionConfig
from recenv.statistics import Interval
from recenv.world import make_world
from recsession.experiments.report import format_table

ESTIMATORS: Final = ("snips", "dr")
Progress = Callable[[int], object]


@dataclass(frozen=True)
class Method:
    """One learner of a comparison, which gives it a name of its own."""

    objective: str
    """The registered objective's name."""
    config: Any
    """The objective's hyper-parameters."""

    @property
    def kappa(self) -> float | None:
        """The share of the log that the method's hard filter retains; None if it has no filter, or sizes it itself."""
        kappa = getattr(self.config, "kappa", None)
        return None if kappa == "auto" or not getattr(self.config, "filter", True) else kappa


@dataclass(frozen=True)
class Quickstart:
    """Simulate, log, learn and judge: bc, awr, filter, signed_pg and drpo on a log that is mostly noise, by seeds."""

    seed: int = 0
    """The first of the seeds that are reported."""
    device: str = "cpu"
    """cpu or cuda."""
    out: Path = Path("runs/quickstart")
    """Folder of logs, policies and report; run the same command again to go on after a stop."""
    fresh: bool = False
    """Start over, removing what an earlier run left in `out`."""
    workers: int = 2
    """Processes that share the work; the results do not depend on it."""
    num_seeds: int = 3
    """Each draws its own log, critic, policies and evaluations."""
    num_sessions: int = 20_000
    """Sessions of the log that is learned from."""
    good_fraction: float = 0.02
    """Share of the expert's steps in it; the rest is noise."""
    noise: str = "clickbait"
    """Behavior policy of the rest."""
    num_judge_sessions: int = 2_000
    """Sessions of the second log, half of them the expert's, for off-policy evaluation."""
    num_evaluation_sessions: int = 2_000
    """Simulated sessions that a policy's score is measured on."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    """Training budget, the same for every method."""
    critic: CriticConfig = field(default_factory=CriticConfig)
    """The critic that gives every method its score."""
    judge: CriticConfig = FITTED_Q
    """The fitted Q evaluation of each policy."""

    def __post_init__(self) -> None:
        require_range("seed", self.seed, 0, 2**31 - 1, integer=True)
        require_range("workers", self.workers, 1, 256, integer=True)
        require_range("num_seeds", self.num_seeds, 1, 1000, integer=True)
        require_range("good_fraction", self.good_fraction, 0.0, 1.0, low_open=True)
        for name in ("num_sessions", "num_judge_sessions", "num_evaluation_sessions"):
            require_range(name, getattr(self, name), 10, 10**9, integer=True)
        BEHAVIORS.get(self.noise)

    @property
    def methods(self) -> dict[str, Method]:
        """The methods by name, tuned on seeds that are not reported: tests/benchmarks/bench_quickstart_grid.py."""
        plain_filter = DrpoConfig(kappa=self.good_fraction / 4, trust_region=False, curriculum=False)
        return {
            "bc": Method("bc", BcConfig()),
            "awr": Method("awr", AwrConfig(temperature=0.3, weight_cap=1e6)),
            "filter": Method("drpo", plain_filter),
            "signed_pg": Method("signed_pg", SignedPgConfig()),
            "drpo": Method("drpo", DrpoConfig(kappa=self.good_fraction)),
        }

    @property
    def seeds(self) -> list[int]:
        """The seeds that are reported."""
        return list(range(self.seed, self.seed + self.num_seeds))

    def run(self) -> None:
        """Do the whole job; see `run_quickstart`."""
        run_quickstart(self)

    def to_dict(self) -> dict[str, Any]:
        """Return what the results depend on, as plain values."""
        plain = {k: v for k, v in to_plain(self).items() if k not in ("out", "fresh", "workers")}
        plain["methods"] = {name: asdict(method) for name, method in self.methods.items()}
        return json.loads(json.dumps(plain))


@dataclass(frozen=True)
class Unit:
    """One piece of work."""

    seed: int
    """Which seed."""
    name: str
    """"prepare", "ceiling" or a method's name."""

    def folder(self, request: Quickstart) -> Path:
        """Return the seed's folder."""
        return request.out / f"seed-{self.seed}"

    def result_file(self, request: Quickstart) -> Path:
        """Return the file that says that the unit is done."""
        return self.folder(request) / f"{self.name}.json"

    def cost(self, request: Quickstart) -> int:
        """Return the ticks of the progress bar: gradient steps, beside which all else is quick."""
        if self.name == "prepare":
            return request.critic.num_steps
        if self.name == "ceiling":
            return request.trainer.num_steps
        return request.trainer.num_steps + request.judge.num_steps

    def run(self, request: Quickstart, reference: Reference, progress: Progress) -> None:
        """Do the work and write the result file."""
        if self.name == "prepare":
            result = _prepare(request, self, progress)
        elif self.name == "ceiling":
            result = _ceiling(request, self, reference, progress)
        else:
            result = _learn_and_judge(request, self, reference, progress)
        write_json(self.result_file(request), result)


def run_quickstart(request: Quickstart) -> dict[str, Any]:
    """Do what is not done yet, write `results.json` and `report.html`, print the table, and return the results.

    Raises:
        InvalidInput: if `out` holds another run or cannot be written, or the device is not there.
    """
    from recsession.experiments.report_page import write_report  # matplotlib, which no worker needs

    check_device(request.device)
    reference = _reference(request)
    with sole_writer(make_folder(request.out)):
        _claim(request, reference)
        _run_units(request, reference)
        results = _results(request, reference)
        write_json(request.out / "results.json", results)
        write_report(results, request.out / "report.html")
    print(format_table(results))
    print(f"report: {request.out / 'report.html'}")
    return results


def _run_units(request: Quickstart, reference: Reference) -> None:
    units = [Unit(seed, name) for seed in request.seeds for name in ("prepare", *request.methods, "ceiling")]
    waiting = [unit for unit in units if not unit.result_file(request).exists()]
    with tqdm(total=sum(unit.cost(request) for unit in units), unit="step", smoothing=0.05, mininterval=0.5) as bar:
        bar.update(sum(unit.cost(request) for unit in units if unit not in waiting))
        if request.workers == 1 or request.device != "cpu":
            for unit in waiting:
                bar.set_description(f"seed {unit.seed} {unit.name}")
                unit.run(request, reference, bar.update)
        else:
            _run_in_processes(request, reference, waiting, bar)


def _reference(request: Quickstart) -> Reference:
    """Return the reference, stored or measured; what is refused here leaves the folder as it was."""
    file, stored = request.out / "request.json", request.out / "reference.json"
    if request.fresh and request.out.exists():
        require(
            file.exists() or not any(request.out.iterdir()),
            f"{request.out} is not a folder of an earlier quickstart; --fresh would remove it, choose another --out",
        )
    going_on = file.exists() and not request.fresh
    if going_on:
        require(
            _read_json(file) == request.to_dict(),
            f"{request.out} holds a run with other options; pass --fresh to start over, or choose another --out",
        )
    if going_on and stored.exists():
        values = _read_json(stored)
        return Reference(Interval(**values["expert"]), Interval(**values["noise"]))
    sessions = max(2 * request.num_evaluation_sessions, 100)
    return reference_returns(
        make_world(SessionConfig()), request.noise, "proto", num_sessions=sessions, seed=request.seed
    )


def _claim(request: Quickstart, reference: Reference) -> None:
    """Write what the folder is for; with `fresh`, empty it first of all but the lock that is held."""
    if request.fresh:
        for path in request.out.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "lock":
                path.unlink()
    write_json(request.out / "request.json", request.to_dict())
    values = {"expert": reference.expert_return.as_dict(), "noise": reference.noise_return.as_dict()}
    write_json(request.out / "reference.json", values)


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise InvalidInput(f"{file} is not JSON ({error}); pass --fresh to start over") from error


def _log(folder: Path, name: str, behavior: Any, num_sessions: int, seed: int) -> LoggedDataset:
    # One root seed a log: a seed's three logs share no sessions with each other or with another seed's.
    roots = {"log": 0, "judge-log": 1, "good-log": 2}
    request = LogRequest(
        behavior=behavior, action_kind="proto", num_sessions=num_sessions, dataset_seed=3 * seed + roots[name]
    )
    return collect(folder / name, request)


def _learning_log(request: Quickstart, unit: Unit) -> LoggedDataset:
    behavior = mixture_spec(request.good_fraction, request.noise)
    return _log(unit.folder(request), "log", behavior, request.num_sessions, unit.seed)


def _judge_log(request: Quickstart, unit: Unit) -> LoggedDataset:
    # Half of the sessions are the expert's. It explores more widely than the first log: an estimator can weigh only
    # what a log has tried, and a policy sampled around a learned mean goes further astray than the expert does.
    behavior = mixture_spec(0.5, request.noise, mixing="session", proto_scale=0.2)
    return _log(unit.folder(request), "judge-log", behavior, request.num_judge_sessions, unit.seed)


def _prepare(request: Quickstart, unit: Unit, progress: Progress) -> dict[str, Any]:
    dataset = _learning_log(request, unit)
    _judge_log(request, unit)
    critic = fit_critic(dataset, request.critic, seed=unit.seed, device=request.device, progress=progress)
    scores = score_rows(critic, dataset, request.device)
    with replacing(unit.folder(request) / "scores.npy") as temporary, temporary.open("wb") as stream:
        np.save(stream, scores.numpy())
    good = dataset.open_latent_labels() == 0
    values = scores.double().numpy()
    kappa = request.good_fraction
    edges = np.linspace(values.min(), values.max(), 81)
    return {
        "histogram": {
            "edges": edges.tolist(),
            "good": np.histogram(values[good], edges)[0].tolist(),
            "noise": np.histogram(values[~good], edges)[0].tolist(),
            "threshold": float(dual_threshold(scores, kappa)[0]),
        },
    }


def _ceiling(request: Quickstart, unit: Unit, reference: Reference, progress: Progress) -> dict[str, Any]:
    # The expert's sessions are longer: a quarter of the sessions gives about as many rows.
    sessions = max(request.num_sessions // 4, 10)
    dataset = _log(unit.folder(request), "good-log", "expert", sessions, unit.seed)
    run = train(
        dataset,
        torch.zeros(dataset.num_rows),
        "bc",
        config=request.trainer,
        seed=unit.seed,
        device=request.device,
        checkpoint=unit.folder(request) / "ceiling.checkpoint",
        progress=progress,
    )
    return _act(request, unit, reference, run.actor)[0]


def _act(request: Quickstart, unit: Unit, reference: Reference, actor: Any) -> tuple[dict[str, float], np.ndarray]:
    """Return the normalised scores of acting by the mean and sampled, and the returns of the sampled sessions."""
    world, count = make_world(SessionConfig()), request.num_evaluation_sessions
    best = roll_out(actor, world, count, unit.seed, deterministic=True)
    sampled = roll_out(actor, world, count, unit.seed, deterministic=False, role="truth")
    scores = {
        "normalized_score": reference.normalized_score(float(best.mean())),
        "normalized_score_sampled": reference.normalized_score(float(sampled.mean())),
    }
    return scores, sampled


def _learn_and_judge(request: Quickstart, unit: Unit, reference: Reference, progress: Progress) -> dict[str, Any]:
    folder, device, seed, method = unit.folder(request), request.device, unit.seed, request.methods[unit.name]
    dataset, log_scores = _learning_log(request, unit), np.load(folder / "scores.npy")
    world = make_world(dataset.config)

    def quick_score(actor: Any) -> float:
        count = max(request.num_evaluation_sessions // 8, 10)
        returns = roll_out(actor, world, count, seed, deterministic=True, role="curve")
        return reference.normalized_score(float(returns.mean()))

    run = train(
        dataset,
        torch.from_numpy(log_scores),
        method.objective,
        method.config,
        request.trainer,
        seed=seed,
        device=device,
        checkpoint=folder / f"{unit.name}.checkpoint",
        evaluate=quick_score,
        progress=progress,
    )
    save_policy(folder / f"{unit.name}.policy", run.actor)
    scores, sampled = _act(request, unit, reference, run.actor)
    sessions = off_policy_sessions(
        run.actor, _judge_log(request, unit), config=request.judge, seed=seed, device=device, progress=progress
    )
    truth, kappa = Interval.of(sampled), method.kappa
    good = dataset.open_latent_labels() == 0
    return {
        **scores,
        "filter_precision": None if kappa is None else filter_precision(log_scores.astype(np.float64), good, kappa),
        "max_surprisal": max(point["surprisal_max"] for point in run.curve),
        "max_score_function_norm": max(point["score_function_norm_max"] for point in run.curve),
        "stopped": run.stopped,
        "curve": run.curve,
        "ope": [estimate(name, sessions, seed=seed).as_dict() for name in ESTIMATORS],
        "truth": {"value": truth.mean, "low": truth.low, "high": truth.high},
    }


def _run_in_processes(request: Quickstart, reference: Reference, waiting: list[Unit], bar: tqdm[Any]) -> None:
    context = multiprocessing.get_context("spawn")
    ticks = context.Queue()
    pool = ProcessPoolExecutor(request.workers, context, _start_worker, (ticks,))
    running: dict[Future[None], Unit] = {}
    try:
        while waiting or running:
            unfinished = {unit.seed for unit in [*waiting, *running.values()] if unit.name == "prepare"}
            for unit in [u for u in waiting if u.name in ("prepare", "ceiling") or u.seed not in unfinished]:
                if len(running) == request.workers:
                    break
                waiting.remove(unit)
                running[pool.submit(_run_in_worker, unit, request, reference)] = unit
            done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
            bar.set_description(", ".join(f"seed {unit.seed} {unit.name}" for unit in running.values()))
            _drain(ticks, bar)
            for future in done:
                future.result()
                running.pop(future)
        _drain(ticks, bar)
    finally:
        # A stop must not wait for a training run; its checkpoint is on disk.
        if running:
            for process in multiprocessing.active_children():
                process.terminate()
        pool.shutdown(cancel_futures=True)


def _drain(ticks: Any, bar: tqdm[Any]) -> None:
    while True:
        try:
            bar.update(ticks.get_nowait())
        except Empty:
            return


_worker_ticks: Any = None


def _start_worker(ticks: Any) -> None:
    global _worker_ticks
    _worker_ticks = ticks
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    # A parent that is killed cannot end its workers, and they would wait for work for ever.
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _run_in_worker(unit: Unit, request: Quickstart, reference: Reference) -> None:
    unit.run(request, reference, _worker_ticks.put)


def seed_interval(values: list[float]) -> dict[str, Any]:
    """Return mean and 95 % Student interval over seeds; of a single seed, its value for all three."""
    mean = float(np.mean(values))
    half = 0.0
    if len(values) > 1:
        half = float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return {"mean": mean, "low": mean - half, "high": mean + half, "per_seed": values}


def _results(request: Quickstart, reference: Reference) -> dict[str, Any]:
    def read(name: str) -> list[dict[str, Any]]:
        return [json.loads(Unit(seed, name).result_file(request).read_text()) for seed in request.seeds]

    def over_seeds(units: list[dict[str, Any]]) -> dict[str, Any]:
        keys = ("normalized_score", "normalized_score_sampled")
        return {key: seed_interval([unit[key] for unit in units]) for key in keys}

    methods, curves = {}, {}
    for name, method in request.methods.items():
        units = read(name)
        precision = [unit["filter_precision"] for unit in units]
        methods[name] = {
            **over_seeds(units),
            "filter_precision": None if method.kappa is None else seed_interval(precision),
            **{
                key: [unit[key] for unit in units]
                for key in ("max_surprisal", "max_score_function_norm", "stopped", "ope", "truth")
            },
        }
        curves[name] = [unit["curve"] for unit in units]
    return {
        "command": f"recsession quickstart --seed {request.seed} --num-seeds {request.num_seeds}",
        "versions": {name: version(name) for name in ("recsession", "torch", "torchrl", "numpy", "numba")},
        "config": request.to_dict(),
        "world_hash": SessionConfig().world_hash(),
        "good_fraction": request.good_fraction,
        "noise": request.noise,
        "seeds": request.seeds,
        "reference": {
            "expert_return": reference.expert_return.as_dict(),
            "noise_return": reference.noise_return.as_dict(),
        },
        "ceiling": over_seeds(read("ceiling")),
        "methods": methods,
        "curves": curves,
        "score_histogram": [unit["histogram"] for unit in read("prepare")],
    }
