"""The rules of ../shared/DESIGN.md section 1 and STYLE.md that the source's syntax tree can show.

Each rule is a function from source to the sentences that it complains with; each is fed a bad source too.
"""

from __future__ import annotations

import ast
import builtins
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("recenv", "offline_data", "agents", "recsession")
MAX_LINES = 400
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

TORCH = {"torch", "torchrl", "tensordict"}
# What the modules of a package may not import at all, and what they may import only inside a function.
NEVER = {
    "recenv": {"offline_data", "agents", "recsession", "tests"} | TORCH,
    "offline_data": {"agents", "recsession", "tests"},
    "agents": {"recsession", "tests"},
    "tests/reference": {*PACKAGES, "numba"},
    "tests/recenv": {"offline_data"},
    "tests/offline_data": set(),
}
# tox's boundscheck and nojit collect the tests of recenv and offline_data where torch is not installed.
INSIDE_FUNCTIONS_ONLY = {
    "offline_data": TORCH,
    "tests/recenv": {"agents"} | TORCH,
    "tests/offline_data": {"agents"} | TORCH,
}

# What a kernel may name that its own file does not define.
KERNEL_LIBRARIES = {"numpy", "math", "numba"}
COMPILERS = {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc"}


def sources(folder: str) -> list[Path]:
    paths = sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)
    assert paths, f"{folder} holds no source: the rules below would pass on nothing"
    return paths


# --- imports

IMPORTERS = {"importlib.import_module", "import_module", "__import__"}


def imports(tree: ast.AST, inside_function: bool = False) -> Iterator[tuple[str, int, bool]]:
    """Yield top-level name, line, and whether it is run only when a function is, of each import."""
    for node in ast.iter_child_nodes(tree):
        inside = inside_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            # Types only: never imported when the program runs.
            for name, line, _ in imports(node, inside):
                yield name, line, True
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], node.lineno, inside
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else (node.module or "").split(".")[0], node.lineno, inside
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTERS:
            yield ast.unparse(node.args[0]).strip("'").split(".")[0], node.lineno, inside
        yield from imports(node, inside)


def check_imports(source: str, never: Iterable[str], inside_functions_only: Iterable[str] = ()) -> list[str]:
    never, restricted = set(never), set(inside_functions_only)
    return [
        f"line {line}: imports {name}" + ("" if name in never else " at module level")
        for name, line, inside in imports(ast.parse(source))
        if name in never or (name in restricted and not inside)
    ]


@pytest.mark.parametrize("folder", NEVER)
def test_imports_point_one_way(folder: str):
    complaints = [
        f"{path.relative_to(ROOT)} {complaint}"
        for path in sources(folder)
        for complaint in check_imports(path.read_text(), NEVER[folder], INSIDE_FUNCTIONS_ONLY.get(folder, ()))
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


# --- kernels


def compiler_calls(node: ast.AST) -> Iterator[ast.expr]:
    """Yield each use of a Numba compiler: a bare name as a decorator, or a call."""
    for child in ast.walk(node):
        if isinstance(child, ast.FunctionDef):
            for decorator in child.decorator_list:
                if not isinstance(decorator, ast.Call) and name_of(decorator) in COMPILERS:
                    yield decorator
        elif isinstance(child, ast.Call) and name_of(child.func) in COMPILERS:
            yield child


def name_of(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def kernels(tree: ast.Module) -> list[ast.FunctionDef]:
    """Return the functions that Numba compiles: decorated, or handed to a compiler by name."""
    handed = {
        argument.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Call | ast.Name | ast.Attribute)
        if name_of(node.func.func if isinstance(node.func, ast.Call) else node.func) in COMPILERS
        for argument in node.args
        if isinstance(argument, ast.Name)
    }
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        if node.name in handed
        or any(name_of(d.func if isinstance(d, ast.Call) else d) in COMPILERS for d in node.decorator_list)
    ]


def check_kernel_options(source: str) -> list[str]:
    complaints = []
    for use in compiler_calls(ast.parse(source)):
        options = {} if not isinstance(use, ast.Call) else {k.arg: ast.unparse(k.value) for k in use.keywords}
        if options.get("cache") != "True":
            complaints.append(f"line {use.lineno}: kernel without cache=True")
        if options.get("error_model") != "'numpy'":
            complaints.append(f'line {use.lineno}: kernel without error_model="numpy"')
        if options.get("fastmath", "False") != "False":
            complaints.append(f"line {use.lineno}: kernel with fastmath, which gives up bitwise equality")
    return complaints


def own_names(tree: ast.Module) -> set[str]:
    """Return what a kernel of this file may name: what the file defines, and what Numba compiles."""
    names: set[str] = set(dir(builtins))
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update(name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, ast.Import):
            libraries = [alias for alias in node.names if alias.name.split(".")[0] in KERNEL_LIBRARIES]
            names.update((alias.asname or alias.name).split(".")[0] for alias in libraries)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in KERNEL_LIBRARIES:
            names.update(a.asname or a.name for a in node.names)
    return names


