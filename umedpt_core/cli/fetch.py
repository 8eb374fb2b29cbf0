"""umedpt data fetch: download a task's data where that needs no login, else say how to get it."""

from __future__ import annotations

import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError
from .options import data_root_option, root_option

if TYPE_CHECKING:
    from ..catalogue import Entry
    from ..specs import Archive, TaskSpec

LARGE = 10**9
"""Bytes from which on the command asks first."""

BY_HAND = {
    "open": "its files have no published checksum, or no address of their own",
    "registration": "the publisher asks for a registration",
}
"""Why data without archives is not downloaded, by its access."""


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
    if not source.on_disk:
        raise ConfigError(f"{task} needs no data: it is {source.access}; nothing to fetch")
    _say("licence: ", f"{source.licence} (commercial use: {source.commercial})")
    _say("cite: ", source.citation)
    if not source.archives:
        _say("", f"{task} is not downloaded by this command: {BY_HAND[source.access]}. To get it:")
        for number, step in enumerate(source.steps, 1):
            _say(f"  {number} ", step)
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


def _say(head: str, text: str) -> None:
    """Wrap a paragraph for the terminal; addresses stay whole."""
    wrap = textwrap.TextWrapper(
        shutil.get_terminal_size().columns,
        initial_indent=head,
        subsequent_indent=" " * len(head),
        break_long_words=False,
        break_on_hyphens=False,
    )
    click.echo(wrap.fill(text))


def _place(entry: Entry[TaskSpec], root: Path | None, data_root: Path | None) -> Path:
    """The folder to fetch into, which need not be there."""
    if root:
        return root
    if data_root:
        return data_root / entry.slug
    raise ConfigError(
        "no place for the data; set --data-root or UMEDPT_DATA to the folder that holds one "
        "folder a dataset, or --root to the folder of this one"
    )


def _fetch(archives: list[Archive], place: Path, yes: bool) -> None:
    click.echo(f"into {place}:")
    for archive in archives:
        size = f" ({_words(archive.size)})" if archive.size else ""
        click.echo(f"  {archive.folder}{size} from {archive.url}")
    sizes = [archive.size or 0 for archive in archives]
    if not yes and (not all(sizes) or sum(sizes) >= LARGE):
        total = _words(sum(sizes)) if all(sizes) else "it, though its size is not known"
        click.confirm(f"fetch {total}? --yes does not ask", abort=True, err=True)
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


def _words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= LARGE else f"{size / 1e6:.1f} MB"
