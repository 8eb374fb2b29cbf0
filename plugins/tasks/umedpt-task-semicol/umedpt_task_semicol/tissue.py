"""The annotated images: 01_MANUAL/<dataset>/<slide>/{image,mask}/*.png, cut into tiles."""

from __future__ import annotations

from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umedpt_core import (
    DataError,
    LoadedCase,
    class_folders,
    read_image,
    read_mask,
    split_by_patient,
)

from .layout import training_data

DATASETS = ("DS_M_1", "DS_M_2")
SHARES = {"train": 2 / 3, "test": 1 / 3}
"""The paper's rule for sets without a split."""

GRID = 3
"""Tiles along each edge: an image of 3,000 pixels gives nine of 1,000."""

INDICES = np.array([255, *range(1, 10), 0], np.uint8)
"""The class of each code of the masks: 0 is not annotated, 10 the glass."""

Tile = tuple[int, int]


def open_cases(root: Path, split: str, options: None) -> list[LoadedCase]:
    """List the tiles of a split; the slides of each dataset are dealt by themselves.

    Args:
        root: The folder that holds ``DATASET_TRAIN``, or ``01_MANUAL`` itself.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no PNG file.
    """
    manual = training_data(root, "01_MANUAL")
    cases = []
    for name in DATASETS:
        slides = sorted(
            path.name
            for path in (manual / name).iterdir()
            if path.is_dir() and not path.name.startswith(".")
        )
        folders = {f"{slide}/image": 0 for slide in slides}
        every = [
            LoadedCase(
                id=f"{path.relative_to(manual).as_posix()}:{tile[0]},{tile[1]}",
                patient=path.parents[1].name,
                load=partial(read_tile, path, tile),
                label=partial(read_tissue, mask_of(path), tile),
            )
            for path, _ in class_folders(manual / name, folders, suffixes=(".png",))
            for tile in product(range(GRID), repeat=2)
        ]
        if not every:
            raise DataError(f"{manual / name}: no folders of slides here; unpack it again")
        cases += split_by_patient(every, SHARES)[split]
    return cases


def mask_of(image: Path) -> Path:
    """The mask that belongs to an image."""
    return image.parents[1] / "mask" / f"{image.stem}-labelled.png"


def read_tile(path: Path, tile: Tile) -> NDArray[Any]:
    """The tile of an image at (row, column) of the grid."""
    return cut(read_image(path), tile)


def read_tissue(path: Path, tile: Tile) -> NDArray[np.uint8]:
    """A tile's class indices, H x W; 255 where nothing is annotated.

    Raises:
        DataError: The mask cannot be read, or holds anything but the codes 0 to 10.
    """
    codes = read_mask(path)
    if codes.max() >= len(INDICES):
        raise DataError(
            f"{path}: has the code {codes.max()}, SemiCOL's masks end at {len(INDICES) - 1}; "
            "download it again"
        )
    return INDICES[cut(codes, tile)]


def cut(array: NDArray[Any], tile: Tile) -> NDArray[Any]:
    """A copy of one of the tiles, which cover all pixels once and differ by one pixel at most."""
    (top, bottom), (left, right) = (
        (place * edge // GRID, (place + 1) * edge // GRID)
        for place, edge in zip(tile, array.shape[:2], strict=True)
    )
    return array[top:bottom, left:right].copy()