def check_kernel_callees(source: str) -> list[str]:
    tree = ast.parse(source)
    allowed = own_names(tree)
    complaints = []
    for kernel in kernels(tree):
        bound = {node.arg for node in ast.walk(kernel.args) if isinstance(node, ast.arg)}
        bound |= {n.id for n in ast.walk(kernel) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        bound |= {n.name for n in ast.walk(kernel) if isinstance(n, ast.FunctionDef)}
        for statement in kernel.body:
            complaints += [
                f"line {node.lineno}: kernel {kernel.name} names {node.id}, which another file defines: its "
                "cache would keep the old one after an edit"
                for node in ast.walk(statement)
                if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id not in allowed | bound
            ]
    return complaints


def test_kernels_are_cached_exact_and_closed_over_their_file():
    complaints = []
    count = 0
    for path in [path for folder in PACKAGES for path in sources(folder)]:
        source = path.read_text()
        count += len(kernels(ast.parse(source)))
        complaints += [
            f"{path.relative_to(ROOT)} {c}" for c in check_kernel_options(source) + check_kernel_callees(source)
        ]
    assert count > 0, "no kernel found: the rule looks for the wrong thing"
    assert not complaints, "\n".join(complaints)


GOOD_KERNEL = """
import math
import numpy as np
from numba import njit, prange
SCALE = 2.0

@njit(cache=True, error_model="numpy")
def _inner(x): return math.exp(x) * SCALE

@njit(cache=True, error_model="numpy", nogil=True)
def fill(out):
    for i in prange(len(out)):
        out[i] = _inner(np.float64(i))

def _body(x): return _inner(x)
twin = njit(cache=True, error_model="numpy", parallel=True)(_body)
"""


def test_kernel_rules_accept_a_good_kernel():
    assert [kernel.name for kernel in kernels(ast.parse(GOOD_KERNEL))] == ["_inner", "fill", "_body"]
    assert check_kernel_options(GOOD_KERNEL) == []
    assert check_kernel_callees(GOOD_KERNEL) == []


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('@njit(cache=True, error_model="numpy")', "@njit", "kernel without cache=True"),
        ('@njit(cache=True, error_model="numpy")', "@njit(error_model='numpy')", "kernel without cache=True"),
        ('@njit(cache=True, error_model="numpy")', "@nb.njit(cache=True)", "kernel without error_model"),
        ("nogil=True", "fastmath=True", "kernel with fastmath"),
        ("nogil=True", "fastmath={'nnan'}", "kernel with fastmath"),
        ('error_model="numpy", parallel=True', "parallel=True", "kernel without error_model"),
    ],
)
def test_kernel_option_rule_can_fail(old: str, new: str, complaint: str):
    assert old in GOOD_KERNEL
    assert any(complaint in found for found in check_kernel_options(GOOD_KERNEL.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new", "name"),
    [
        ("SCALE = 2.0", "from recenv.scales import SCALE", "SCALE"),
        ("out[i] = _inner(", "out[i] = imported(", "imported"),
        ("def _body(x): return _inner(x)", "import recenv\ndef _body(x): return recenv.inner(x)", "recenv"),
    ],
)
def test_kernel_callee_rule_can_fail(old: str, new: str, name: str):
    assert old in GOOD_KERNEL
    complaints = check_kernel_callees(GOOD_KERNEL.replace(old, new, 1))
    assert len(complaints) == 1
    assert f"names {name}, which another file defines" in complaints[0]


# --- kernel tests


def imported_modules(source: str) -> set[str]:
    """Return dotted names that the source imports; `from a import b` counts as `a` and as `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
    return names


def carries_marker(source: str, marker: str) -> bool:
    return any(
        isinstance(node, ast.Attribute) and ast.unparse(node) == f"pytest.mark.{marker}"
        for node in ast.walk(ast.parse(source))
    )


def test_every_module_with_kernels_has_kernel_tests():
    tested: set[str] = set()
    for path in sources("tests"):
        source = path.read_text()
        if path.relative_to(ROOT).parts[1] in ("recenv", "offline_data") and carries_marker(source, "kernels"):
            tested |= imported_modules(source)
    missing = [
        f"{dotted} has kernels, and no test file of tests/recenv and tests/offline_data imports it and carries "
        "pytest.mark.kernels: they would not run with bounds checks, nor interpreted"
        for package in PACKAGES
        for path in sources(package)
        if (dotted := ".".join(path.relative_to(ROOT).with_suffix("").parts)) not in tested
        and kernels(ast.parse(path.read_text()))
    ]
    assert not missing, "\n".join(missing)


def test_kernel_test_rule_can_fail():
    assert carries_marker("import pytest\npytestmark = pytest.mark.kernels", "kernels")
    assert not carries_marker("import pytest\npytestmark = pytest.mark.gpu  # kernels", "kernels")
    assert imported_modules("from recenv import catalog\nimport recenv.registry") == {
        "recenv",
        "recenv.catalog",
        "recenv.registry",
    }
