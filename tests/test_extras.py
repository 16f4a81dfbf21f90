"""A plain install has the simulator and the logs; what needs an extra says which, in one sentence."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from recenv.errors import InvalidInput
from recenv.extras import EXTRAS, MissingExtra, require_extra

ROOT = Path(__file__).parent.parent
ABSENT = sorted(name for names in EXTRAS.values() for name in names)
PLAIN_INSTALL = f"""
import sys
from importlib.machinery import PathFinder
class PlainInstall(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name in {ABSENT} else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = PlainInstall
"""


def plainly(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PLAIN_INSTALL + program], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules(package: str) -> list[str]:
    paths = (path.relative_to(ROOT).with_suffix("") for path in sorted((ROOT / package).rglob("*.py")))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def test_the_simulator_and_the_logs_need_no_extra():
    names = [
        name for name in (*modules("recenv"), *modules("offline_data")) if ".testing" not in name and ".sb3" not in name
    ]
    assert {"recenv", "recenv.extras", "offline_data.interop.minari"} <= set(names)
    plainly(f"import importlib\nfor name in {names}: importlib.import_module(name)")


def test_commands_without_a_learner_need_no_extra(tmp_path: Path):
    program = """
from recsession.cli import COMMANDS, main
for name in COMMANDS:
    try:
        code = main([name, "--help"])
    except SystemExit as stop:
        code = stop.code
    print("exit", name, code)
"""
    codes = dict(re.findall(r"^exit (\w+) (\d)$", plainly(program), re.MULTILINE))
    assert {name for name, code in codes.items() if code == "2"} == {
        "ope",
        "quickstart",
        "reproduce",
        "theory",
        "train",
    }
    out = plainly(
        f"from recsession.cli import main; log = {str(tmp_path / 'log')!r}\n"
        'assert main(["collect", "--out", log, "--num-sessions", "5"]) == 0\n'
        'assert main(["inspect", log]) == 0\n'
        'assert main(["simulate", "--render", "none"]) == 0\n'
        'assert main(["evaluate", "--policy", "greedy", "--num-sessions", "5"]) == 0\n'
    )
    assert "5 sessions" in out


AGENTS = 'torch and torchrl and tensordict and faiss are not installed; pip install "recsession[agents]"'


@pytest.mark.parametrize(
    ("program", "sentence"),
    [
        ("from agents import train", AGENTS),
        ("import agents.training.trainer", AGENTS),
        ("from recsession.cli import main; main(['train', 'robust_filter', '--log', 'a', '--out', 'b'])", AGENTS),
        ("from recsession.cli import main; main(['export', 'policy', '--to', 'onnx'])", AGENTS),
        ("import recenv.sb3", 'stable_baselines3 is not installed; pip install "recsession[sb3]"'),
        (
            "from offline_data import export_minari; export_minari(None, 'a-v0')",
            'minari and h5py are not installed; pip install "recsession[minari]"',
        ),
        (
            "from offline_data import import_minari; import_minari('a', 'b')",
            'minari and h5py are not installed; pip install "recsession[minari]"',
        ),
    ],
)
def test_what_needs_an_extra_names_it(program: str, sentence: str):
    done = subprocess.run([sys.executable, "-c", PLAIN_INSTALL + program], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].removeprefix("recsession: ").endswith(sentence)


@pytest.mark.parametrize("extra", EXTRAS)
def test_a_missing_part_of_an_extra_is_named(extra: str, monkeypatch: pytest.MonkeyPatch):
    for name in EXTRAS[extra]:
        with monkeypatch.context() as patch:
            for other in EXTRAS[extra]:
                patch.setitem(sys.modules, other, sys.modules["recenv"])
            require_extra(extra)
            patch.setitem(sys.modules, name, None)
            with pytest.raises(MissingExtra, match=rf'^{name} is not installed; pip install "recsession\[{extra}\]"$'):
                require_extra(extra)
    assert issubclass(MissingExtra, InvalidInput)
    assert issubclass(MissingExtra, ImportError)
