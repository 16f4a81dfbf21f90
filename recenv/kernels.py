"""Numba's `njit` for kernels of ours: a cache that cannot be read or written costs time, and never the program.

Numba refuses a cached kernel where neither the package's folder, nor a home, nor `NUMBA_CACHE_DIR` can be written, and
a call of one where the disk is full. Here it is compiled in memory then, with one warning a run. That no cache holds
what a process needs is logged, too: what follows may take a minute. The command line prints both.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from typing import Any, Final

from numba import njit as numba_njit

MANY: Final = 5
"""Kernels that are compiled one after another before it is told: fewer are done by the time that it is read."""
COMPILING: Final = "compiling on first use, which takes up to a minute; the next start is quick"

_logger: Final = logging.getLogger(__name__)
_told: Final[set[int]] = set()
_missed = 0


def njit(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return the decorator that `numba.njit` returns for these options, less strict about its cache.

    Args:
        **options: Numba's, `cache=True` among them.
    """

    def compiled(function: Callable[..., Any]) -> Any:
        kernel: Any
        has_folder = True
        try:
            kernel = numba_njit(**options)(function)
        except RuntimeError as error:
            if "cannot cache" not in str(error):
                raise
            has_folder = False
            options["cache"] = False
            kernel = numba_njit(**options)(function)
        if hasattr(kernel, "_cache"):  # an interpreted one has none
            kernel._cache = _Cache(kernel._cache, has_folder)
        return kernel

    return compiled


class _Cache:
    """A kernel's cache of Numba's, whose files may fail.

    Args:
        cache: that.
        has_folder: whether it has one.
    """

    def __init__(self, cache: Any, has_folder: bool) -> None:
        self._cache, self._has_folder = cache, has_folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, *call: Any) -> Any:
        """Return what is kept of a compiled signature, or None; before it is compiled."""
        try:
            found = self._cache.load_overload(*call)
        except Exception as error:  # of a file that is torn, or another's
            _logger.debug("a cached kernel cannot be read: %s", error)
            found = None
        if not self._has_folder:
            _tell_of_no_cache("no folder for them can be written")
        elif found is None:
            _miss()
        return found

    def save_overload(self, *call: Any) -> None:
        """Keep what was compiled, if that can be."""
        try:
            self._cache.save_overload(*call)
        except Exception as error:
            _tell_of_no_cache(str(error) or type(error).__name__)


def _tell_of_no_cache(why: str) -> None:
    remedy = "set NUMBA_CACHE_DIR to a folder that can be written"
    _tell(logging.WARNING, f"kernels are compiled anew in every run, which takes up to a minute: {why}; {remedy}")


def _miss() -> None:
    global _missed
    _missed += 1
    if _missed >= MANY:
        _tell(logging.INFO, COMPILING)


def _tell(level: int, sentence: str) -> None:
    """Log a sentence unless as grave a one was logged; a worker's parent has said it."""
    if level > max(_told, default=0) and multiprocessing.parent_process() is None:
        _told.add(level)
        _logger.log(level, sentence)
