"""Working through the cells of a grid, together with any number of other processes.

A cell is done when its ``metrics.json`` is there. Who computes it holds its lock, which the kernel
releases when the process dies: so nothing is computed twice, and a killed process loses only the
cell that it was at.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from ..catalogue import Catalogue
from ..data.cache import locked
from ..errors import Interrupted, UmedptError, reason
from ..transfer.draws import Draws
from .cells import Cell, Grid

METRICS = "metrics.json"
FAILURES = "failures.jsonl"


@dataclass(frozen=True)
class Workplace:
    """A grid in its folder, and what this machine needs to compute it. It pickles small.

    Attributes:
        folder: Where everything is written; other processes may work there too.
        grid: The cells that are asked for now.
        catalogue: The installed plugins.
        roots: Task to the folder of its data.
        data_root: A folder with one folder a plugin slug; None: ``UMEDPT_DATA``.
        device: A torch device; None: the GPU where there is one.
        workers: Processes that load data, for each process that computes.
        cache_gb: Disk space for loaded volumes, in GB, likewise.
        since: How many bytes of ``failures.jsonl`` are older than this command.
    """

    folder: Path
    grid: Grid
    catalogue: Catalogue
    roots: Mapping[str, Path | str] = field(default_factory=dict)
    data_root: Path | str | None = None
    device: str | None = None
    workers: int | None = None
    cache_gb: float = 8.0
    since: int = 0

    def home(self, cell: Cell) -> Path:
        """The folder of a cell."""
        return self.folder / "cells" / cell.key

    def done(self, cell: Cell) -> bool:
        """Whether a cell's result is there."""
        return (self.home(cell) / METRICS).is_file()

    def draws_file(self, task: str) -> Path:
        """Where the draws of a task are."""
        return self.folder / "draws" / f"{task}.json"

    def failures(self) -> dict[str, str]:
        """The cells that have failed since this command began, by key, and why."""
        file = self.folder / FAILURES
        if not file.exists():
            return {}
        with file.open("rb") as opened:
            opened.seek(self.since)
            rows = [json.loads(line) for line in opened if line.endswith(b"\n")]
        return {row["cell"]: row["reason"] for row in rows}

    @contextmanager
    def lock(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold one of the grid's locks.

        Args:
            name: With ``/`` for folders.
            wait: Whether to wait while another process holds it; if not, False is given.

        Raises:
            UmedptError: The disk has no locks.
        """
        file = self.folder / "locks" / f"{name}.lock"
        with ExitStack() as held:
            try:
                file.parent.mkdir(parents=True, exist_ok=True)
                mine = held.enter_context(locked(file, wait=wait))
            except OSError as error:
                raise UmedptError(
                    f"cannot lock {file}: {error.strerror}; put --output on a disk with file locks"
                ) from error
            yield mine

    def work(self, *, wait: bool = True, note: Callable[[], None] = lambda: None) -> None:
        """Compute cells until none is left.

        Args:
            wait: Whether to wait at the end for cells that others are at, in case they die.
            note: Called after each cell.

        Raises:
            Interrupted: Somebody asked to stop; the cell goes on from there another time.
            UmedptError: The folder cannot be written. A failing cell is recorded, not raised.
        """
        # First where nobody is, so that the features of a model and task are computed once.
        turns = ("apart", "together", "to the end") if wait else ("apart", "together")
        for turn in turns:
            for (task, model), group in groupby(self.grid.cells(), lambda c: (c.task, c.model)):
                if not (todo := [cell for cell in group if not self.done(cell)]):
                    continue
                with self.lock(f"{task}/{model}/group", wait=False) as alone:
                    for cell in todo if alone or turn != "apart" else ():
                        if self._take(cell, wait=turn == "to the end"):
                            note()

    def _take(self, cell: Cell, *, wait: bool) -> bool:
        """Compute a cell unless it is done, held or has failed; whether anything was tried."""
        if self.done(cell):
            return False
        with self.lock(cell.key, wait=wait) as mine:
            if not mine or cell.key in self.failures():
                return False
            home = self.home(cell)
            # These two ask a network disk's server, not this machine's memory of it.
            home.mkdir(parents=True, exist_ok=True)
            if METRICS in os.listdir(home):
                return False
            if not (home / "checkpoints").is_dir():  # nothing to go on from
                shutil.rmtree(home)
            try:
                self._adapt(cell)
            except Interrupted:
                raise
            except Exception as error:  # a plugin's reader may raise anything
                self._record(cell, error)
            return True

    def _adapt(self, cell: Cell) -> None:
        from ..transfer.adapt import adapt  # torch

        adapt(
            self.grid.models[cell.model],
            cell.task,
            self.home(cell),
            settings=self.grid.settings_of(cell),
            subset=Draws.load(self.draws_file(cell.task)).ids(cell.fraction, cell.draw),
            features=self.folder / "features",
            keep_model=False,
            resume=True,
            catalogue=self.catalogue,
            options=self.grid.tasks[cell.task].options,
            data_root=self.data_root,
            root=self.roots.get(cell.task),
            device=self.device,
            workers=self.workers,
            cache_gb=self.cache_gb,
            quiet=True,
        )

    def _record(self, cell: Cell, error: Exception) -> None:
        row: dict[str, Any] = {"time": time.time(), "cell": cell.key, "reason": reason(error)}
        if not isinstance(error, UmedptError):
            row["traceback"] = "".join(traceback.format_exception(error))
        log = self.folder / FAILURES
        try:
            with self.lock("failures"), log.open("a") as file:
                file.write(json.dumps(row) + "\n")
        except OSError as full:
            raise UmedptError(
                f"cannot write {log}: {reason(full)}; free some space, then run the same command "
                "again"
            ) from error
