"""What `recsession reproduce` does with a study: its work by any number of processes, its numbers, its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from offline_data.store.folder_claim import FolderClaim, as_json
from offline_data.units import run_units
from recenv.errors import InvalidInput, require, require_range
from recenv.files.atomic_files import write_json
from recenv.files.json_text import read_json
from recenv.plain_config import to_plain
from recsession.experiments.reproduce.base import Study
from recsession.experiments.sealed_unit import SealedUnit
from recsession.families import STUDIES
from recsession.lines import say

FORMS = ("small", "full")
_PACKAGES = ("recsession", "torch", "torchrl", "numpy", "numba", "scipy")
_KEYS = ("study", "form", "command", "config", "seeds", "versions", "worlds", "title", "verdict", "numbers")


@dataclass(frozen=True)
class Reproduction:
    """How a study is to be run."""

    out: Path
    """Folder of the work, of `results.json` and of `report.html`; run the same command again to go on after a stop."""
    form: Literal["small", "full"] = "small"
    """How much: small shows in under an hour what the study is like; full is what is published, on a quiet machine."""
    first_seed: int = 1000
    """The first of the seeds that are reported; a study that chooses settings does so on others, and says which."""
    num_seeds: int | None = None
    """How many are reported: a seed draws its own logs, weights and evaluations; None: as many as the form has."""
    experiments: tuple[str, ...] = ()
    """Which of the study's experiments, for a work that is done in several sittings; none given: all of the form."""
    workers: int = 2
    """Processes that share the work; the results do not depend on it."""
    fresh: bool = False
    """Start over, removing what an earlier run left in `out`."""

    def __post_init__(self) -> None:
        require(self.form in FORMS, f"form={self.form!r} is unknown; choose {' or '.join(FORMS)}")
        require_range("first_seed", self.first_seed, 0, 2**31 - 1001, integer=True)
        if self.num_seeds is not None:
            require_range("num_seeds", self.num_seeds, 1, 1000, integer=True)
        require_range("workers", self.workers, 1, 256, integer=True)


def run_reproduction(part: type[Study], request: Reproduction, config: Any = None) -> dict[str, Any]:
    """Do what is not done yet, write `results.json` and `report.html`, print the verdict, and return the results.

    Args:
        part: the study.
        request: how it is to be run.
        config: of the study; None for that of the form.

    Raises:
        InvalidInput: if `out` holds another run or cannot be written, or for seeds that the study does not take.
    """
    count = part.num_seeds[request.form] if request.num_seeds is None else request.num_seeds
    seeds = range(request.first_seed, request.first_seed + count)
    config = config or part.forms[request.form]
    if request.experiments:
        known = hasattr(config, "experiments")
        asked = ", ".join(request.experiments)
        require(known, f"experiments has {asked}; this study has but one, leave --experiments out")
        config = replace(config, experiments=request.experiments)
    study = part(config, seeds, request.out)
    plain = {
        "study": STUDIES.name_of(part),
        "form": request.form,
        "config": to_plain(study.config),
        "seeds": list(seeds),
    }
    remedy = "pass --fresh to start over, or choose another --out"
    claim = FolderClaim(request.out, as_json(plain), request.fresh, remedy, ("results.json", "report.html"))
    with claim.held():
        _work(study.first_units(), request)
        _work(study.units(), request)
        try:
            file = request.out / "results.json"
            numbers = study.numbers()
            told = {"title": study.title, "verdict": list(study.verdict(as_json(numbers)))}
            write_json(file, {**plain, **_origin(plain, study, request), **told, "numbers": numbers})
            results = read_results(file)  # what is told and drawn is what the file has
            write_study_page(part, results, request.out / "report.html")
        except (KeyError, TypeError, IndexError, AttributeError) as error:  # of results that are whole, but not ours
            raise InvalidInput(f"{request.out} holds results of something else ({error!r}); {remedy}") from error
    say(*results["verdict"], f"report: {request.out / 'report.html'}")
    return results


def _work(units: Sequence[SealedUnit], request: Reproduction) -> None:
    """Do what of the units is not done."""
    if not units:
        return
    with tqdm(total=sum(unit.cost for unit in units), unit="step", smoothing=0.05, mininterval=0.5) as bar:
        show = bar.set_description
        run_units(units, workers=request.workers, folder=request.out, progress=bar.update, describe=show)


def _origin(plain: Mapping[str, Any], study: Study, request: Reproduction) -> dict[str, Any]:
    """Return by what the numbers were made."""
    seeds = f"--first-seed {study.seeds[0]} --num-seeds {len(study.seeds)}"
    only = " ".join(["", "--experiments", *request.experiments]) if request.experiments else ""
    return {
        "command": f"recsession reproduce {plain['study']} --form {plain['form']}{only} {seeds}",
        "versions": {name: version(name) for name in _PACKAGES},
        "worlds": {name: world.world_hash() for name, world in study.worlds().items()},
    }


def read_results(path: Path) -> dict[str, Any]:
    """Return the results that a reproduction wrote.

    Args:
        path: a `results.json`, or a copy of one.

    Raises:
        InvalidInput: for a file that is missing, damaged or something else.
    """
    remedy = "pass the results.json of `recsession reproduce`"
    results = read_json(path, remedy=remedy, non_finite=True)
    missing = [key for key in _KEYS if not isinstance(results, dict) or key not in results]
    require(not missing, f"{path} lacks {', '.join(missing)}; {remedy}")
    return results


def write_study_page(study: type[Study], results: Mapping[str, Any], path: Path) -> Path:
    """Write a study's results as one self-contained page, and return its path.

    Args:
        study: of the results.
        results: what `run_reproduction` returned.
        path: the file to write.

    Raises:
        InvalidInput: if `path` cannot be written.
    """
    from offline_data.describe.pages import Page, Section, Table, write_page  # matplotlib, which no worker needs

    numbers = results["numbers"]
    (lead, *more), sections = study.verdict(numbers), study.sections(numbers)
    below = [part for section in sections for part in section.parts if isinstance(part, str)]
    more = [sentence for sentence in more if not any(sentence in part for part in below)]
    facts = [
        ("command", results["command"]),
        ("seeds", ", ".join(map(str, results["seeds"]))),
        *((f"world hash of {name}", value) for name, value in results["worlds"].items()),
        ("versions", ", ".join(f"{name} {number}" for name, number in results["versions"].items())),
    ]
    told = (
        "One command drew the logs, chose the settings, trained and judged; nothing on this page was edited by hand. "
        "The same versions and seeds give the same numbers, which stand in results.json beside it."
    )
    config = Table((), list(results["config"].items()), "The whole configuration", folded=True)
    count = len(results["seeds"])
    kicker = f"reproduce {results['study']} · {results['form']} form · {count} {'seed' if count == 1 else 'seeds'}"
    made = Section("How it was made", [told, Table((), facts), config])
    return write_page(path, Page(study.title, kicker, lead, " ".join(more), [*sections, made]))
