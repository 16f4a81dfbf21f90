"""The main job in one command: simulate, log, learn, judge; over several seeds, resumable, with a report at the end."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from agents.nn.file_formats import check_run
from agents.training.trainer import check_device
from offline_data.dial.quality import Reference, reference_returns
from offline_data.store.folder_claim import FolderClaim
from offline_data.store.sealed_files import read_sealed_json, write_sealed_json
from offline_data.units import run_units
from recenv.errors import InvalidInput, require_range
from recenv.files.atomic_files import write_json
from recenv.session_config import SessionConfig
from recenv.world import make_world
from recsession.experiments.comparison import Comparison
from recsession.experiments.quickstart_units import CEILING, PREPARE, QuickstartUnit
from recsession.experiments.report import format_table
from recsession.experiments.seed_statistics import seed_interval
from recsession.lines import say


@dataclass(frozen=True)
class Quickstart(Comparison):
    """Simulate, log, learn and judge: cloning, AWR, filters, signed_pg and DRPO on a log that is mostly noise."""

    seed: int = 0
    """The first of the seeds that are reported."""
    num_seeds: int = 3
    """Each draws its own log, critic, policies and evaluations."""
    out: Path = Path("runs/quickstart")
    """Folder of logs, policies and report; run the same command again to go on after a stop."""
    fresh: bool = False
    """Start over, removing what an earlier run left in `out`."""
    workers: int = 2
    """Processes that share the work; the results do not depend on it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_range("seed", self.seed, 0, 2**31 - 1, integer=True)
        require_range("num_seeds", self.num_seeds, 1, 1000, integer=True)
        require_range("workers", self.workers, 1, 256, integer=True)

    @property
    def seeds(self) -> list[int]:
        """The seeds that are reported."""
        return list(range(self.seed, self.seed + self.num_seeds))

    def unit(self, reference: Reference, seed: int, name: str) -> QuickstartUnit:
        """Return a piece of the work: of a seed, `PREPARE`, `CEILING` or a method's name."""
        return QuickstartUnit(self, reference, self.out / f"seed-{seed}", seed, name)

    def run(self) -> None:
        """Do the whole job; see `run_quickstart`."""
        run_quickstart(self)


def run_quickstart(request: Quickstart) -> dict[str, Any]:
    """Do what is not done yet, write `results.json` and `report.html`, print the table, and return the results.

    Raises:
        InvalidInput: if `out` holds another run or cannot be written, or the device is not there.
    """
    from recsession.experiments.report_page import write_report  # matplotlib, which no worker needs

    check_device(request.device)
    remedy = "pass --fresh to start over, or choose another --out"
    files = ("reference.json", "results.json", "report.html")
    claim = FolderClaim(request.out, request.to_dict(), request.fresh, remedy, files)
    if not request.fresh:
        check_run(request.out, remedy)
    with claim.alone() as going_on:
        reference = _reference(request, going_on=going_on)  # what it refuses leaves the folder as it was
        claim.begin()
        write_sealed_json(request.out / "reference.json", reference.as_dict())
        names = (PREPARE, *request.methods, CEILING)
        units = [request.unit(reference, seed, name) for seed in request.seeds for name in names]
        with tqdm(total=sum(unit.cost for unit in units), unit="step", smoothing=0.05, mininterval=0.5) as bar:
            workers = request.workers if request.device == "cpu" else 1
            show = bar.set_description
            run_units(units, workers=workers, folder=request.out, progress=bar.update, describe=show)
        try:
            results = _results(request, reference)
            write_json(request.out / "results.json", results)
            write_report(results, request.out / "report.html")
        except (KeyError, TypeError, IndexError, AttributeError) as error:  # of results that are whole, but not ours
            raise InvalidInput(f"{request.out} holds results of something else ({error!r}); {remedy}") from error
    say(*format_table(results).splitlines())
    say(f"report: {request.out / 'report.html'}")
    return results


def _reference(request: Quickstart, *, going_on: bool) -> Reference:
    """Return the reference, stored or measured."""
    stored = request.out / "reference.json"
    if going_on and stored.exists():
        values = read_sealed_json(stored, "pass --fresh to start over")
        try:
            return Reference.of(values)
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(f"{stored} holds no references ({error}); pass --fresh to start over") from error
    sessions = max(2 * request.num_evaluation_sessions, 100)
    return reference_returns(
        make_world(SessionConfig()), request.noise, "proto", num_sessions=sessions, seed=request.seed
    )


def _results(request: Quickstart, reference: Reference) -> dict[str, Any]:
    def read(name: str) -> list[dict[str, Any]]:
        return [request.unit(reference, seed, name).result() for seed in request.seeds]

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
        "reference": reference.as_dict(),
        "ceiling": over_seeds(read(CEILING)),
        "methods": methods,
        "curves": curves,
        "score_histogram": [unit["histogram"] for unit in read(PREPARE)],
    }
