"""umedpt benchmark selection: which epoch to keep, and what fine-tuning forgets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .adapt_options import make_settings, mode_option, settings_options
from .options import data_root_option, parse_roots, roots_option
from .own import folder_option, task_or_folder
from .pretrain import cache_option, device_option, workers_option


@click.command()
@click.argument("model")
@click.argument("task", required=False)
@folder_option
@mode_option("finetune")
@click.option("--output", required=True, type=click.Path(path_type=Path), help="A folder.")
@settings_options
@data_root_option
@roots_option
@device_option
@workers_option
@cache_option
@click.pass_obj
def selection(
    session: Any,
    /,
    model: str,
    task: str | None,
    folder: Path | None,
    output: Path,
    roots: tuple[str, ...],
    data_root: Path | None,
    device: str | None,
    workers: int | None,
    cache_gb: float,
    **settings: Any,
) -> None:
    """Adapt MODEL to TASK in three ways, and see what its own tasks lose.

    The ways: a fixed number of epochs, the epoch that is best on a validation share, and all cases.
    Where MODEL is a run of pretrain, its tasks are evaluated before and after. Called again, the
    command goes on where it stopped. --folder takes own data in place of TASK.
    """
    catalogue, task, own = task_or_folder(session, task, folder, None)  # before torch is loaded
    places = parse_roots(roots) | ({task: str(own)} if own else {})
    given = make_settings(settings)

    from ..benchmark.selection import FILE, compare_selection

    found = compare_selection(
        model,
        task,
        output,
        settings=given,
        catalogue=catalogue,
        data_root=data_root,
        roots=places,
        device=device,
        workers=workers,
        cache_gb=cache_gb,
    )
    _print(f"{task}, test split", found["ways"], _columns(catalogue, task))
    for name, sides in found["tasks"].items():
        _print(f"{name}, held-out cases", sides, _columns(catalogue, name))
    for name, reason in found["unread"].items():
        click.echo(f"{name}: not evaluated: {reason}", err=True)
    click.echo(output / FILE, err=True)


def _columns(catalogue: Any, task: str) -> list[str]:
    """The loss and the metrics that the label type names; the file has all of them."""
    spec = catalogue.find("task", task).spec
    metrics = catalogue.find("label type", spec.label_type).spec.metrics
    return ["loss", *metrics, *(f"volume_{name}" for name in metrics)]


def _print(title: str, rows: dict[str, dict[str, float]], columns: list[str]) -> None:
    from rich.console import Console
    from rich.table import Table

    names = [name for name in columns if any(name in metrics for metrics in rows.values())]
    click.echo(title)
    table = Table(box=None)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row, metrics in rows.items():
        table.add_row(row, *(f"{metrics[name]:.4f}" if name in metrics else "" for name in names))
    first = next(iter(rows.values()))
    baselines = [first.get(f"{name}_baseline") for name in names]
    if any(value is not None for value in baselines):
        table.add_row("baseline", *("" if b is None else f"{b:.4f}" for b in baselines))
    Console().print(table)
