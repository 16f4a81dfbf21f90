"""What a study of `recsession reproduce` is: units of work, the numbers that they come to, and a page of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from recenv.errors import require
from recenv.registry import own_config
from recsession.experiments.sealed_unit import SealedUnit

if TYPE_CHECKING:  # a study is listed and run without matplotlib
    from offline_data.describe.pages import Section
    from recenv.session_config import SessionConfig


class Study(ABC):
    """What a source has measured, measured anew.

    To add one, write a module in this folder with a class under `@STUDIES.register("name")`, whose docstring is what
    `recsession reproduce name --help` says. It gives

    * `Config`, a frozen dataclass of all that its numbers depend on besides the seeds: sizes, budgets, grids;
      `forms`, the one of each form; and `num_seeds`, how many seeds each form has;
    * `units`, the work: each a `SealedUnit`, or one of `recsession.experiments.learning_units`, which leaves its result
      in `self.folder` or below. A unit is a pure function of its fields, so that a run goes on after a stop, and gives
      the same bytes by any number of workers;
    * `numbers`, what the finished units' results come to: plain, compact, every number that the page shows;
    * `verdict` and `sections`, sentences and figures that are drawn from these numbers and nothing else. What they say
      for or against a claim is derived, so that it is right however the numbers fall.

    `recsession.experiments.reproduction` does the rest: options, the folder, workers, progress, the two files.

    Args:
        config: an instance of the class's `Config`.
        seeds: those that are reported.
        folder: where the units work.

    Raises:
        InvalidInput: if `config` is not an instance of `Config`, or a seed is among its `development_seeds`.
    """

    Config: ClassVar[type]
    forms: ClassVar[Mapping[str, Any]]
    """The config of the forms "small" and "full"."""
    num_seeds: ClassVar[Mapping[str, int]]
    """How many seeds they report, unless told otherwise."""
    title: ClassVar[str]
    """The heading of its page."""

    def __init__(self, config: Any, seeds: Sequence[int], folder: Path) -> None:
        self.config = own_config(type(self), config)
        self.seeds = tuple(seeds)
        self.folder = folder
        choosing = sorted(self.development_seeds())
        one = len(choosing) == 1
        require(
            not set(choosing) & set(self.seeds),
            f"the seed{'' if one else 's'} {' and '.join(map(str, choosing))} choose{'s' if one else ''} the settings, "
            f"and cannot be reported; pass --first-seed {max(choosing, default=0) + 1} or more",
        )

    def development_seeds(self) -> Sequence[int]:
        """Return the seeds that settings are chosen on, which cannot be reported; none by default."""
        return ()

    def worlds(self) -> Mapping[str, SessionConfig]:
        """Return the simulated worlds that it plays in, by name, whose hashes stand in the results; none by default."""
        return {}

    def first_units(self) -> Sequence[SealedUnit]:
        """Return the work that is done before `units` is called, because it says what these are; none by default."""
        return ()

    @abstractmethod
    def units(self) -> Sequence[SealedUnit]:
        """Return the work, each unit after those that it needs."""

    @abstractmethod
    def numbers(self) -> dict[str, Any]:
        """Return what the results of the units come to, as JSON gives it back, once all are done."""

    @classmethod
    @abstractmethod
    def verdict(cls, numbers: Mapping[str, Any]) -> Sequence[str]:
        """Return what the numbers say, in sentences; the first one matters most.

        Args:
            numbers: what `numbers` returned, perhaps read back from a file.
        """

    @classmethod
    @abstractmethod
    def sections(cls, numbers: Mapping[str, Any]) -> Sequence[Section]:
        """Return the page's tables and figures.

        Args:
            numbers: see `verdict`.
        """
