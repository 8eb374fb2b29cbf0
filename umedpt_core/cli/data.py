"""umedpt data: get a task's data, look at it, find what is broken in it, make a fake of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from .fetch import fetch
from .listing import json_option
from .options import data_root_option, options_option, parse_options, root_option
from .own import folder_option, task_or_folder
from .pretrain import workers_option

if TYPE_CHECKING:
    from ..data.inspection import Finding
    from ..data.tasks import TaskData

SHOWN = 50
"""Rows of the table; --json has all."""


@click.group()
def data() -> None:
    """Get a task's data, look at it, and find what is broken in it."""


data.add_command(fetch)


@data.command()
@click.argument("task", required=False)
@folder_option
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The picture to write, a .png.",
)
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="train", show_default=True
)
@click.option("--cases", type=click.IntRange(1, 50), default=4, show_default=True, help="Rows.")
@click.option(
    "--instances", type=click.IntRange(1, 50), default=4, show_default=True, help="A case."
)
@click.option("--augmentation", help="A profile, or none; default: the task's own.")
@click.option("--image-size", type=click.IntRange(32), help="Square; default: as the task says.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@options_option
@root_option
@data_root_option
@click.pass_obj
def preview(
    session: Any,
    /,
    task: str | None,
    folder: Path | None,
    output: Path,
    split: str,
    cases: int,
    instances: int,
    seed: int,
    **arguments: Any,
) -> None:
    """Draw augmented instances of TASK with their targets and the range of their values.

    --folder takes own data in place of TASK.
    """
    catalogue, task, arguments["root"] = task_or_folder(session, task, folder, arguments["root"])
    opened = _open(catalogue, task, [split], **arguments)

    from ..use.preview import preview_sheet

    try:
        preview_sheet(opened, split, cases=cases, instances=instances, seed=seed).save(output)
    except (OSError, ValueError) as error:
        raise ConfigError(f"-o {output}: {error}") from error
    click.echo(output)


@data.command()
@click.argument("task", required=False)
@folder_option
@json_option
@workers_option
@options_option
@root_option
@data_root_option
@click.pass_context
def check(
    ctx: click.Context,
    /,
    task: str | None,
    folder: Path | None,
    as_json: bool,
    workers: int | None,
    **arguments: Any,
) -> None:
    """Open every case of TASK and list what is broken; exits with 1 if anything is.

    --folder takes own data in place of TASK.
    """
    from rich.console import Console
    from rich.progress import Progress

    catalogue, task, arguments["root"] = task_or_folder(ctx.obj, task, folder, arguments["root"])
    splits = catalogue.find("task", task).spec.all_splits
    opened = _open(catalogue, task, splits, **arguments)
    total = sum(map(len, opened.cases.values()))

    from ..data.inspection import inspect_task
    from ..data.tasks import find_root
    from ..engine.machine import default_workers

    found: list[Finding] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(f"opening {total} cases of {task}", total=total)
        for findings in inspect_task(opened, default_workers(workers)):
            found += findings
            progress.advance(bar)
    found.sort(key=lambda finding: (not finding.broken, finding.split, finding.case))
    broken = sum(finding.broken for finding in found)
    if as_json:
        counts = {split: len(cases) for split, cases in opened.cases.items()}
        rows = [asdict(finding) for finding in found]
        click.echo(json.dumps({"task": task, "cases": counts, "findings": rows}, indent=2))
    else:
        root = find_root(catalogue.tasks[task], arguments["root"], arguments["data_root"])
        _print(found, f"{root}/")
        click.echo(f"{task}: {total} cases, {broken} broken, {len(found) - broken} to look at")
    ctx.exit(1 if broken else 0)


@data.command()
@click.argument("task")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.pass_obj
def fake(session: Any, /, task: str, folder: Path) -> None:
    """Write a tiny copy of the layout of TASK's data into DIR, to try things with.

    DIR is new or empty. The images are made up; nothing is downloaded.
    """
    spec = session.catalogue.find("task", task).spec

    from ..data.fakes import write_fake

    write_fake([spec], folder)
    place = shlex.quote(str(folder))
    click.echo(f"{folder} holds a fake of {task}; name it in place of the data:")
    click.echo(f"  umedpt data check {task} --root {place}")
    click.echo(f"  umedpt mix new {task} -o mix.yaml")
    click.echo(f"  umedpt mix check mix.yaml --root {task}={place}")


def _open(
    catalogue: Any,
    task: str,
    splits: Sequence[str],
    *,
    options: tuple[str, ...],
    augmentation: str | None = "none",
    **arguments: Any,
) -> TaskData:
    spec = catalogue.find("task", task).spec  # before torch is loaded
    profile = augmentation or spec.augmentation
    chosen = parse_options(options)

    from ..data.tasks import open_task

    return open_task(
        catalogue,
        task,
        splits,
        options=chosen,
        augmentation=None if profile == "none" else profile,
        **arguments,
    )


def _print(found: list[Finding], root: str) -> None:
    if not found:
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("split", "case", "problem"):
        table.add_column(column, overflow="fold")
    for finding in found[:SHOWN]:
        style = "red" if finding.broken else "yellow"
        problem = finding.problem.replace(root, "")  # the case says it
        table.add_row(finding.split, finding.case, problem, style=style)
    console = Console()
    console.print(table)
    if len(found) > SHOWN:
        console.print(f"and {len(found) - SHOWN} more; --json lists all")
