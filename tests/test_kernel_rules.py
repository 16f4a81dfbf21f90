"""What STYLE.md asks of Numba kernels: cached, exact, closed over their file, and tested where they are interpreted.

Each rule is a function from source to the sentences that it complains with; each is fed a bad source too.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterator

import pytest

from tests.source_files import PACKAGES, ROOT, sources

# What a kernel may name that its own file does not define.
KERNEL_LIBRARIES = {"numpy", "math", "numba"}
COMPILERS = {"njit", "jit", "vectorize", "guvectorize", "stencil", "cfunc"}


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


def test_kernels_are_compiled_by_the_one_decorator():
    """Numba's own refuses where no cache can be written."""
    own = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in sources(package)
        if "numba.njit" in imported_modules(path.read_text())
    ]
    assert own == ["recenv/kernels.py"]


def test_every_module_with_kernels_has_kernel_tests():
    tested: set[str] = set()
    for path in sources("tests"):
        source = path.read_text()
        if path.relative_to(ROOT).parts[1] in ("recenv", "offline_data") and carries_marker(source, "kernels"):
            names = imported_modules(source)
            # What several files share stands beside them.
            cases = [ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in names if name.endswith("_cases")]
            tested |= names.union(*(imported_modules(case.read_text()) for case in cases))
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
