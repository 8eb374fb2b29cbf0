"""Reading the publisher's layout: <split>/{NORMAL,PNEUMONIA}/*.jpeg."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from PIL import Image

from umedpt_core import FileCase, class_folders

CLASSES = {"NORMAL": 0, "PNEUMONIA": 1}
"""The folder of each class."""

PATIENT = re.compile(r"person\d+|(?:[A-Z][A-Z0-9]*-)+\d+")
"""Of ``person12_virus_5``, ``NORMAL2-IM-0381-0001`` or ``BACTERIA-1008087-0001``: all up to the
patient's number."""


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the cases of a split.

    Args:
        root: The folder that holds ``train`` and ``test``, or ``chest_xray`` with both in it.
        split: ``train`` or ``test``. A ``val`` folder, into which Kaggle's copy moved 16 images of
            the training set, counts as train.
        options: The task has none.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no images.
    """
    inner = root / "chest_xray"
    base = inner if inner.is_dir() and not (root / "train").is_dir() else root
    folders = [base / split]
    if split == "train" and (base / "val").is_dir():
        folders.append(base / "val")
    return [
        FileCase(path.relative_to(root).as_posix(), patient_of(path.stem), path, label)
        for folder in folders
        for path, label in class_folders(folder, CLASSES, suffixes=[".jpeg"])
    ]


def patient_of(stem: str) -> str:
    """The patient that a file's name, without its suffix, tells of."""
    match = PATIENT.match(stem)
    return match.group() if match else stem


def make_fake(root: Path, seed: int) -> None:
    """Write 24 images in the publisher's layout; the lungs of pneumonia are brighter."""
    rng = np.random.default_rng(seed)
    first = 1
    for split, each in (("train", 8), ("test", 4)):
        for name, label in CLASSES.items():
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(first, first + each):
                chest = np.full((48, 64), 150.0)
                chest[10:40, 8:28] = chest[10:40, 36:56] = 130 if label else 40
                chest += rng.normal(0, 10, chest.shape)
                person, odd = divmod(number, 2)
                stem = (
                    f"person{person}_{'virus' if person % 2 else 'bacteria'}_{number}"
                    if label
                    else f"{'NORMAL2-IM' if odd else 'IM'}-{number:04}-0001"
                )
                Image.fromarray(chest.clip(0, 255).astype(np.uint8)).save(folder / f"{stem}.jpeg")
        first += each + 1  # an odd step keeps the pairs of one person within one split
