"""Reading the publisher's layout: a folder a case, a NIfTI file a sequence and one of labels."""

from __future__ import annotations

import gzip
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from umedpt_core import DataError, Volume, VolumeCase, read_volume

FOLDER = "MICCAI_BraTS2020_TrainingData"
MISNAMED = "W39_1998.09.19_Segm"
"""The segmentation of BraTS20_Training_355."""

VALUES = (0, 1, 2, 4)
"""What stands in a segmentation, in the order of the task's classes."""

Sequence = Literal["flair", "t1", "t1ce", "t2"]


class Options(BaseModel):
    """What a mix can choose.

    Attributes:
        sequences: The sequences that become the three input channels.
    """

    model_config = ConfigDict(extra="forbid")
    sequences: tuple[Sequence, Sequence, Sequence] = ("flair", "t1ce", "t2")


def open_cases(root: Path, split: str, options: Options) -> list[VolumeCase]:
    """List all training cases; the target is a Volume of class indices, 0 to 3.

    Args:
        root: The folder that holds ``MICCAI_BraTS2020_TrainingData``, or Kaggle's folder around it.
        split: Always ``all``; the core splits by patient.
        options: Which sequences to read. A file that is missing is an error of its case.

    Raises:
        FileNotFoundError: There is no such folder.
    """
    around = root / "BraTS2020_TrainingData"
    return [
        VolumeCase(
            id=folder.name,
            patient=folder.name,
            paths=tuple(_find(folder, f"{folder.name}_{name}") for name in options.sequences),
            label=partial(read_labels, _find(folder, f"{folder.name}_seg", MISNAMED)),
        )
        for folder in sorted(((around if around.is_dir() else root) / FOLDER).iterdir())
        if folder.name.startswith("BraTS20_Training_")
    ]


def _find(folder: Path, *names: str) -> Path:
    """The first of the files that is there, packed or not; none: the publisher's name for it."""
    paths = [folder / f"{name}{suffix}" for name in names for suffix in (".nii.gz", ".nii")]
    return next((path for path in paths if path.is_file()), paths[0])


def read_labels(path: Path) -> Volume:
    """A segmentation as class indices, uint8: label 4 becomes 3.

    Raises:
        DataError: It cannot be read, or holds anything but 0, 1, 2 and 4.
    """
    volume = read_volume(path)
    strange = volume.voxels[~np.isin(volume.voxels, VALUES)]
    if strange.size:
        raise DataError(f"{path}: has label {strange[0]}, BraTS 2020 only {VALUES}; replace it")
    indices = np.searchsorted(VALUES, volume.voxels).astype(np.uint8)
    return replace(volume, voxels=indices)


FAKE_SHAPE = (40, 36, 32)
FAKE_CONTRAST = {
    "flair": (2, 2, 5, 3),
    "t1": (3, 1, 2, 3),
    "t1ce": (2, 1, 2, 6),
    "t2": (2, 5, 4, 3),
}
"""Brightness of brain, core, edema and enhancing tumour."""


def make_fake(root: Path, seed: int) -> None:
    """Write 12 small heads with a tumour each, the last as BraTS20_Training_355 is on Kaggle."""
    rng = np.random.default_rng(seed)
    places = np.stack(np.indices(FAKE_SHAPE), axis=-1)
    center = np.array(FAKE_SHAPE) / 2
    head = (((places - center) / (center - 2)) ** 2).sum(axis=-1) < 1
    for number in (*range(1, 12), 355):
        name = f"BraTS20_Training_{number:03d}"
        folder = root / FOLDER / name
        folder.mkdir(parents=True, exist_ok=True)
        distance = np.linalg.norm(places - center - rng.uniform(-5, 5, 3), axis=-1)
        tissue = np.select([distance < 3, distance < 5, distance < 8], [1, 3, 2], 0)
        suffix = ".nii" if number == 355 else ".nii.gz"
        for sequence, contrast in FAKE_CONTRAST.items():
            image = np.take(contrast, tissue) * 100 + rng.integers(0, 32, FAKE_SHAPE)
            _write(folder / f"{name}_{sequence}{suffix}", (image * head).astype(np.int16))
        labels = np.take(VALUES, tissue * head).astype(np.uint8)
        _write(folder / f"{MISNAMED if number == 355 else f'{name}_seg'}{suffix}", labels)


def _write(path: Path, voxels: NDArray[Any]) -> None:
    """Without the time that nibabel's own packing notes."""
    affine = np.diag((-1.0, -1.0, 1.0, 1.0))
    data = nibabel.Nifti1Image(voxels, affine).to_bytes()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
