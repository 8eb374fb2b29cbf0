"""Reading the publisher's layout: a folder a task with dataset.json, imagesTr and labelsTr."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from umedpt_core import DataError, Volume, VolumeCase, read_volume

from . import ARCHIVES, TASKS

Sequence = Literal["FLAIR", "T1w", "t1gd", "T2w"]


class Options(BaseModel):
    """What a mix can choose of msd-brain-tumour.

    Attributes:
        sequences: The sequences that become the three input channels.
    """

    model_config = ConfigDict(extra="forbid")
    sequences: tuple[Sequence, Sequence, Sequence] = ("FLAIR", "t1gd", "T2w")


@dataclass(frozen=True)
class SequencesCase(VolumeCase):
    """A case of one 4D file, of which some sequences are used.

    Attributes:
        channels: Which ones.
    """

    channels: tuple[int, ...]

    @property
    def image(self) -> Volume:
        """The chosen sequences, as D x H x W x channels."""
        volume = read_volume(*self.paths)
        if volume.voxels.ndim != 4 or volume.voxels.shape[3] <= max(self.channels):
            raise DataError(f"{self.paths[0]}: is {volume.voxels.shape}, lacks sequences")
        return replace(volume, voxels=volume.voxels[..., list(self.channels)])


def open_cases(slug: str, root: Path, split: str, options: Options | None) -> list[VolumeCase]:
    """List a task's training cases; the target is a Volume of class indices.

    Args:
        slug: Which of the ten tasks; each has a partial of this function.
        root: The folder that holds the task's folder.
        split: Always ``all``; the core splits by patient.
        options: Which sequences to read, where there are four.

    Raises:
        DataError: The task's folder or a file that dataset.json lists is missing, or its labels
            are not those of the published one.
    """
    facts = TASKS[slug]
    path = root / facts.folder / "dataset.json"
    if not path.is_file():
        raise DataError(f"{path} is missing; unpack {ARCHIVES}/{facts.folder}.tar in {root}")
    listing = json.loads(path.read_text())
    for key, published in (("labels", facts.classes), ("modality", facts.sequences)):
        if _caseless(listing[key]) != _caseless(wanted := indexed(published)):
            raise DataError(
                f"{path}: {key} is {listing[key]}, the publisher's {wanted}; unpack "
                f"{facts.folder}.tar again"
            )
    pairs = [(path.parent / e["image"], path.parent / e["label"]) for e in listing["training"]]
    if missing := [str(file) for pair in pairs for file in pair if not file.is_file()]:
        raise DataError(
            f"{path}: {len(missing)} of the files that it lists are missing, the first is "
            f"{missing[0]}; unpack {facts.folder}.tar again"
        )
    chosen = options and tuple(facts.sequences.index(name) for name in options.sequences)
    return [
        _case(image, partial(read_labels, label, len(facts.classes)), chosen)
        for image, label in pairs
    ]


def indexed(names: tuple[str, ...]) -> dict[str, str]:
    """Names by their index, as dataset.json has them."""
    return {str(index): name for index, name in enumerate(names)}


def _caseless(names: dict[str, Any]) -> dict[str, str]:
    return {index: str(name).casefold() for index, name in names.items()}


def _case(image: Path, label: Callable[[], Volume], chosen: tuple[int, ...] | None) -> VolumeCase:
    name = image.name.removesuffix(".nii.gz")
    if chosen:
        return SequencesCase(name, name, (image,), label, chosen)
    return VolumeCase(name, name, (image,), label)


open_brain_tumour = partial(open_cases, "brain-tumour")
open_heart = partial(open_cases, "heart")
open_liver = partial(open_cases, "liver")
open_hippocampus = partial(open_cases, "hippocampus")
open_prostate = partial(open_cases, "prostate")
open_lung = partial(open_cases, "lung")
open_pancreas = partial(open_cases, "pancreas")
open_hepatic_vessel = partial(open_cases, "hepatic-vessel")
open_spleen = partial(open_cases, "spleen")
open_colon = partial(open_cases, "colon")


def read_labels(path: Path, classes: int) -> Volume:
    """A segmentation as class indices, uint8.

    Raises:
        DataError: It cannot be read, or holds anything but the indices of the classes.
    """
    volume = read_volume(path)
    strange = volume.voxels[~np.isin(volume.voxels, range(classes))]
    if strange.size:
        raise DataError(f"{path}: has label {strange[0]}, dataset.json none above {classes - 1}")
    return replace(volume, voxels=volume.voxels.astype(np.uint8))
