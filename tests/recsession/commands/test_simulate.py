"""`recsession simulate`: what it prints, draws and sums up, for every kind of policy."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from PIL import Image

import recsession.commands.simulate as command
from offline_data.behavior.base import make_behavior
from offline_data.collection.rollout import play_sessions
from offline_data.families import BEHAVIORS
from recenv.envs.session_env import RecSessionEnv
from recsession.experiments.myopic_gap import OracleFamily, myopic_gap

ROOT = Path(__file__).resolve().parents[3]
SUMMARY = r"seed (\d+): return (\S+), (\d+) steps, (\d+) clicks, (the user left|time is up)"
NEEDS_OPTIONS = {"mixture", "softmax"}
SOFTMAX = '{"name": "softmax", "weights": {"quality": 1.0}}'
SHOPPER = "tests.outside_parts.window_shopper:WindowShopper"
PLAYABLE = [*sorted(set(BEHAVIORS.registered()) - NEEDS_OPTIONS), SOFTMAX]


def summaries(out: str) -> list[tuple[int, float, int, int, str]]:
    found = re.findall(f"^{SUMMARY}$", out, flags=re.MULTILINE)
    return [(int(seed), float(total), int(steps), int(clicks), end) for seed, total, steps, clicks, end in found]


# --- the gap


def test_a_world_says_what_far_sight_is_worth_in_it(run, world, world_options):
    code, out, err = run("simulate", "--gap", "--num-sessions", 60, "--seed", 3, *world_options)
    assert (code, err) == (0, "")
    gap = myopic_gap(world, OracleFamily.of(type(world.user_model)), 60, 3)
    assert f"ratio               {gap.ratio:.3f}   (95 % interval, paired over 60 users)\n{gap.verdict}\n" in out
    for name, value in (("greedy oracle", gap.greedy), ("far-sighted oracle", gap.far_sighted)):
        assert f"{name:<20}{value}" in out


def test_a_world_in_which_nothing_lies_beyond_the_next_step_says_so(run):
    code, out, _ = run("simulate", "--gap", "--set", "num_items=30", "slate_size=3", "max_steps=1")
    assert code == 0
    assert re.search(r"nothing to gain from far sight here: the best .* earns at most [01]\.\d+ times", out)


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (["--policy", "expert"], "--gap plays the world's oracles, and shows no session; leave out --policy"),
        (["--render", "none"], "leave out --render"),
        (["--num-sessions", 1], "num_sessions=1 is outside [2, "),
        (["--set", f"user_model={SHOPPER}"], f"user_model '{SHOPPER}' names no oracles; give it a greedy_oracle"),
    ],
)
def test_a_gap_that_cannot_be_is_refused(run, words, refusal):
    code, _, err = run("simulate", "--gap", *words)
    assert code == 2
    assert refusal in err


# --- what is played


@pytest.mark.parametrize("policy", PLAYABLE)
def test_sessions_are_those_of_the_library(run, world, world_options, policy):
    code, out, err = run(
        "simulate", "--policy", policy, "--render", "none", "--seed", 5, "--num-sessions", 3, *world_options
    )
    assert (code, err) == (0, "")
    seeds = np.arange(5, 8, dtype=np.uint64)
    spec = json.loads(policy) if policy == SOFTMAX else policy
    rows = play_sessions(world, make_behavior(world, spec, None), seeds, seeds)
    ends = np.where(rows.columns["terminated"][rows.offsets[1:] - 1], "the user left", "time is up")
    clicks = np.add.reduceat(rows.columns["feedback"][:, :, 0].sum(axis=1), rows.offsets[:-1])
    expected = zip(seeds, rows.session_returns().round(2), np.diff(rows.offsets), clicks, ends, strict=True)
    played = summaries(out)
    for found, wanted in zip(played, expected, strict=True):
        assert found[0] == wanted[0]
        assert found[1] == pytest.approx(wanted[1], abs=0.011)
        assert found[2:] == wanted[2:]
    *_, last = out.splitlines()
    mean = re.fullmatch(r"mean of 3: return (\S+), (\S+) steps, (\S+) clicks", last)
    assert mean
    for text, values in zip(mean.groups(), list(zip(*played, strict=True))[1:4], strict=True):
        assert float(text) == pytest.approx(sum(values) / 3, abs=0.06)


def test_greedy_is_what_is_shown_first(run):
    code, out, _ = run("simulate")
    assert code == 0
    assert out == run("simulate", "--policy", "greedy", "--render", "ansi", "--env", "RecSession-v0", "--seed", 0)[1]
    assert out.splitlines()[0] == "step 0 of 50   return 0.00   clicks 0"


def test_text_is_every_step_of_the_environment_s_session(run, world, world_options):
    code, out, _ = run("simulate", "--policy", "clickbait", "--seed", 9, *world_options)
    assert code == 0
    seeds = np.array([9], np.uint64)
    slates = play_sessions(world, make_behavior(world, "clickbait"), seeds, seeds).columns["slate"]
    env = RecSessionEnv(world.config, render_mode="ansi")
    env.reset(seed=9)
    texts = [env.render()]
    for slate in slates:
        env.step(slate)
        texts.append(env.render())
    assert out.startswith("\n\n".join(texts) + "\n\nseed 9: return ")
    assert summaries(out)[0][2] == len(slates)
    assert "mean of" not in out


def test_trained_policy_acts_in_its_own_world(run, made, world):
    code, out, _ = run("simulate", "--policy", made / "policy", "--num-sessions", 2)
    assert code == 0
    assert f"step 0 of {world.config.max_steps} " in out
    assert [seed for seed, *_ in summaries(out)] == [0, 1]


def test_own_policy_acts_in_the_given_world(run, tmp_path, world_options):
    (tmp_path / "top_of_the_list.py").write_text(
        "import numpy as np\n"
        "class Top:\n"
        "    def act(self, observation):\n"
        "        return np.tile(np.arange(3), (len(observation['profile']), 1))\n"
    )
    code, out, _ = run("simulate", "--policy", "top_of_the_list:Top", *world_options)
    sys.modules.pop("top_of_the_list")
    assert code == 0
    slates = re.findall(r"^ +[123] +(\d+)  ", out, flags=re.MULTILINE)
    assert slates == ["0", "1", "2"] * (len(slates) // 3)
    assert len(slates) >= 3


def test_behavior_policy_by_its_spec(run, world, world_options):
    words = ("simulate", "--render", "none", "--num-sessions", 3, *world_options, "--policy")
    spec = {"name": "mixture", "components": ["greedy", "uniform"], "weights": [1.0, 0.0]}
    code, mixed, _ = run(*words, json.dumps(spec))
    assert code == 0
    assert mixed == run(*words, "greedy")[1]
    assert run(*words, json.dumps({"name": "belief", "optimism": 3}))[1] != run(*words, "belief")[1]


OWN = """
import numpy as np
class Repeats:
    def act(self, observation):
        return np.zeros((len(observation["profile"]), 10), int)
