"""Reading the publisher's layout: dataset.json and a NIfTI file a scan and a mask."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from umedpt_core import DataError, Volume, VolumeCase, read_volume

from . import CLASSES

FOLDER = "amos22"
LISTS = {"train": "training", "test": "validation"}
"""Where dataset.json lists a split; its own ``test`` has no labels."""

LAST_CT, LAST = 500, 600
"""Scans up to amos_0500 are CT, those after it MRI."""

LAST_LABEL = len(CLASSES) - 1

SPELLINGS = {"arota": "aorta", "gallbladder": "gall bladder", "inferior vena cava": "postcava"}

Modality = Literal["CT", "MRI"]


class Options(BaseModel):
    """What a mix can choose.

    Attributes:
        modalities: Which scans to use, of ``CT`` and ``MRI``.
    """

    model_config = ConfigDict(extra="forbid")
    modalities: Annotated[tuple[Modality, ...], Field(min_length=1)] = ("CT",)


def open_cases(root: Path, split: str, options: Options) -> list[VolumeCase]:
    """List the scans of a split; the target is a Volume of class indices.

    Each case names its own intensity rule, ``ct`` or ``mri`` (paper: Data loading from diverse
    sources).

    Args:
        root: The folder that holds ``amos22``.
        split: ``train``, or ``test``: the publisher's validation set.
        options: Which modalities to use.

    Raises:
        DataError: dataset.json or a file that it lists is missing, or it says other things than
            the published one.
    """
    path = root / FOLDER / "dataset.json"
    if not path.is_file():
        raise DataError(f"{path} is missing; unpack amos22.zip in {root}")
    listing = json.loads(path.read_text())
    classes = _classes(_get(listing, "labels", path), path)
    cases, missing = [], []
    for entry in _get(listing, LISTS[split], path):
        image, label = (path.parent / _get(entry, key, path) for key in ("image", "label"))
        modality = modality_of(image)
        if modality in options.modalities:
            missing += [str(file) for file in (image, label) if not file.is_file()]
            name = image.name.removesuffix(".nii.gz")
            labels = partial(read_labels, label, classes)
            cases.append(VolumeCase(name, name, (image,), labels, intensity=modality.lower()))
    if missing:
        raise DataError(
            f"{path}: {len(missing)} of the files that it lists are missing, the first is "
            f"{missing[0]}; unpack amos22.zip again"
        )
    return cases


def modality_of(image: Path) -> Modality:
    """The modality of a scan, which only its number tells.

    Raises:
        DataError: It is not called amos_0001.nii.gz to amos_0600.nii.gz.
    """
    match = re.fullmatch(r"amos_(\d{4})\.nii\.gz", image.name)
    if not match or not 1 <= int(match[1]) <= LAST:
        raise DataError(
            f"{image}: is none of amos_0001.nii.gz to amos_{LAST:04d}.nii.gz, so it is unknown "
            f"whether it is CT or MRI; unpack amos22.zip again"
        )
    return "CT" if int(match[1]) <= LAST_CT else "MRI"


def read_labels(path: Path, classes: tuple[int, ...]) -> Volume:
    """A mask as class indices, uint8.

    Args:
        path: The file.
        classes: The class index of each value of the file.

    Raises:
        DataError: It cannot be read, or holds values that dataset.json does not explain.
    """
    volume = read_volume(path)
    strange = volume.voxels[~np.isin(volume.voxels, range(len(classes)))]
    if strange.size:
        raise DataError(f"{path}: has label {strange[0]}, dataset.json none above {LAST_LABEL}")
    indices = np.array(classes, np.uint8)[volume.voxels.astype(np.uint8)]
    return replace(volume, voxels=indices)


def _classes(labels: Mapping[str, Any], path: Path) -> tuple[int, ...]:
    """The class index of each value of a mask, as dataset.json says."""
    names = [str(labels.get(str(value))).casefold() for value in range(len(CLASSES))]
    names = [SPELLINGS.get(name, name) for name in names]
    lacking = [name for name in CLASSES if name not in names]
    if lacking or len(labels) != len(CLASSES):
        without = f", none of 0 to {LAST_LABEL} is {lacking[0]}" if lacking else ""
        raise DataError(
            f"{path}: labels has {len(labels)} entries{without}; the publisher's are background "
            f"and 15 organs, unpack amos22.zip again"
        )
    return tuple(CLASSES.index(name) for name in names)


def _get(entry: Mapping[str, Any], key: str, path: Path) -> Any:
    if key not in entry:
        raise DataError(f"{path}: has no '{key}'; unpack amos22.zip again")
    return entry[key]
