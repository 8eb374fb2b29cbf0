"""umedpt adapt: bring a model to one task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .mix import data_root_option
from .options import options_option, parse_options, root_option
from .pretrain import cache_option, device_option, workers_option


@click.command()
@click.argument("model")
@click.argument("task")
@click.option("--mode", type=click.Choice(["frozen"]), default="frozen", show_default=True)
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--epochs", type=click.IntRange(1), default=100, show_default=True)
@click.option("--lr", type=click.FloatRange(0, 10, min_open=True), default=1e-3, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=16, show_default=True)
@click.option("--image-size", type=click.IntRange(32), help="Square; default: as the task says.")
@options_option
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@root_option
@data_root_option
@device_option
@workers_option
@cache_option
@click.pass_obj
def adapt(session: Any, /, options: tuple[str, ...], **arguments: Any) -> None:
    """Train TASK's head on the fixed MODEL and score it on the task's test split.

    MODEL is a run, a saved model, timm:NAME[@weights file] or random:NAME.
    """
    session.catalogue.find("task", arguments["task"])  # before torch is loaded
    chosen = parse_options(options)

    from ..transfer.adapt import adapt as run

    report = run(
        catalogue=session.catalogue,
        options=chosen,
        **arguments,
    )
    output = arguments["output"]
    for name, value in report["metrics"].items():
        click.echo(f"{name}: {value:.4f}")
    click.echo(
        f"{report['n']} test instances; {output / 'metrics.json'}, {output / 'predictions.png'}",
        err=True,
    )
