"""Whole-slide images, read through openslide one patch at a time."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..label_type import IGNORE
from ..requires import import_extra
from .cases import Labelled
from .jpeg2000 import Jpeg2000Slide
from .tissue import background_of

OPEN_SLIDES, TILE_BYTES, READ_PIXELS = 8, 128 * 2**20, 2**22
"""The most that a process holds: slides open, their decoded tiles, and pixels of one reading."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Slide:
    """A slide in any format that openslide reads. It is opened when first read, and pickles small.

    Places are (x, y) in level-0 pixels, from the upper left corner of the upper left pixel.
    Reading raises DataError (file missing, no slide, corrupt) or ConfigError (no openslide).

    Attributes:
        path: The file that openslide is given.
        mpp: Micrometres a level-0 pixel; None: as the file says.
        codes: Of a mask, the class index of every value in it, from 0 on; 255: unknown. None: its
            values are class indices.
    """

    path: Path
    mpp: float | None = None
    codes: tuple[int, ...] | None = None

    @property
    def dimensions(self) -> tuple[int, int]:
        """(width, height) of level 0."""
        width, height = _open(self.path).dimensions
        return width, height

    @property
    def pixel_size(self) -> float:
        """Micrometres a level-0 pixel; DataError where neither the file nor ``mpp`` says."""
        if self.mpp is not None:
            return self.mpp
        known = _open(self.path).properties
        size = sum(float(known.get(f"openslide.mpp-{axis}", 0)) for axis in "xy") / 2
        if not 0 < size < 100:  # more is a printer's resolution, not a microscope's
            raise DataError(f"{self.path}: no micrometres a pixel in the file; give mpp")
        return size

    @property
    def background(self) -> int:
        """What empty glass looks like: 255, or 0 where tissue shines on black (fluorescence)."""
        return _background(self)

    def read(
        self, center: tuple[float, float], size: tuple[int, int], mpp: float, nearest: bool = False
    ) -> NDArray[np.uint8]:
        """The patch around a place, as :meth:`region` reads it.

        Its pixels are ``mpp`` micrometres large, coarser or finer than the slide's own.
        """
        (x, y), (height, width), half = center, size, mpp / self.pixel_size / 2
        box = (x - width * half, y - height * half, x + width * half, y + height * half)
        return self.region(box, size, nearest)

    def region(self, box: Box, size: tuple[int, int], nearest: bool = False) -> NDArray[np.uint8]:
        """Any part of the slide at any size, from the level that suits, in bounded memory.

        Args:
            box: x0, y0, x1, y1 in level-0 pixels; it may reach over the slide's edges.
            size: (height, width) of the result.
            nearest: Take the nearest pixel, as masks need it, instead of an average.

        Returns:
            H x W x 3. What lies outside the slide, or was never scanned, is of the slide's
            :attr:`background`; with ``nearest`` it is 255, the class index that is ignored.
        """
        step = np.array([box[2] - box[0], box[3] - box[1]]) / size[::-1]
        slide = _open(self.path)
        # A level that is coarser than asked for by a hair is the one that is meant.
        level = slide.get_best_level_for_downsample(min(step) * 1.01)
        stated = slide.level_downsamples[level]  # a ratio of edges, which are rounded
        downsample = round(stated) if abs(stated - round(stated)) < 0.005 * stated else stated
        corner, step = np.array(box[:2]) / downsample, step / downsample
        fill = IGNORE if nearest else self.background
        # Averages start at whole pixels of the level: half of one is at most half of the patch's.
        whole = not nearest and min(step) >= 0.99
        flags = cv2.WARP_INVERSE_MAP | (cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR)
        edge = max(1, int(math.sqrt(READ_PIXELS) / max(step)))
        patch = np.empty((*size, 3), np.uint8)
        for left, top in np.ndindex(*(-(-length // edge) for length in size[::-1])):
            part = patch[top * edge :, left * edge :][:edge, :edge]
            start = corner + step * (left * edge, top * edge)
            end = start + step * part.shape[1::-1]
            first = (np.rint(start) if whole else np.floor(start) - 1).astype(int)
            last = (np.rint(end) if whole else np.ceil(end) + 1).astype(int)
            pixels = self.pixels(level, first, (last - first).clip(1), fill)
            if whole:
                part[:] = cv2.resize(pixels, part.shape[1::-1], interpolation=cv2.INTER_AREA)
            else:
                matrix = np.c_[np.diag(step), start - first + (step - 1) / 2]  # pixel centers
                part[:] = cv2.warpAffine(pixels, matrix, part.shape[1::-1], flags=flags)
        return patch

    def classes(self, box: Box, size: tuple[int, int]) -> NDArray[np.uint8]:
        """Any part of a mask as class indices, as :meth:`region` reads it with ``nearest``.

        Returns:
            H x W: its first channel, or what :attr:`codes` say of it; 255 outside and unknown.

        Raises:
            DataError: It has a value that the codes do not list.
        """
        values = self.region(box, size, nearest=True)[..., 0]
        if self.codes is None:
            return values
        if strange := set(values[values >= len(self.codes)].tolist()) - {IGNORE}:
            raise DataError(
                f"{self.path}: has the value {min(strange)}, the codes end at "
                f"{len(self.codes) - 1}; check that the mask is of this dataset"
            )
        table = np.full(IGNORE + 1, IGNORE, np.uint8)
        table[: len(self.codes)] = self.codes
        return table[values]

    def thumbnail(self, longest: int) -> NDArray[np.uint8]:
        """The whole slide, H x W x 3, with a longer edge of that many pixels at most."""
        width, height = self.dimensions
        edges = (np.array([height, width]) * min(1, longest / max(width, height))).clip(1)
        return self.region((0, 0, width, height), (round(edges[0]), round(edges[1])))

    def pixels(
        self, level: int, first: NDArray[np.int_], extent: NDArray[np.int_], fill: int
    ) -> NDArray[np.uint8]:
        """A level's pixels as stored, H x W x 3, from (x, y) on; transparent ones are filled."""
        slide = _open(self.path)
        x, y = np.rint(first * slide.level_downsamples[level]).astype(int).tolist()
        try:
            rgba = np.asarray(slide.read_region((x, y), level, tuple(extent.tolist())))
        except _openslide().OpenSlideError as error:
            _openers[-1].cache_clear()  # a slide that failed once fails ever after
            raise DataError(f"{self.path}: corrupt ({error}); get the file again") from error
        rgb, empty = cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), (rgba[..., 3] < 128).view(np.uint8)
        return np.asarray(cv2.copyTo(np.full_like(rgb, fill), empty, rgb))  # 10 x rgb[...] = fill


@dataclass(frozen=True, slots=True)
class SlideCase(Labelled):
    """A case whose image is a slide.

    Attributes:
        id, patient: See :class:`umedpt_core.Case`.
        path, mpp: See :class:`Slide`.
        label: The raw target, or a function that loads it and pickles. For masks: a
            :class:`Slide` of class indices (255: unknown) or of ``codes``, or :class:`Polygons`;
            for boxes: polygons, or ``{"boxes": N x 4 xyxy level-0 pixels, "labels": N indices}``.
    """

    id: str
    patient: str
    path: Path
    label: Any | Callable[[], Any]
    mpp: float | None = None

    @property
    def image(self) -> Slide:
        """The slide, not opened yet."""
        return Slide(self.path, self.mpp)


def _opener() -> Any:
    """Opens slides for one process; all share one cache of tiles."""
    tiles = lru_cache(1)(lambda: _openslide().OpenSlideCache(TILE_BYTES))

    @lru_cache(OPEN_SLIDES)  # what leaves it closes after its last use
    def open_slide(path: Path) -> Any:
        if not path.exists():
            raise DataError(f"{path}: no such file; check that the dataset is complete")
        try:
            slide = _openslide().OpenSlide(path)
        except _openslide().OpenSlideError as error:
            message = str(error)
            if "TIFF compression" in message:
                try:
                    return Jpeg2000Slide(path)
                except ValueError as other:
                    message += f"; {other}"
            raise DataError(f"{path}: cannot be read as a slide ({message}); replace it") from error
        slide.set_cache(tiles())
        return slide

    return open_slide


# A fork opens its own. It leaves its parent's alone: closing could wait for a thread's lock.
_openers = [_opener()]
os.register_at_fork(after_in_child=lambda: _openers.append(_opener()))


def _open(path: Path) -> Any:
    return _openers[-1](path)


def _openslide() -> Any:
    return import_extra("openslide", "slides", "slides need openslide")


@lru_cache(256)
def _background(slide: Slide) -> int:
    """Judged by 64 spots of the coarsest level, without what was never scanned."""
    level = _open(slide.path).level_count - 1
    edges = np.array(_open(slide.path).level_dimensions[level])
    extent = edges.clip(1, 16)
    corners = np.argwhere(np.ones((8, 8))) * (edges - extent) // 7
    a, b = (np.stack([slide.pixels(level, c, extent, fill) for c in corners]) for fill in (255, 0))
    return background_of(a[(a == b).all(-1)])
