"""Work in units, each a pure function of a request that leaves files, by any number of processes.

joblib dispatches: by loky here; past one machine by the back end that the caller has chosen with
`joblib.parallel_config(backend="ray")`, after `ray.util.joblib.register_ray()`, and with folders that every machine
sees (the extra `distributed` brings Ray). Ours is what joblib lacks: a unit may need others, it tells of its progress
from inside, the units of a dead worker are given out again, and workers end with their parent.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Final, Protocol, cast

from recenv.errors import InvalidInput
from recenv.files.atomic_files import make_folder
from recenv.outside_code import blaming_outside_code, outside_code
from recenv.registry import permit_imports, permitted_imports

DEATHS_BORNE: Final = 2
"""Workers that a unit may lose beside others; it is then run alone, so that it is no other's fault if that one dies."""
POLL_SECONDS: Final = 0.1
Progress = Callable[[int], object]


class Unit(Protocol):
    """A piece of work: picklable, and of the same effect whoever runs it and however often."""

    @property
    def title(self) -> str:
        """What a progress bar and an error call it."""
        ...

    @property
    def cost(self) -> int:
        """The sum of what `run` tells `progress`."""
        ...

    @property
    def needs(self) -> Sequence[Unit]:
        """The units whose files it reads; all stand before it in the list."""
        ...

    def is_done(self) -> bool:
        """Return whether its files are there, whole."""
        ...

    def run(self, progress: Progress) -> None:
        """Do the work, or the rest of it, and leave the files."""
        ...


def run_units(
    units: Sequence[Unit],
    *,
    workers: int,
    folder: Path,
    progress: Progress | None = None,
    describe: Callable[[str], object] | None = None,
) -> None:
    """Run every unit that is not done.

    Args:
        units: the work; each stands after those that it needs.
        workers: processes; 1 runs the units here, one after the other.
        folder: where running units leave word of their progress, in a folder `under-way` that is removed at the end.
        progress: called in this thread with the ticks that were made since, those of the units that are done first.
        describe: called in this thread with the titles of the units under way.

    Raises:
        InvalidInput: if a unit has lost its worker again and again.
    """
    progress, describe = progress or _ignore, describe or _ignore
    left = []
    for unit in units:
        if unit.is_done():
            progress(unit.cost)
        else:
            left.append(unit)
    notes = folder / "under-way"
    shutil.rmtree(notes, ignore_errors=True)  # a killed run's
    if min(workers, len(left)) > 1:
        try:
            _Crew(left, workers, notes, progress, describe).work()
        finally:
            shutil.rmtree(notes, ignore_errors=True)
        return
    for unit in left:
        describe(unit.title)
        unit.run(progress)


def _ignore(_: object) -> None:
    pass


class _Crew:
    """Processes that share units. A running unit has a file in `notes`, named by its place, with its ticks so far."""

    def __init__(
        self,
        units: list[Unit],
        workers: int,
        notes: Path,
        progress: Progress,
        describe: Callable[[str], object],
    ) -> None:
        self._units, self._workers, self._notes = units, workers, notes
        self._progress, self._describe = progress, describe
        self._told: Counter[int] = Counter()
        self._shown = ""

    def work(self) -> None:
        deaths: Counter[int | None] = Counter()
        while left := [place for place, unit in enumerate(self._units) if not unit.is_done()]:
            shutil.rmtree(self._notes, ignore_errors=True)
            make_folder(self._notes)
            suspects = [place for place in left if deaths[place] == DEATHS_BORNE]
            try:
                self._call(suspects[:1] or left)
                if not suspects:
                    return
            except Exception as error:
                if not _tells_of_a_death(error):
                    raise
                # None stands for a worker that has died before it came to a unit.
                deaths.update(self._under_way() or [None])
                for place, count in deaths.items():
                    if count > DEATHS_BORNE:
                        raise self._hopeless(place, count) from error

    def _call(self, places: list[int]) -> None:
        call = _Call([(self._units[place], self._notes / str(place)) for place in places], self._workers)
        call.start()
        try:
            while call.is_alive():
                call.join(POLL_SECONDS)
                titles = ", ".join(self._units[place].title for place in self._under_way())
                if titles != self._shown:
                    self._describe(titles)
                    self._shown = titles
        finally:
            call.end()
        self._under_way()
        if call.error is not None:
            raise call.error

    def _under_way(self) -> list[int]:
        """Tell the ticks that are new, and return the places of the units that are running."""
        running = []
        for note in self._notes.iterdir():
            place = int(note.name)
            done = self._units[place].is_done()
            # A note that is just being written reads as 0, and a unit that is run again begins at 0: neither is news.
            # The last ticks of a unit may come after its files, when nobody looks any more.
            ticks = self._units[place].cost if done else int.from_bytes(note.read_bytes(), "little")
            if ticks > self._told[place]:
                self._progress(ticks - self._told[place])
                self._told[place] = ticks
            if done:
                note.unlink()
            else:
                running.append(place)
        return sorted(running)

    def _hopeless(self, place: int | None, count: int) -> InvalidInput:
        what = "before it began to work" if place is None else f"on {self._units[place].title}"
        return InvalidInput(
            f"workers={self._workers}: a worker process has died {what}, {count} times, for want of memory or by a "
            "fault of what it ran; lower workers (1 shows the fault), and run the same command again to go on"
        )


