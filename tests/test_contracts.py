"""What holds of all families: their registries, what each is tested by, and that no part needs an entry elsewhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from recenv.errors import InvalidInput
from recenv.registry import Registry, config_of
from recenv.testing.contract import contract_of

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("recenv", "offline_data", "agents")
TEST_FILES = sorted((ROOT / "tests").rglob("test_*.py"))


def members(module: ModuleType, kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if isinstance(value, kind)}


FAMILIES: dict[str, Registry[Any]] = {
    registry.kind: registry
    for package in PACKAGES
    for registry in members(importlib.import_module(f"{package}.families"), Registry).values()
}
PARTS = [(kind, name) for kind, registry in FAMILIES.items() for name in registry.registered()]

every_kind = pytest.mark.parametrize("kind", FAMILIES)
every_part = pytest.mark.parametrize(("kind", "name"), PARTS)


def test_every_registry_of_the_packages_is_a_family():
    known = {id(registry) for registry in FAMILIES.values()}
    found = {
        id(value): f"{name}.{key}"
        for name, module in list(sys.modules.items())
        if name.split(".")[0] in PACKAGES
        for key, value in members(module, Registry).items()
    }
    assert set(found) == known, found


@every_kind
def test_a_family_has_a_contract_that_is_run_over_it_and_a_part_from_outside(kind):
    name = contract_of(FAMILIES[kind]).name
    runs = [file for file in TEST_FILES if f'@{name}.over("tests.outside_parts.' in file.read_text()]
    assert len(runs) == 1, f"one test is to be parametrised by @{name}.over(outside part); found {runs}"


@every_kind
def test_names_are_sorted_and_found(kind):
    registry = FAMILIES[kind]
    names = registry.registered()
    assert names == tuple(sorted(set(names)))
    assert names
    for name in names:
        part = registry.get(name)
        assert inspect.isclass(part)
        assert issubclass(part, registry.base)
        assert not inspect.isabstract(part)
        assert name == name.lower()
        assert name.isidentifier()


@every_kind
def test_unknown_name_suggests_the_nearest(kind):
    registry = FAMILIES[kind]
    name = registry.registered()[-1]
    with pytest.raises(InvalidInput, match=f"unknown {kind} '{name}x'; did you mean '{name}'") as refusal:
        registry.get(f"{name}x")
    for known in registry.registered():
        assert known in str(refusal.value)
    with pytest.raises(InvalidInput, match=f"unknown {kind} '%%'; choose one of"):
        registry.get("%%")


@every_kind
def test_a_name_is_given_once(kind):
    registry = FAMILIES[kind]
    taken = registry.registered()[0]
    before = registry.get(taken)
    with pytest.raises(InvalidInput, match=f"{taken}' is registered twice"):
        registry.register(taken)(object)
    assert registry.get(taken) is before


@every_kind
def test_an_heir_without_a_config_of_its_own_is_refused_or_stays_itself(kind, monkeypatch):
    """A config that has a name would be read back as the parent's."""
    registry = FAMILIES[kind]
    monkeypatch.setattr(registry, "_parts", dict(registry._parts))
    parent = registry.get(registry.registered()[0])
    heir = type("Heir", (parent,), {"__module__": __name__, "__doc__": "An heir."})
    if not hasattr(config_of(parent), "name") or config_of(parent) is parent:
        assert registry.resolve(heir) is heir
        assert registry.name_of(heir) == f"{__name__}:Heir"
        return
    with pytest.raises(InvalidInput, match=f"Heir has the config of the {kind} .*; give it a config of its own"):
        registry.resolve(heir)
    with pytest.raises(InvalidInput, match=r"Heir is registered as 'heir', and its .* is called"):
        registry.register("heir")(heir)


@every_part
def test_a_part_has_a_test_file(kind, name):
    """Its own, or one of all files of its folder."""
    file = Path(inspect.getfile(FAMILIES[kind].get(name))).resolve().relative_to(ROOT)
    own, shared = (
        ROOT / "tests" / path.parent / f"test_{path.name}" for path in (file, file.parent.with_suffix(".py"))
    )
    assert own.is_file() or shared.is_file(), f"{file} registers the {kind} {name!r}; its tests go to {own}"
    assert ast.parse((own if own.is_file() else shared).read_text()).body


@pytest.mark.parametrize("kind", ["user model", "encoder", "policy"])
def test_config_is_called_by_the_parts_name(kind):
    registry = FAMILIES[kind]
    for name in registry.registered():
        assert registry.get(name).Config.name == name
