"""umedpt pretrain: train the shared blocks on a mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError
from .options import data_root_option, parse_roots, roots_option, settings_option

device_option = click.option("--device", help="cpu, cuda, cuda:1, ...  [default: GPU if any]")
workers_option = click.option(
    "--workers", type=click.IntRange(0), help="Processes that load data; 0: none."
)
cache_option = click.option(
    "--cache-gb",
    type=click.FloatRange(0, min_open=True),
    default=8,
    show_default=True,
    help="Disk space for loaded volumes and slides, under UMEDPT_CACHE.",
)


@click.command()
@click.argument("file", type=click.Path())
@click.option("--output", type=click.Path(path_type=Path), help="The run's folder.")
@click.option("--dry-run", is_flag=True, help="Try one batch of every task; write nothing.")
@click.option("--resume", is_flag=True, help="Go on from the latest checkpoint.")
@click.option(
    "--init-from",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Start from a run's weights and optimizer state, by parameter name.",
)
@settings_option
@data_root_option
@roots_option
@device_option
@workers_option
@cache_option
@click.pass_obj
def pretrain(
    session: Any,
    file: str,
    output: Path | None,
    dry_run: bool,
    resume: bool,
    init_from: Path | None,
    settings: tuple[str, ...],
    data_root: Path | None,
    roots: tuple[str, ...],
    device: str | None,
    workers: int | None,
    cache_gb: float,
) -> None:
    """Pretrain on the mix in FILE; stop with Ctrl-C, go on with --resume."""
    from ..mix import Mix

    mix = Mix.load(file, settings)
    mix.check(session.catalogue)  # before torch is loaded
    if dry_run:
        _try_out(mix, session.catalogue, data_root, parse_roots(roots), device, workers, cache_gb)
        return
    if output is None:
        raise ConfigError("give --output DIR, the run's folder, or --dry-run")
    if resume and (output / "model").is_dir():
        click.echo(f"{output}: the run is finished", err=True)

    from ..engine.pretrain import pretrain as run

    folder = run(
        mix,
        output,
        catalogue=session.catalogue,
        resume=resume,
        init_from=init_from,
        data_root=data_root,
        roots=parse_roots(roots),
        device=device,
        workers=workers,
        cache_gb=cache_gb,
    )
    if session.speaks:
        _say_where(folder)


def _say_where(folder: Path) -> None:
    click.echo(f"model: {folder / 'model'}; pictures: {folder / 'predictions.png'}", err=True)
    click.echo(f"next: umedpt adapt {folder} TASK --mode frozen --output runs/NAME", err=True)


def _try_out(*arguments: Any) -> None:
    """Print what a batch of every task takes, and what the run would."""
    from rich.console import Console
    from rich.table import Table

    from ..engine.dryrun import DryRun

    trial = DryRun(*arguments)
    console = Console(stderr=True)
    table = Table(box=None, pad_edge=False)
    for column in ("task", "loss", "loading", "computing", "activations", "a step"):
        table.add_column(column, justify="left" if column == "task" else "right")
    repeats = {entry.task: entry.repeats for entry in trial.mix.tasks}
    with console.status("trying out"):
        for task, cost in trial.measure():
            if not cost.computed:
                table.add_row(task, "-", "-", "-", "-", cost.reason)
                continue
            table.add_row(
                task,
                f"{cost.computed.loss:.3f}",
                f"{1000 * cost.loading:.0f} ms",
                f"{1000 * cost.computing:.0f} ms",
                f"{cost.computed.held / 2**20:.0f} MiB",
                f"x {repeats[task]}",
            )
    Console().print(table)
    computing, loading = trial.training
    steps = trial.mix.epochs * trial.mix.steps_per_epoch
    slower = "loading" if loading > computing else "computing"
    click.echo(
        f"{steps} steps: {_clock(computing)} computing, {_clock(loading)} loading with "
        f"{trial.workers} worker(s)\nwith evaluations ({_clock(trial.evaluating)}) about "
        f"{_clock(max(computing, loading) + trial.evaluating)}, held up by {slower}"
    )


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{seconds / 60:.1f} min"
    )
