"""Tiny copies of the layouts of datasets, to try things with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import ConfigError
from ..specs import TaskSpec, resolve


def write_fake(tasks: Iterable[TaskSpec], folder: Path) -> None:
    """Write the fakes of tasks that share a folder.

    Args:
        tasks: Tasks of one plugin.
        folder: New or empty.

    Raises:
        ConfigError: The folder is not empty or cannot be written, or a task needs no data.
    """
    fakes: dict[str, None] = {}  # in order, once each: the tasks of a plugin mostly share one
    for spec in tasks:
        if not spec.source.on_disk:
            raise ConfigError(
                f"{spec.name} needs no data: it is {spec.source.access}; nothing to fake"
            )
        fakes[spec.fake] = None
    try:
        if folder.exists() and any(folder.iterdir()):
            raise ConfigError(f"{folder} is not empty; name a new or an empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        for fake in fakes:
            resolve(fake)(folder, 0)
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}") from error
