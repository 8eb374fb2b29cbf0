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
    from .data.cases import Case, FileCase, LoadedCase
    from .data.coco import Coco
    from .data.dicom_image import read_dicom_image
    from .data.folders import class_folders
    from .data.instance_boxes import boxes_of_instances
    from .data.polygons import Polygons
    from .data.readers import read_image, read_mask
    from .data.resample import resample_onto
    from .data.rle import decode_rle
    from .data.slides import Slide, SlideCase
    from .data.splits import split_by_patient
    from .data.tables import read_table
    from .data.voc import read_voc
    from .data.volumes import Volume, VolumeCase, read_volume
    from .engine.pretrain import pretrain
    from .errors import ConfigError, DataError, UmedptError
    from .label_type import LabelType, Metric
    from .mix import Mix
    from .specs import (
        Archive,
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
    from .testing.dicom import write_dicom
    from .transfer.adapt import adapt
    from .transfer.settings import AdaptSettings

_HOMES = {
    "specs": (
        "Archive",
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
    "data.cases": ("Case", "FileCase", "LoadedCase"),
    "data.coco": ("Coco",),
    "data.dicom_image": ("read_dicom_image",),
    "data.folders": ("class_folders",),
    "data.instance_boxes": ("boxes_of_instances",),
    "data.polygons": ("Polygons",),
    "data.readers": ("read_image", "read_mask"),
    "data.resample": ("resample_onto",),
    "data.rle": ("decode_rle",),
    "data.slides": ("Slide", "SlideCase"),
    "data.splits": ("split_by_patient",),
    "data.tables": ("read_table",),
    "data.voc": ("read_voc",),
    "data.volumes": ("Volume", "VolumeCase", "read_volume"),
    "engine.pretrain": ("pretrain",),
    "testing.dicom": ("write_dicom",),
    "transfer.adapt": ("adapt",),
    "benchmark.grid": ("run_grid",),
    "transfer.settings": ("AdaptSettings",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "API",
    "AdaptSettings",
    "Archive",
    "AugmentationSpec",
    "Bag",
    "Case",
    "Catalogue",
    "Coco",
    "ConfigError",
    "DataError",
    "FileCase",
    "LabelType",
    "LabelTypeSpec",
    "LoadedCase",
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
    "boxes_of_instances",
    "cases_from_huggingface",
    "cases_from_torchvision",
    "class_folders",
    "decode_rle",
    "hookimpl",
    "load_catalogue",
    "pretrain",
    "read_dicom_image",
    "read_image",
    "read_mask",
    "read_table",
    "read_voc",
    "read_volume",
    "resample_onto",
    "run_grid",
    "split_by_patient",
    "write_dicom",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
