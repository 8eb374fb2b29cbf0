"""The eight transforms that the paper names; strengths and probabilities are ours."""

from __future__ import annotations

import albumentations as A


def image_transforms() -> list[A.BasicTransform | A.BaseCompose]:
    """The standard 2D set, for uint8 or float32 images of three channels."""
    return [
        A.OneOf([A.CLAHE(clip_limit=(1, 3)), A.Sharpen(), A.Emboss()], p=0.3),
        A.RandomBrightnessContrast(p=0.4),
        A.RandomGamma(p=0.3),
        A.HueSaturationValue(p=0.3),
        # The library's default noise, up to a standard deviation of 0.44, drowns the image.
        A.GaussNoise(std_range=(0.01, 0.05), p=0.3),
        shift_scale_rotate(),
    ]


def shift_scale_rotate() -> A.Affine:
    """Shift by up to 6 %, scale by up to 10 %, rotate by up to 30 degrees."""
    return A.Affine(
        translate_percent=(-0.0625, 0.0625),
        scale=(0.9, 1.1),
        rotate=(-30, 30),
        rotate_method="ellipse",  # round things keep tight boxes
        p=0.5,
    )
