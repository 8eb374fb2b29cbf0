"""Slice-wise predictions put back into volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..data import slices
from ..data.augment import resize
from ..data.cases import Case
from ..data.dicom import library
from ..data.loader import common_size
from ..data.slices import axis_of, plane_of
from ..data.tasks import TaskData
from ..data.volumes import AXES, open_stored
from ..engine.model import Model
from ..errors import ConfigError
from ..specs import Slices

BATCH = 16
"""Slices predicted at a time."""
PLACE = (
    *("qform_code", "sform_code", "xyzt_units", "pixdim"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)
"""The fields of a NIfTI header that say where its voxels are."""


def segment_volume(model: Model, task: TaskData, case: Case) -> NDArray[np.uint8]:
    """The class of every voxel, predicted slice by slice along the task's axis.

    Args:
        model: In evaluation mode, with a head for the task.
        task: Slices are its instances, masks its targets; a random axis is that of evaluation.
        case: Its image is a :class:`umedpt_core.Volume`; its target is not looked at.

    Returns:
        D x H x W class indices on the grid of the case's image.

    Raises:
        ConfigError: The task's instances are no slices, or its targets no masks.
        DataError: The case cannot be used.
    """
    spec = slices_of(task)
    voxels = load_image(task, case)
    shape = case.image.voxels.shape if spec.spacing else voxels.shape
    return segment(model, task, voxels, shape[:3])


def load_image(task: TaskData, case: Case) -> NDArray[np.uint16]:
    """The volume of a case as it is sliced in evaluation; its target is not looked at.

    Returns:
        D x H x W x C, C 1 or 3; see :func:`umedpt_core.data.slices.load`.

    Raises:
        DataError: The volume cannot be used.
    """
    # With no geometry there is no target that moves with the image.
    return slices.load(replace(task, geometry="none"), case, None)["image"]


@torch.no_grad()
def segment(
    model: Model,
    task: TaskData,
    voxels: NDArray[np.uint16],
    shape: tuple[int, ...],
    batch_size: int = BATCH,
) -> NDArray[np.uint8]:
    """The class of every voxel of a loaded volume; see :func:`segment_volume`.

    Args:
        model: In evaluation mode, with a head for the task.
        task: Slices are its instances, masks its targets.
        voxels: What :func:`load_image` gave.
        shape: (D, H, W) of the result, a grid over the same space.
        batch_size: Slices predicted at a time; it does not change the result.
    """
    spec = slices_of(task)
    device = next(model.parameters()).device
    axis = axis_of(spec.axis, voxels.shape, None)
    depth = voxels.shape[axis]
    planes: list[NDArray[np.uint8]] = []
    for start in range(0, depth, batch_size):
        places = range(start, min(start + batch_size, depth))
        images = [plane_of(voxels, axis, place) for place in places]
        size = common_size(spec.size, [images[0].shape[:2]])
        x_BHWC = np.stack([resize(image, None, size, "none")[0] for image in images])
        x_BCHW = torch.from_numpy(np.ascontiguousarray(x_BHWC.transpose(0, 3, 1, 2))).to(device)
        masks = task.label.unbatch(model.predict(task.name, x_BCHW))
        planes += [to_shape(mask, images[0].shape[:2]) for mask in masks]
    return to_shape(np.stack(planes, axis=axis), shape)


def write_like(path: Path, mask: NDArray[np.uint8], source: Path) -> None:
    """Write a mask as NIfTI, voxel on voxel of the file that it was predicted from.

    Args:
        path: Ends in ``.nii.gz`` or ``.nii``.
        mask: D x H x W, on the grid that :func:`umedpt_core.read_volume` gives the source.
        source: A NIfTI, whose place is kept to the bit, a MetaImage or a DICOM series. The mask
            gets its order of axes, its affine and its shape (of a 4D file, the first three).
    """
    nibabel, turn = library("nibabel"), library("nibabel.orientations")
    stored = open_stored(source)
    turns = turn.ornt_transform(turn.axcodes2ornt(AXES), turn.io_orientation(stored.affine))
    image = nibabel.Nifti1Image(turn.apply_orientation(mask, turns), stored.affine)
    if source.name.lower().endswith((".nii", ".nii.gz")):
        header = nibabel.load(source).header
        for field in PLACE:
            image.header[field] = header[field]
    nibabel.save(image, path)


def slices_of(task: TaskData) -> Slices:
    """The instances of a task whose predictions can be put back into volumes.

    Raises:
        ConfigError: They are no slices, or its targets no masks.
    """
    if isinstance(task.instances, Slices) and task.geometry == "mask":
        return task.instances
    raise ConfigError(f"task {task.name}: only masks of slices can be put back into volumes")


def to_shape(voxels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The nearest voxels on a grid of another shape over the same space."""
    for axis, (old, new) in enumerate(zip(voxels.shape, shape, strict=True)):
        if old != new:
            places = ((np.arange(new) + 0.5) * old / new).astype(int)
            voxels = voxels.take(places, axis)
    return voxels
