"""Runs a protocol's cells that are not finished: streams first, then bundles, each once, then the cells, some at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from typing import TypeVar

from benchmarks.drift.cells import Folders, bundle_name, make_bundle, make_stream, run_cell
from benchmarks.drift.protocol import Cell
from dynmm_core.console import progress

T = TypeVar("T")


def run_cells(cells: Sequence[Cell], folders: Folders, jobs: int) -> None:
    """Run cells, ``jobs`` at a time, each in processes of its own; where one fails no other begins, and what is done stays done.

    Raises:
        UserError: a command refused what the protocol says.
        RuntimeError: a command failed.
    """
    with ThreadPoolExecutor(jobs) as pool:
        crew = _Crew(pool)
        crew.finish("streams", [crew.begin(make_stream, cell, folders) for cell in cells])
        names = [bundle_name(cell, folders) for cell in cells]
        bundles: dict[str, Future[Path]] = {}
        for cell, name in zip(cells, names, strict=True):
            if name not in bundles:
                bundles[name] = crew.begin(make_bundle, cell, name, folders)

        def replay(cell: Cell, bundle: Future[Path]) -> None:
            # Bundles stand ahead in the queue: the one that this waits for has begun, so that nobody waits for ever.
            run_cell(cell, bundle.result(), folders)

        replays = [crew.begin(replay, cell, bundles[name]) for cell, name in zip(cells, names, strict=True)]
        crew.finish("bundles and cells", [*bundles.values(), *replays])


class _Crew:
    """Threads that each wait for one command at a time, in the order in which work was begun, until something fails."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._failed = Event()

    def begin(self, work: Callable[..., T], *arguments: object) -> Future[T]:
        """Queue a piece of work; it raises CancelledError where another has failed before its turn."""
        return self._pool.submit(self._unless_failed, work, *arguments)

    def finish(self, what: str, futures: Sequence[Future[Path] | Future[None]]) -> None:
        """Wait for all of them, with a progress bar, and raise what made the first one fail."""
        first: Exception | None = None
        try:
            with progress(what, len(futures)) as bar:
                for future in as_completed(futures):
                    error = future.exception()
                    if error is None:
                        bar.advance()
                    elif not isinstance(error, CancelledError):
                        first = first or error
        except BaseException:
            self._failed.set()
            raise
        if first is not None:
            raise first

    def _unless_failed(self, work: Callable[..., T], *arguments: object) -> T:
        if self._failed.is_set():
            raise CancelledError
        try:
            return work(*arguments)
        except BaseException:
            self._failed.set()
            raise
