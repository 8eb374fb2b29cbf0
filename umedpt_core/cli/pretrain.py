"""umedpt pretrain: train the shared blocks on a mix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .mix import data_root_option, parse_roots, roots_option, settings_option

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
@click.option("--output", required=True, type=click.Path(path_type=Path), help="The run's folder.")
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
    output: Path,
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
    click.echo(f"model: {folder / 'model'}; pictures: {folder / 'predictions.png'}", err=True)
    click.echo(f"next: umedpt adapt {folder} TASK --mode frozen --output runs/NAME", err=True)
