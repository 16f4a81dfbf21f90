"""A MODULE:CLASS that fails, in whatever way: one sentence that names the file and the line, and exit code 2."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from offline_data import LogRequest, collect
from recenv import SessionConfig, make_world
from recenv.errors import InvalidInput
from recenv.outside_code import blaming_outside_code, note_outside_code
from recsession.policy_names import find_policy

PROBE = "recsession_failing_probe"
SOURCE = """
import sys
from dataclasses import dataclass, replace
from typing import ClassVar
import numpy as np
from offline_data.behavior.uniform import UniformPolicy

class Stop(BaseException):
    pass

class Mute(Exception):
    def __str__(self):
        raise ValueError

class Picky(Exception):  # it does not survive its own pickle
    def __init__(self, one, two):
        super().__init__(one)
        self.reason = lambda: two

class OnlyActs:
    def act(self, observation):
        return np.zeros((len(observation["profile"]), 3), int)

class ExitsAtOnce(OnlyActs):
    def __init__(self):
        sys.exit(0)

class Exits(OnlyActs):
    def act(self, observation):
        sys.exit(0)

class Divides(OnlyActs):
    def act(self, observation):
        return 1 / 0

class Stops(OnlyActs):
    def act(self, observation):
        raise Stop("two\\nlines \\x1b[31m\\u202e")

class IsMute(OnlyActs):
    def act(self, observation):
        raise Mute

class Recurses(OnlyActs):
    def act(self, observation):
        return self.act(observation)

class Opens(OnlyActs):
    def act(self, observation):
        open("/nowhere/at/all")

class TakesNothing(OnlyActs):
    def act(self):
        return 0

class ReturnsNone(OnlyActs):
    def act(self, observation):
        return None

class Generates(OnlyActs):
    def act(self, observation):
        yield super().act(observation)

class ReturnsNan(OnlyActs):
    def act(self, observation):
        return super().act(observation) * np.nan

class Prints(OnlyActs):
    def act(self, observation):
        print("noise")
        return np.arange(3)[None].repeat(len(observation["profile"]), 0)

class Picking(UniformPolicy):
    def act(self, view, draws, memory):
        raise Picky(1, 2)

class Leaving(UniformPolicy):
    def act(self, view, draws, memory):
        sys.exit(0)

class Forgetful(UniformPolicy):
    def remember(self, view, memory):
        raise KeyError("memory")

class Shapeless(UniformPolicy):
    def act(self, view, draws, memory):
        return replace(super().act(view, draws, memory), log_prob=np.zeros(1))

class Beyond(UniformPolicy):
    def act(self, view, draws, memory):
        decision = super().act(view, draws, memory)
        return replace(decision, action=decision.action + 1000)

class Silent(UniformPolicy):
    def act(self, view, draws, memory):
        return None

"""
PARTS = '''
import sys
from dataclasses import dataclass
from typing import ClassVar
from agents.nn.encoders.pooled import PooledConfig, PooledEncoder
from agents.objectives.bc import BcObjective
from agents.values.scores.returns import ReturnScore
from offline_data import LogReader
from offline_data.ope.estimators.importance import Snips
from recenv.dynamics.choice_models.multinomial_logit import MultinomialLogit
from recenv.dynamics.user_models.interest_evolution import InterestEvolution, InterestEvolutionConfig
from tests.outside_parts.patience import Patience, PatienceConfig

@dataclass(frozen=True)
class UserConfig(InterestEvolutionConfig):
    name: ClassVar[str] = "failing user"

class User(InterestEvolution):
    Config = UserConfig
    def respond(self, state, response):
        raise ZeroDivisionError("no answer")

@dataclass(frozen=True)
class NanConfig(InterestEvolutionConfig):
    name: ClassVar[str] = "nan user"

class Nan(InterestEvolution):
    Config = NanConfig
    def respond(self, state, response):
        super().respond(state, response)
        response.rewards[:] = float("nan")

@dataclass(frozen=True)
class Choice(MultinomialLogit):
    name: ClassVar[str] = "failing choice"
    def choose(self, utilities, draws, clicked):
        clicked[:] = 3000

@dataclass(frozen=True)
class PieceConfig(PatienceConfig):
    name: ClassVar[str] = "failing piece"

class Piece(Patience):
    Config = PieceConfig
    def settle(self, state, response, *others):
        sys.exit(4)

@dataclass(frozen=True)
class EncoderConfig(PooledConfig):
    name: ClassVar[str] = "failing encoder"

class Encoder(PooledEncoder):
    Config = EncoderConfig
    def forward(self, *arguments):
        return super().forward(*arguments)[..., :3]

class Objective(BcObjective):
    """Fails."""
    def forward(self, batch):
        raise RuntimeError("no loss")

class Vectors(BcObjective):
    """Has losses that are no numbers."""
    def forward(self, batch):
        return {name: value.expand(3) for name, value in super().forward(batch).items()}

class Lossless(BcObjective):
    """Has none."""
    def forward(self, batch):
        return {}

class Scores(ReturnScore):
    """Fails."""
    def rows(self, *arguments):
        return super().rows(*arguments)[:3]

class Estimator(Snips):
    """Fails."""
    def __call__(self, sessions):
        return None

@dataclass(frozen=True, kw_only=True)
class Reader(LogReader):
    """Fails."""
    def read(self, out, progress=None):
        raise UnicodeDecodeError("utf-8", b"x", 0, 1, "no text")
'''
TINY = "--set num_items=30 slate_size=3 max_steps=4 embedding_dim=4 num_topics=3 history_length=3"
TRAIN = "--trainer.num-steps=1 --trainer.batch-size=8"
SIMULATE = f"simulate --render none {TINY} --policy "
COLLECT = f"collect --out new --num-sessions 20 --action-kind slate {TINY} --behavior "


def line_of(text: str) -> int:
    """Return the number of the source's line that a text stands in."""
    return 1 + SOURCE[: SOURCE.index(text)].count("\n")


