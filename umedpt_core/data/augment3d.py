"""Moving a volume, its mask and its boxes together, once, when the volume is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import ConfigError
from ..specs import resolve
from .resample import resample

Boxes = Mapping[str, NDArray[Any]]

MODES = {"image": "bilinear", "mask": "nearest"}


class Moved(NamedTuple):
    """A volume after augmentation, and what moved along.

    Attributes:
        image: D x H x W x C, float32 in [0, 1], contiguous; 0 outside the volume that it was.
        mask: D x H x W, uint8, contiguous; 255 (ignore) outside. None where none was given.
        boxes: ``boxes`` (N x 6, float32) and ``labels`` (N) of those that are still inside. None
            where none were given.
        affine: 4 x 4, float64: array index (i, j, k) to mm.
    """

    image: NDArray[np.float32]
    mask: NDArray[np.uint8] | None
    boxes: Boxes | None
    affine: NDArray[np.float64]


class VolumeAugmentation:
    """The volume part of an augmentation profile at work (paper: Data augmentation).

    What MONAI can do lazily, and the resampling to cubic voxels, becomes one interpolation: linear
    for the image, the nearest voxel for the mask, and ignore outside, whatever modes the profile
    asks for. Boxes follow affine maps only, not elastic deformations.

    Args:
        transforms: Import string of ``() -> list of MONAI dictionary transforms`` for the keys
            ``image`` and ``mask``, with ``allow_missing_keys=True``. They get C x D x H x W. In the
            mask that they see, a class is one more than its index, and 0 is unknown. None changes
            nothing.
        spacing: Resample to cubic voxels of this edge in mm before the transforms; None does not.

    Raises:
        ConfigError: The profile's transforms do not compose.
    """

    def __init__(self, transforms: str | None, spacing: float | None) -> None:
        self.name = transforms
        try:
            self._resample = _cubic(spacing) if spacing else []
            self._augment = list(resolve(transforms)()) if transforms else []
            _prepare([*self._resample, *self._augment])
        except (ValueError, TypeError) as error:
            raise ConfigError(f"augmentation '{transforms}' does not compose: {error}") from error

    def __call__(
        self,
        image: NDArray[np.float32],
        mask: NDArray[np.uint8] | None,
        boxes: Boxes | None,
        affine: NDArray[np.float64],
        seed: int | None,
    ) -> Moved:
        """Augment one volume.

        Args:
            image: D x H x W x C, float32 in [0, 1].
            mask: D x H x W, uint8: class indices, 255 is ignored.
            boxes: ``boxes``: N x 6 float32 (i0, j0, k0, i1, j1, k1) in voxels, counted from the
                volume's faces (0 to D, H, W); ``labels``: N.
            affine: 4 x 4: array index to mm.
            seed: Decides everything random, a number from 0; None only resamples.

        Raises:
            ConfigError: The transforms do not give one volume, or move image and mask apart.
        """
        from monai.data.meta_tensor import MetaTensor

        affine = np.asarray(affine, np.float64)
        # torch takes neither read-only arrays nor flipped views.
        tensor = torch.from_numpy(np.require(image, np.float32, ("C", "W"))).movedim(-1, 0)
        data = {"image": MetaTensor(tensor, torch.tensor(affine))}
        if mask is not None:
            # One up: 255 wraps around to 0, which is also what comes from outside; back at the end.
            tensor = torch.from_numpy(np.ascontiguousarray(mask) + np.uint8(1))[None]
            data["mask"] = MetaTensor(tensor, torch.tensor(affine))
        data = self._run(data, seed)
        after = data["image"].affine.numpy()
        moved = np.ascontiguousarray(data["image"].numpy().transpose(1, 2, 3, 0)).clip(0, 1)
        if mask is not None:
            together = np.array_equal(data["mask"].affine.numpy(), after)
            if not together or data["mask"].shape[1:] != moved.shape[:3]:
                raise ConfigError(f"augmentation '{self.name}' moves image and mask apart")
            mask = np.ascontiguousarray(data["mask"].numpy()[0], np.uint8) - np.uint8(1)
        matrix = np.linalg.solve(after, affine)
        return Moved(moved, mask, boxes and _move(boxes, matrix, moved.shape[:3]), after)

    def _run(self, data: dict[str, Any], seed: int | None) -> dict[str, Any]:
        """As MONAI's Compose(lazy=True), but for the interpolation and the random state."""
        from monai.transforms.traits import LazyTrait
        from monai.transforms.transform import Randomizable

        transforms = self._resample if seed is None else [*self._resample, *self._augment]
        if seed is not None:
            # One state for all, drawn from in turn. MONAI's own seeding starts the parts of a
            # transform alike, so that RandAffined turned only one way whenever it acted.
            state = np.random.RandomState(np.random.MT19937(np.random.SeedSequence(seed)))
            for transform in _walk(transforms):
                if isinstance(transform, Randomizable):
                    transform.set_random_state(state=state)
        for transform in transforms:
            lazy = isinstance(transform, LazyTrait) and not transform.requires_current_data
            data = transform(data, lazy=True) if lazy else transform(_apply(data))
            if not isinstance(data, dict) or data["image"].ndim != 4:
                name = type(transform).__name__
                raise ConfigError(f"augmentation '{self.name}': {name} does not give one volume")
        return _apply(data)


