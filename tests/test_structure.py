"""The rules of ../shared/DESIGN.md section 1 and STYLE.md that the source's syntax tree can show.

Each rule is a function from source to the sentences that it complains with; each is fed a bad source too.
"""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from recenv.extras import EXTRAS
from recenv.part_sources import registered_parts
from tests.source_files import PACKAGES, ROOT, sources

MAX_LINES = 400
# In a family's folder besides its base and its parts: what parts share, and what is done with any of them.
BESIDE_PARTS = {
    "agents.objectives": {"bases"},
    "agents.policies": {"files", "item_search"},
}
# Of the learners, at one level.
MAX_ROOMS = 12
MAX_ARROWS = 25
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "misc", "common"}
TOP_LEVEL = {
    ".ci",
    ".gitignore",
    ".pre-commit-config.yaml",
    "CHANGELOG.md",
    "CITATION.cff",
    "CONTRIBUTING.md",
    "LICENSE",
    "README.md",
    "agents",
    "constraints.txt",
    "docs",
    "offline_data",
    "pyproject.toml",
    "recenv",
    "recsession",
    "tests",
    "tox.ini",
}

# Extras that packages of their own need, by the name of these: nothing else of ours imports what they bring.
OWN_PACKAGES = ("testing", "sb3")
OPTIONAL = {name for extra, names in EXTRAS.items() if extra not in OWN_PACKAGES for name in names}
# What the modules of a package may not import at all, and what they may import only inside a function.
NEVER = {
    "recenv": {"offline_data", "agents", "recsession", "tests"} | OPTIONAL,
    "offline_data": {"agents", "recsession", "tests"},
    "agents": {"recsession", "tests"},
    "recsession": {"tests"},
    "tests/reference": {*PACKAGES, "numba"},
    "tests/recenv": {"offline_data"},
    "tests/offline_data": set(),
}
# tox's boundscheck and nojit collect the tests of recenv and offline_data where no extra is installed.
INSIDE_FUNCTIONS_ONLY = {
    "offline_data": OPTIONAL,
    "tests/recenv": {"agents"} | OPTIONAL,
    "tests/offline_data": {"agents"} | OPTIONAL,
}


# --- imports

IMPORTERS = {"importlib.import_module", "import_module", "__import__"}


def imports(tree: ast.AST, when: str = "at once") -> Iterator[tuple[str, int, str]]:
    """Yield dotted name, line, and when it happens, of each import: at once, by a call, or never but for types."""
    for node in ast.iter_child_nodes(tree):
        then = when
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            then = "by a call"
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            then = "never"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, then
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else node.module or "", node.lineno, then
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS:
            yield ast.unparse(node.args[0]).strip("'"), node.lineno, then
        yield from imports(node, then)


def check_imports(source: str, never: Iterable[str], inside_functions_only: Iterable[str] = ()) -> list[str]:
    never, restricted = set(never), set(inside_functions_only)
    found = [(name.partition(".")[0] or ".", line, when) for name, line, when in imports(ast.parse(source))]
    return [
        f"line {line}: imports {name}" + ("" if name in never else " at module level")
        for name, line, when in found
        if name in never or (name in restricted and when == "at once")
    ]


@pytest.mark.parametrize("folder", NEVER)
def test_imports_point_one_way(folder: str):
    complaints = [
        f"{path.relative_to(ROOT)} {complaint}"
        for path in sources(folder)
        for complaint in check_imports(path.read_text(), NEVER[folder], INSIDE_FUNCTIONS_ONLY.get(folder, ()))
    ]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("own", OWN_PACKAGES)
