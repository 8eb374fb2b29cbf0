"""Reading the publisher's layout: train/<WordNet id>/*.JPEG, val/*.JPEG and its solution."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from umedpt_core import DataError, FileCase, class_folders, read_table

from . import SYNSETS

INDEX = {wordnet_id: index for index, wordnet_id in enumerate(SYNSETS)}
FOLDER = {"train": "train", "test": "val"}
"""The labels of the publisher's own test images are not published, so its val serves as test."""
SOLUTION = "LOC_val_solution.csv"
COLUMNS = ("ImageId", "PredictionString")


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the images of a split.

    Args:
        root: The folder that holds ``train`` and ``val``, or ``ILSVRC/Data/CLS-LOC`` with both in
            it; and, where ``val`` is not sorted into folders, ``LOC_val_solution.csv``.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder is of no class or empty, or an image of ``val`` has no solution.
    """
    inner = root / "ILSVRC" / "Data" / "CLS-LOC"
    folder = (inner if inner.is_dir() else root) / FOLDER[split]
    flat = split == "test" and (root / SOLUTION).is_file()
    found = solved(folder, root / SOLUTION) if flat else sorted_into_folders(folder)
    return [
        FileCase(path.relative_to(root).as_posix(), path.stem, path, label) for path, label in found
    ]


def sorted_into_folders(folder: Path) -> list[tuple[Path, int]]:
    """The images in the folders of classes; some of the classes will do."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    if unknown := [name for name in names if name not in INDEX]:
        raise DataError(f"{folder / unknown[0]}: no WordNet id of ILSVRC 2012, as n01440764 is")
    if not names:
        raise DataError(
            f"{folder}: no folders named by WordNet ids, and no {SOLUTION} in the data's root; "
            "take Kaggle's table or sort the images into folders"
        )
    return class_folders(folder, {name: INDEX[name] for name in names}, suffixes=(".jpeg",))


def solved(folder: Path, table: Path) -> list[tuple[Path, int]]:
    """The images of a folder with the classes that Kaggle's solution gives them.

    A prediction is ``n03995372 85 1 499 272``, once an object, all of one class.
    """
    label_of = {}
    for row in read_table(table, COLUMNS):
        wordnet_id = row[COLUMNS[1]].split(" ")[0]
        if wordnet_id not in INDEX:
            raise DataError(f"{table}: {row[COLUMNS[0]]} has the unknown class {wordnet_id!r}")
        label_of[row[COLUMNS[0]]] = INDEX[wordnet_id]
    paths = sorted(path for path in folder.iterdir() if path.suffix == ".JPEG")
    if missing := [path.name for path in paths if path.stem not in label_of]:
        raise DataError(f"{table}: has no row for {missing[0]}; take the publisher's table")
    return [(path, label_of[path.stem]) for path in paths]


FAKE_CLASSES = ("n01440764", "n01443537", "n02012849", "n03126707")


def make_fake(root: Path, seed: int) -> None:
    """Write 4 x 8 + 8 photographs of four classes in Kaggle's layout, a hue each.

    As in the publisher's archive, one image is a PNG and one is in CMYK, whatever their names say.
    """
    rng = np.random.default_rng(seed)
    base = root / "ILSVRC" / "Data" / "CLS-LOC"
    rows = []
    for number in range(8):
        for label, name in enumerate(FAKE_CLASSES):
            folder = base / "train" / name
            folder.mkdir(parents=True, exist_ok=True)
            image = _photograph(label, rng)
            path = folder / f"{name}_{number}.JPEG"
            if (number, label) == (0, 0):
                path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
            elif (number, label) == (0, 1):
                Image.fromarray(image[..., ::-1]).convert("CMYK").save(path, "JPEG")
            else:
                path.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
        path = base / "val" / f"ILSVRC2012_val_{number + 1:08}.JPEG"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(cv2.imencode(".jpg", _photograph(number % 4, rng))[1].tobytes())
        rows.append((path.stem, f"{FAKE_CLASSES[number % 4]} 8 8 40 40 "))
    with (root / SOLUTION).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *reversed(rows)])


def _photograph(label: int, rng: np.random.Generator) -> np.ndarray:
    """48 x 56 BGR: blue, green, red or grey."""
    image = rng.integers(60, 90, (48, 56, 3)).astype(np.uint8)
    image[8:40, 8:40, label if label < 3 else slice(None)] += 120
    return image
