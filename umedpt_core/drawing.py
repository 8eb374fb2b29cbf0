"""Helpers for drawing targets and predictions, shared by label types."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's colours, told apart also by the colour-blind.
PALETTE = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)


def colour(index: int) -> tuple[int, int, int]:
    """The RGB colour of a class index."""
    return PALETTE[index % len(PALETTE)]


def caption(image: NDArray[np.uint8], lines: Sequence[str]) -> NDArray[np.uint8]:
    """Write lines of text into the upper left corner, white on a dark ground.

    Args:
        image: H x W x 3; not changed.
        lines: Short texts.
    """
    image = image.copy()
    y = 2
    for line in lines:
        (width, height), below = cv2.getTextSize(line, cv2.FONT_HERSHEY_SIMPLEX, 0.4, 1)
        image[y : y + height + below + 2, 2 : 6 + width] //= 4
        position = (4, y + height + 1)
        cv2.putText(
            image, line, position, cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255,) * 3, 1, cv2.LINE_AA
        )
        y += height + below + 3
    return image
