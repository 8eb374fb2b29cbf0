"""Slices of volumes, one by one or as bags (paper: Data loading, Supplementary 5)."""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..label_type import IGNORE
from ..specs import Bag, Slices
from .augment3d import Boxes, VolumeAugmentation
from .cache import Arrays
from .cases import Case
from .draw import Draw
from .intensity import apply_rule
from .volumes import Volume, same_grid

if TYPE_CHECKING:
    from .tasks import TaskData

AXES = ("axial", "coronal", "sagittal")
SMALLEST_EDGE = 16
"""Planes with a shorter edge, in voxels as stored, are not sliced."""
LEVELS = np.iinfo(np.uint16).max
"""Kept volumes have 16 bits, finer than any scanner's 12, at half the room of float32."""


def load(task: TaskData, case: Case, seed: int | None) -> Arrays:
    """A volume, normalized and augmented in 3D, ready to be sliced.

    Args:
        task: Slices or bags are its instances.
        case: Its image is a :class:`umedpt_core.Volume`.
        seed: Of the 3D augmentation; None augments nothing.

    Returns:
        ``image``: D x H x W x C uint16, C 1 or 3. For masks ``mask``: D x H x W uint8; for boxes
        ``boxes``: N x 6, and ``labels``: N. ``foreground0`` to ``2``: whether each slice along an
        axis holds foreground.

    Raises:
        DataError: Volume or target cannot be used.
    """
    spec = task.instances
    assert isinstance(spec, Slices | Bag)  # noqa: S101
    volume = case.image
    if not isinstance(volume, Volume):
        raise DataError(f"the image is a {type(volume).__name__}, not a Volume; see read_volume")
    shape = volume.voxels.shape[:3]
    if not _thick_enough(spec.axis, shape):
        raise DataError(
            f"a volume of {' x '.join(map(str, shape))} voxels is too thin for {spec.axis} slices; "
            f"their edges must have at least {SMALLEST_EDGE}"
        )
    image = _channels(volume.voxels, task.rule(case))
    mask, boxes = _target(task, case, volume)
    transforms = task.volume_augmentation if seed is not None else None
    augment = _augmentation(transforms, spec.spacing, threading.get_ident())
    moved = augment(image, mask, boxes, volume.affine, seed)
    image = moved.image
    image *= LEVELS  # in place: volumes are large
    arrays: dict[str, NDArray[Any]] = {"image": np.rint(image, out=image).astype(np.uint16)}
    if moved.mask is not None:
        arrays["mask"] = moved.mask
        foreground: NDArray[np.bool_] = (moved.mask > 0) & (moved.mask != IGNORE)
        for axis in range(3):
            arrays[f"foreground{axis}"] = np.asarray(foreground.any(axis=_others(axis)))
    if moved.boxes is not None:
        arrays |= moved.boxes
        for axis in range(3):
            middles = np.arange(moved.image.shape[axis])[:, None] + 0.5
            crossed = _crossed(moved.boxes["boxes"], axis, middles)
            arrays[f"foreground{axis}"] = np.asarray(crossed.any(axis=1))
    return arrays


def cut(
    task: TaskData, case: Case, arrays: Arrays, draw: Draw
) -> tuple[NDArray[Any] | list[NDArray[Any]], Any, int]:
    """A slice with its target, or all slices of a bag with the case's.

    Returns:
        H x W x 3 float32 in [0, 1], or a list of them; the checked target; the number of
        annotations that were dropped.

    Raises:
        DataError: The target does not fit.
    """
    spec = task.instances
    voxels = arrays["image"]
    if isinstance(spec, Bag):
        images = bag_of(spec, voxels, draw.seed)
        return images, *task.check(case.target, images[0].shape[:2])
    axis = axis_of(spec.axis, voxels.shape, draw.batch_seed)  # type: ignore[union-attr]
    place = _pick(arrays, axis, voxels.shape[axis], spec.foreground, draw)  # type: ignore[union-attr]
    image = plane_of(voxels, axis, place)
    if task.geometry == "mask":
        target: Any = np.ascontiguousarray(arrays["mask"].take(place, axis))
    elif task.geometry == "boxes":
        target = _boxes_in(arrays, axis, place)
    else:
        target = case.target
    return image, *task.check(target, image.shape[:2])


def bag_of(spec: Bag, voxels: NDArray[np.uint16], seed: int | None = None) -> list[NDArray[Any]]:
    """The slices of a bag, H x W x 3 float32 in [0, 1] each; a seed draws them, evenly spread."""
    axis = axis_of(spec.axis, voxels.shape, None)
    depth = voxels.shape[axis]
    count = min(depth, spec.most or depth)
    places = [_spread(number, count, depth, seed) for number in range(count)]
    return [plane_of(voxels, axis, place) for place in places]


