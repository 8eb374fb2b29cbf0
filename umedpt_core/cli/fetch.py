"""umedpt data fetch: download a task's data where that needs no login, else say how to get it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from .mix import data_root_option
from .options import root_option

if TYPE_CHECKING:
    from ..catalogue import Entry
    from ..specs import Archive, TaskSpec

LARGE = 10**9
"""Bytes from which on the command asks first."""


@click.command()
@click.argument("task")
@click.option("--yes", "-y", is_flag=True, help="Fetch large archives without asking.")
@root_option
@data_root_option
@click.pass_obj
def fetch(session: Any, /, task: str, yes: bool, root: Path | None, data_root: Path | None) -> None:
    """Download TASK's data and unpack it below the data root.

    A download that was stopped goes on with the same command. Where the data cannot be had without
    a login, or no checksum is known, the steps to get it are printed.
    """
    entry = session.catalogue.find("task", task)
    source = entry.spec.source
    if source.access in ("generated", "bundled"):
        raise ConfigError(f"{task} needs no data: it is {source.access}; nothing to fetch")
    click.echo(f"licence: {source.licence} (commercial use: {source.commercial})")
    click.echo(f"cite: {source.citation}")
    if not source.archives:
        click.echo(f"{task} cannot be fetched automatically; to get it:")
        for step in source.download or (f"see {source.homepage}",):
            click.echo(f"  - {step}")
        return

    from ..data.fetch import load_pooch, missing_archives

    place = _place(entry, root, data_root)
    missing = missing_archives(source.archives, place)
    for archive in source.archives:
        if archive not in missing:
            click.echo(f"{place / archive.folder} is there already and left as it is")
    if missing:
        load_pooch()  # before anything is asked
        _fetch(missing, place, yes)
    click.echo(f"look at it with: umedpt data check {task}")


def _place(entry: Entry[TaskSpec], root: Path | None, data_root: Path | None) -> Path:
    """The folder to fetch into, which need not be there."""
    if root:
        return root
    if data_root or os.environ.get("UMEDPT_DATA"):
        return Path(data_root or os.environ["UMEDPT_DATA"]) / entry.slug
    raise ConfigError(
        "no place for the data; set --data-root or UMEDPT_DATA to the folder that holds one "
        "folder a dataset, or --root to the folder of this one"
    )


def _fetch(archives: list[Archive], place: Path, yes: bool) -> None:
    for archive in archives:
        click.echo(f"{archive.url} ({_words(archive.size)}) -> {place / archive.folder}")
    sizes = [archive.size or 0 for archive in archives]
    total = sum(sizes) if all(sizes) else None
    if not yes and (total is None or total >= LARGE):
        click.confirm(f"fetch {_words(total)}? --yes does not ask", abort=True, err=True)
    for archive in archives:
        _fetch_one(archive, place)
        click.echo(f"{place / archive.folder} is there")


def _fetch_one(archive: Archive, place: Path) -> None:
    from rich.console import Console
    from rich.progress import DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    from ..data.fetch import fetch, file_name

    columns = (
        *Progress.get_default_columns()[:2],
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(file_name(archive), total=archive.size)
        fetch(archive, place, lambda done, of: progress.update(bar, completed=done, total=of))


def _words(size: int | None) -> str:
    if size is None:
        return "of unknown size"
    return f"{size / 1e9:.1f} GB" if size >= LARGE else f"{size / 1e6:.1f} MB"
