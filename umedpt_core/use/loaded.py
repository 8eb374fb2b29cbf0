"""Inputs without targets, loaded as a task's evaluation loads its cases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..data import whole
from ..data.augment import resize
from ..data.loader import common_size
from ..data.readers import read_image
from ..data.slices import bag_of
from ..data.tasks import TaskData
from ..data.volumes import read_volume
from ..specs import Bag
from .inputs import Input
from .sheet import grid
from .volumes import load_image

LONGEST, SHORTEST = 1024, 256
"""The longer edge of an overlay, in pixels, lies between; where it can, it is the input's own."""


@dataclass(frozen=True)
class Untold:
    """A case of which nobody knows the target."""

    id: str
    image: Any
    patient: str = ""
    target: None = None


class Loaded(NamedTuple):
    """An input, ready for the model.

    Attributes:
        input: Which one.
        images: H x W x 3 at the size for the model, uint8 or float32 in [0, 1]: one, or those of a
            bag. Of a volume to segment its voxels, D x H x W x C uint16, as one.
        shape: The input's own (H, W) or (D, H, W); of a bag that of a slice.
        voxel: The volume of a voxel in mm3; 1 for images.
        shown: What the prediction is drawn on, H x W x 3 uint8; None where nothing is, and of a
            volume to segment, which is drawn slice by slice.
    """

    input: Input
    images: list[NDArray[Any]]
    shape: tuple[int, ...]
    voxel: float = 1.0
    shown: NDArray[np.uint8] | None = None


def load(task: TaskData, source: Input, overlay: bool) -> Loaded:
    """Read an input and bring it into [0, 1] and to size.

    Args:
        task: Its instances are whole images, slices or bags.
        source: What to read.
        overlay: Whether the prediction will be drawn.

    Raises:
        DataError: The input cannot be used.
        ConfigError: A library to read it is not installed.
    """
    if task.instances.kind == "slices":
        volume = read_volume(source.path)
        voxel = abs(float(np.linalg.det(volume.affine[:3, :3])))
        voxels = load_image(task, Untold(source.id, volume))
        return Loaded(source, [voxels], volume.voxels.shape[:3], voxel)
    if isinstance(task.instances, Bag):
        voxels = load_image(task, Untold(source.id, read_volume(source.path)))
        images = bag_of(task.instances, voxels)
    else:
        arrays = whole.load(task, Untold(source.id, read_image(source.path)), None)
        images = [whole.in_colour(arrays["image"])]
    shape = images[0].shape[:2]
    size = common_size(task.instances.size, [shape])
    small = [resize(image, None, size, "none")[0] for image in images]
    return Loaded(source, small, shape, shown=picture(images) if overlay else None)


def picture(images: list[NDArray[Any]], longest: int = LONGEST) -> NDArray[np.uint8]:
    """An image, or nine of several, in 8 bits and at the size of an overlay."""
    image = images[0] if len(images) == 1 else grid(images)
    longer = max(image.shape[:2])
    scale = min(max(longer, SHORTEST), longest) / longer
    height, width = (max(1, round(edge * scale)) for edge in image.shape[:2])
    image, _ = resize(image, None, (height, width), "none")
    image = image if image.dtype == np.uint8 else (image * 255).round().astype(np.uint8)
    return np.ascontiguousarray(image)