def test_only_packages_of_that_name_import_what_they_need(own: str):
    complaints = [
        f"{path.relative_to(ROOT)} {complaint}"
        for folder in PACKAGES
        for path in sources(folder)
        if own not in path.parts
        for complaint in check_imports(path.read_text(), (), EXTRAS[own])
    ]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize(
    ("source", "complaints"),
    [
        ("import torch.nn as nn", ["line 1: imports torch"]),
        ("def f():\n    from agents import cli", ["line 2: imports agents"]),
        ("class A:\n    import tensordict", ["line 2: imports tensordict at module level"]),
        ("import importlib\nimportlib.import_module('agents.trainer')", ["line 2: imports agents"]),
        ("if True:\n    import tensordict", ["line 2: imports tensordict at module level"]),
        ("def f():\n    import tensordict", []),
        ("if TYPE_CHECKING:\n    import tensordict", []),
        ("import torchmetrics, agentscope", []),
    ],
)
def test_import_rule_can_fail(source: str, complaints: list[str]):
    assert check_imports(source, {"torch", "agents"}, {"tensordict"}) == complaints


def check_face(source: str) -> list[str]:
    """Complain of what an `__init__` does but say what the package is, hand names on, and call what registers it."""
    kinds = ast.Import | ast.ImportFrom | ast.Expr
    complaints = [
        f"line {node.lineno}: an __init__ defines nothing; move it to a module"
        for node in ast.parse(source).body
        if not isinstance(node, kinds)
        and not (isinstance(node, ast.Assign) and all(n.startswith("__") for n in names_of(node.targets)))
    ]
    return complaints if ast.get_docstring(ast.parse(source)) else [*complaints, "has no docstring"]


