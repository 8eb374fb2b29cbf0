"""Reading the publisher's layout: run-length codes in a table, and a DICOM file an image."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray

from umedpt_core import (
    DataError,
    LoadedCase,
    decode_rle,
    read_dicom_image,
    read_table,
    split_by_patient,
    write_dicom,
)

TABLES = ("stage_2_train.csv", "train-rle.csv")
"""The later one holds the earlier one's rows and those of the first stage's test set."""

SHARES = {"train": 2 / 3, "test": 1 / 3}


def open_cases(root: Path, split: str, options: None) -> list[LoadedCase]:
    """List the images of a split; the target is 1 where there is a pneumothorax, else 0.

    Args:
        root: The folder that holds ``stage_2_train.csv`` or ``train-rle.csv`` and, anywhere below,
            the DICOM files; the table may lie one folder deeper. An image without a row has no
            label and is left out, and so is a row without an image.
        split: ``train`` or ``test``: two thirds and one, the same in every run.
        options: The task has none.

    Raises:
        FileNotFoundError: The table is missing.
        DataError: The table has an unknown form, or no image of it is there.
    """
    tables = [path for name in TABLES for path in (root / name, *sorted(root.glob(f"*/{name}")))]
    table = next((path for path in tables if path.is_file()), root / TABLES[0])
    codes: dict[str, list[str]] = {}
    for row in read_table(table, ("ImageId", "EncodedPixels")):
        codes.setdefault(row["ImageId"], []).append(row["EncodedPixels"])
    path_of = {path.stem: path for path in root.rglob("*.dcm")}
    cases = [
        LoadedCase(
            id=path_of[name].relative_to(root).as_posix(),
            patient=name,
            load=partial(read_dicom_image, path_of[name]),
            label=partial(read_mask, path_of[name], tuple(codes[name])),
        )
        for name in sorted(codes.keys() & path_of.keys())
    ]
    if not cases:
        raise DataError(
            f"{root}: no *.dcm that {table.name} names; put dicom-images-train of stage 1 here"
        )
    return split_by_patient(cases, SHARES)[split]


def read_mask(path: Path, codes: tuple[str, ...]) -> NDArray[np.uint8]:
    """The union of an image's codes, H x W of 0 and 1.

    A code counts down the columns, from 0, and each start from the end of the run before.

    Raises:
        DataError: A code is none, or leads out of the image.
    """
    header = pydicom.dcmread(path, stop_before_pixels=True)
    shape = (int(header.Rows), int(header.Columns))
    try:
        masks = [decode_rle(code, shape, one_based=False, relative=True) for code in codes]
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return np.any(masks, axis=0).astype(np.uint8)


def make_fake(root: Path, seed: int) -> None:
    """Write 18 images in the layout of stage 1; a pneumothorax is a dark half-disc or two.

    As there, images are JPEG, the header has a blank before EncodedPixels, and one image has no
    row.
    """
    rng = np.random.default_rng(seed)
    lines = ["ImageId, EncodedPixels"]
    y, x = np.mgrid[:64, :64]
    for number in range(18):
        image = rng.normal(150, 8, (64, 64))
        masks = []
        for center in ((12, 52), (12,), ())[number % 3]:  # both lungs, one, none
            row = rng.integers(12, 52)
            masks.append((np.hypot(y - row, x - center) < 10) & (y < row))
            image[masks[-1]] -= 100
        names = [f"1.2.276.0.7230010.3.1.{level}.8323329.{300 + number}" for level in (2, 3, 4)]
        path = root / "dicom-images-train" / names[0] / names[1] / f"{names[2]}.dcm"
        pixels = image.clip(0, 255).astype(np.uint8)
        write_dicom(path, pixels, compression="jpeg", SOPInstanceUID=names[2], Modality="CR")
        if number < 17:
            lines += [f"{names[2]}, {_encode(mask)}" for mask in masks] or [f"{names[2]}, -1"]
    (root / "train-rle.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _encode(mask: NDArray[np.bool_]) -> str:
    edges = np.flatnonzero(np.diff(np.pad(mask.T.ravel().astype(np.int8), 1)))
    return " ".join(map(str, np.diff(edges, prepend=0)))
