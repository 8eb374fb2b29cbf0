"""Reading the publisher's layout: images.npy, labels.npy and patch_info.csv, a row a patch."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umedpt_core import DataError, LoadedCase, boxes_of_instances, read_table, split_by_patient

from . import umedpt_tasks

SHARES = {"train": 2 / 3, "test": 1 / 3}
"""The paper's rule for sets without a split (Reporting summary: Randomization)."""


def open_cases(root: Path, split: str, options: None) -> list[LoadedCase]:
    """List the patches of a split; patches of one image of Lizard stay together.

    Args:
        root: The folder that holds the three files.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: A file is missing.
        DataError: A file is broken, or they are not of one length.
    """
    names = [row["patch_info"] for row in read_table(root / "patch_info.csv", ("patch_info",))]
    for path, last in ((root / "images.npy", 3), (root / "labels.npy", 2)):
        shape = mapped(path).shape
        if len(shape) != 4 or shape[3] != last or shape[0] != len(names):
            raise DataError(
                f"{path}: its shape is {shape}, expected is N x H x W x {last} with N = "
                f"{len(names)}, the rows of patch_info.csv; download all files again"
            )
    cases = [
        LoadedCase(
            id=name,
            patient=name.rpartition("-")[0] or name,
            load=partial(read_row, root / "images.npy", row),
            label=partial(read_boxes, root / "labels.npy", row),
        )
        for row, name in enumerate(names)
    ]
    return split_by_patient(cases, SHARES)[split]


def mapped(path: Path) -> NDArray[Any]:
    """The array of a file, of which nothing is in memory yet.

    Raises:
        FileNotFoundError: There is no such file.
        DataError: It is truncated or no array.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise DataError(f"{path}: cannot be read as an array ({error}); replace it") from error
    return array


def read_row(path: Path, row: int) -> NDArray[Any]:
    """One patch of an array, copied into memory."""
    return np.array(mapped(path)[row])


def read_boxes(path: Path, row: int) -> dict[str, NDArray[Any]]:
    """A box an instance, of its most frequent class; the file counts classes from 1."""
    instances, classes = np.moveaxis(read_row(path, row).astype(np.int64), 2, 0)
    return boxes_of_instances(instances, classes - 1)


def make_fake(root: Path, seed: int) -> None:
    """Write 16 patches of 8 images in the publisher's layout; the last one has no nucleus."""
    rng = np.random.default_rng(seed)
    kinds = next(umedpt_tasks()).classes
    images = rng.integers(205, 235, (16, 64, 64, 3), np.uint8)
    labels = np.zeros((16, 64, 64, 2), np.uint16)
    y, x = np.mgrid[:64, :64]
    for image, label in list(zip(images, labels, strict=True))[:-1]:
        for number, place in enumerate(rng.permutation(16)[:6]):  # of a grid of 4 x 4 cells
            kind = number + 1
            at = (place // 4 * 16 + 8, place % 4 * 16 + 8)
            disc = np.hypot(y - at[0], x - at[1]) < 4 + kind / 2
            image[disc] = (40 + 20 * kind, 30, 180 - 20 * kind)
            label[disc] = (number + 1, kind)
    root.mkdir(parents=True, exist_ok=True)
    np.save(root / "images.npy", images)
    np.save(root / "labels.npy", labels)
    names = [f"{('crag', 'glas')[row % 4 // 2]}_{row // 2 + 1}-{row % 2:04}" for row in range(16)]
    counts = [
        [np.unique(label[label[..., 1] == k + 1, 0]).size for k in range(6)] for label in labels
    ]
    for file, header, rows in (
        ("patch_info.csv", ("patch_info",), [[name] for name in names]),
        ("counts.csv", kinds, counts),
    ):
        with (root / file).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([header, *rows])