class Raises:
    def act(self, observation):
        return {}["slate"]
"""


def test_own_policy_that_raises_is_named_with_its_line_and_step(tmp_path):
    file = tmp_path / "repeats_and_raises.py"
    file.write_text(OWN)
    words = ("simulate", "--policy", "repeats_and_raises:Raises", "--seed", "3")
    with process(*words, cwd=tmp_path) as running:
        assert running.stderr is not None
        (line,) = running.stderr.read().splitlines()
    assert line.startswith(
        "recsession: repeats_and_raises:Raises failed (KeyError: 'slate', at step 0 of seed 3, at "
        f'{file}:8, in act: return {{}}["slate"]); mend it'
    )


def test_positions_that_showed_nothing_are_counted(run, tmp_path):
    (tmp_path / "repeats_and_raises.py").write_text(OWN)
    code, out, _ = run("simulate", "--policy", "repeats_and_raises:Repeats", "--render", "none")
    sys.modules.pop("repeats_and_raises")
    assert code == 0
    summary, line = out.splitlines()
    (found,) = summaries(out)
    assert re.fullmatch(SUMMARY, summary)
    assert line == (
        f"shown {found[2]} of {found[2] * 10} positions: repeated items, or items that the step does not offer"
    )


def test_a_variant_of_the_environment_is_found_by_its_id(run):
    gymnasium.register(
        id="RecSession-OfThisTest-v0",
        entry_point=gymnasium.spec("RecSession-v0").entry_point,
        kwargs={"max_steps": 7, "num_items": 20, "slate_size": 2},
    )
    try:
        code, out, _ = run("simulate", "--env", "RecSession-OfThisTest-v0", "--set", "slate_size=3")
        code_without, _, err = run("simulate", "--env", "RecSession-OfThisTes-v0")
        both = run("simulate", "--env", "RecSession-OfThisTest-v0", "--config", "config.json")
    finally:
        gymnasium.registry.pop("RecSession-OfThisTest-v0")
    assert code == 0
    assert out.startswith("step 0 of 7 ")
    assert re.search(r"^ +3 +\d+  ", out, flags=re.MULTILINE)
    assert not re.search(r"^ +4 +\d+  ", out, flags=re.MULTILINE)
    assert code_without == 2
    assert "did you mean 'RecSession-OfThisTest-v0'?" in err
    assert both[0] == 2
    assert "--config and --env RecSession-OfThisTest-v0 are two worlds; leave one of them out" in both[2]


# --- colours and letters


class Terminal(io.StringIO):
    def __init__(self, encoding: str, is_terminal: bool) -> None:
        super().__init__()
        self._encoding = encoding
        self._is_terminal = is_terminal

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return self._is_terminal


def shown_on(monkeypatch, terminal: Terminal, **environment: str) -> str:
    monkeypatch.setattr(sys, "stdout", terminal)
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    command.Simulate(set=(("num_items=20", "slate_size=2", "max_steps=3"),)).run()
    return terminal.getvalue()


def test_colors_are_for_terminals_that_want_them(monkeypatch):
    plain = shown_on(monkeypatch, Terminal("utf-8", False))
    assert "\x1b" not in plain
    assert "█" in plain
    for environment, colored in (
        ({}, True),
        ({"NO_COLOR": ""}, True),
        ({"NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ):
        text = shown_on(monkeypatch, Terminal("utf-8", True), **environment)
        assert ("\x1b[1m" in text) == colored
        assert re.sub(r"\x1b\[[0-9;]*m", "", text) == plain


def test_where_blocks_cannot_be_written_other_letters_stand_for_them(monkeypatch):
    text = shown_on(monkeypatch, Terminal("ascii", False))
    assert text.isascii()
    assert re.search(r"^budget +#+\.* ", text, flags=re.MULTILINE)
    assert len(text) == len(shown_on(monkeypatch, Terminal("utf-8", False)))


# --- pictures


def test_animation_has_a_picture_of_every_step(run, tmp_path, world_options):
    words = ("simulate", "--render", "rgb_array", "--num-sessions", 2, *world_options)
    code, out, _ = run(*words, "--out", "films/session.gif")
    assert code == 0
    assert out.splitlines()[-1] == "wrote films/session.gif"
    steps = [steps for _, _, steps, *_ in summaries(out)]
    with Image.open(tmp_path / "films" / "session.gif") as film:
        assert film.format == "GIF"
        assert film.n_frames == sum(steps) + 2  # type: ignore[attr-defined]
        assert film.info["duration"] == 500
        assert film.info["loop"] == 0
        assert film.size[0] == 1152
    first = (tmp_path / "films" / "session.gif").read_bytes()
    assert run(*words, "--out", "again.gif")[0] == 0
    assert (tmp_path / "again.gif").read_bytes() == first
    assert {path.name for path in tmp_path.rglob("*")} == {"films", "session.gif", "again.gif"}


@pytest.mark.parametrize(("max_steps", "columns", "rows"), [(1, 2, 1), (3, 3, 2), (40, 3, 4)])
def test_contact_sheet_has_at_most_twelve_steps(run, tmp_path, max_steps, columns, rows):
    world = ("--set", "num_items=30", "slate_size=3", "budget=1000", f"max_steps={max_steps}")
    code, _, _ = run("simulate", "--render", "rgb_array", "--out", "sheet.PNG", *world)
    assert code == 0
    with Image.open(tmp_path / "sheet.PNG") as sheet:
        assert sheet.format == "PNG"
        width, height = sheet.size
        assert width == columns * (1152 // 2 + 16) + 16
        assert (height - 16) % rows == 0
        # The last place holds the end of the session, and the gaps are bare.
        cell = (height - 16) // rows
        pixels = np.asarray(sheet.convert("RGB"))
    assert (pixels[:16] == pixels[0, 0]).all()
    filled = [(pixels[16 + r * cell :][: cell - 16] != pixels[0, 0]).any(axis=2).mean() for r in range(rows)]
    assert filled[0] > 0.9
    assert filled[-1] > 0.3


def test_a_stopped_drawing_leaves_no_file(run, tmp_path, monkeypatch, world_options):
    drawn = []

    def stopped(frame):
        drawn.append(frame)
        if len(drawn) == 2:
            raise KeyboardInterrupt
        return np.zeros((16, 16, 3), np.uint8)

    monkeypatch.setattr("recenv.render.session_picture.rgb_array", stopped)
    (tmp_path / "old.gif").write_text("mine")
    code, _, _ = run("simulate", "--render", "rgb_array", "--out", "old.gif", *world_options)
    assert code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["old.gif"]
    assert (tmp_path / "old.gif").read_text() == "mine"


def test_nothing_is_watched_where_nothing_is_shown(run, monkeypatch, world_options):
    def watched(*args):
        raise AssertionError("a frame was made")

    monkeypatch.setattr(RecSessionEnv, "frame", watched)
    assert run("simulate", "--render", "none", *world_options)[0] == 0


# --- the process


def process(*words: str, **options) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "encoding": "utf-8"}
    return subprocess.Popen([sys.executable, "-m", "recsession", *words], env=environment, **pipes, **options)


def test_a_reader_that_has_seen_enough_is_no_error():
    with process("simulate", "--num-sessions", "20", "--set", "num_items=50") as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith("step 0 of 50")
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait() == 141


def test_an_oracle_needs_no_torch():
    program = (
        "import sys; from recsession.cli import main\n"
        "assert main(['simulate', '--render', 'none', '--set', 'num_items=20']) == 0\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")
