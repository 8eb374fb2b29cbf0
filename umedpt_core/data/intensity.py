"""Intensity rules: every image becomes values in [0, 1] (paper: Data loading)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..specs import resolve


def apply_rule(rule: str, image: NDArray[Any]) -> NDArray[Any]:
    """Normalize an image's intensities.

    Args:
        rule: ``uint8``: 0..255. ``dtype``: the full range of the integer type. ``ct``: minimum and
            maximum. ``mri``: the quantiles 2.5 % and 97.5 %, clipped. Or an import string.
        image: Array of any shape.

    Returns:
        float32 in [0, 1]. Under ``uint8`` a uint8 array stays uint8, as augmentation is 4 to 8
        times faster on it; the division by 255 then happens on the device.

    Raises:
        DataError: The rule does not fit the image's type, or gives values outside [0, 1].
    """
    if rule == "uint8":
        if image.dtype != np.uint8:
            raise DataError(f"intensity rule 'uint8' got {image.dtype}; 'dtype' may be meant")
        return image
    if rule == "dtype":
        if image.dtype.kind not in "ui":
            raise DataError(f"intensity rule 'dtype' got {image.dtype}, which has no full range")
        limits = np.iinfo(image.dtype)
        return _between(image, limits.min, limits.max)
    if rule == "ct":
        return _between(image, image.min(), image.max())
    if rule == "mri":
        return _between(image, *np.quantile(image, (0.025, 0.975)))
    scaled = np.asarray(resolve(rule)(image))
    if scaled.dtype != np.float32 or not (scaled.min() >= 0 and scaled.max() <= 1):
        raise DataError(f"intensity rule '{rule}' must give float32 values in [0, 1]")
    return scaled


def _between(image: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    span = max(float(high) - float(low), 1e-30)  # a constant image becomes 0
    scaled: NDArray[np.float32] = image.astype(np.float32)  # then in place: volumes are large
    np.clip(scaled, float(low), float(high), out=scaled)
    scaled -= float(low)
    scaled /= span
    return np.clip(scaled, 0, 1, out=scaled)  # rounding may leave it
