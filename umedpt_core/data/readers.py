"""Reading 2D images and masks: PNG, JPEG, TIFF and what else Pillow opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PLANAR_CONFIGURATION

from ..errors import DataError

_BROKEN = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_image(path: Path | str) -> NDArray[Any]:
    """Read an image without changing its values.

    Args:
        path: A file. 8 and 16 bits, grey, RGB, RGBA (alpha is dropped) and palette are understood;
            an EXIF orientation is not applied, as annotations refer to the stored pixels.

    Returns:
        H x W or H x W x 3 array of uint8 or uint16 (or float32 for floating-point files).

    Raises:
        DataError: The file is missing, truncated or no image.
    """
    try:
        with Image.open(path) as image:
            if _is_deep_colour(image):
                return _read_deep_colour(Path(path))
            return to_array(image)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check that the dataset is complete") from error
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read as an image ({error}); replace it") from error


def to_array(image: Image.Image) -> NDArray[Any]:
    """The values of an opened image: H x W or H x W x 3; see :func:`read_image`."""
    if image.mode in ("1", "L", "F"):
        return np.asarray(image.convert("L") if image.mode == "1" else image)
    if image.mode in ("LA", "La"):
        return np.asarray(image.getchannel("L"))
    if image.mode.startswith("I"):
        return _as_uint16(np.asarray(image))
    return np.asarray(image.convert("RGB"))


def read_mask(path: Path | str) -> NDArray[Any]:
    """Read an image of class indices or of zeros and non-zeros; palette files keep their indices.

    Returns:
        H x W integer array.

    Raises:
        DataError: The file is missing, truncated or no image, or has several channels.
    """
    try:
        with Image.open(path) as image:
            mask = np.asarray(image)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; check that the dataset is complete") from error
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read as a mask ({error}); replace it") from error
    if mask.ndim != 2:
        raise DataError(f"{path}: a mask has one channel, this has the shape {mask.shape}")
    return mask.astype(np.uint8) if mask.dtype == bool else mask


def _is_deep_colour(image: Image.Image) -> bool:
    """Whether Pillow would silently reduce 16-bit colour to 8 bits."""
    if image.mode not in ("RGB", "RGBA"):
        return False
    tags: Any = getattr(image, "tag_v2", {})
    if tags.get(PLANAR_CONFIGURATION) == 2 and 16 in tags[BITSPERSAMPLE]:
        raise ValueError("16-bit colour in separate planes")  # Pillow and OpenCV both garble it
    tiles: Any = getattr(image, "tile", None)
    arguments = tiles[0].args if tiles else ""
    raw_mode = arguments if isinstance(arguments, str) else str(arguments and arguments[0])
    return ";16" in raw_mode


def _read_deep_colour(path: Path) -> NDArray[Any]:
    bgr = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if bgr is None or bgr.dtype != np.uint16:
        raise ValueError("16-bit colour that OpenCV does not decode")
    return np.ascontiguousarray(bgr[..., 2::-1])


def _as_uint16(values: NDArray[Any]) -> NDArray[Any]:
    if values.min(initial=0) < 0 or values.max(initial=0) > 65535:
        raise ValueError("integers outside 0..65535")
    return values.astype(np.uint16)
