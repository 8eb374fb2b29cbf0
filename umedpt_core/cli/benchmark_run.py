"""umedpt benchmark run: adapt several models to several tasks, with few and with many cases."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from .adapt_options import make_settings, settings_options, val_option
from .options import data_root_option, exclude_option, parse_options, parse_roots, roots_option
from .own import folder_option, with_folder
from .pretrain import cache_option, device_option, workers_option

if TYPE_CHECKING:
    from ..benchmark.work import Workplace


@click.command()
@click.argument("selectors", nargs=-1, metavar="SELECTOR...")
@click.option(
    "--model", "models", multiple=True, required=True, metavar="NAME=MODEL", help="Repeatable."
)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The grid's folder.")
@click.option("--fractions", default="1,5,10,25,50,100", show_default=True, metavar="PERCENT,...")
@click.option("--draws", type=click.IntRange(1), default=5, show_default=True)
@click.option("--draws-from", type=click.Path(path_type=Path), help="Another grid's draws folder.")
@click.option("--modes", default="frozen,finetune", show_default=True, metavar="MODE,...")
@exclude_option
@folder_option
@settings_options
@val_option
@click.option(
    "--option", "options", multiple=True, metavar="TASK.KEY=VALUE", help="A task's option."
)
@click.option("--jobs", type=click.IntRange(0), default=1, show_default=True, help="Processes.")
@click.option("--slurm", type=click.IntRange(1), metavar="N", help="Submit N SLURM jobs, return.")
@click.option(
    "--slurm-set", multiple=True, metavar="KEY=VALUE", help="partition, timeout_min, mem_gb, ..."
)
@click.option("--results", type=click.Path(path_type=Path), help="FILE.csv or FILE.parquet.")
@click.option("--dry-run", is_flag=True, help="Count the cells; do nothing.")
@data_root_option
@roots_option
@device_option
@workers_option
@cache_option
@click.pass_obj
def run(
    session: Any,
    /,
    selectors: tuple[str, ...],
    models: tuple[str, ...],
    output: Path,
    fractions: str,
    draws: int,
    draws_from: Path | None,
    modes: str,
    exclude: tuple[str, ...],
    folder: Path | None,
    options: tuple[str, ...],
    jobs: int,
    slurm: int | None,
    slurm_set: tuple[str, ...],
    results: Path | None,
    dry_run: bool,
    data_root: Path | None,
    roots: tuple[str, ...],
    device: str | None,
    workers: int | None,
    cache_gb: float,
    **settings: Any,
) -> None:
    """Adapt every model to every task that SELECTORS choose, and collect the scores.

    MODEL is a run, a saved model, timm:NAME[@weights file] or random:NAME. The same command goes
    on after a stop; with more models, tasks, modes, fractions or draws it adds to the grid.
    """
    from ..benchmark.cells import make_grid
    from ..benchmark.work import Workplace

    tasks, catalogue = session.catalogue.select(selectors, exclude), session.catalogue
    found: dict[str, Path | str] = dict(parse_roots(roots))
    if folder:
        catalogue, own = with_folder(session, folder)
        tasks, found[own] = [*tasks, own], folder
    if not tasks:
        raise ConfigError("no task is chosen; give a SELECTOR, see 'umedpt tasks', or --folder DIR")
    grid = make_grid(
        catalogue,
        _parse_models(models),
        tasks,
        modes=_split(modes),
        fractions=_parse_percents(fractions),
        draws=draws,
        settings=make_settings(settings),
        options=_parse_task_options(options),
    )
    place = Workplace(output, grid, catalogue, found, data_root, device, workers, cache_gb)
    if dry_run:
        _count(place)
        return
    if slurm:
        _submit(place, slurm, parse_options(slurm_set, "--slurm-set"), draws_from, results)
        return

    from ..benchmark.grid import run as run_cells

    file = run_cells(place, draws_from=draws_from, results=results, jobs=jobs)
    click.echo(f"{_state(place)}; results: {file}", err=True)


def _parse_models(models: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for given in models:
        name, equals, model = given.partition("=")
        if not (name and equals and model):
            raise ConfigError(f"--model '{given}': write it as NAME=MODEL, say ours=runs/first")
        if name in found:
            raise ConfigError(f"--model: two are named '{name}'; give each a name of its own")
        found[name] = model
    return found


def _parse_percents(text: str) -> list[float]:
    try:
        return [float(percent) / 100 for percent in _split(text)]
    except ValueError as error:
        raise ConfigError(f"--fractions '{text}': write percents, say 1,5,100") from error


def _split(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _parse_task_options(options: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, value in parse_options(options).items():
        task, dot, key = name.partition(".")
        if not dot:
            raise ConfigError(f"--option '{name}={value}': write it as TASK.KEY=VALUE")
        found.setdefault(task, {})[key] = value
    return found


def _submit(
    place: Workplace,
    jobs: int,
    parameters: dict[str, Any],
    draws_from: Path | None,
    results: Path | None,
) -> None:
    from ..benchmark.collect import results_file
    from ..benchmark.prepare import prepare
    from ..benchmark.slurm import submit

    file = results_file(place.folder, results)
    for job in submit(prepare(place, draws_from), jobs, parameters, file):
        click.echo(job)
    click.echo(
        f"submitted; logs: {place.folder / 'slurm'}; the same command with --jobs 0 in place of "
        "--slurm says how far they are and collects the results",
        err=True,
    )


def _count(place: Workplace) -> None:
    """Print the cells by task, model and mode."""
    from rich.console import Console
    from rich.table import Table

    cells = place.grid.cells()
    groups = Counter((cell.task, cell.model, cell.mode) for cell in cells)
    done = Counter((cell.task, cell.model, cell.mode) for cell in cells if place.done(cell))
    table = Table(box=None, pad_edge=False)
    for column in ("task", "model", "mode"):
        table.add_column(column)
    for column in ("cells", "done"):
        table.add_column(column, justify="right")
    for group, count in groups.items():
        table.add_row(*group, str(count), str(done[group]))
    Console().print(table)
    click.echo(_state(place))


def _state(place: Workplace) -> str:
    cells = place.grid.cells()
    return f"{sum(map(place.done, cells))} of {len(cells)} cells are done"
