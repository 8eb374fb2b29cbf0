"""Weak augmentation: nothing that could change what a small image shows."""

from __future__ import annotations

import albumentations as A


def image_transforms() -> list[A.BasicTransform | A.BaseCompose]:
    """Brightness and contrast to 10 %, shift and scale to 5 %, rotation to 10 degrees."""
    return [
        A.RandomBrightnessContrast(brightness_limit=0.1, contrast_limit=0.1, p=0.5),
        A.Affine(
            translate_percent=(-0.05, 0.05),
            scale=(0.95, 1.05),
            rotate=(-10, 10),
            rotate_method="ellipse",
            p=0.5,
        ),
    ]
