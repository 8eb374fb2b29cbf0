"""Tiled TIFFs of JPEG 2000, such as QuPath's OME-TIFFs: openslide has no decoder for them."""

from __future__ import annotations

import io
import re
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..requires import import_extra

CODECS = (33003, 33004, 33005, 34712)
"""The TIFF compressions that Bio-Formats and libvips write JPEG 2000 under."""

TILE_BYTES = 2**24
"""The most that the decoded tiles of one slide take, and the most for one of them."""

MICROMETRES = {"µm": 1.0, "um": 1.0, "mm": 1e3, "nm": 1e-3}


class Jpeg2000Slide:
    """What :class:`umedpt_core.Slide` needs of ``openslide.OpenSlide``, for one of these TIFFs.

    RGB, interleaved or a plane a colour, which tiffslide 3.0 refuses. The structure is read by
    tifffile, tiles by Pillow, each when it is needed; threads may read at the same time.

    Args:
        path: The file.

    Raises:
        ValueError: It is no TIFF, or not of tiles of JPEG 2000 in RGB with 8 bits.
    """

    def __init__(self, path: Path) -> None:
        tifffile = import_extra("tifffile", "slides", "this slide needs tifffile")
        try:
            with tifffile.TiffFile(path) as tiff:
                levels = [list(level.pages) for level in tiff.series[0].levels]
                self._levels = [[page.aspage() for page in pages] for pages in levels]
                xml = tiff.ome_metadata or ""
        except (tifffile.TiffFileError, IndexError, OSError) as error:
            raise ValueError(str(error)) from error
        for pages in self._levels:
            first = pages[0]
            planes = len(pages) * first.samplesperpixel
            if not first.is_tiled or first.compression not in CODECS:
                raise ValueError("no tiles of JPEG 2000")
            if planes != 3 or first.bitspersample != 8:
                raise ValueError(f"{planes} channels of {first.bitspersample} bits, not RGB")
            if first.tilewidth * first.tilelength * 3 > TILE_BYTES:
                raise ValueError(f"tiles of {first.tilewidth} x {first.tilelength} are too large")
        self.level_dimensions = [(p[0].imagewidth, p[0].imagelength) for p in self._levels]
        self.dimensions = self.level_dimensions[0]
        self.level_count = len(self._levels)
        self.level_downsamples = [
            (self.dimensions[0] / width + self.dimensions[1] / height) / 2
            for width, height in self.level_dimensions
        ]
        self.properties = {
            f"openslide.mpp-{axis}": size for axis in "xy" if (size := _pixel_size(xml, axis))
        }
        self._file = np.memmap(path, np.uint8, "r")
        tile = max(page[0].tilewidth * page[0].tilelength * 3 for page in self._levels)
        self._tile = lru_cache(TILE_BYTES // tile)(self._decode)

    def get_best_level_for_downsample(self, downsample: float) -> int:
        """The coarsest level that is not coarser; 0 where all are."""
        fine = [n for n, stated in enumerate(self.level_downsamples) if stated <= downsample]
        return max(fine, default=0)

    def read_region(
        self, location: tuple[int, int], level: int, size: tuple[int, int]
    ) -> NDArray[np.uint8]:
        """A part of a level as H x W x 4; alpha is 0 outside the slide.

        Args:
            location: (x, y) of its upper left pixel, in level-0 pixels.
            level: The number of the level.
            size: (width, height) in pixels of the level.

        Raises:
            openslide.OpenSlideError: A tile cannot be decoded.
        """
        page = self._levels[level][0]
        tile = np.array([page.tilewidth, page.tilelength])
        start = np.rint(np.array(location) / self.level_downsamples[level]).astype(int)
        end = np.minimum(self.level_dimensions[level], start + size)
        region = np.zeros((size[1], size[0], 4), np.uint8)
        if (end <= start).any():
            return region
        inside = start.clip(0)
        for column in range(inside[0] // tile[0], -(-end[0] // tile[0])):
            for row in range(inside[1] // tile[1], -(-end[1] // tile[1])):
                corner = tile * (column, row)
                first, last = np.maximum(corner, start), np.minimum(corner + tile, end)
                (x0, y0), (x1, y1) = first - start, last - start
                (left, top), (right, bottom) = first - corner, last - corner
                region[y0:y1, x0:x1, :3] = self._tile(level, row, column)[top:bottom, left:right]
                region[y0:y1, x0:x1, 3] = 255
        return region

    def _decode(self, level: int, row: int, column: int) -> NDArray[np.uint8]:
        from openslide import OpenSlideError

        pages = self._levels[level]
        first = pages[0]
        across = -(-first.imagewidth // first.tilewidth)
        each = across * -(-first.imagelength // first.tilelength)
        planes = 3 if len(pages) == 1 and first.planarconfig == 2 else 1
        parts = []
        for page in pages:
            for index in range(row * across + column, planes * each, each):
                start, count = page.dataoffsets[index], page.databytecounts[index]
                stored = self._file[start : start + count].tobytes()
                try:
                    with Image.open(io.BytesIO(stored)) as image:
                        parts.append(np.atleast_3d(np.asarray(image)))
                except (OSError, SyntaxError, ValueError) as error:
                    raise OpenSlideError(f"tile {column}, {row} of level {level}") from error
        tile = np.concatenate(parts, axis=2)
        if tile.shape != (first.tilelength, first.tilewidth, 3):
            raise OpenSlideError(f"tile {column}, {row} of level {level} is {tile.shape}")
        return tile


def _pixel_size(xml: str, axis: str) -> str | None:
    """Micrometres a pixel as the first image of OME's XML says."""
    name = f"PhysicalSize{axis.upper()}"
    size = re.search(rf'\b{name}="([^"]+)"', xml)
    unit = re.search(rf'\b{name}Unit="([^"]+)"', xml)
    scale = MICROMETRES.get(unit[1] if unit else "µm")
    return str(float(size[1]) * scale) if size and scale else None
