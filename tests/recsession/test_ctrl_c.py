"""Ctrl-C is never lost, whatever swallows it, and wherever it comes: the same command then goes on."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recenv.errors import InvalidInput
from recsession.ctrl_c import is_stop
from tests.recsession.cli_cases import ROOT

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PRESS = "os.kill(os.getpid(), signal.SIGINT); sum(range(1000))"
PROGRAM = """
import os, signal, sys, time
from recsession.ctrl_c import heeded
class Destroyed:
    def __del__(self):
        {press}
def wait(seconds):
    while seconds > 0.0:
        time.sleep(0.1)
        seconds -= 0.1
def lost():
    {body}
    wait(20.0)
try:
    with heeded():
        lost()
except KeyboardInterrupt:
    sys.exit(130)
"""
LOSSES = {
    "a destructor": "Destroyed()",
    "an exec, for which Python would end by the signal": "exec({press!r})",
    "a library that takes every error": """try:
        {press}
    except BaseException:
        pass""",
    "a cleanup that takes its time": """try:
        {press}
    finally:
        wait(0.8)
        try:
            open("absent")
        except OSError:
            wait(0.8)
        print("cleaned", flush=True)""",
}


@pytest.mark.parametrize("body", [pytest.param(body, id=name) for name, body in LOSSES.items()])
def test_a_control_c_is_raised_again_where_it_is_lost_and_only_there(body, tmp_path):
    program = PROGRAM.format(press=PRESS, body=body.format(press=PRESS))
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")
    assert time.monotonic() - begun < 15.0
    assert ("cleaned" in done.stdout) == ("cleaned" in body)


def test_what_is_made_of_a_control_c_is_one():
    def made_of(error: BaseException) -> BaseException:
        try:
            try:
                raise error
            except BaseException as first:
                raise ImportError("numpy failed to import") from first
        except ImportError:
            try:
                raise InvalidInput("install torch")
            except InvalidInput as last:
                return last

    assert is_stop(KeyboardInterrupt())
    assert is_stop(made_of(KeyboardInterrupt()))
    assert not is_stop(made_of(SystemExit(3)))


def test_a_process_that_has_it_ignored_goes_on(tmp_path):
    program = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + PROGRAM.format(
        press=PRESS, body=f"{PRESS}; print('went on'); return"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=ENVIRONMENT, cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "went on\n", "")


WORLD = "--set num_items=60 slate_size=3 max_steps=10"
BUDGET = "--trainer.num-steps 40 --trainer.batch-size 32 --trainer.checkpoint-interval 10 --critic.num-rounds 2"
COMMANDS = {
    "collect": f"collect --out OUT --num-sessions 9000 {WORLD}",
    "collect by two": f"collect --out OUT --num-sessions 9000 --workers 2 {WORLD}",
    "train": f"train awr --log log --out OUT {BUDGET} --critic.steps-per-round 20",
    "fit": "fit --log slates --out OUT",
    "export": "export log --to parquet --out OUT.parquet",
    "inspect": "inspect log --html OUT",
    "simulate": f"simulate --render rgb_array --out OUT.gif {WORLD}",
}


def of_files(path: Path) -> dict[str, str]:
    """Return the checksums of what two equal runs leave alike."""
    files = [path] if path.is_file() else [each for each in sorted(path.rglob("*")) if each.is_file()]
    left_out = {"run.json", "checkpoint", "lock"}
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in files if each.name not in left_out}


@pytest.mark.parametrize(
    ("name", "count"),
    [("collect", 1), *(pytest.param(name, 6, marks=pytest.mark.nightly) for name in COMMANDS)],
)
def test_a_control_c_at_any_moment_leaves_what_the_same_command_goes_on_from(name, count, tmp_path):
    def start(place: str, words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "recsession", *words.replace("OUT", place).split()]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def finish(place: str, words: str = COMMANDS[name]) -> None:
        process = start(place, words)
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said

    for log, kind in (("log", "proto"), ("slates", "slate")):
        if log in COMMANDS[name].split():
            finish(log, f"collect --out OUT --action-kind {kind} --num-sessions 100 {WORLD}")
    begun = time.monotonic()
    finish("whole")
    takes = time.monotonic() - begun
    rng = random.Random(name)
    for index in range(count):
        place = f"stopped-{index}"
        process = start(place, COMMANDS[name])
        time.sleep(rng.uniform(0.2, 1.0) * takes)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all in it
        _, said = process.communicate(timeout=120)
        assert process.returncode in (0, 130), said
        assert "Traceback" not in said
        assert "Exception ignored" not in said
        out = next(word for word in COMMANDS[name].split() if word.startswith("OUT"))
        whole, again = (tmp_path / out.replace("OUT", each) for each in ("whole", place))
        if not (name == "export" and again.exists()):  # which is not written over; it is whole, then
            finish(place)
        assert sorted(of_files(again).values()) == sorted(of_files(whole).values())
    assert not [each for each in tmp_path.iterdir() if each.suffix == ".partial" or ".tmp" in each.name]
