"""Where on a slide there is tissue, so that no patch is cut from empty glass."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

FLOOR, CEILING = 15, 48
"""The threshold, of 255: above the noise of empty glass, below the palest tissue."""
INK = 32
"""Darker pixels of a bright slide are no tissue, and have no saturation worth the name."""
SPECK = 16
"""Smaller spots, in pixels of the thumbnail, are dust."""


def background_of(pixels: NDArray[np.uint8]) -> int:
    """What a slide looks like where it is empty, judged by N x 3 pixels from all over it.

    Returns:
        255, or 0 in fluorescence, which is dark for the most part, and nearly nowhere white.
    """
    if not len(pixels):
        return 255
    dark = np.median(pixels.max(-1)) < 64 and np.quantile(pixels.min(-1), 0.95) < 128
    return 0 if dark else 255


def find_tissue(thumbnail: NDArray[np.uint8], background: int) -> NDArray[np.bool_]:
    """Map tissue: by its colour's saturation on white, by its brightness on black.

    Args:
        thumbnail: H x W x 3.
        background: 255 or 0.

    Returns:
        H x W; nowhere True where there is no tissue.
    """
    hsv = cv2.cvtColor(cv2.medianBlur(thumbnail, 3), cv2.COLOR_RGB2HSV)
    value = hsv[..., 2]
    signal = np.where(value < INK, 0, hsv[..., 1]) if background else value
    otsu, _ = cv2.threshold(signal, 0, 255, cv2.THRESH_OTSU)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    found = (signal > min(max(otsu, FLOOR), CEILING)).astype(np.uint8)
    mask = cv2.morphologyEx(found, cv2.MORPH_CLOSE, kernel)
    _, spots, stats, _ = cv2.connectedComponentsWithStats(mask)
    kept = stats[:, cv2.CC_STAT_AREA] >= SPECK
    kept[0] = False  # what is no tissue
    return np.asarray(kept[spots])
