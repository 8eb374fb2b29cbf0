"""Reading the publisher's layout: stage1_train/ID/images/ID.png, a mask a nucleus beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial, reduce
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from umedpt_core import DataError, FileCase, boxes_of_instances, read_mask

EMPTY = np.zeros((1, 4), np.float32)


def open_segmentation(root: Path, split: str, options: None) -> list[FileCase]:
    """List all images; the target is 1 where there is a nucleus, else 0.

    Args:
        root: The folder that holds ``stage1_train``.
        split: Always ``all``; the core splits by patient.
        options: The task has none.

    Raises:
        FileNotFoundError: There is no ``stage1_train``.
    """
    return _open(root, read_foreground)


def open_detection(root: Path, split: str, options: None) -> list[FileCase]:
    """List all images; the target is one box a nucleus. See :func:`open_segmentation`."""
    return _open(root, read_boxes)


def _open(root: Path, read: Callable[[Path], Any]) -> list[FileCase]:
    return [
        FileCase(
            id=folder.relative_to(root).as_posix(),
            patient=folder.name,
            path=folder / "images" / f"{folder.name}.png",
            label=partial(read, folder / "masks"),
        )
        for folder in sorted((root / "stage1_train").iterdir())
        if folder.is_dir()
    ]


def read_foreground(folder: Path) -> NDArray[np.uint8]:
    """The union of all masks, as H x W of 0 and 1."""
    return reduce(np.logical_or, _masks(folder)).astype(np.uint8)


def read_boxes(folder: Path) -> dict[str, NDArray[Any]]:
    """The box of each mask's pixels, edges between pixels; an empty mask's has no area."""
    found = [boxes_of_instances(mask)["boxes"] if mask.any() else EMPTY for mask in _masks(folder)]
    boxes = np.concatenate(found)
    return {"boxes": boxes, "labels": np.zeros(len(boxes), np.int64)}


def _masks(folder: Path) -> Iterator[NDArray[np.bool_]]:
    """The masks one by one: a large image with hundreds of them is never in memory at once.

    Raises:
        DataError: There is no mask, one cannot be read, or their sizes differ.
    """
    paths = sorted(folder.glob("*.png"))
    if not paths:
        raise DataError(f"{folder}: no mask (*.png) here; unpack the dataset again")
    shape = None
    for path in paths:
        mask = read_mask(path) > 0
        shape = shape or mask.shape
        if mask.shape != shape:
            raise DataError(f"{path}: the mask is {mask.shape}, {paths[0].name} is {shape}")
        yield mask


FAKE_COLOURS = (((20, 20, 20), (160, 160, 160)), ((230, 200, 225), (100, 60, 150)))
"""Ground and nucleus, in fluorescence and in a stained section."""


def make_fake(root: Path, seed: int) -> None:
    """Write 12 images of 3 to 5 nuclei each in the publisher's layout, half of them stained."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48]
    for number in range(12):
        name = _name(f"{seed}/{number}")
        folder = root / "stage1_train" / name
        for part in ("images", "masks"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        ground, nucleus = FAKE_COLOURS[number % 2]
        image = np.full((48, 48, 4), (*ground, 255), np.uint8)
        for place in rng.permutation(9)[: rng.integers(3, 6)]:  # of a grid of 3 x 3 cells
            radius = rng.integers(4, 8)
            disc = np.hypot(y - place // 3 * 16 - 8, x - place % 3 * 16 - 8) < radius
            image[disc, :3] = nucleus
            mask = Image.fromarray(disc.astype(np.uint8) * 255)
            mask.save(folder / "masks" / f"{_name(f'{name}/{place}')}.png")
        image[..., :3] += rng.integers(0, 16, (48, 48, 1), np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{name}.png")


def _name(text: str) -> str:
    """A name of 64 hexadecimal digits, as the publisher's are."""
    return sha256(text.encode()).hexdigest()
