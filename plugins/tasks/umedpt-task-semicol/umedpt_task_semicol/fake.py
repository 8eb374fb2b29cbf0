"""A small copy of both halves of the training data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from string import ascii_letters
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from .slides import DATASETS

JPEG_2000_LOSSY = 33004
"""The TIFF compression under which Bio-Formats writes lossy JPEG 2000."""

TILE = 160
DOWNSAMPLE = 4

XML = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="{width}" SizeY="{height}" '
    'SizeC="3" SizeZ="1" SizeT="1" PhysicalSizeX="{mpp}" PhysicalSizeY="{mpp}">'
    '<Channel ID="Channel:0:0" SamplesPerPixel="3"/><TiffData IFD="0" PlaneCount="1"/>'
    "</Pixels></Image></OME>"
)

PALETTE = "#ffffff #ff00ff #0a7cd5 #23eeab #00ffff #ff6666 #0afe06 #6ffc02 #c83de4 #b74315 #47320a"
STAINS = (
    (110, 50, 130),
    (200, 140, 190),
    (235, 175, 210),
    (240, 215, 230),
    (230, 110, 160),
    (80, 65, 150),
    (190, 125, 120),
    (180, 205, 230),
    (190, 30, 50),
    (243, 243, 243),
)
"""What tissue of the codes 1 to 10 looks like."""

OTHER_COLOURS = {1: "#f139cf", 4: "#d89b86", 5: "#b09d7f"}
"""Of the codes whose colour DS_M_2 has otherwise."""


def make_fake(root: Path, seed: int) -> None:
    """Write 20 slides of 640 x 480 pixels and 10 images of 144 x 144 with their masks.

    Tumour fills a part of its slide only. As in the real set, some slides hold their colours in
    planes, and much of an image is not annotated, here whole tiles.
    """
    rng = np.random.default_rng(seed)
    base = root / "DATASET_TRAIN"
    sections: dict[tuple[str, int], list[str]] = {}
    for number, (name, facts) in enumerate(DATASETS.items()):
        for label, folder in enumerate(("BEN", "TU")):
            place = base / "02_WEAK" / name / folder
            place.mkdir(parents=True, exist_ok=True)
            codes = ["".join(rng.choice(list(ascii_letters), 8)) for _ in range(2)]
            for code in sections.setdefault((facts.centre, label), codes):
                planar = name == "DS_W_4"
                file = place / f"{code}{'_Anonymized' if planar else ''}.ome.tiff"
                write_slide(file, _section(rng, bool(label), 6 * number), facts.mpp, planar=planar)
    for name, prefix, downsample in (("DS_M_1", "ukk", 2.16945), ("DS_M_2", "lmu", 1.90637)):
        colours = dict(enumerate(PALETTE.split())) | (OTHER_COLOURS if prefix == "lmu" else {})
        for number in range(1, 6):
            folder = base / "01_MANUAL" / name / f"{prefix}_case_{number:02}"
            _write_image(rng, folder, downsample, colours)


def _section(rng: np.random.Generator, tumour: bool, tint: int) -> NDArray[np.uint8]:
    """A piece of mucosa with round glands; where there is tumour, they are dark and crowded."""
    slide = np.full((480, 640, 3), 243, np.uint8)
    cv2.ellipse(slide, (320, 240), (300, 215), 0, 0, 360, (226 - tint, 160, 198), -1)
    for x in range(60, 620, 56):
        for y in range(40, 460, 56):
            at = x + int(rng.integers(-9, 10)), y + int(rng.integers(-9, 10))
            if ((at[0] - 320) / 265) ** 2 + ((at[1] - 240) / 180) ** 2 > 1:
                continue
            if tumour and at[0] > 250:
                cv2.circle(slide, at, int(rng.integers(24, 32)), (104 - tint, 40, 130), -1)
                cv2.circle(slide, at, 6, (226, 190, 215), -1)
            else:
                cv2.circle(slide, at, 16, (176 - tint, 96, 180), 6)
    noise = rng.normal(0, 5, slide.shape)
    return (slide + noise).clip(0, 255).astype(np.uint8)


def write_slide(path: Path, pixels: NDArray[np.uint8], mpp: float, *, planar: bool) -> None:
    """An OME-TIFF of two levels in tiles of JPEG 2000, as QuPath exports them.

    Args:
        path: The file.
        pixels: H x W x 3.
        mpp: Micrometres a pixel.
        planar: Whether each colour has tiles of its own.
    """
    height, width = pixels.shape[:2]
    facts: dict[str, Any] = {
        "dtype": np.uint8,
        "tile": (TILE, TILE),
        "photometric": "rgb",
        "planarconfig": "separate" if planar else "contig",
        "compression": "deflate",  # until the tiles, which are JPEG 2000 already, are written
        "metadata": None,
        "software": False,
    }
    size = width // DOWNSAMPLE, height // DOWNSAMPLE
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    with tifffile.TiffWriter(path) as tiff:
        for level, part in enumerate((pixels, small)):
            tiff.write(
                _tiles(part, planar),
                shape=(3, *part.shape[:2]) if planar else part.shape,
                subifds=None if level else 1,
                subfiletype=int(level > 0),
                description=None if level else XML.format(width=width, height=height, mpp=mpp),
                **facts,
            )
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        for page in (tiff.pages[0], *tiff.pages[0].pages):
            page.tags["Compression"].overwrite(JPEG_2000_LOSSY)


def _tiles(pixels: NDArray[np.uint8], planar: bool) -> Iterator[bytes]:
    """The codestreams of the tiles, row by row, plane by plane."""
    bottom, right = (-edge % TILE for edge in pixels.shape[:2])
    padded = np.pad(pixels, ((0, bottom), (0, right), (0, 0)))
    for plane in np.moveaxis(padded, 2, 0) if planar else [padded[..., ::-1]]:
        for y in range(0, plane.shape[0], TILE):
            for x in range(0, plane.shape[1], TILE):
                tile = np.ascontiguousarray(plane[y : y + TILE, x : x + TILE])
                jp2 = cv2.imencode(".jp2", tile, [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 60])[1]
                yield jp2.tobytes()[jp2.tobytes().index(b"\xff\x4f\xff\x51") :]


def _write_image(
    rng: np.random.Generator, folder: Path, downsample: float, colours: dict[int, str]
) -> None:
    """An image of squares of tissue, each of a class or not annotated, and its mask."""
    cells = np.zeros((6, 6), np.uint8)
    cells[2:] = rng.permutation([*range(1, 11), *range(1, 11), 0, 0, 0, 0]).reshape(4, 6)
    tissue = np.where(cells, cells, rng.integers(1, 11, cells.shape))
    codes, tissue = (array.repeat(24, 0).repeat(24, 1) for array in (cells, tissue))
    image = np.array(STAINS)[tissue - 1] + rng.normal(0, 6, (*codes.shape, 3))
    image = image.clip(0, 255).astype(np.uint8)
    edge = round(144 * downsample)
    name = f"{folder.name} [d={downsample},x=19525,y=58575,w={edge},h={edge}]"
    for part in ("image", "mask"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "image" / f"{name}.png"), image[..., ::-1])
    mask = Image.fromarray(codes, "P")
    mask.putpalette(bytes.fromhex("".join(colours[code][1:] for code in range(11))))
    mask.save(folder / "mask" / f"{name}-labelled.png")
