"""Histology: tissue has no upright, and stains vary."""

from __future__ import annotations

from typing import Any

import albumentations as A
from umedpt_augment_standard.profile import image_transforms as standard


def image_transforms() -> list[A.BasicTransform | A.BaseCompose]:
    """Flips and right angles, always; channels in another order in 30 %; then the standard set."""
    return [RightAngles(p=1), A.ChannelShuffle(p=0.3), *standard()]


class RightAngles(A.D4):
    """Flips and rotations by right angles, each as likely, of those that keep height and width."""

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """One of eight where the image is square, else one of four."""
        height, width = params["shape"][:2]
        elements = ("e", "h", "v", "r180", "r90", "r270", "t", "hvt")
        return {"group_element": self.py_random.choice(elements[: 8 if height == width else 4])}
