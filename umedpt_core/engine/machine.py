"""The machine that a run is on: its device, its processes, and a record of what is installed."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from ..catalogue import Catalogue
from ..errors import ConfigError


def choose_device(device: str | None) -> torch.device:
    """The device to run on.

    Raises:
        ConfigError: There is no such device here.
    """
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(name)
        torch.empty(1, device=target)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device '{name}' is not usable here; try --device cpu") from error
    return target


def default_workers(workers: int | None) -> int:
    """The number of loader processes: as given, or one less than this process's cores, at most 8.

    The processes that torchrun starts on a machine share its cores.
    """
    if workers is not None:
        return workers
    cores = (os.cpu_count() or 2) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(8, max(1, cores - 1))


def environment(catalogue: Catalogue, tasks: Iterable[str]) -> dict[str, Any]:
    """What a run depends on beside its mix: versions, platform, threads, and whose data it is."""
    import albumentations
    import timm
    import torchvision

    libraries = (torch, torchvision, timm, albumentations, np)
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "libraries": {library.__name__: library.__version__ for library in libraries},
        "plugins": catalogue.versions,
        "sources": {
            name: catalogue.tasks[name].spec.source.model_dump(
                include={"homepage", "licence", "commercial", "citation"}
            )
            for name in tasks
        },
    }
