"""Registries: names without imports, three ways to name a part, nothing imported because a file says so."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from recenv.errors import InvalidInput
from recenv.registry import Registry, permit_imports, reading

FAMILY, SHOP = "recsession_registry_probe", "recsession_shop_probe"
BASE = f"""
from recenv.registry import Registry
PARTS = Registry("toy part", "{FAMILY}", "Toy", "toys")
class Toy: pass
"""
PART = """
from {family}.base import PARTS, Toy
class {title}Config:
    name = "{name}"
@PARTS.register("{name}")
class {title}(Toy):
    Config = {title}Config
"""
OUTSIDE = f"""
from {FAMILY}.base import PARTS, Toy
from {FAMILY}.first import First, FirstConfig
class Own(Toy):
    class Config:
        name = "own"
class Heir(First):
    pass
class Nameless(Toy):
    class Config:
        pass
class NamelessHeir(Nameless):
    pass
class Stranger:
    pass
class Shelf:
    class Inner(Toy):
        class Config:
            name = "inner"
"""


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry[Any]]:
    """A family of two parts, and a module of somebody else's with more; forgotten afterwards."""
    files = {f"{FAMILY}/__init__": "", f"{FAMILY}/base": BASE, f"{SHOP}/__init__": "", f"{SHOP}/toys": OUTSIDE}
    files |= {
        f"{FAMILY}/{name}": PART.format(family=FAMILY, name=name, title=name.title()) for name in ("first", "other")
    }
    files |= {f"{SHOP}/broken": "import sys\nsys.exit(3)", f"{SHOP}/halves": "def half(:"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield __import__(f"{FAMILY}.base").base.PARTS
    for name in [name for name in sys.modules if name.split(".")[0] in (FAMILY, SHOP)]:
        del sys.modules[name]


def test_names_are_listed_without_an_import(family):
    assert family.registered() == ("first", "other")
    assert f"{FAMILY}.first" not in sys.modules
    assert family.get("first").__name__ == "First"
    assert f"{FAMILY}.other" not in sys.modules


@pytest.fixture
def install(tmp_path, monkeypatch) -> Callable[..., None]:
    """Install a distribution that has entry points for parts of the toys' family."""

    def write(name: str = "shop", folder: str = "", **points: str) -> None:
        site = tmp_path / (folder or f"{name}-site")
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (info / "entry_points.txt").write_text("\n".join(["[recsession.toys]", *lines, "[others]", "no = no:No"]))
        monkeypatch.syspath_prepend(site)

    return write


def test_a_part_is_named_in_three_ways(family, install):
    install(bought=f"{SHOP}.toys:Own")
    assert family.registered() == ("bought", "first", "other")
    own = family.resolve(f"{SHOP}.toys:Own")
    assert family.resolve("bought") is family.resolve(own) is own
    assert family.resolve("other").Config.name == "other"
    assert family.registered() == ("bought", "first", "other")
    inner = family.resolve(f"{SHOP}.toys:Shelf.Inner")
    assert family.resolve(family.name_of(inner)) is inner


def test_an_entry_point_needs_no_permission_however_a_file_names_it(family, install):
    install(bought=f"{SHOP}.toys:Own", broken=f"{SHOP}.broken:Own")
    with reading("manifest.json"):
        with pytest.raises(InvalidInput, match="nothing is imported because a file says so"):
            family.resolve(f"{SHOP}.toys:Nameless")
        assert family.name_of(family.resolve(f"{SHOP}.toys:Own")) == f"{SHOP}.toys:Own"
        with pytest.raises(InvalidInput, match=f"cannot import '{SHOP}.broken' .SystemExit: 3"):
            family.resolve("broken")


def test_an_installed_part_with_the_name_of_one_of_the_family_is_warned_of(family, install):
    install(first=f"{SHOP}.toys:Own")
    with pytest.warns(
        UserWarning, match=f"installed toy part 'first', {SHOP}.toys:Own, has the name of one of {FAMILY}"
    ):
        first = family.resolve("first")
    assert first.__module__ == f"{FAMILY}.first"
    assert family.resolve("first") is first  # and once is enough
    assert family.resolve(f"{SHOP}.toys:Own").__name__ == "Own"


def test_a_name_that_is_installed_twice_means_neither(family, install):
    install(bought=f"{SHOP}.toys:Own")
    install("mall", bought=f"{SHOP}.toys:Nameless")
    with pytest.raises(
        InvalidInput, match=f"'bought' is installed twice, as {SHOP}.toys:Nameless and as {SHOP}.toys:Own"
    ):
        family.resolve("bought")
    with reading("manifest.json"):  # and each by its way needs no permission, as ever
        assert family.resolve(f"{SHOP}.toys:Own").__name__ == "Own"


def test_a_distribution_that_lies_on_the_path_twice_is_one(family, install):
    install(bought=f"{SHOP}.toys:Nameless")
    install(folder="again", bought=f"{SHOP}.toys:Own")
    assert family.resolve("bought").__name__ == "Own"


def test_a_config_of_a_class_and_its_heir_is_not_taken_for_the_class_s(family):
    first, heir = (family.resolve(f"{SHOP}.toys:{name}") for name in ("Nameless", "NamelessHeir"))
    with pytest.raises(InvalidInput, match=r"is the config of .*:Nameless and of .*:NamelessHeir"):
        family.part_of(heir.Config())
    with pytest.raises(InvalidInput, match=r"is the config of .*:Nameless and of .*:NamelessHeir"):
        family.name_of(heir.Config)
    assert family.name_of(heir) == f"{SHOP}.toys:NamelessHeir"
    assert family.name_of(first) == f"{SHOP}.toys:Nameless"


def test_a_file_is_told_the_name_under_which_another_process_finds_the_part(family):
    own, first = family.resolve(f"{SHOP}.toys:Own"), family.get("first")
    assert family.name_of(own) == family.name_of(own.Config) == f"{SHOP}.toys:Own"
    assert family.name_of(first) == family.name_of(first.Config) == "first"
    assert family.part_of(own.Config()) is own
    assert family.part_of(first.Config()) is first
    with pytest.raises(InvalidInput, match="is no config of a toy part"):
        family.part_of(3)


def test_unknown_part_names_its_family_and_the_nearest(family):
    with pytest.raises(InvalidInput) as caught:
        family.resolve("frist")
    assert str(caught.value) == "unknown toy part 'frist'; did you mean 'first'? choose one of: first, other"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (f"{SHOP}.toys:Stranger", "there is no class of that name that is a Toy"),
        (f"{SHOP}.toys:Missing", "there is no class of that name that is a Toy"),
        (f"{SHOP}.none:Own", "cannot import 'recsession_shop_probe.none' .ModuleNotFoundError"),
        (f"{SHOP}.broken:Own", "cannot import 'recsession_shop_probe.broken' .SystemExit: 3"),
        (f"{SHOP}.halves:Own", "cannot import 'recsession_shop_probe.halves' .SyntaxError"),
        (":Own", "cannot import ''"),
        (f"{SHOP}.toys:Heir", "has the config of the toy part 'first', and would be taken for it"),
    ],
)
def test_what_is_no_part_is_one_sentence(family, spec, message):
    family.get("first")
    with pytest.raises(InvalidInput, match=message) as caught:
        family.resolve(spec)
    assert "\n" not in str(caught.value).partition("SyntaxError")[0]


