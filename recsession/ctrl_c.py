"""Ctrl-C, which is never lost: where something swallows the `KeyboardInterrupt`, it is raised again.

Python raises it wherever it stands. In a destructor, a callback of a C library or a weak reference it only prints
"Exception ignored"; some libraries make another error of it, or none. So after the first Ctrl-C a timer looks, twice a
second, whether the exception is on its way, and else sends it anew.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

LOOK_SECONDS: Final = 0.5
AT_ONCE: Final = 0.01

_pressed = False


@contextmanager
def heeded() -> Iterator[None]:
    """Lose no Ctrl-C inside, and ignore what comes after, when all is done but the end of the process.

    It does nothing where whoever started the process has SIGINT ignored, or handled. It takes the signals and the timer
    of the process, and so is the console script's, and no library's.
    """
    global _pressed
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    before = signal.signal(signal.SIGALRM, _look)
    sys.unraisablehook, hook = _raise_soon, sys.unraisablehook
    signal.signal(signal.SIGINT, _press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
        sys.unraisablehook, _pressed = hook, False
        # One that came through an `exec` of a text, a dataclass being made, has Python end by the signal, and not by
        # an exit code; the next `exec` makes it forget that.
        exec("")


def is_stop(error: BaseException) -> bool:
    """Return whether an error is a Ctrl-C, or what something has made of one.

    Args:
        error: what has ended a command.
    """
    return _pressed or _tells_of_one(error)


def _tells_of_one(error: BaseException | None) -> bool:
    known: set[int] = set()
    left = [error]
    while left:
        each = left.pop()
        if isinstance(each, KeyboardInterrupt):
            return True
        if each is not None and id(each) not in known:
            known.add(id(each))
            left += [each.__cause__, each.__context__]
    return False


def _press(number: int, frame: FrameType | None) -> None:
    global _pressed
    _pressed = True
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    raise KeyboardInterrupt


def _look(number: int, frame: FrameType | None) -> None:
    # What is being cleaned up after a KeyboardInterrupt has it for the exception that it handles.
    if not _tells_of_one(sys.exception()):
        raise KeyboardInterrupt


def _raise_soon(lost: Any) -> None:
    """Say nothing of a Ctrl-C that a destructor or a callback has lost: it comes again."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, AT_ONCE, LOOK_SECONDS)
    else:
        sys.__unraisablehook__(lost)
