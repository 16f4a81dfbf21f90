"""What is read of a part's source is what the imported part says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recenv.part_sources import registered_parts

FOLDER = {
    "__init__": '"""Parts."""',
    "base": '"""Base."""\nFAMILY = ...\nclass Part:\n    needs: frozenset[str] = frozenset()\n    size: int\n',
    "shapes": (
        "from shapes import Lost, Small\nfrom shapes.base import FAMILY, Part\n"
        '@FAMILY.register("round")\nclass Round(Part):\n    """A circle; it rolls.\n\n    At length.\n    """\n'
        '@FAMILY.register("oval")\nclass Oval(Round):\n    """An oval."""\n\n'
        '    needs = frozenset({"axes"})\n    size: int = 2\n'
        '@FAMILY.register("egg")\nclass Egg(Oval):\n    pass\n'
        '@FAMILY.register("dot")\nclass Dot(Small):\n    """Of a base that the package offers."""\n'
        '@FAMILY.register("blot")\nclass Blot(Lost):\n    """Of a base that is nowhere."""\n'
        "raise RuntimeError('imported')\n"
    ),
}


@pytest.fixture
def shapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "shapes").mkdir()
    for name, source in FOLDER.items():
        (tmp_path / "shapes" / f"{name}.py").write_text(source)
    (tmp_path / "shapes" / "__init__.pyi").write_text("from .small import Small as Small\n")
    (tmp_path / "shapes" / "small.py").write_text("class Small:\n    needs = frozenset({'little'})\n    size = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    return "shapes"


def test_parts_are_read_and_not_imported(shapes: str):
    parts = registered_parts(shapes)
    assert {name: (part.module, part.meaning) for name, part in parts.items()} == {
        "round": ("shapes.shapes", "A circle"),
        "oval": ("shapes.shapes", "An oval"),
        "egg": ("shapes.shapes", ""),
        "dot": ("shapes.shapes", "Of a base that the package offers"),
        "blot": ("shapes.shapes", "Of a base that is nowhere"),
    }
    assert {name: part.literal("needs") for name, part in parts.items()} == {
        "round": frozenset(),
        "oval": frozenset({"axes"}),
        "egg": frozenset({"axes"}),
        "dot": frozenset({"little"}),
        "blot": None,
    }
    assert [part.literal("size") for part in parts.values()] == [None, 2, 2, 1, None]
    assert [part.literal("colour") for part in parts.values()] == [None] * 5
    assert "shapes.shapes" not in sys.modules
