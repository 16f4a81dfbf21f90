"""What the source of a part says of it, read without importing it: whoever only lists parts need not wait for torch."""

from __future__ import annotations

import ast
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class PartSource:
    """A class in a module that is not imported."""

    module: str
    """Dotted name."""
    definition: ast.ClassDef
    """The class statement."""

    @property
    def meaning(self) -> str:
        """The docstring's first sentence, up to a semicolon, without its full stop."""
        docstring = ast.get_docstring(self.definition) or ""
        return docstring.split("\n")[0].split(";")[0].rstrip(".")

    def literal(self, attribute: str) -> Any:
        """Return what the class statement, or else that of a base, assigns to an attribute.

        Args:
            attribute: assigned a literal, or `frozenset` of one.

        Returns:
            The value; None where no statement of ours assigns one.
        """
        for statement in self.definition.body:
            match statement:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value)
                ) if name == attribute:
                    return _evaluated(value)
        values = (base.literal(attribute) for base in self._bases())
        return next((value for value in values if value is not None), None)

    def _bases(self) -> Iterator[PartSource]:
        origin = _origins(self.module)
        own = self.module.partition(".")[0]
        for base in self.definition.bases:
            module, name = origin.get(ast.unparse(base), ("", ""))
            if module.partition(".")[0] == own and (defined := _defined(module, name)) is not None:
                yield defined


def registered_parts(package: str) -> dict[str, PartSource]:
    """Return what the modules of a folder register by literal name, `@FAMILY.register("name")`.

    Args:
        package: the folder's dotted name; its parents are imported.
    """
    spec = find_spec(package)
    found: dict[str, PartSource] = {}
    for info in pkgutil.iter_modules(spec.submodule_search_locations if spec else []):
        module = f"{package}.{info.name}"
        classes = [] if info.ispkg else [node for node in _tree(module).body if isinstance(node, ast.ClassDef)]
        for node in classes:
            for call in node.decorator_list:
                match call:
                    case ast.Call(func=ast.Attribute(attr="register"), args=[ast.Constant(value=str(name))]):
                        found[name] = PartSource(module, node)
    return found


@cache
def _origins(module: str) -> dict[str, tuple[str, str]]:
    """Return where the names in a module come from, as module and name there."""
    tree = _tree(module)
    origin = {node.name: (module, node.name) for node in tree.body if isinstance(node, ast.ClassDef)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            origin |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    return origin


@cache
def _defined(module: str, name: str) -> PartSource | None:
    """Return a class of the module that it is imported from: its own, or a face whose stub says where it stands."""
    spec = find_spec(module)
    stub = Path(str(spec and spec.origin)).with_suffix(".pyi")
    faces = ast.parse(stub.read_text(encoding="utf-8")).body if stub.exists() else []
    for node in (*_tree(module).body, *faces):
        match node:
            case ast.ClassDef(name=found) if found == name:
                return PartSource(module, node)
            case ast.ImportFrom(module=str(source), level=1, names=[ast.alias(name=found)]) if found == name:
                return _defined(f"{module}.{source}", name)
    return None


@cache
def _tree(module: str) -> ast.Module:
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no source of {module}")
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _evaluated(value: ast.expr) -> Any:
    match value:
        case ast.Call(func=ast.Name(id="frozenset"), args=arguments):
            return frozenset(ast.literal_eval(arguments[0])) if arguments else frozenset()
    return ast.literal_eval(value)
