"""2D images in DICOM files: X-rays and the like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from ..errors import DataError
from .dicom import damage_named, invert, library, read_pixels, value_type


def read_dicom_image(path: Path) -> NDArray[Any]:
    """Read the one frame of a DICOM file, compressed or not; needs ``umedpt-core[volumes]``.

    The window of the header is not applied, so a task's intensity rule sees all values.

    Args:
        path: The file.

    Returns:
        H x W, rescaled by slope and intercept: of the smallest integer type that holds what the
        header allows (uint8, int16, uint16, int32) where these are integers, else float32.
        MONOCHROME1 is inverted over the image's range, so that larger is brighter.

    Raises:
        DataError: The file is missing or damaged, has several frames or colours, or its values
            need a lookup table.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file; check that the dataset is complete")
    with damage_named(path):
        header = library("pydicom").dcmread(path, stop_before_pixels=True)
        if int(header.get("NumberOfFrames") or 1) > 1:
            raise DataError(f"{path}: has {header.NumberOfFrames} frames, an image has one")
        kind = header.get("PhotometricInterpretation")
        if kind not in ("MONOCHROME1", "MONOCHROME2"):
            raise DataError(f"{path}: pixels are {kind}, need MONOCHROME1 or MONOCHROME2")
        if "ModalityLUTSequence" in header:
            raise DataError(f"{path}: values need a modality LUT, which is not understood")
        inverted = kind == "MONOCHROME1"
        pixels = read_pixels(path, value_type([header]), inverted)
    return invert(pixels) if inverted else pixels
