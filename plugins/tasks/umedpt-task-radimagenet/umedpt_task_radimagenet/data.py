"""Reading the publisher's layout: RadiologyAI_*.csv and radiology_ai/<modality>/.../*.png."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import cv2
import numpy as np

from umedpt_core import DataError, FileCase, read_table

from . import umedpt_tasks

CLASSES = next(umedpt_tasks()).classes
INDEX = {name.lower(): index for index, name in enumerate(CLASSES)}


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the images of a split.

    Args:
        root: The folder that holds ``RadiologyAI_<split>.csv`` and ``radiology_ai``.
        split: ``train``, ``val`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: The table is missing.
        DataError: The table has no column of the files, or an image is of no known class.
    """
    table = root / f"RadiologyAI_{split}.csv"
    names = [row["filename"] for row in read_table(table, ["filename"])]
    label_of: dict[str, int] = {}
    for folder in sorted({name.rpartition("/")[0] for name in names}):
        label = INDEX.get(class_of(folder))
        if label is None:
            raise DataError(
                f"{table}: images in {folder!r}, which is none of the {len(CLASSES)} classes; see "
                "the folders in the plugin's README"
            )
        label_of[folder] = label
    return [FileCase(name, name, root / name, label_of[name.rpartition("/")[0]]) for name in names]


def class_of(folder: str) -> str:
    """The class that a folder stands for, in lower case.

    ``radiology_ai/MR/hip/abductor_pathology_`` is ``mr/hip/abductor_pathology``: some of the
    publisher's folders end with an underscore or hold signs that others spell otherwise.
    """
    parts = folder.lower().split("/")[1:]
    return "/".join(re.sub(r"[^a-z0-9]+", "_", part).strip("_") for part in parts)


FAKE_FOLDERS = (
    "CT/abd/normal",
    "CT/lung/Airspace_opacity",
    "MR/hip/abductor_pathology_",
    "US/gb",
)


def make_fake(root: Path, seed: int) -> None:
    """Write 40 images of four classes in the publisher's layout, a brightness each.

    One image is empty, as hundreds of the publisher's are.
    """
    rng = np.random.default_rng(seed)
    number = 0
    for split, each in (("train", 6), ("val", 2), ("test", 2)):
        rows = []
        for place in range(each * len(FAKE_FOLDERS)):
            label = place % len(FAKE_FOLDERS)
            number += 1
            folder = f"radiology_ai/{FAKE_FOLDERS[label]}"
            name = f"{folder}/{folder.split('/')[2]}{number:06}.png"
            (root / folder).mkdir(parents=True, exist_ok=True)
            image = rng.normal(50 + 50 * label, 8, (56, 56))
            pixels = np.zeros((56, 56)) if number == 1 else image.clip(0, 255)
            cv2.imwrite(str(root / name), cv2.merge([pixels.astype(np.uint8)] * 3))
            rows.append((name, f"{folder.split('/')[2]}-{folder.split('/')[-1]}"))
        with (root / f"RadiologyAI_{split}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("filename", "label"), *rows])