def names_of(targets: list[ast.expr]) -> list[str]:
    return [node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def test_faces_define_nothing():
    complaints = [
        f"{path.relative_to(ROOT)} {complaint}"
        for package in PACKAGES
        for path in sources(package)
        if path.name == "__init__.py"
        for complaint in check_face(path.read_text())
    ]
    assert not complaints, "\n".join(complaints)


@pytest.mark.parametrize("line", ["def f(): ...", "class A: ...", "NAME = 1", "if True:\n    f()"])
def test_face_rule_can_fail(line: str):
    good = '"""Doc."""\nimport lazy_loader\nregister()\n__getattr__, __all__ = lazy_loader.attach_stub(__name__)\n'
    assert check_face(good) == []
    assert len(check_face(good + line)) == 1
    assert check_face("import os") == ["has no docstring"]


# --- rooms


def arrows(modules: dict[str, str]) -> set[tuple[str, str]]:
    """Return which module imports which, by dotted name; an import for types alone is none."""
    return {
        (module, name)
        for module, source in modules.items()
        for name, _, when in imports(ast.parse(source))
        if name in modules and when != "never"
    }


def between_rooms(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the same between rooms, which are a package's modules and folders at its top."""
    rooms = {(".".join(a.split(".")[:2]), ".".join(b.split(".")[:2])) for a, b in pairs}
    return {(a, b) for a, b in rooms if a != b}


def circles(pairs: set[tuple[str, str]]) -> set[str]:
    """Return what imports itself by way of others, and what stands between such."""
    pairs = set(pairs)
    while outer := {name for pair in pairs for name in pair} - ({a for a, _ in pairs} & {b for _, b in pairs}):
        pairs = {(a, b) for a, b in pairs if not {a, b} & outer}
    return {name for pair in pairs for name in pair}


def modules_of(package: str) -> dict[str, str]:
    paths = (path for path in sources(package) if path.name != "__init__.py")
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in paths}


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_stand_one_above_the_other(package: str):
    assert circles(arrows(modules_of(package))) == set()


def test_the_learners_have_few_rooms_one_above_the_other_and_few_ways_between_them():
    pairs = arrows(modules_of("agents"))
    rooms = between_rooms(pairs)
    assert circles(rooms) == set()
    assert len({name for pair in rooms for name in pair}) <= MAX_ROOMS
    assert len(rooms) <= MAX_ARROWS


def test_room_rules_can_fail():
    modules = {
        "shop.a.x": "from shop.b import y\nfrom shop.a.z import z",
        "shop.a.z": "import os",
        "shop.b": "def f():\n    import shop.c.w",
        "shop.c.w": "if TYPE_CHECKING:\n    import shop.a.x",
        "shop.d": "import shop.b",
    }
    assert arrows(modules) == {
        ("shop.a.x", "shop.b"),
        ("shop.a.x", "shop.a.z"),
        ("shop.b", "shop.c.w"),
        ("shop.d", "shop.b"),
    }
    assert between_rooms(arrows(modules)) == {("shop.a", "shop.b"), ("shop.b", "shop.c"), ("shop.d", "shop.b")}
    assert circles(arrows(modules)) == circles(between_rooms(arrows(modules))) == set()
    modules["shop.c.w"] = "import shop.a.z"
    assert circles(arrows(modules)) == set()
    assert circles(between_rooms(arrows(modules))) == {"shop.a", "shop.b", "shop.c"}
    modules["shop.c.w"] = "import shop.a.x"
    assert circles(arrows(modules)) == {"shop.a.x", "shop.b", "shop.c.w"}


# --- families


def registry_folders() -> list[str]:
    """Return the dotted names of the folders whose modules are parts, as the families' registries name them."""
    return [
        ast.literal_eval(node.args[1])
        for package in PACKAGES
        if (ROOT / package / "families.py").exists()
        for node in ast.walk(ast.parse((ROOT / package / "families.py").read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Registry"
    ]


@pytest.mark.parametrize("folder", registry_folders())
def test_a_familys_folder_holds_its_base_and_its_parts(folder: str):
    modules = {
        path.stem for path in (ROOT / Path(*folder.split("."))).iterdir() if path.suffix == ".py" or path.is_dir()
    }
    parts = {source.module.rpartition(".")[2] for source in registered_parts(folder).values()}
    assert parts
    assert "base" in modules
    besides = modules - parts - {"base", "__init__", "__pycache__"}
    assert besides == BESIDE_PARTS.get(folder, set()), (
        f"{sorted(besides)} of {folder} register nothing: move them beside"
    )


def test_families_are_found():
    assert {"agents.objectives", "recenv.dynamics.user_models", "offline_data.behavior"} <= set(registry_folders())


# --- files


def check_size(source: str) -> list[str]:
    lines = source.count("\n")
    return [f"has {lines} lines; split it below {MAX_LINES} (aim at 200)"] if lines > MAX_LINES else []


def check_name(path: Path) -> list[str]:
    vague = VAGUE_NAMES.intersection(part.removesuffix(".py") for part in path.parts)
    return [f"has the name {name}, which says nothing; name what it holds" for name in sorted(vague)]


@pytest.mark.parametrize("folder", [*PACKAGES, "tests"])
def test_modules_are_short_and_named_for_what_they_hold(folder: str):
    complaints = [
        f"{path.relative_to(ROOT)} {complaint}"
        for path in sources(folder)
        for complaint in check_size(path.read_text()) + check_name(path.relative_to(ROOT))
    ]
    assert not complaints, "\n".join(complaints)


def test_size_and_name_rules_can_fail():
    assert check_size("x\n" * MAX_LINES) == []
    assert len(check_size("x\n" * (MAX_LINES + 1))) == 1
    assert check_name(Path("recenv/utility_models.py")) == []
    assert len(check_name(Path("recenv/utils.py"))) == 1
    assert len(check_name(Path("recenv/common/catalog.py"))) == 1


def test_every_folder_with_modules_is_a_package():
    missing = {
        str(path.parent.relative_to(ROOT))
        for folder in PACKAGES
        for path in sources(folder)
        if not (path.parent / "__init__.py").exists()
    }
    assert not missing, f"no __init__.py in {sorted(missing)}: setuptools would leave it out of the wheel"


def check_top_level(names: Iterable[str]) -> list[str]:
    return [f"{name} is not one of the repository's rooms" for name in sorted(set(names) - TOP_LEVEL)]


def test_top_level_holds_only_the_rooms():
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout: no telling what belongs to it")
    names = {line.split("/")[0].strip('"') for line in listing.stdout.splitlines()}
    assert "pyproject.toml" in names
    assert not (complaints := check_top_level(names)), "\n".join(complaints)


def test_top_level_rule_can_fail():
    assert check_top_level(["agents", "scripts"]) == ["scripts is not one of the repository's rooms"]
