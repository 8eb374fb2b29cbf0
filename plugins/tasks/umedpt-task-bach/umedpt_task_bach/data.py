"""Reading the publisher's layout: ICIAR2018_BACH_Challenge/Photos/<class>/*.tif."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from umedpt_core import DataError, FileCase, class_folders

PHOTOS = Path("ICIAR2018_BACH_Challenge", "Photos")
FOLDERS = {"Normal": "n", "Benign": "b", "InSitu": "is", "Invasive": "iv"}
"""The folder of each class, in the order of the classes, and how its files' names begin."""

TEST = {
    "Normal": range(46, 69),
    "Benign": (*range(42, 60), *range(61, 91)),
    "InSitu": range(40, 70),
    "Invasive": (*range(41, 59), *range(61, 74)),
}
"""Numbers of the test images: the division of kaiko-ai/eva, which the organisers' list of patients
underlies, so that no known patient is on both sides."""


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the images of a split.

    Args:
        root: The folder that holds ``ICIAR2018_BACH_Challenge``.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no images, or the name of one holds no number.
    """
    folders = {name: label for label, name in enumerate(FOLDERS)}
    return [
        FileCase(path.relative_to(root).as_posix(), path.stem, path, label)
        for path, label in class_folders(root / PHOTOS, folders, suffixes={".tif"})
        if (number_of(path) in TEST[path.parent.name]) == (split == "test")
    ]


def number_of(path: Path) -> int:
    """The number in a file's name: 12 of ``is012.tif``.

    Raises:
        DataError: The name is of another form.
    """
    match = re.fullmatch(r"[a-z]+(\d+)", path.stem)
    if match is None:
        raise DataError(f"{path}: no name like is012.tif; unpack the archive again")
    return int(match[1])


def make_fake(root: Path, seed: int) -> None:
    """Write 36 images in the publisher's layout: the more cancer, the more nuclei.

    In each folder lies a file that is no image, as the counts of the real archive suggest.
    """
    rng = np.random.default_rng(seed)
    for label, (name, prefix) in enumerate(FOLDERS.items()):
        folder = root / PHOTOS / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "Thumbs.db").write_bytes(b"no image")
        for number in chain(range(1, 7), TEST[name][:3]):
            photo = np.full((48, 64, 3), (220, 170, 230), np.uint8)
            for _ in range(3 + 12 * label):
                centre = tuple(int(at) for at in rng.integers(4, (60, 44)))
                cv2.circle(photo, centre, 2, (140, 40, 90), -1)
            cv2.imwrite(str(folder / f"{prefix}{number:03}.tif"), photo)