def _cubic(spacing: float) -> list[Any]:
    from monai.transforms.spatial.dictionary import Spacingd

    return [Spacingd(tuple(MODES), (spacing,) * 3, allow_missing_keys=True)]


def _walk(transforms: Sequence[Any]) -> Iterator[Any]:
    """The transforms, and those that they choose from."""
    for transform in transforms:
        yield transform
        yield from _walk(getattr(transform, "transforms", ()))


def _prepare(transforms: Sequence[Any]) -> None:
    """Check them, and set how they interpolate where that is not left to us."""
    from monai.transforms.compose import Compose
    from monai.transforms.transform import MapTransform

    for transform in _walk(transforms):
        name = type(transform).__name__
        if isinstance(transform, Compose):
            transform.overrides = {
                key: {"mode": mode, "padding_mode": "zeros"} for key, mode in MODES.items()
            }
        elif not isinstance(transform, MapTransform):
            raise TypeError(f"{name} is no dictionary transform of MONAI")
        elif not transform.allow_missing_keys:
            raise ValueError(f"{name} needs allow_missing_keys=True, as not every case has a mask")
        elif hasattr(transform, "mode") and hasattr(transform, "padding_mode"):
            transform.padding_mode = ("zeros",) * len(transform.keys)
            transform.mode = tuple(MODES[str(key)] for key in transform.keys)


def _apply(data: dict[str, Any]) -> dict[str, Any]:
    """Carry out what is pending."""
    from monai.data.meta_tensor import MetaTensor

    done = dict(data)
    for key, mode in MODES.items():
        if key in data and data[key].has_pending_operations:
            affine = data[key].peek_pending_affine()
            matrix = np.linalg.solve(data[key].affine.numpy(), affine.numpy())
            shape = tuple(map(int, data[key].peek_pending_shape()))
            done[key] = MetaTensor(resample(data[key].as_tensor(), matrix, shape, mode), affine)
    return done


def _move(
    boxes: Boxes, matrix: NDArray[np.float64], shape: tuple[int, ...]
) -> dict[str, NDArray[Any]]:
    """The bounds of boxes' corners after a map of voxel centers, clipped, less the emptied."""
    low, high = np.split(boxes["boxes"].astype(np.float64).reshape(-1, 6), 2, axis=1)
    center = ((low + high) / 2 - 0.5) @ matrix[:3, :3].T + matrix[:3, 3] + 0.5
    half = (high - low) / 2 @ np.abs(matrix[:3, :3]).T
    moved = np.hstack([(center - half).clip(0, shape), (center + half).clip(0, shape)])
    moved = moved.astype(np.float32)
    kept = (moved[:, 3:] > moved[:, :3]).all(1)
    return {"boxes": moved[kept], "labels": boxes["labels"][kept]}
