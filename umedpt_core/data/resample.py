"""A volume's values at the places to which a matrix takes the voxels of another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import DataError
from .volumes import Volume


def resample_onto(volume: Volume, like: Volume, *, nearest: bool = False) -> Volume:
    """A volume on the grid of another one, such as a sequence on that of another sequence.

    Voxels meet where the affines place them in the patient; nothing is registered.

    Args:
        volume: D x H x W, or D x H x W x C.
        like: Its grid is the result's; its values do not matter.
        nearest: Take the nearest voxel, as for a mask; else interpolate linearly in all three axes.

    Returns:
        Volume of the shape of `like` and the channels of `volume`: float32, or the volume's own
        type with `nearest`. The outermost voxels reach to their faces; beyond is 0.

    Raises:
        DataError: The two have no place in common.
    """
    matrix = np.asarray(np.linalg.solve(volume.affine, like.affine), np.float64)
    shape, size = like.voxels.shape[:3], np.array(volume.voxels.shape[:3])
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(shape) - 1)
    places = corners @ matrix[:3, :3].T + matrix[:3, 3]
    if (places.max(0) <= -0.5).any() or (places.min(0) >= size - 0.5).any():
        raise DataError("the volumes do not overlap in the patient; check their headers")
    channels = volume.voxels.reshape(*size, -1)
    if nearest:
        moved = resample(_tensor(channels), matrix, shape, "nearest")
    else:  # resample would fade the border to 0, which ADC maps would show as a lesion
        inside = resample(torch.ones(1, *size.tolist()), matrix, shape, "nearest")
        matrix[:3, 3] += 1
        padded = np.pad(channels, ((1, 1),) * 3 + ((0, 0),), mode="edge")
        moved = resample(_tensor(padded), matrix, shape, "bilinear").float() * inside
    dtype = volume.voxels.dtype if nearest else np.dtype(np.float32)
    voxels = moved.movedim(0, -1).numpy().astype(dtype, copy=False)
    return Volume(voxels.reshape(shape + volume.voxels.shape[3:]), like.affine)


def _tensor(voxels: NDArray[Any]) -> Tensor:
    """C x D x H x W; torch takes neither read-only arrays nor flipped views."""
    return torch.from_numpy(np.require(voxels, requirements=("C", "W"))).movedim(-1, 0)


def resample(
    volume: Tensor, matrix: NDArray[np.float64], shape: tuple[int, ...], mode: str
) -> Tensor:
    """Resample a volume, with one interpolation or, where whole voxels meet, none.

    The same bits come out whatever the number of threads.

    Args:
        volume: C x D x H x W; fastest where the channels lie next to each other.
        matrix: 4 x 4: an index (i, j, k) of the result to an index of the volume; centers of
            voxels are whole numbers.
        shape: D x H x W of the result.
        mode: ``bilinear`` (in all three axes) or ``nearest``.

    Returns:
        C x D x H x W, the channels next to each other; 0 outside the volume. float32, or of the
        volume's type where nothing is interpolated.
    """
    whole = matrix.round()
    if np.abs(whole - matrix).max() < 1e-4 and np.abs(whole[:3, :3]).sum() == 3:
        return _take(volume, whole.astype(int), shape)
    volume = volume.float()
    sampled = torch.empty(*shape, len(volume)).movedim(-1, 0)
    # grid_sample counts from face (-1) to face (1), the last axis first.
    scale = 2 / np.array(volume.shape[1:])
    start = ((matrix[:3, 3] + 0.5) * scale - 1)[::-1]
    i_steps, j_steps, k_steps = (
        np.arange(edge)[:, None] * (matrix[:3, axis] * scale)[::-1]
        for axis, edge in enumerate(shape)
    )
    plane = torch.from_numpy((start + j_steps[:, None] + k_steps).astype(np.float32))
    # Plane by plane: one grid for all voxels is three times as large as the volume, and slower.
    for i, step in enumerate(torch.from_numpy(i_steps.astype(np.float32))):
        grid = (plane + step)[None, None]
        moved = F.grid_sample(volume[None], grid, mode, "zeros", align_corners=False)
        sampled[:, i] = moved[0, :, 0]
    return sampled


def _take(volume: Tensor, matrix: NDArray[np.int_], shape: tuple[int, ...]) -> Tensor:
    """For a matrix that only turns by right angles, flips, crops and pads."""
    axes = np.abs(matrix[:3, :3]).argmax(0)
    old = volume.numpy().transpose(0, *(axes + 1))
    new = np.zeros((*shape, len(old)), old.dtype).transpose(3, 0, 1, 2)
    into: list[Any] = [slice(None)]
    for axis, edge in enumerate(shape):
        places = matrix[axes[axis], 3] + matrix[axes[axis], axis] * np.arange(edge)
        inside = np.flatnonzero((places >= 0) & (places < old.shape[axis + 1]))
        if not len(inside):
            return torch.from_numpy(new)
        into.append(slice(inside[0], inside[-1] + 1))
        first, last = sorted(places[inside[[0, -1]]])
        old = old[(slice(None),) * (axis + 1) + (slice(first, last + 1),)]
        old = np.flip(old, axis + 1) if matrix[axes[axis], axis] < 0 else old
    new[tuple(into)] = old
    return torch.from_numpy(new)
