"""What `recsession reproduce` does with any study: a small one of its own, whose units count to three."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from offline_data.describe.pages import Section, Table
from offline_data.store.folder_claim import sole_writer
from recenv.errors import InvalidInput
from recsession.cli import main
from recsession.experiments import reproduction
from recsession.experiments.reproduce.base import Study
from recsession.experiments.reproduction import Reproduction, read_results, run_reproduction, write_study_page
from recsession.experiments.sealed_unit import SealedUnit, with_needs
from recsession.families import STUDIES

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Count(SealedUnit):
    """Counts its seed three times, after those that it needs."""

    folder: Path
    name: str
    seed: int
    after: tuple[Count, ...] = ()

    @property
    def cost(self) -> int:
        """Three."""
        return 3

    @property
    def needs(self) -> Sequence[SealedUnit]:
        """What stands before."""
        return self.after

    def measure(self, progress: Any) -> dict[str, Any]:
        """Return the sum."""
        for _ in range(3):
            progress(1)
        return {"sum": 3 * self.seed + sum(unit.result()["sum"] for unit in self.after)}


@dataclass(frozen=True)
class CountingConfig:
    """What it depends on."""

    factor: float = 1.0
    """Of the sums."""


class Counting(Study):
    """Counts seeds; for tests."""

    Config = CountingConfig
    forms: Mapping[str, Any] = field(default_factory=dict)
    num_seeds: Mapping[str, int] = {"small": 2, "full": 5}
    title = "Seeds, counted"

    def _unit(self, seed: int) -> Count:
        first = Count(self.folder / f"seed-{seed}", "first", seed)
        return Count(first.folder, "second", seed, (first,))

    def units(self) -> list[SealedUnit]:
        """Return two a seed."""
        return with_needs(map(self._unit, self.seeds))

    def numbers(self) -> dict[str, Any]:
        """Return the sums."""
        return {"sums": [self.config.factor * self._unit(seed).result()["sum"] for seed in self.seeds]}

    @classmethod
    def verdict(cls, numbers: Mapping[str, Any]) -> Sequence[str]:
        """Return the largest."""
        return [f"The largest is {max(numbers['sums']):g}."]

    @classmethod
    def sections(cls, numbers: Mapping[str, Any]) -> Sequence[Section]:
        """Return one table."""
        return [Section("Sums", [Table(["place", "sum"], list(enumerate(numbers["sums"])))])]


Counting.forms = {"small": CountingConfig(), "full": CountingConfig(2.0)}


def request(out: Path, **changes: Any) -> Reproduction:
    return Reproduction(out, **{"first_seed": 7, "workers": 1, **changes})


@pytest.fixture
def finished(tmp_path) -> Path:
    run_reproduction(Counting, request(tmp_path / "runs" / "one"))
    return tmp_path / "runs" / "one"


def test_results_say_by_what_they_were_made(finished, capsys):
    results = read_results(finished / "results.json")
    assert results["numbers"] == {"sums": [42.0, 48.0]}
    assert (results["seeds"], results["form"], results["config"]) == ([7, 8], "small", {"factor": 1.0})
    assert results["command"].endswith("--form small --first-seed 7 --num-seeds 2")
    assert results["versions"].keys() >= {"recsession", "numpy", "torch"}
    run_reproduction(Counting, request(finished))
    assert capsys.readouterr().out == f"The largest is 48.\nreport: {finished / 'report.html'}\n"
    page = (finished / "report.html").read_text()
    for text in ("Seeds, counted", "The largest is 48.", "small form", "2 seeds", "--num-seeds 2"):
        assert text in page


def test_form_and_number_of_seeds_are_chosen(tmp_path):
    full = run_reproduction(Counting, request(tmp_path / "full", form="full"))
    assert full["seeds"] == [7, 8, 9, 10, 11]
    assert full["numbers"]["sums"][0] == 84.0
    one = run_reproduction(Counting, request(tmp_path / "one", num_seeds=1, first_seed=3))
    assert one["numbers"]["sums"] == [18.0]


def test_page_is_drawn_of_the_file_alone(finished, tmp_path):
    again = write_study_page(Counting, read_results(finished / "results.json"), tmp_path / "again.html")
    assert again.read_bytes() == (finished / "report.html").read_bytes()


def test_processes_do_not_change_a_byte(finished, tmp_path):
    run_reproduction(Counting, request(tmp_path / "two", workers=2))
    for name in ("results.json", "report.html"):
        assert (tmp_path / "two" / name).read_bytes() == (finished / name).read_bytes()


def test_stopped_it_goes_on_with_what_is_done(finished, tmp_path, monkeypatch):
    plain, out = reproduction.tqdm, tmp_path / "stopped"

    class Interrupted(plain):
        def update(self, n=1):
            super().update(n)
            if self.n >= 7:
                raise KeyboardInterrupt

    monkeypatch.setattr(reproduction, "tqdm", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_reproduction(Counting, request(out))
    done = {path: path.stat().st_mtime_ns for path in out.glob("seed-*/*.json")}
    assert [path.name for path in sorted(done)] == ["first.json", "second.json"]
    monkeypatch.setattr(reproduction, "tqdm", plain)
    run_reproduction(Counting, request(out))
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert (out / "results.json").read_bytes() == (finished / "results.json").read_bytes()


def test_a_unit_is_done_once_and_after_what_it_needs(tmp_path):
    first = Count(tmp_path, "first", 1)
    second, third = Count(tmp_path, "second", 1, (first,)), Count(tmp_path, "third", 1, (first,))
    assert with_needs([third, second, third]) == [first, third, second]


def test_another_request_is_refused_and_fresh_starts_over(finished):
    with pytest.raises(
        InvalidInput, match=r'work of another request \(form "small" there, "full" here\); pass --fresh'
    ):
        run_reproduction(Counting, request(finished, form="full"))
    with pytest.raises(InvalidInput, match=r"work of another request \(seeds.*choose another --out"):
        run_reproduction(Counting, request(finished, first_seed=1))
    run_reproduction(Counting, request(finished, first_seed=1, num_seeds=1, fresh=True))
    assert [path.name for path in finished.glob("seed-*")] == ["seed-1"]
    with sole_writer(finished), pytest.raises(InvalidInput, match="is being written by another process"):
        run_reproduction(Counting, request(finished, first_seed=1, num_seeds=1))


def test_damaged_results_are_refused(finished, tmp_path):
    out = shutil.copytree(finished, tmp_path / "copy")
    (out / "seed-7" / "first.json").write_text("{}")
    (out / "seed-7" / "second.json").unlink()
    with pytest.raises(InvalidInput, match=r"first.json .*; remove it, and run the same command again"):
        run_reproduction(Counting, request(out))
    (out / "results.json").write_text(json.dumps({"study": "counting"}))
    with pytest.raises(InvalidInput, match=r"results.json lacks form, command, .*; pass the results.json"):
        read_results(out / "results.json")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"form": "medium"}, "form='medium' is unknown; choose small or full"),
        ({"first_seed": -1}, "first_seed=-1 is "),
        ({"num_seeds": 0}, "num_seeds=0 is "),
        ({"num_seeds": 1001}, "num_seeds=1001 is "),
        ({"workers": 0}, "workers=0 is "),
    ],
)
def test_options_out_of_range_are_refused(tmp_path, changes, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        request(tmp_path, **changes)


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_command_lists_every_study(words, capsys):
    assert main(["reproduce", *words]) == 0
    printed = capsys.readouterr().out
    for name in STUDIES.registered():
        assert f"\n  {name} " in printed
        assert STUDIES.source(name).meaning in printed  # type: ignore[union-attr]


def test_unknown_study_suggests_the_nearest(capsys):
    name = STUDIES.registered()[0]
    assert main(["reproduce", f"{name}x", "--out", "x"]) == 2
    assert f"unknown study '{name}x'; did you mean '{name}'" in capsys.readouterr().err


@pytest.mark.parametrize("name", STUDIES.registered())
def test_every_study_has_both_forms_and_teaches(name, capsys):
    study = STUDIES.get(name)
    for form in ("small", "full"):
        assert isinstance(study.forms[form], study.Config)
        assert study.num_seeds[form] >= 1
    with pytest.raises(SystemExit) as stop:
        main(["reproduce", name, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for option in ("--out", "--form", "--first-seed", "--num-seeds", "--workers", "--fresh"):
        assert option in printed


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "results").glob("*.html")), ids=lambda page: page.stem)
def test_what_was_run_in_full_is_told_and_drawn_of_its_numbers(page, tmp_path):
    results = read_results(page.with_suffix(".json"))
    study = STUDIES.get(results["study"])
    assert list(study.verdict(results["numbers"])) == results["verdict"]
    drawn = write_study_page(study, results, tmp_path / "drawn.html")
    assert drawn.read_bytes() == page.read_bytes()
