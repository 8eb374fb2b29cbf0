"""X-rays: they exist with bright and with dark bones."""

from __future__ import annotations

import albumentations as A
from umedpt_augment_standard.profile import image_transforms as standard


def image_transforms() -> list[A.BasicTransform | A.BaseCompose]:
    """Inversion with a probability of 30 %, then the standard 2D set."""
    return [A.InvertImg(p=0.3), *standard()]
