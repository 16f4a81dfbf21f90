"""What goes wrong in code that somebody names as MODULE:CLASS: one sentence that says where, however it goes wrong.

A class of one's own may fail as it is imported, as it is made and in whatever it is asked for, and may do so by
`sys.exit`. What it raises stays the cause of the sentence. Without such code in play an error is ours, and left alone.
"""

from __future__ import annotations

import inspect
import linecache
import os
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from recenv.errors import InvalidInput

_HOME: Final = str(Path(__file__).resolve().parent.parent)
_PACKAGES: Final = ("recenv", "offline_data", "agents", "recsession")
_OURS: Final = tuple(os.path.join(_HOME, name, "") for name in _PACKAGES)
_LIBRARIES: Final = tuple(
    {os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_LONGEST: Final = 300
_COLORS: Final = re.compile(r"\x1b\[[0-9;]*m")  # Numba's errors have them

_named: ContextVar[dict[str, None] | None] = ContextVar("named", default=None)


@contextmanager
def blaming_outside_code(named: Iterable[str] = ()) -> Iterator[None]:
    """Turn what code from outside raises inside into `InvalidInput`, if any was named.

    A Ctrl-C stays one, and so do a file that cannot be had and the end of `--help`, unless it is that code that ends.

    Args:
        named: MODULE:CLASS of what is in play from the beginning; what is imported inside is, too.

    Raises:
        InvalidInput: in place of any other error, with it as the cause.
    """
    token = _named.set(dict.fromkeys(named))
    try:
        yield
    except (InvalidInput, KeyboardInterrupt, BrokenPipeError):
        raise
    except BaseException as error:
        ours = isinstance(error, OSError | SystemExit) and _place(error) is None
        if ours or not outside_code() or isinstance(error.__context__, KeyboardInterrupt):
            raise
        what = " and ".join(map(_with_home, outside_code()) if _place(error) is None else outside_code())
        raise InvalidInput(f"{what} failed ({told(error)}); mend it, `recsession check` says what is asked") from error
    finally:
        _named.reset(token)


def outside_code() -> tuple[str, ...]:
    """Return the MODULE:CLASS of what was named inside `blaming_outside_code`; another process is to be told."""
    return tuple(_named.get() or ())


def is_outside(module: str) -> bool:
    """Return whether a module, by its dotted name, is none of ours."""
    return module.partition(".")[0] not in _PACKAGES


def note_outside_code(spec: str) -> None:
    """Take down that a MODULE:CLASS is imported; one of ours is not from outside."""
    named = _named.get()
    if named is not None and is_outside(spec.partition(":")[0]):
        named[spec] = None


def home_of(part: Any) -> str:
    """Return MODULE:CLASS of a class, with the file and the line that it begins in.

    Args:
        part: the class.
    """
    name = f"{part.__module__}:{part.__qualname__}"
    try:
        return f"{name} ({inspect.getsourcefile(part)}:{inspect.getsourcelines(part)[1]})"
    except (TypeError, OSError):  # a notebook's, or a compiled one
        return name


def _with_home(spec: str) -> str:
    module, _, name = spec.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return home_of(found) if isinstance(found, type) else spec


def told(error: BaseException) -> str:
    """Return an error's kind and message, and where in code from outside it was raised, on one line."""
    place = _place(error)
    notes = [f", {note}" for note in getattr(error, "__notes__", ())]
    return "".join([_message(error), *notes, f", at {place}" if place else ""])


def _message(error: BaseException) -> str:
    try:
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        text = " ".join(_COLORS.sub("", text).split())
    except Exception:  # it has no message that can be had
        text = ""
    kind = type(error).__name__
    return f"{kind}: {text[:_LONGEST]}{'...' if len(text) > _LONGEST else ''}" if text else kind


def _place(error: BaseException) -> str | None:
    """Return file, line and function of the last call in code from outside; None where no call of it is under way."""
    if isinstance(error, SyntaxError) and error.filename and not _is_known(error.filename):
        return f"{error.filename}:{error.lineno}"
    found, seen = None, set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen and found is None:
        seen.add(id(cause))
        found = _last_outside(cause.__traceback__)
        cause = cause.__cause__ or cause.__context__
    return found


def _last_outside(traceback: TracebackType | None) -> str | None:
    found, named = None, {spec.partition(":")[0].partition(".")[0] for spec in outside_code()}
    while traceback is not None:
        code = traceback.tb_frame.f_code
        module = str(traceback.tb_frame.f_globals.get("__name__")).partition(".")[0]
        if module in named or not _is_known(code.co_filename):
            name = "" if code.co_name == "<module>" else f", in {code.co_name}"
            line = linecache.getline(code.co_filename, traceback.tb_lineno).strip()
            found = f"{code.co_filename}:{traceback.tb_lineno}{name}{f': {line[:80]}' if line else ''}"
        traceback = traceback.tb_next
    return found


def _is_known(file: str) -> bool:
    """Return whether a file is ours, Python's or an installed library's, or no file at all."""
    return file.startswith("<") or os.path.abspath(file).startswith((*_OURS, *_LIBRARIES))
