"""Slice-wise predictions put back into volumes, and scored there."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.augment import resize
from ..data.cases import Case
from ..data.draw import Draw
from ..data.instances import cut, kind_of
from ..data.loader import common_size
from ..data.slices import axis_of
from ..data.tasks import TaskData
from ..engine.model import Model
from ..errors import ConfigError, DataError
from ..specs import Slices

BATCH = 16
"""Slices predicted at a time."""


@torch.no_grad()
def segment_volume(model: Model, task: TaskData, case: Case) -> NDArray[np.uint8]:
    """The class of every voxel, predicted slice by slice along the task's axis.

    Args:
        model: In evaluation mode, with a head for the task.
        task: Slices are its instances, masks its targets; a random axis is that of evaluation.
        case: Its image is a :class:`umedpt_core.Volume`.

    Returns:
        D x H x W class indices on the grid of the case's image.

    Raises:
        ConfigError: The task's instances are no slices, or its targets no masks.
        DataError: The case cannot be used.
    """
    spec = _slices(task)
    device = next(model.parameters()).device
    arrays = kind_of(task).load(task, case, None)
    axis = axis_of(spec.axis, arrays["image"].shape, None)
    depth = arrays["image"].shape[axis]
    planes: list[NDArray[np.uint8]] = []
    for start in range(0, depth, BATCH):
        numbers = range(start, min(start + BATCH, depth))
        images = [cut(task, case, arrays, Draw(n, depth)).images[0] for n in numbers]
        size = common_size(spec.size, [images[0].shape[:2]])
        x_BHWC = np.stack([resize(image, None, size, "none")[0] for image in images])
        x_BCHW = torch.from_numpy(np.ascontiguousarray(x_BHWC.transpose(0, 3, 1, 2))).to(device)
        masks = task.label.unbatch(model.predict(task.name, x_BCHW))
        planes += [_to_shape(mask, images[0].shape[:2]) for mask in masks]
    shape = case.image.voxels.shape if spec.spacing else arrays["image"].shape
    return _to_shape(np.stack(planes, axis=axis), shape[:3])


def score_volumes(model: Model, task: TaskData, split: str) -> dict[str, float]:
    """The label type's metrics of each volume, averaged over the usable volumes of a split.

    Args:
        model: Put into evaluation mode.
        task: See :func:`segment_volume`, with the split opened.
        split: Which one.

    Raises:
        ConfigError: See :func:`segment_volume`.
        DataError: No case of the split can be used.
    """
    _slices(task)
    model.eval()
    values: dict[str, list[float]] = defaultdict(list)
    for case in task.cases[split]:
        try:
            prediction = segment_volume(model, task, case)
            target = np.asarray(case.target.voxels)
        except Exception:  # noqa: S112  # was reported when its slices were read
            continue
        metric = task.label.metric()
        metric.update(_tall(prediction), _tall(target))
        for name, value in metric.compute().items():
            values[name].append(value)
    if not values:
        raise DataError(f"{task.name}: no case of the {split} split can be used")
    return {name: float(np.mean(each)) for name, each in values.items()}


def _slices(task: TaskData) -> Slices:
    if isinstance(task.instances, Slices) and task.geometry == "mask":
        return task.instances
    raise ConfigError(f"task {task.name}: only masks of slices can be put back into volumes")


def _tall(voxels: NDArray[Any]) -> torch.Tensor:
    """A volume as a batch of one tall image: metrics of masks count pixels."""
    return torch.from_numpy(voxels.reshape(1, -1, voxels.shape[-1]).astype(np.int64))


def _to_shape(voxels: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The nearest voxels on a grid of another shape over the same space."""
    for axis, (old, new) in enumerate(zip(voxels.shape, shape, strict=True)):
        if old != new:
            places = ((np.arange(new) + 0.5) * old / new).astype(int)
            voxels = voxels.take(places, axis)
    return voxels
