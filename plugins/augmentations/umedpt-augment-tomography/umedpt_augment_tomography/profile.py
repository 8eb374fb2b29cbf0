"""What happens to a volume when it is loaded; strengths and probabilities are ours.

Everything is lazy: orientation, rotation, scale and crop are one interpolation in the end, or none.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from math import radians
from typing import Any

import numpy as np
from monai.data.utils import affine_to_spacing
from monai.transforms import (
    Affined,
    LazyTransform,
    MapTransform,
    Orientationd,
    RandomizableTransform,
    RandScaleCropd,
)
from monai.transforms.utils import create_rotate, create_scale

Data = Mapping[Hashable, Any]
KEYS = ("image", "mask")


def volume_transforms() -> list[MapTransform]:
    """The transforms of the profile, in their order."""
    return [
        RandOrientation(prob=0.5),
        RandRotateScale(prob=0.5, degrees=15, scale=0.15),
        RandScaleCropd(KEYS, roi_scale=0.8, random_size=True, allow_missing_keys=True),
    ]


class RandTransform(RandomizableTransform, MapTransform, LazyTransform):
    """A transform that hands over to another one, made anew whenever it acts."""

    def __init__(self, prob: float) -> None:
        RandomizableTransform.__init__(self, prob)
        MapTransform.__init__(self, KEYS, allow_missing_keys=True)
        LazyTransform.__init__(self, lazy=False)

    def __call__(self, data: Data, lazy: bool | None = None) -> Data:
        """Draw, and maybe act."""
        self.randomize(None)
        drawn = self.draw(data["image"])
        return drawn(data, lazy=lazy) if drawn and self._do_transform else data

    def draw(self, image: Any) -> Any:
        """The transform for an image; None where there is none."""
        raise NotImplementedError


class RandOrientation(RandTransform):
    """Turns by right angles and mirrors, each of the 48 as likely.

    Only where the longest edge is under twice the shortest, in voxels of the volume as stored:
    slices along the short axis of a flat volume are what its modality looks like.
    """

    def draw(self, image: Any) -> Any:
        """Axes in any order, each in one of its two directions."""
        axes = self.R.permutation(["RL", "AP", "IS"])
        codes = "".join(axis[self.R.randint(2)] for axis in axes)
        stored = image.shape[1:]  # not what is pending, such as a resampling
        if max(stored) >= 2 * min(stored):
            return None
        labels = (("L", "R"), ("P", "A"), ("I", "S"))
        return Orientationd(KEYS, codes, labels=labels, allow_missing_keys=True)


class RandRotateScale(RandTransform):
    """Rotation about each axis and one scale, about the center and in mm.

    MONAI's RandAffined counts in voxels, which would shear volumes of thick slices.
    """

    def __init__(self, prob: float, degrees: float, scale: float) -> None:
        super().__init__(prob)
        self.degrees = degrees
        self.scale = scale

    def draw(self, image: Any) -> Any:
        """As an affine map of voxels."""
        angles = self.R.uniform(-radians(self.degrees), radians(self.degrees), 3)
        scale = self.R.uniform(1 - self.scale, 1 + self.scale)
        to_mm = create_scale(3, affine_to_spacing(image.peek_pending_affine()).tolist())
        turn = create_rotate(3, angles) @ create_scale(3, [1 / scale] * 3)
        matrix = np.linalg.inv(to_mm) @ turn @ to_mm
        modes = {"mode": ("bilinear", "nearest"), "padding_mode": "zeros"}
        return Affined(KEYS, affine=matrix, **modes, allow_missing_keys=True)
