"""A volume's values at the places to which a matrix takes the voxels of another one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


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