def _channels(voxels: NDArray[Any], rule: str) -> NDArray[np.float32]:
    """D x H x W x 1 or 3 in [0, 1]: one sequence, three, or two and their mean."""
    sequences = voxels[..., None] if voxels.ndim == 3 else voxels
    if sequences.shape[-1] > 3:
        raise DataError(
            f"the volume has {sequences.shape[-1]} sequences for 3 channels; the case must choose"
        )
    if sequences.min() == sequences.max():
        raise DataError(
            f"every voxel is {sequences.flat[0]}: there is nothing to see; leave it out"
        )
    scaled = [apply_rule(rule, sequences[..., c]) for c in range(sequences.shape[-1])]
    channels: list[NDArray[np.float32]] = [
        s.astype(np.float32) / np.float32(255) if s.dtype == np.uint8 else s for s in scaled
    ]
    if len(channels) == 1:
        return channels[0][..., None]
    if len(channels) == 2:
        channels.append(np.float32(0.5) * (channels[0] + channels[1]))
    return np.stack(channels, axis=-1)


def _target(
    task: TaskData, case: Case, volume: Volume
) -> tuple[NDArray[np.uint8] | None, Boxes | None]:
    """What of the target has a place in the volume: its mask, or its boxes with labels."""
    if task.geometry == "none":
        return None, None
    target = case.target
    if task.geometry == "boxes":
        boxes = np.asarray(target["boxes"], np.float32).reshape(-1, 6)
        return None, {"boxes": boxes, "labels": np.asarray(target["labels"], np.int64)}
    if task.geometry != "mask":
        raise DataError(f"{task.geometry} have no meaning in slices; use masks or boxes")
    if not isinstance(target, Volume):
        raise DataError(f"the mask is a {type(target).__name__}, not a Volume; see read_volume")
    if problem := same_grid(volume, target):
        raise DataError(f"the mask does not lie on the image: {problem}")
    depth, height, width = target.voxels.shape
    tall = target.voxels.reshape(depth * height, width)
    mask, _ = task.check(tall, (depth * height, width))
    return mask.reshape(depth, height, width), None


def _thick_enough(wanted: str, shape: tuple[int, ...]) -> list[int]:
    """The axes along which slices of the wanted kind are no slivers."""
    axes = range(3) if wanted == "random" else [AXES.index(wanted)]
    return [axis for axis in axes if min(shape[a] for a in _others(axis)) >= SMALLEST_EDGE]


def axis_of(wanted: str, shape: tuple[int, ...], batch_seed: int | None) -> int:
    """The axis to slice along; a random one is the same for a batch, and fixed in evaluation.

    Args:
        wanted: See :class:`umedpt_core.Slices`.
        shape: (D, H, W) of the volume, at least.
        batch_seed: See :class:`Draw`.
    """
    if wanted != "random":
        return AXES.index(wanted)
    # Augmentation may have cropped a small volume below the limit that it passed as stored.
    possible = _thick_enough(wanted, shape) or [int(np.argmin(shape[:3]))]
    if batch_seed is None:
        return possible[0]
    drawn = int(np.random.default_rng(batch_seed).integers(3))
    return drawn if drawn in possible else possible[0]


def _pick(arrays: Arrays, axis: int, depth: int, share: float, draw: Draw) -> int:
    """The index of a slice, from all or (a share of the training draws) those with foreground."""
    if draw.seed is not None and share and f"foreground{axis}" in arrays:
        found = np.flatnonzero(arrays[f"foreground{axis}"])
        if len(found) and np.random.default_rng((draw.seed, 1)).random() < share:
            return int(found[_spread(draw.number, draw.of, len(found), draw.seed)])
    return _spread(draw.number, draw.of, depth, draw.seed)


def _spread(number: int, of: int, length: int, seed: int | None) -> int:
    """The number-th of so many places spread over a length; a seed shifts it within its share."""
    shift = 0.5 if seed is None else np.random.default_rng((seed, number)).random()
    return min(length - 1, int((number + shift) / of * length))


def plane_of(voxels: NDArray[np.uint16], axis: int, place: int) -> NDArray[np.float32]:
    """One slice of a loaded volume, H x W x 3 float32 in [0, 1]."""
    plane = voxels.take(place, axis).astype(np.float32) / LEVELS
    return np.broadcast_to(plane, (*plane.shape[:2], 3))  # grey is repeated


def _boxes_in(arrays: Arrays, axis: int, place: int) -> dict[str, NDArray[Any]]:
    """The boxes that the middle of a slice crosses, as x0, y0, x1, y1 of its plane."""
    boxes = arrays["boxes"]
    inside = _crossed(boxes, axis, place + 0.5)
    down, across = _others(axis)
    flat = boxes[inside][:, [across, down, across + 3, down + 3]]
    return {"boxes": flat, "labels": arrays["labels"][inside]}


def _crossed(boxes: NDArray[Any], axis: int, middle: Any) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = (boxes[:, axis] <= middle) & (middle < boxes[:, axis + 3])
    return inside


def _others(axis: int) -> tuple[int, int]:
    """The two axes of a plane: downwards, across."""
    return (1, 2) if axis == 0 else (0, 2) if axis == 1 else (0, 1)


@lru_cache(maxsize=16)
def _augmentation(
    transforms: str | None, spacing: float | None, _thread: int
) -> VolumeAugmentation:
    """One a thread: MONAI's transforms keep what they have drawn."""
    return VolumeAugmentation(transforms, spacing)
