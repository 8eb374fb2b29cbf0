"""umedpt: pretrain one medical-imaging model on many small datasets.

The public names. They are loaded on first use (PEP 562), so that importing this package, as every
plugin does when it is discovered, loads neither torch nor numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import pluggy

__version__ = "0.1.0"

API = 1
"""The plugin interface that this core speaks; a plugin module may state its own as UMEDPT_API."""

hookimpl = pluggy.HookimplMarker("umedpt")
"""Marks a function of a plugin module as an implementation of a hook."""

if TYPE_CHECKING:
    from .benchmark.grid import run_grid
    from .catalogue import Catalogue, load_catalogue
    from .data.adapters import cases_from_huggingface, cases_from_torchvision
    from .data.cases import Case, FileCase
    from .data.polygons import Polygons
    from .data.readers import read_image, read_mask
    from .data.slides import Slide, SlideCase
    from .data.volumes import Volume, VolumeCase, read_volume
    from .engine.pretrain import pretrain
    from .errors import ConfigError, DataError, UmedptError
    from .label_type import LabelType, Metric
    from .mix import Mix
    from .specs import (
        AugmentationSpec,
        Bag,
        LabelTypeSpec,
        LoggerSpec,
        NormSpec,
        Patches,
        Reference,
        Slices,
        Source,
        TaskSpec,
        Whole,
    )
    from .transfer.adapt import adapt
    from .transfer.settings import AdaptSettings

_HOMES = {
    "specs": (
        "AugmentationSpec",
        "Bag",
        "LabelTypeSpec",
        "LoggerSpec",
        "NormSpec",
        "Patches",
        "Reference",
        "Slices",
        "Source",
        "TaskSpec",
        "Whole",
    ),
    "catalogue": ("Catalogue", "load_catalogue"),
    "mix": ("Mix",),
    "errors": ("ConfigError", "DataError", "UmedptError"),
    "label_type": ("LabelType", "Metric"),
    "data.adapters": ("cases_from_huggingface", "cases_from_torchvision"),
    "data.cases": ("Case", "FileCase"),
    "data.polygons": ("Polygons",),
    "data.readers": ("read_image", "read_mask"),
    "data.slides": ("Slide", "SlideCase"),
    "data.volumes": ("Volume", "VolumeCase", "read_volume"),
    "engine.pretrain": ("pretrain",),
    "transfer.adapt": ("adapt",),
    "benchmark.grid": ("run_grid",),
    "transfer.settings": ("AdaptSettings",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "API",
    "AdaptSettings",
    "AugmentationSpec",
    "Bag",
    "Case",
    "Catalogue",
    "ConfigError",
    "DataError",
    "FileCase",
    "LabelType",
    "LabelTypeSpec",
    "LoggerSpec",
    "Metric",
    "Mix",
    "NormSpec",
    "Patches",
    "Polygons",
    "Reference",
    "Slices",
    "Slide",
    "SlideCase",
    "Source",
    "TaskSpec",
    "UmedptError",
    "Volume",
    "VolumeCase",
    "Whole",
    "__version__",
    "adapt",
    "cases_from_huggingface",
    "cases_from_torchvision",
    "hookimpl",
    "load_catalogue",
    "pretrain",
    "read_image",
    "read_mask",
    "read_volume",
    "run_grid",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
