"""Writing what fake data needs that no library writes in one call."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from PIL import Image

from ..data.dicom import library

_ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "jpeg": ("JPEGBaseline8Bit", {"format": "JPEG", "quality": 95}),
    "jpeg2000": ("JPEG2000Lossless", {"format": "JPEG2000", "no_jp2": True}),
}
"""Transfer syntax, and Pillow's arguments: of JPEG 2000 the bare stream, without a file's boxes."""


def write_dicom(
    path: Path,
    pixels: NDArray[Any],
    *,
    compression: Literal["rle", "jpeg", "jpeg2000"] | None = None,
    **tags: Any,
) -> Path:
    """Write a grey image as a DICOM file with pydicom; needs ``umedpt-core[volumes]``.

    Args:
        path: The file; the folders above it are made.
        pixels: H x W of 8 or 16-bit integers: what is stored, before slope and intercept.
        compression: ``jpeg`` takes 8 bits and loses some; the others lose nothing.
        tags: Elements by their keywords, such as ``RescaleSlope=2``. They replace those that follow
            from the pixels; by default the file is a MONOCHROME2 secondary capture that uses all
            of its bits, and its ``SOPInstanceUID`` follows from its name.

    Returns:
        The path.
    """
    pydicom = library("pydicom")
    bits = 8 * pixels.itemsize
    facts = {
        "SOPClassUID": pydicom.uid.SecondaryCaptureImageStorage,
        "SOPInstanceUID": pydicom.uid.generate_uid(entropy_srcs=[path.name]),
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": tags.get("BitsStored", bits) - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes(),
    } | tags
    image = pydicom.Dataset()
    for keyword, value in facts.items():
        setattr(image, keyword, value)
    image.file_meta = pydicom.dataset.FileMetaDataset()
    image.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    if compression == "rle":
        image.compress(pydicom.uid.RLELossless)
    elif compression:
        syntax, arguments = _ENCODERS[compression]
        Image.fromarray(pixels).save(stream := BytesIO(), **arguments)
        image.file_meta.TransferSyntaxUID = getattr(pydicom.uid, syntax)
        image.PixelData = pydicom.encaps.encapsulate([stream.getvalue()])
        image["PixelData"].is_undefined_length = True
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save_as(path, enforce_file_format=True)
    return path
