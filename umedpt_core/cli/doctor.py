"""umedpt doctor: what is installed here and what is wrong with it, to paste into an issue."""

from __future__ import annotations

import json
import os
import platform
import sys
import textwrap
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from umedpt_core import __version__
from umedpt_core.cli import Settings

from .options import data_root_option

if TYPE_CHECKING:
    from umedpt_core.catalogue import Catalogue

WIDTH = 80
LIBRARIES = (
    "albumentations",
    "numpy",
    "pillow",
    "pluggy",
    "pydantic",
    "safetensors",
    "segmentation-models-pytorch",
    "timm",
    "torchvision",
)
FOREIGN = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
"""Variables beside umedpt's own that explain a run."""


@click.command()
@data_root_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(settings: Settings, data_root: Path | None, as_json: bool) -> None:
    """Show versions, devices, plugins and data: what to paste into an issue.

    It ends with 0 whatever is broken.
    """
    facts: dict[str, Any] = {
        "umedpt": __version__,
        "python": f"{platform.python_version()} at {sys.executable}",
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "torch": _torch(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith("UMEDPT_") or name in FOREIGN
        },
        **_plugins(settings, data_root),
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for line in _lines(facts):
        click.echo(line)


def _torch() -> dict[str, Any]:
    try:
        import torch

        cuda = range(torch.cuda.device_count())
        return {
            "version": torch.__version__,
            "devices": ["cpu", *(f"cuda:{i} {torch.cuda.get_device_name(i)}" for i in cuda)],
            "threads": torch.get_num_threads(),
        }
    except Exception as error:  # a broken torch is what one asks the doctor about
        return {"version": f"broken: {type(error).__name__}: {error}"}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "missing"


def _plugins(settings: Settings, data_root: Path | None) -> dict[str, Any]:
    """Every plugin with its state, and where each task's data is."""
    from ..catalogue import load_catalogue
    from ..errors import ConfigError

    try:
        catalogue = load_catalogue(settings.no_plugin)  # not strict: nothing stops the doctor
    except ConfigError as error:
        return {"plugins": f"cannot be loaded: {error}"}
    return {
        "plugins": [plugin.as_dict() for plugin in catalogue.plugins],
        "data_root": f"{data_root or 'none'}{'' if _there(data_root) else ' (no such folder)'}",
        "data": _data(catalogue, data_root),
    }


def _there(data_root: Path | None) -> bool:
    return data_root is None or data_root.is_dir()


def _data(catalogue: Catalogue, data_root: Path | None) -> dict[str, str]:
    """Task to ``there``, ``missing``, or the access of what needs no folder."""
    found = {}
    for name, entry in catalogue.tasks.items():
        source = entry.spec.source
        if data_root and (data_root / entry.slug).is_dir():
            found[name] = "there"
        else:
            found[name] = "missing" if source.on_disk else source.access
    return found


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """The facts as plain text, no line longer than WIDTH."""
    for key, value in facts.items():
        title = key.replace("_", " ")
        if key == "plugins" and isinstance(value, list):
            value = {
                row["distribution"]: " ".join(
                    [row["version"], "; ".join(filter(None, [_state(row), *row["clashes"]]))]
                )
                for row in value
            }
        if isinstance(value, dict):
            yield f"{title}:" if value else f"{title}: none"
            for name, item in value.items():
                text = ", ".join(map(str, item)) if isinstance(item, list) else str(item)
                yield from _wrap(f"  {name} {text}")
        else:
            yield from _wrap(f"{title}: {value}")


def _state(row: dict[str, Any]) -> str:
    return f"{row['status']}: {row['reason']}" if row["reason"] else row["status"]


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent="    ", drop_whitespace=True, break_on_hyphens=False
    )