@pytest.fixture
def probe(tmp_path, monkeypatch) -> Iterator[Path]:
    file = tmp_path / f"{PROBE}.py"
    file.write_text(SOURCE)
    (tmp_path / f"{PROBE}_parts.py").write_text(PARTS)
    monkeypatch.syspath_prepend(tmp_path)
    yield file
    for name in (PROBE, f"{PROBE}_parts"):
        sys.modules.pop(name, None)


@pytest.fixture
def told(probe, run) -> Callable[[str], str]:
    """Run words that are to be refused, and return the one line."""

    def tell(words: str) -> str:
        code, _, err = run(*words.replace("PROBE", PROBE).split())
        assert code == 2, err
        (line,) = [line for line in re.split(r"[\r\n]", err) if line.startswith("recsession: ")]
        assert err.endswith(f"{line}\n")
        assert "Traceback" not in err
        assert line.isprintable()
        return line

    return tell


@pytest.mark.parametrize(
    ("name", "said", "where"),
    [
        ("ExitsAtOnce", "SystemExit: 0", "__init__: sys.exit(0)"),
        ("Exits", "SystemExit: 0", "act: sys.exit(0)"),
        ("Divides", "ZeroDivisionError: division by zero", "act: return 1 / 0"),
        ("Stops", r"Stop: two lines \u202e", 'act: raise Stop("two'),
        ("IsMute", "Mute", "act: raise Mute"),
        ("Recurses", "RecursionError: maximum recursion depth exceeded", "act: return self.act(observation)"),
        ("Opens", "FileNotFoundError: [Errno 2] No such file", 'act: open("/nowhere/at/all")'),
    ],
)
def test_an_act_that_fails_is_told_with_its_line(told, probe, name, said, where):
    line = told(f"{SIMULATE}PROBE:{name}")
    assert f"{PROBE}:{name} failed ({said}" in line
    function, _, text = where.partition(": ")
    number = 1 + SOURCE[: SOURCE.index(text, SOURCE.index(f"class {name}("))].count("\n")
    assert f"at {probe}:{number}, in {function}: {text}" in line


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("TakesNothing", "failed (TypeError: TakesNothing.act() takes 1 positional argument but 2 were given)"),
        ("ReturnsNone", "returns a NoneType: action has shape ()"),
        ("Generates", "returns a generator: action has shape ()"),
        ("ReturnsNan", "returns a ndarray: action has dtype float64"),
        ("Shapeless", "acts by arrays of the shapes"),
        ("Beyond", "action holds item id 10"),
        ("Silent", "acts by no Decision"),
    ],
)
def test_an_act_that_gives_something_else_is_told_with_its_class(told, probe, name, said):
    line = told(f"evaluate --num-sessions 4 --noise uniform {TINY} --policy PROBE:{name}")
    assert said in line
    assert f"{PROBE}:{name} ({probe}:{line_of(f'class {name}(')})" in line


def test_what_prints_is_no_failure(probe, run):
    code, out, err = run(*f"{SIMULATE}{PROBE}:Prints".split())
    assert (code, out[:5]) == (0, "noise"), err


