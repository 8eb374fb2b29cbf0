"""What all processes at a grid agree on before they start: its definition and its draws."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..errors import ConfigError
from ..transfer.draws import Draws, make_draws
from .cells import FILE, Grid, load_grid
from .work import FAILURES, Workplace


def prepare(place: Workplace, draws_from: Path | str | None = None) -> Workplace:
    """Write down the grid and the draws, or check that they fit those which are there.

    Returns:
        The place, knowing which failures are older than this call.

    Raises:
        ConfigError: They do not fit, or a task's data is missing.
        DataError: A task's training cases cannot be read.
        UmedptError: The folder cannot be written.
    """
    file = place.folder / FILE
    with place.lock("grid"):
        old = load_grid(file)
        whole = old.extended(place.grid, place.folder) if old else place.grid
        for task in place.grid.tasks:
            _prepare_draws(place, whole, task, draws_from)
        if whole != old:
            from ..engine.checkpoint import write_whole  # torch

            write_whole(file, whole.model_dump_json(indent=1))
    log = place.folder / FAILURES
    return replace(place, since=log.stat().st_size if log.exists() else 0)


def _prepare_draws(place: Workplace, grid: Grid, task: str, draws_from: Path | str | None) -> None:
    file = place.draws_file(task)
    old = Draws.load(file) if file.exists() else None
    if draws_from is not None:
        new = Draws.load(Path(draws_from) / file.name)
    elif old is not None and _has(old, grid):
        return
    else:
        from ..transfer.cases import training_cases  # torch

        data, cases = training_cases(
            place.catalogue,
            task,
            root=place.roots.get(task),
            data_root=place.data_root,
            options=grid.tasks[task].options,
        )
        new = make_draws(data, cases, grid.fractions, grid.draws, grid.settings.seed)
    for fraction in place.grid.fractions:
        for draw in range(place.grid.draws):
            new.ids(fraction, draw)
    if old is not None and not _agree(old, new):
        raise ConfigError(
            f"{file}: these draws are not those of {draws_from or 'the data as it is now'}; "
            "choose another --output"
        )
    if new != old:
        new.save(file)


def _has(draws: Draws, grid: Grid) -> bool:
    return all(len(draws.fractions.get(str(f), ())) >= grid.draws for f in grid.fractions)


def _agree(old: Draws, new: Draws) -> bool:
    """Whether all draws that are in both are the same, and none of the old ones is missing."""
    return old.task == new.task and all(
        new.fractions.get(fraction, [])[: len(drawn)] == drawn
        for fraction, drawn in old.fractions.items()
    )
