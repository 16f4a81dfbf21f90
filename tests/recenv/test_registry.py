"""Registries: parts by name, their folder imported at the first question, unknown names told with the nearest one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from recenv.dynamics.user_models.base import USER_MODELS, UserModel
from recenv.errors import InvalidInput
from recenv.registry import Registry

FAMILY = "recsession_registry_probe"


@pytest.fixture
def family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make an importable folder of two parts that register themselves, and forget it afterwards."""
    folder = tmp_path / FAMILY
    folder.mkdir()
    (folder / "__init__.py").write_text(
        f"from recenv.registry import Registry\nPARTS = Registry('toy part', {FAMILY!r})\n"
    )
    for name in ("first", "second"):
        (folder / f"{name}.py").write_text(
            f"from {FAMILY} import PARTS\n\n@PARTS.register('{name}_part')\ndef part():\n    return '{name}'\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    module = __import__(FAMILY)
    yield module.PARTS
    for name in [name for name in sys.modules if name.split(".")[0] == FAMILY]:
        del sys.modules[name]


def test_folder_is_imported_at_the_first_question_and_not_before(family: Registry):
    assert f"{FAMILY}.second" not in sys.modules
    assert family.get("second_part")() == "second"
    assert f"{FAMILY}.first" in sys.modules
    assert family.registered() == ("first_part", "second_part")


def test_unknown_part_names_its_family_and_the_nearest(family: Registry):
    with pytest.raises(InvalidInput) as caught:
        family.get("frist_part")
    assert str(caught.value) == (
        "unknown toy part 'frist_part'; did you mean 'first_part'? choose one of: first_part, second_part"
    )


def test_two_parts_of_one_name_are_a_programming_error():
    parts: Registry[object] = Registry("toy part", "recenv")
    part = object()
    assert parts.register("one")(part) is part
    with pytest.raises(KeyError, match="toy part 'one' is registered twice"):
        parts.register("one")(object())


def test_every_user_model_is_named_as_its_config_says():
    names = USER_MODELS.registered()
    assert "interest_evolution" in names
    for name in names:
        model = USER_MODELS.get(name)
        assert issubclass(model, UserModel)
        assert getattr(model.Config, "name", None) == name
        assert model.feedback_names[0] == "click"
