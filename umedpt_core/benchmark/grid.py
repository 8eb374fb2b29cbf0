"""Running the grid of a benchmark, resumable, in any number of processes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing import connection, get_context, parent_process
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from ..catalogue import Catalogue, load_catalogue
from ..errors import Interrupted, UmedptError
from ..transfer.draws import DRAWS, FRACTIONS
from ..transfer.settings import AdaptSettings
from .cells import make_grid
from .collect import collect, results_file, write_results
from .prepare import prepare
from .progress import GridProgress
from .work import FAILURES, Workplace

if TYPE_CHECKING:
    import pandas as pd

PATIENCE = 15
"""Seconds that processes have to save their cell when they are asked to stop."""


def run_grid(
    output: Path | str,
    models: Mapping[str, str],
    tasks: Iterable[str],
    *,
    modes: Iterable[str] = ("frozen", "finetune"),
    fractions: Iterable[float] = FRACTIONS,
    draws: int = DRAWS,
    settings: AdaptSettings | None = None,
    options: Mapping[str, dict[str, Any]] | None = None,
    roots: Mapping[str, Path | str] | None = None,
    data_root: Path | str | None = None,
    draws_from: Path | str | None = None,
    results: Path | str | None = None,
    jobs: int = 1,
    catalogue: Catalogue | None = None,
    device: str | None = None,
    workers: int | None = None,
    cache_gb: float = 8.0,
    quiet: bool = False,
) -> pd.DataFrame:
    """Adapt every model to every task, in every mode, with every draw of its training cases.

    The same call goes on where an earlier one was stopped; one with more models, tasks, modes,
    fractions or draws adds to it. Several calls, on several machines with a shared disk, work on
    one grid together.

    Args:
        output: The grid's folder.
        models: Name to MODEL, as :func:`umedpt_core.adapt` takes it.
        tasks: Registered tasks.
        modes: As in :class:`AdaptSettings`.
        fractions: Shares of the training cases, in (0, 1].
        draws: Draws a fraction; a smaller fraction's lies in the larger one's.
        settings: Of every cell; each has its own mode, and its draw is added to the seed.
        options: Task to its options.
        roots: Task to the folder of its data.
        data_root: A folder with one folder a plugin slug; default: ``UMEDPT_DATA``.
        draws_from: The folder with the draws of another grid, to use the same.
        results: The table, ``.csv`` or ``.parquet``; default: ``output/results.csv``.
        jobs: Processes on this machine. Above 1 the calling script needs the guard
            ``if __name__ == "__main__":``; 0 only collects what is done.
        catalogue: The installed plugins; default: found now.
        device: A torch device; default: the GPUs in turn where there are any.
        workers: Processes that load data, for each job.
        cache_gb: Disk space for loaded volumes, in GB, of all jobs together.
        quiet: Show no progress.

    Returns:
        The results of all cells in `output`; see :func:`collect`.

    Raises:
        ConfigError: Something named is missing or invalid, or does not fit what `output` holds.
        DataError: A task's training cases cannot be read.
        Interrupted: Stopped by Ctrl-C; what is done is kept and collected.
        UmedptError: Cells failed; the others are done and collected.
    """
    catalogue = catalogue or load_catalogue()
    grid = make_grid(
        catalogue,
        models,
        tasks,
        modes=modes,
        fractions=fractions,
        draws=draws,
        settings=settings or AdaptSettings(),
        options=options,
    )
    place = Workplace(
        Path(output), grid, catalogue, roots or {}, data_root, device, workers, cache_gb
    )
    run(place, draws_from=draws_from, results=results, jobs=jobs, quiet=quiet)
    return collect(output)


def run(
    place: Workplace,
    *,
    draws_from: Path | str | None = None,
    results: Path | str | None = None,
    jobs: int = 1,
    quiet: bool = False,
) -> Path:
    """As :func:`run_grid`, with what is to be done already put together.

    Returns:
        The file with the results.
    """
    table = results_file(place.folder, results)
    place = prepare(place, draws_from)
    if not jobs:
        place = replace(place, since=0)  # show all that has failed so far
    crashed: list[int] = []
    stopped = False
    with GridProgress(place, quiet=quiet) as progress:
        try:
            if jobs == 1:
                place.work(note=progress.look)
            elif jobs:
                crashed = _work_in_processes(place, jobs, progress)
        except (KeyboardInterrupt, Interrupted):
            stopped = True
        progress.look()
    with place.lock("grid"):
        write_results(place.folder, table)
    if jobs:
        _say_what_is_left(place, crashed, stopped=stopped)
    return table


def _work_in_processes(place: Workplace, jobs: int, progress: GridProgress) -> list[int]:
    """Work in some processes of their own; the exit codes of those that crashed."""
    context = get_context("spawn")
    children = [context.Process(target=_child, args=(place, n, jobs)) for n in range(jobs)]
    try:
        for child in children:
            child.start()
        while running := [child.sentinel for child in children if child.is_alive()]:
            connection.wait(running, timeout=1)
            progress.look()
        return [child.exitcode for child in children if child.exitcode]
    finally:
        _end(children)


def _end(children: Iterable[SpawnProcess]) -> None:
    """End the processes, after the step that they are at where that does not take long."""
    alive = [child for child in children if child.is_alive()]
    try:
        for child in alive:
            child.terminate()
        deadline = time.monotonic() + PATIENCE
        for child in alive:
            child.join(max(0.0, deadline - time.monotonic()))
    finally:  # also at a second Ctrl-C
        for child in alive:
            child.kill()
            child.join()


def _child(place: Workplace, number: int, jobs: int) -> None:
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal signals all; the parent ends this one
    Thread(target=_die_with_parent, daemon=True).start()
    cores = max(1, (os.cpu_count() or 1) // jobs)
    torch.set_num_threads(min(torch.get_num_threads(), cores))
    device, workers = place.device, place.workers
    if device is None and torch.cuda.is_available():
        device = f"cuda:{number % torch.cuda.device_count()}"
    if workers is None:
        workers = min(8, cores - 1)
    share = place.cache_gb / jobs
    with suppress(Interrupted):  # the parent says so
        replace(place, device=device, workers=workers, cache_gb=share).work()


def _die_with_parent() -> None:
    if parent := parent_process():
        connection.wait([parent.sentinel])
        os._exit(1)


def _say_what_is_left(place: Workplace, crashed: list[int], *, stopped: bool) -> None:
    """Raise unless all cells are done."""
    cells = place.grid.cells()
    left = [cell for cell in cells if not place.done(cell)]
    if not left:
        return
    if stopped:
        raise Interrupted(
            f"stopped: {len(cells) - len(left)} of {len(cells)} cells are done; the same command "
            "goes on"
        )
    reasons = place.failures()
    if failed := [cell.key for cell in left if cell.key in reasons]:
        raise UmedptError(
            f"{len(failed)} of {len(cells)} cells failed, first {failed[0]}: "
            f"{reasons[failed[0]]}; all in {place.folder / FAILURES}; the same command tries them "
            "again"
        )
    raise UmedptError(
        f"{len(left)} of {len(cells)} cells are not done: the processes ended early, with "
        f"{crashed}, perhaps for want of memory: use fewer --jobs; the same command goes on"
    )
