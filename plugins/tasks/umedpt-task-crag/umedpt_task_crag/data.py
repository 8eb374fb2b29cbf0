"""Reading the publisher's layout: {train,valid}/{Images,Annotation}/NAME.png, cut into tiles."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from umedpt_core import LoadedCase, class_folders, read_image, read_mask

GRID = 3
"""Tiles along each edge: an image of about 1512 pixels gives nine of about 504."""

FOLDERS = {"train": ("train",), "test": ("valid", "test")}
"""The archive's folder of each split; the README in it calls the second one test."""

Tile = tuple[int, int]


def open_cases(root: Path, split: str, options: None) -> list[LoadedCase]:
    """List the tiles of a split; the tiles of one image are one patient's.

    Args:
        root: The folder that holds ``CRAG`` or ``CRAG_v2/CRAG``, or ``CRAG`` itself.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no PNG file.
    """
    base = existing(root, "CRAG_v2/CRAG", "CRAG", ".")
    part = existing(base, *FOLDERS[split])
    annotations = existing(part, "Annotation", "Annotations")
    images = class_folders(part, {"Images": 0}, suffixes=(".png",))
    class_folders(part, {annotations.name: 0}, suffixes=(".png",))  # for its errors
    return [
        LoadedCase(
            id=f"{path.relative_to(root).as_posix()}:{tile[0]},{tile[1]}",
            patient=path.stem,
            load=partial(read_tile, path, tile),
            label=partial(read_glands, annotations / path.name, tile),
        )
        for path, _ in images
        for tile in product(range(GRID), repeat=2)
    ]


def existing(base: Path, *names: str) -> Path:
    """The first folder of these names that exists, or that of the first name."""
    return next((base / name for name in names if (base / name).is_dir()), base / names[0])


def read_tile(path: Path, tile: Tile) -> NDArray[Any]:
    """The tile of an image at (row, column) of the grid."""
    return cut(read_image(path), tile)


def read_glands(path: Path, tile: Tile) -> NDArray[np.uint8]:
    """A tile's mask, H x W: 1 in a gland; the file numbers the glands of an image from 1."""
    return (cut(read_mask(path), tile) > 0).astype(np.uint8)


def cut(array: NDArray[Any], tile: Tile) -> NDArray[Any]:
    """A copy of one of the tiles, which cover all pixels once and differ by one pixel at most."""
    (top, bottom), (left, right) = (
        (place * edge // GRID, (place + 1) * edge // GRID)
        for place, edge in zip(tile, array.shape[:2], strict=True)
    )
    return array[top:bottom, left:right].copy()


def make_fake(root: Path, seed: int) -> None:
    """Write 4 and 2 images in the publisher's layout, and an annotation without its image."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:144, :150]
    for folder, prefix, number in (("train", "train", 4), ("valid", "test", 2)):
        parts = [root / "CRAG" / folder / name for name in ("Images", "Annotation", "Overlay")]
        for part in parts:
            part.mkdir(parents=True, exist_ok=True)
        for index in range(1, number + 1):
            image = rng.normal((200, 150, 210), 10, (*y.shape, 3))  # blue, green, red
            glands = np.zeros(y.shape, np.uint8)
            for place in range(GRID**2):
                center = place // GRID * 48 + 24, place % GRID * 50 + 25
                distance = np.hypot(y - center[0], x - center[1]) + rng.uniform(0, 6)
                glands[distance < 20] = place + 1
                image[distance < 20] = (150, 60, 110)
                image[distance < 9] = (235, 230, 235)  # the lumen is part of the gland
            name = f"{prefix}_{index}.png"
            image = image.clip(0, 255).astype(np.uint8)
            overlay = np.where(glands[..., None] > 0, image // 2, image)
            for part, pixels in zip(parts, (image, glands, overlay), strict=True):
                cv2.imwrite(str(part / name), pixels)
    cv2.imwrite(str(root / "CRAG/valid/Annotation/test_3.png"), glands)
