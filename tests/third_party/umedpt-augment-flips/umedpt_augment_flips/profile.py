"""Flips and right-angle rotations: every pixel keeps its value."""

from __future__ import annotations

from typing import Any

import albumentations as A

KEEP_EDGES = ("e", "r180", "v", "h")
"""The symmetries that also a rectangle has, as albumentations calls them."""


class Symmetry(A.D4):
    """One of the eight symmetries of a square, or of the four of another rectangle."""

    def get_params_dependent_on_data(
        self, params: dict[str, Any], data: dict[str, Any]
    ) -> dict[str, Any]:
        """Choose again where a turn by 90 degrees would swap the edges."""
        height, width = params["shape"][:2]
        return {} if height == width else {"group_element": self.py_random.choice(KEEP_EDGES)}


def image_transforms() -> list[A.BasicTransform | A.BaseCompose]:
    """A symmetry for every image, which leaves one in eight (or four) as it is."""
    return [Symmetry(p=1)]