class _Call(threading.Thread):
    """One call of joblib, in a thread: Ctrl-C falls into the caller, and not into what must end the workers."""

    def __init__(self, tasks: list[tuple[Unit, Path]], workers: int) -> None:
        super().__init__(name="recsession-units", daemon=True)
        from joblib.parallel import get_active_backend

        self.error: BaseException | None = None
        # joblib runs a single job in this process, where the death of a worker would be ours.
        self._tasks, self._workers = tasks, max(2, min(workers, len(tasks)))
        # These are known to the caller's thread alone.
        self._backend, _ = get_active_backend()
        self._permitted, self._outside_code = permitted_imports(), outside_code()
        self._executor: Any = None
        self._ended = False

    @property
    def _on_loky(self) -> bool:
        return type(self._backend).__name__ == "LokyBackend"

    def run(self) -> None:
        from joblib import Parallel, parallel_config

        # A terminal sends Ctrl-C to every process in it. Threads and processes inherit this mask, so that the workers
        # never see it, not even while they start. Python's resource tracker lifts it as it starts, hence starts before.
        with _nothing_from_here():
            resource_tracker.ensure_running()
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            # One thread in each process: OpenMP, MKL, OpenBLAS and Numba read it from the environment as they start.
            loky: dict[str, Any] = {"backend": "loky", "inner_max_num_threads": 1, "initializer": _end_with_parent}
            # A unit comes as bytes: no array is to be shared, for which joblib would make a folder in /dev/shm.
            loky |= {"max_nbytes": None, "temp_folder": str(self._tasks[0][1].parent.parent)}
            try:
                with parallel_config(**loky if self._on_loky else {"backend": self._backend}):
                    Parallel(n_jobs=self._workers, batch_size=cast(Any, 1), pre_dispatch="n_jobs")(self._given_out())
            except BaseException as error:
                self.error = error

    def _given_out(self) -> Iterator[Any]:
        """Yield the calls, first those whose needs are done; another waits in its worker for what was given before."""
        from cloudpickle import dumps
        from joblib import delayed
        from joblib.externals.loky import get_reusable_executor

        if self._on_loky:
            self._executor = get_reusable_executor(reuse=cast(Any, True))
        left = list(self._tasks)
        while left and not self._ended:
            ready = (index for index, (unit, _) in enumerate(left) if _has_its_needs(unit))
            unit, note = left.pop(next(ready, 0))
            yield delayed(_run_unit)(dumps(unit), note, self._permitted, self._outside_code)

    def end(self) -> None:
        """End the workers, by force what is running, and wait for it; what another Ctrl-C interrupts is done again."""
        self._ended = True
        while True:
            try:
                if self._executor is not None:
                    # Who has nothing left to do ends by itself and gives back its locks.
                    self._executor.shutdown(kill_workers=self.is_alive())
                self.join(POLL_SECONDS)
                if not self.is_alive() or not self._on_loky:  # other machines' processes end with their driver
                    return
            except KeyboardInterrupt:
                continue


@contextmanager
def _nothing_from_here() -> Iterator[None]:
    """Let processes that are started inside import nothing from the folder that is worked in.

    It comes first on a new Python's path, until it is told its parent's, and a `json.py` there would hide Python's.
    """
    before = os.environ.get("PYTHONSAFEPATH")
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        yield
    finally:
        del os.environ["PYTHONSAFEPATH"]
        if before is not None:
            os.environ["PYTHONSAFEPATH"] = before


def _tells_of_a_death(error: Exception) -> bool:
    """Return whether joblib's back end, loky or Ray, says that a worker is gone, and not what a unit has raised."""
    return isinstance(error, BrokenProcessPool) or "RayActorError" in [kind.__name__ for kind in type(error).__mro__]


def _has_its_needs(unit: Unit) -> bool:
    return all(need.is_done() for need in unit.needs)


def _run_unit(pickled: bytes, note: Path, permitted: frozenset[str], outside: tuple[str, ...]) -> None:
    """Run a unit in a worker, which opens files as it comes out of its pickle, and is allowed what its sender was."""
    with permit_imports(permitted), blaming_outside_code(outside):
        _run(pickle.loads(pickled), note)


def _run(unit: Unit, note: Path) -> None:
    while not _has_its_needs(unit):
        time.sleep(POLL_SECONDS)
    ticks, due = 0, 0.0

    def tell(count: int) -> None:
        nonlocal ticks, due
        ticks += count
        if time.monotonic() >= due:
            note.write_bytes(ticks.to_bytes(8, "little"))
            due = time.monotonic() + POLL_SECONDS

    tell(0)
    unit.run(tell)
    due = 0.0
    tell(0)


def _end_with_parent() -> None:
    """Watch for the end of the process that has started this one: killed, it cannot end its workers."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_after, args=(parent.pid,), daemon=True).start()


def _die_after(parent: int | None) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)
