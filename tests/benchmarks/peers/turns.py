"""A player's side of the comparison: it waits for its turn, plays for a moment, and tells how fast it was.

Standard library only: it runs beside every simulator, in that simulator's environment.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

TURN_SECONDS = 0.3


class Contender(NamedTuple):
    """One way to play a simulator.

    Attributes:
        label: what is played.
        threads: threads that it may use.
        play: plays on, and returns how many session steps it played.
    """

    label: str
    threads: int
    play: Callable[[], int]


def take_turns(contenders: list[Contender]) -> None:
    """Tell the labels, then answer each line of standard input, the number of a contender, with its steps a second."""
    # What a simulator prints of its own goes to standard error.
    channel = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Compiles, and fails, before anybody waits for a turn.
    for contender in contenders:
        contender.play()
    print(json.dumps([[contender.label, contender.threads] for contender in contenders]), file=channel, flush=True)
    for line in sys.stdin:
        print(steps_a_second(contenders[int(line)].play), file=channel, flush=True)


def steps_a_second(play: Callable[[], int]) -> float:
    """Return the rate of one turn, after a play outside the timing: the others have filled the caches."""
    play()
    steps = 0
    start = time.perf_counter()
    while (elapsed := time.perf_counter() - start) < TURN_SECONDS:
        steps += play()
    return steps / elapsed
