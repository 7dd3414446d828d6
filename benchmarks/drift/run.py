"""Runs a protocol's cells that are not finished: streams first, then bundles, each once, then the cells, some at a time."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path

from benchmarks.drift.cells import Folders, bundle_name, make_bundle, make_stream, run_cell
from benchmarks.drift.protocol import Cell
from dynmm_core.console import progress


def run_cells(cells: Sequence[Cell], folders: Folders, jobs: int) -> None:
    """Run cells, ``jobs`` at a time, each in processes of its own; what fails stops the rest, and what is done stays done.

    Raises:
        UserError: a command refused what the protocol says.
        RuntimeError: a command failed.
    """
    with progress("streams", len(cells)) as bar, ThreadPoolExecutor(jobs) as pool:
        _finish([pool.submit(make_stream, cell, folders) for cell in cells], bar.advance)
    names = [bundle_name(cell, folders) for cell in cells]
    total = len(set(names)) + len(cells)
    with progress("bundles and cells", total) as bar, ThreadPoolExecutor(jobs) as pool:
        bundles: dict[str, Future[Path]] = {}
        for cell, name in zip(cells, names, strict=True):
            if name not in bundles:
                bundles[name] = pool.submit(make_bundle, cell, name, folders)

        def replay(cell: Cell, bundle: Future[Path]) -> None:
            # Bundles stand ahead in the queue: the one that this waits for has begun, so that nobody waits for ever.
            run_cell(cell, bundle.result(), folders)

        replays = [pool.submit(replay, cell, bundles[name]) for cell, name in zip(cells, names, strict=True)]
        _finish([*bundles.values(), *replays], bar.advance)


def _finish(futures: Sequence[Future[Path] | Future[None]], advance: Callable[[], None]) -> None:
    try:
        for future in as_completed(futures):
            future.result()
            advance()
    except BaseException:
        for future in futures:
            future.cancel()
        raise