def test_nothing_is_imported_because_a_file_says_so(family):
    spec = f"{SHOP}.toys:Own"
    with reading("manifest.json"), pytest.raises(InvalidInput, match=r"manifest\.json names the toy part") as caught:
        family.resolve(spec)
    assert f"--allow-import {SHOP}.toys, or allow_imports=('{SHOP}.toys',)" in str(caught.value)
    assert SHOP not in sys.modules
    with reading("manifest.json"):
        assert family.resolve("first").__name__ == "First"
    with reading("manifest.json", [SHOP[:-1]]), pytest.raises(InvalidInput):  # no prefix of a name is a package of it
        family.resolve(spec)
    with permit_imports([SHOP]), reading("manifest.json"):
        own = family.resolve(spec)
    with reading("another.json"):  # it is there already
        assert family.resolve(spec) is own


def test_a_name_is_one_parts_and_a_config_too(family):
    base = sys.modules[f"{FAMILY}.base"].Toy
    with pytest.raises(InvalidInput, match=f"'first' is registered twice, by {FAMILY}.first and"):
        family.register("first")(type("Other", (base,), {}))  # before the project's own is imported
    first = family.get("first")
    with pytest.raises(InvalidInput, match="toy part 'first' is registered twice"):
        family.register("first")(type("Other", (base,), {}))
    with pytest.raises(
        InvalidInput, match="'heir', and its FirstConfig is called 'first'; give it a config of its own"
    ):
        family.register("heir")(type("Heir", (first,), {}))
    again = type(
        "First", (base,), {"Config": type("FirstConfig", (), {"name": "first"}), "__module__": f"{FAMILY}.first"}
    )
    assert family.register("first")(again) is family.get("first") is again


def test_the_learners_families_are_listed_without_torch():
    program = "import sys\nfrom agents.families import OBJECTIVES\nassert 'robust_filter' in OBJECTIVES.registered()\n"
    program += "assert not {'torch', 'numba'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