@pytest.mark.parametrize(
    ("name", "said", "workers"),
    [("Picking", "Picky: 1", 2), ("Leaving", "SystemExit: 0", 1), ("Forgetful", "KeyError: 'memory'", 1)],
)
def test_a_worker_tells_what_a_process_tells(told, probe, name, said, workers):
    sessions = COLLECT.replace("20", "20" if workers == 1 else "8200")
    line = told(f"{sessions}PROBE:{name} --workers {workers}")
    assert f"{PROBE}:{name} failed ({said}, at {probe}:" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (SIMULATE + "uniform --set user_model=PROBE:User", "PROBE:User failed (ZeroDivisionError: no answer, at "),
        (COLLECT + "uniform --set user_model=PROBE:User", "PROBE:User failed (ZeroDivisionError: no answer, at "),
        (
            COLLECT + "uniform --set user_model=PROBE:Nan",
            "a reward or an answer is no number in a world of PROBE:Nan (",
        ),
        (SIMULATE + "uniform --set choice=PROBE:Choice", "clicks at positions 3000 to 3000; choose from [0, 2]"),
        (SIMULATE + 'uniform --set pieces={"PROBE:Piece":{}}', "PROBE:Piece failed (SystemExit: 4, at "),
        (f"train bc --log LOG --out new --encoder PROBE:Encoder {TRAIN}", "PROBE:Encoder ("),
        (f"train PROBE:Objective --log LOG --out new {TRAIN}", "PROBE:Objective failed (RuntimeError: no loss, at "),
        (f"train PROBE:Vectors --log LOG --out new {TRAIN}", "returns {'loss_actor': (3,)"),
        (f"train PROBE:Lossless --log LOG --out new {TRAIN}", "returns no loss_...; give at least one"),
        (f"train awr --score PROBE:Scores --log LOG --out new {TRAIN}", "has shape (3,)"),
        ("ope --log LOG --policy POLICY --estimators PROBE:Estimator", "PROBE:Estimator ("),
        ("import PROBE:Reader --path here --out new", "PROBE:Reader failed (UnicodeDecodeError: 'utf-8' codec "),
    ],
)
def test_parts_of_every_family_that_fail_are_told(told, made, words, said):
    places = {"LOG": made / "log", "POLICY": made / "policy", "PROBE": f"{PROBE}_parts"}
    for name, place in places.items():
        words, said = words.replace(name, str(place)), said.replace(name, str(place))
    assert said in told(words)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def act(:\n", "SyntaxError: invalid syntax, at {file}:1)"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3, at {file}:2: sys.exit(3))"),
        ("class Stop(BaseException): pass\nraise Stop\n", "Stop, at {file}:2: raise Stop)"),
        ("import nothing_of_the_kind\n", "ModuleNotFoundError: No module named 'nothing_of_the_kind', at {file}:1"),
        ("from recsession_half_made import X\n", "ImportError: cannot import name 'X' from partially initialized"),
        ("def __getattr__(name): raise OSError(name)\n", "OSError: X, at {file}:1, in __getattr__"),
        ("raise ValueError('\\x1b[2J' + 'x' * 10_000)\n", "ValueError: \\x1b[2Jxxx"),
    ],
)
@pytest.mark.parametrize("words", [SIMULATE + "NAME:X", "check NAME:X", "train NAME:X", "import NAME:X"])
def test_a_module_that_cannot_be_imported_is_told_with_its_line(tmp_path, told, source, said, words):
    name = "recsession_half_made"
    file = tmp_path / f"{name}.py"
    file.write_text(source)
    line = told(words.replace("NAME", name))
    sys.modules.pop(name, None)
    assert f"'{name}:X': cannot import '{name}' ({said.format(file=file).split(')')[0]}" in line
    assert len(line) < 1000


def test_a_module_that_another_hides_is_told_with_its_place(told):
    assert f"that is a UserModel in {sys.modules['json'].__file__}" in told("options --user-model json:Mine")


def test_the_end_of_help_is_no_failure(probe, run):
    with pytest.raises(SystemExit) as stop:
        run("train", f"{PROBE}_parts:Objective", "--help")
    assert stop.value.code == 0
    code, _, err = run("train", f"{PROBE}_parts:Objective", "--log", "log", "--out", "x", "--trainer.num-steps", "x")
    assert (code, "failed (" in err) == (2, False)
    code, _, err = run("simulate", "--policy", f"{PROBE}:Divides", "--config", "absent.json")
    assert (code, err.startswith("recsession: --config absent.json: No such file or directory")) == (2, True)


def test_our_own_faults_are_not_blamed_on_anyone(run, monkeypatch):
    monkeypatch.setattr("recsession.commands.datasets.named_datasets", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("datasets")


def _fail_as(spec: str) -> None:
    with blaming_outside_code():
        note_outside_code("recenv.items.catalog:Catalog")  # ours is not from outside
        note_outside_code(spec)
        raise ValueError("odd")


def test_from_python_the_error_itself_is_seen(probe, tmp_path):
    world = make_world(SessionConfig().override(num_items=30, slate_size=3, max_steps=4))
    policy, _ = find_policy(f"{PROBE}:Leaving", world, {})
    with pytest.raises(SystemExit):
        policy.act(None, None, None)  # type: ignore[arg-type]
    with pytest.raises(KeyError, match="memory"):
        collect(tmp_path / "new", LogRequest(world.config, f"{PROBE}:Forgetful", "slate", 4))
    (tmp_path / "recsession_broken_probe.py").write_text("1 / 0\n")
    with pytest.raises(InvalidInput, match="cannot import") as caught:
        SessionConfig().override(user_model="recsession_broken_probe:X")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    with pytest.raises(InvalidInput, match=r"^shop:Long failed \(ValueError: odd, at .*\); mend it") as caught:
        _fail_as("shop:Long")
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_ctrl_c_stays_one(probe):
    with pytest.raises(KeyboardInterrupt), blaming_outside_code(["shop:Long"]):
        raise KeyboardInterrupt
