"""The option of commands that take a folder of one's own data in place of a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..catalogue import Catalogue

folder_option = click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path),
    help="Own data in place of TASK: class folders, a CSV or a COCO JSON.",
)


def with_folder(session: Any, folder: Path) -> tuple[Catalogue, str]:
    """The catalogue with the task that a folder becomes, and the task's name.

    The folder is the task's root. A command that works in other processes does this once and gives
    them the catalogue's entry, as reading the folder may take a while.

    Args:
        session: What ``click.pass_obj`` gives.
        folder: See :func:`umedpt_core.data.own.own_task`.

    Raises:
        ConfigError: The folder's layout is not understood, or something in it is wrong.
    """
    from ..data.own import own_task

    entry = own_task(folder, session.catalogue, say=lambda text: click.echo(text, err=True))
    return session.catalogue.with_task(entry), entry.spec.name


def task_or_folder(
    session: Any, task: str | None, folder: Path | None, root: Path | None
) -> tuple[Catalogue, str, Path | None]:
    """What a command with an optional argument TASK, ``--folder`` and ``--root`` works on.

    Args:
        session: What ``click.pass_obj`` gives.
        task: A registered task.
        folder: Own data.
        root: The folder of the registered task's data.

    Returns:
        The catalogue, the task's name and its root.

    Raises:
        ConfigError: Not exactly one of TASK and ``--folder`` is given, the task is unknown, or the
            folder is not right.
    """
    if (task is None) == (folder is None):
        raise ConfigError("give either a TASK or --folder DIR")
    if folder is None:
        session.catalogue.find("task", task)
        return session.catalogue, str(task), root
    if root:
        raise ConfigError("--root is of a registered TASK; leave it out where --folder is given")
    catalogue, name = with_folder(session, folder)
    return catalogue, name, folder
