"""umedpt adapt: bring a model to one task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError
from .adapt_options import make_settings, mode_option, settings_options, val_option
from .options import data_root_option, options_option, parse_options, root_option
from .own import folder_option, task_or_folder
from .pretrain import cache_option, device_option, workers_option


@click.command()
@click.argument("model")
@click.argument("task", required=False)
@folder_option
@mode_option("frozen")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A new folder.")
@click.option("--resume", is_flag=True, help="Go on from the checkpoint in --output.")
@settings_options
@val_option
@click.option(
    "--draws",
    type=click.Path(path_type=Path),
    help="A file of draws that umedpt benchmark has written, for --fraction and --draw.",
)
@click.option("--fraction", type=click.FloatRange(0, 100, min_open=True), help="Percent of cases.")
@click.option("--draw", type=click.IntRange(0), help="Which draw.  [default: 0]")
@options_option
@root_option
@data_root_option
@device_option
@workers_option
@cache_option
@click.pass_obj
def adapt(
    session: Any,
    /,
    model: str,
    task: str | None,
    folder: Path | None,
    output: Path,
    resume: bool,
    draws: Path | None,
    fraction: float | None,
    draw: int | None,
    options: tuple[str, ...],
    root: Path | None,
    data_root: Path | None,
    device: str | None,
    workers: int | None,
    cache_gb: float,
    **settings: Any,
) -> None:
    """Train TASK's head on MODEL, then what the mode says, and score on the task's test split.

    MODEL is a run, a saved model, timm:NAME[@weights file] or random:NAME. TASK is a registered
    task; --folder takes own data in its place.
    """
    catalogue, name, root = task_or_folder(session, task, folder, root)  # before torch is loaded
    where: dict[str, Any] = {"root": root, "data_root": data_root}
    where["options"] = parse_options(options)
    given = make_settings(settings)
    subset = None
    if fraction is not None:
        subset = _subset(catalogue, name, draws, fraction / 100, draw or 0, given.seed, where)
    elif draws or draw is not None:
        raise ConfigError("--draws and --draw say which cases of a --fraction to use; give one")

    from ..transfer.adapt import adapt as run

    report = run(
        model,
        name,
        output,
        settings=given,
        subset=subset,
        resume=resume,
        catalogue=catalogue,
        device=device,
        workers=workers,
        cache_gb=cache_gb,
        **where,
    )
    for metric, value in report["metrics"].items():
        low, high = report["intervals"].get(metric, (None, None))
        between = "" if low is None else f"  [{low:.4f}, {high:.4f}]"
        click.echo(f"{metric}: {value:.4f}{between}")
    click.echo(
        f"{report['n']} test instances; {output / 'metrics.json'}, {output / 'predictions.png'}",
        err=True,
    )


def _subset(
    catalogue: Any,
    task: str,
    draws: Path | None,
    fraction: float,
    draw: int,
    seed: int,
    where: dict[str, Any],
) -> list[str]:
    from ..transfer.cases import training_cases
    from ..transfer.draws import Draws, make_draws

    if draws:
        return Draws.load(draws).ids(fraction, draw)
    data, cases = training_cases(catalogue, task, **where)
    return make_draws(data, cases, [fraction], draw + 1, seed).ids(fraction, draw)
