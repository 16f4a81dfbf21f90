"""Contracts: what every part of a family promises, as named checks that run on a part from inside or outside.

A contract is called with a part, or its checks are handed to pytest one by one:

    check_user_model("shops.users:Regular")

    @check_user_model.over("shops.users:Regular", registered=False)
    def test_contract(part, check):
        check(part)
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import importlib
import inspect
import json
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_type_hints

import pytest
from hypothesis import HealthCheck, settings

from recenv.errors import InvalidInput, shown
from recenv.plain_config import field_meanings, from_plain, to_plain
from recenv.registry import Registry, config_of
from recenv.testing.ranges import declared_ranges, number_fields


def quick(count: int = 30) -> settings:
    """Return the settings of a contract's own property tests: the same few examples on every run, nightly many others.

    Args:
        count: of the examples; nightly twenty times as many.
    """
    default = settings.default.max_examples  # type: ignore[union-attr]
    nightly = default > 100
    return settings(
        max_examples=20 * count if nightly else min(count, default),
        deadline=None,
        derandomize=not nightly,
        suppress_health_check=[HealthCheck.too_slow],
    )


@dataclass(frozen=True)
class Outcome:
    """What became of one check of a part.

    Examples:
        >>> from recenv.testing import check_choice_model
        >>> outcome = check_choice_model.checks["config_is_frozen_and_documented"].outcome("position_based")
        >>> outcome.state
        'ok'
    """

    name: str
    """Of the check."""
    state: str
    """`ok`, `failed`, or `skipped` where the part leaves out what the check is about."""
    sentence: str
    """What is promised; of a check that failed, what was found besides."""


@dataclass(frozen=True)
class Check:
    """One promise of a family.

    Examples:
        >>> from recenv.testing import check_user_model
        >>> check = check_user_model.checks["config_is_frozen_and_documented"]
        >>> check("interest_evolution")
        >>> check.promise
        'The config is a frozen dataclass; its docstring, and a string below each field, say what they mean.'
    """

    family: Registry[Any]
    """Whose."""
    run: Callable[[Any], None]
    """Raises for a part that breaks it; its docstring is the promise."""

    @property
    def name(self) -> str:
        """A word for it."""
        return self.run.__name__

    @property
    def promise(self) -> str:
        """The sentence."""
        return inspect.getdoc(self.run).split("\n\n")[0].replace("\n", " ")  # type: ignore[union-attr]

    def __call__(self, part: str | type) -> None:
        """Raise unless the part, a name or a class, keeps the promise."""
        self.run(self.family.resolve(part))

    def outcome(self, part: str | type) -> Outcome:
        """Return what became of the check; nothing is raised but what stops the process."""
        try:
            self(part)
        except pytest.skip.Exception as skipped:
            return Outcome(self.name, "skipped", str(skipped))
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # sys.exit is no answer either
            return Outcome(self.name, "failed", f"{self.promise.rstrip('.')}: {_found(error)}")
        return Outcome(self.name, "ok", self.promise)


class Contract:
    """The checks of a family, by name; called with a part it runs them all and raises at the first that fails.

    Args:
        name: how its package `testing` calls it.
        family: whose.
        common: checks that it begins with; None for `OF_EVERY_FAMILY`.

    Examples:
        >>> from recenv.testing import check_choice_model
        >>> check_choice_model("multinomial_logit")
        >>> "config_is_frozen_and_documented" in check_choice_model.checks
        True
    """

    def __init__(self, name: str, family: Registry[Any], common: Iterable[Callable[[Any], None]] | None = None) -> None:
        self.name = name
        self.family = family
        self.checks: dict[str, Check] = {}
        for check in OF_EVERY_FAMILY if common is None else common:
            self.promise(check)

    def promise(self, check: Callable[[Any], None]) -> Callable[[Any], None]:
        """Add a check, a function of the class whose docstring says what is promised; for use as a decorator."""
        self.checks[check.__name__] = Check(self.family, check)
        return check

    def promise_each(self, cases: Callable[[Any], Iterable[tuple]]) -> Callable[[Callable[..., None]], Any]:
        """Return a decorator like `promise` of a function that takes the class and one of its cases.

        Args:
            cases: the further arguments of each case of a part.
        """

        def decorate(check: Callable[..., None]) -> Any:
            @functools.wraps(check)
            def run(part: Any) -> None:
                for case in cases(part):
                    with where(", ".join(map(str, case))):
                        check(part, *case)

            return self.promise(run)

        return decorate

    def __call__(self, part: str | type) -> None:
        """Run every check on a part, a name, `MODULE:CLASS` or a class; raise at the first that fails."""
        for check in self.checks.values():
            try:
                check(part)
            except pytest.skip.Exception:
                continue

    def outcomes(self, part: str | type) -> Iterator[Outcome]:
        """Yield what became of each check of a part."""
        for check in self.checks.values():
            yield check.outcome(part)

    def over(self, *parts: str, registered: bool = True) -> pytest.MarkDecorator:
        """Return the parametrisation of a test by `part` and `check`.

        Args:
            *parts: names or `MODULE:CLASS`.
            registered: the registered parts too.
        """
        names = [*(self.family.registered() if registered else ()), *parts]
        cases = [
            pytest.param(part, check, id=f"{part.rpartition(':')[2]}-{check.name}")
            for part in names
            for check in self.checks.values()
        ]
        return pytest.mark.parametrize(("part", "check"), cases)


def _found(error: BaseException) -> str:
    """Return in one line what an error says, and where no message does, the condition that did not hold."""
    notes = ", ".join(getattr(error, "__notes__", ()))
    text = " ".join(str(error).split())
    if not text:
        text = traceback.extract_tb(error.__traceback__)[-1].line or ""
    kind = "" if isinstance(error, AssertionError | pytest.fail.Exception) else f"{type(error).__name__}: "
    notes = " ".join(notes.split())[:300]  # Hypothesis shows an example in many lines
    return shown(f"{kind}{text[:300]}{f' ({notes})' if notes else ''}")


@contextmanager
def where(place: object) -> Iterator[None]:
    """Say, of an error inside, in which of the cases of a check it happened."""
    try:
        yield
    except BaseException as error:
        error.add_note(str(place))
        raise


def examples_of(part: Any) -> tuple[Mapping[str, Any], ...]:
    """Return the options with which a part is checked, as its `Config` takes them: its `examples`, or its defaults."""
    return vars(part).get("examples", ({},))  # a parent's are for its own config


def example_config(part: Any, **options: Any) -> Any:
    """Return the config of a part's first example.

    Args:
        part: the class.
        **options: what a check needs besides.
    """
    return config_of(part)(**{**examples_of(part)[0], **options})


@functools.cache
def scratch_folder() -> Path:
    """Return a folder for the logs of checks, which goes with the process."""
    folder = tempfile.TemporaryDirectory(prefix="recsession-checks-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


# --- of every family


def part_is_a_documented_class(part: Any) -> None:
    """A part is a class that nothing abstract is left of, with a docstring of its own."""
    assert inspect.isclass(part)
    assert not inspect.isabstract(part), f"{sorted(vars(part)['__abstractmethods__'])} are abstract"
    assert vars(part).get("__doc__"), f"{part.__name__} has no docstring"


def config_is_frozen_and_documented(part: Any) -> None:
    """The config is a frozen dataclass; its docstring, and a string below each field, say what they mean."""
    config = config_of(part)
    assert dataclasses.is_dataclass(config), f"{config.__name__} is no dataclass"
    assert vars(config)["__dataclass_params__"].frozen, f"{config.__name__} is not frozen"
    assert config.__doc__
    assert not config.__doc__.startswith(f"{config.__name__}("), "the docstring is the one that dataclasses make"
    fields = {field.name for field in dataclasses.fields(config)}
    assert fields <= set(field_meanings(config)), f"{sorted(fields - set(field_meanings(config)))} are not documented"
    assert set(get_type_hints(config)) >= fields


def config_is_made_of_defaults_and_plain_values(part: Any) -> None:
    """Every option has a default, and a config comes back equal from JSON; defaults that mean nothing are refused."""
    config = config_of(part)
    for field in dataclasses.fields(config):
        has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        assert has_default, f"{field.name} has no default"
    for options in examples_of(part):
        made = config(**options)
        assert made == config(**options)
        again = from_plain(config, json.loads(json.dumps(to_plain(made), allow_nan=False)))
        assert again == made, f"{made} came back as {again}"
    try:
        config()
    except InvalidInput:
        assert examples_of(part) != ({},), "the defaults are refused, and the part has no examples"


def config_refuses_what_is_no_number(part: Any) -> None:
    """An option that is a number refuses NaN, texts, None and bools with a sentence."""
    config = config_of(part)
    for field in number_fields(config, ("int", "float")):
        for wrong in (float("nan"), "1", None, True):
            given = f"{field}={wrong!r}"
            with where(given), pytest.raises(InvalidInput, match=f"^{given} is not "):
                config(**{**examples_of(part)[0], field: wrong})


def config_refuses_values_outside_its_ranges(part: Any) -> None:
    """An option that is a number refuses what lies outside the range that its message names, at either end."""
    config = config_of(part)
    ranges = declared_ranges(config, examples_of(part)[0])
    unsaid = set(number_fields(config)) - set(ranges)
    assert not unsaid, f"no range is named for {sorted(unsaid)}; validate them by require_range"
    for name, allowed in ranges.items():
        for wrong in allowed.beyond():
            with where(f"{name}={wrong!r}"), pytest.raises(InvalidInput, match=f"^{name}={wrong!r} is outside "):
                config(**{**examples_of(part)[0], name: wrong})


OF_EVERY_FAMILY: Final = (
    part_is_a_documented_class,
    config_is_frozen_and_documented,
    config_is_made_of_defaults_and_plain_values,
    config_refuses_what_is_no_number,
    config_refuses_values_outside_its_ranges,
)


def contract_of(family: Registry[Any]) -> Contract:
    """Return the contract of a family, which the `testing` of the family's package offers.

    Args:
        family: one of the registries in the packages' `families`.
    """
    testing = importlib.import_module(f"{family.package.partition('.')[0]}.testing")
    contracts = (getattr(testing, name) for name in dir(testing) if name.startswith("check_"))
    return next(contract for contract in contracts if contract.family is family)
