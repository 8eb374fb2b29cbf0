"""Reading the publisher's layout: train.csv with a box a row, and train/<image id>.dicom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from umedpt_core import (
    DataError,
    LoadedCase,
    read_dicom_image,
    read_table,
    split_by_patient,
    write_dicom,
)

from . import umedpt_tasks

CLASSES = next(umedpt_tasks()).classes
NO_FINDING = len(CLASSES)
CORNERS = ("x_min", "y_min", "x_max", "y_max")
SAME = 0.4
"""The IoU from which the competition takes two boxes of a class for one finding."""

SHARES = {"train": 2 / 3, "test": 1 / 3}


def open_cases(root: Path, split: str, options: None) -> list[LoadedCase]:
    """List the images of a split; the target is one box a finding, none for "No finding".

    Args:
        root: The folder that holds ``train.csv`` and ``train``. A row whose image is absent is
            left out, so any subset of the images will do.
        split: ``train`` or ``test``: two thirds and one, the same in every run.
        options: The task has none.

    Raises:
        FileNotFoundError: The table or the folder is missing.
        DataError: The table has an unknown form, or no image of it is there.
    """
    table = root / "train.csv"
    found: dict[str, list[tuple[float, ...]]] = {}
    for row in read_table(table, ("image_id", "class_id", *CORNERS)):
        found.setdefault(row["image_id"], []).extend(_boxes(row, table))
    path_of = {path.stem: path for path in (root / "train").iterdir() if path.suffix == ".dicom"}
    cases = [
        LoadedCase(
            id=path_of[name].relative_to(root).as_posix(),
            patient=name,
            load=partial(read_dicom_image, path_of[name]),
            label=partial(merge, tuple(found[name])),
        )
        for name in sorted(found.keys() & path_of.keys())
    ]
    if not cases:
        raise DataError(f"{root / 'train'}: no *.dicom that {table.name} names; unpack it again")
    return split_by_patient(cases, SHARES)[split]


def _boxes(row: Mapping[str, str], table: Path) -> list[tuple[float, ...]]:
    """A row as class and four edges; nothing for "No finding"."""
    try:
        index = int(row["class_id"])
        if not 0 <= index <= NO_FINDING:
            raise ValueError(f"class_id {index}")
        return [] if index == NO_FINDING else [(index, *(float(row[c]) for c in CORNERS))]
    except ValueError as error:
        raise DataError(f"{table}, image {row['image_id']}: cannot be used ({error})") from error


def merge(found: Sequence[tuple[float, ...]]) -> dict[str, NDArray[Any]]:
    """One box a finding, out of the boxes of all radiologists.

    In the table's order, a box joins the group of its class whose mean box it overlaps most, if by
    an IoU of ``SAME``, and else opens one. A group becomes its mean box; one that a single
    radiologist drew counts like any other.
    """
    groups: list[tuple[float, list[NDArray[np.float64]]]] = []
    for index, *edges in found:
        box = np.array(edges)
        near = [group for label, group in groups if label == index]
        overlaps = [_iou(np.mean(group, axis=0), box) for group in near]
        if overlaps and max(overlaps) >= SAME:
            near[int(np.argmax(overlaps))].append(box)
        else:
            groups.append((index, [box]))
    means = [np.mean(group, axis=0) for _, group in groups]
    return {
        "boxes": np.array(means, np.float32).reshape(-1, 4),
        "labels": np.array([index for index, _ in groups], np.int64),
    }


def _iou(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    common = float(sides.clip(min=0).prod())
    return common / max(float(sum((box[2:] - box[:2]).prod() for box in (one, other))) - common, 1)


def make_fake(root: Path, seed: int) -> None:
    """Write 21 images in the publisher's layout, each seen by three of the radiologists.

    A finding is a bright rectangle at its own place: the places are the cells of a 4 x 4 grid. Two
    of three radiologists box it, each a little off. Three images are without a finding. Every
    third is MONOCHROME1; values have an intercept. The JPEG 2000 streams are of 16 bits, of which
    the header says 12, like some of the publisher's.
    """
    rng = np.random.default_rng(seed)
    lines = [",".join(("image_id", "class_name", "class_id", "rad_id", *CORNERS))]
    for number in range(21):
        name = md5(f"{seed}/{number}".encode(), usedforsecurity=False).hexdigest()
        present = sorted({number % 14, (number + 5) % 14, 3 * number % 14}) if number < 18 else []
        values = rng.normal(900, 60, (64, 56))
        for index in present:
            x, y = index % 4 * 14 + 1, index // 4 * 16 + 2
            values[y : y + 12, x : x + 12] += 2400
            for reader in rng.permutation(3)[:2]:
                box = np.array((x, y, x + 12, y + 12)) + rng.integers(-1, 2, 4)
                edges = ",".join(map(str, box.clip(min=0)))
                lines.append(f"{name},{CLASSES[index]},{index},R{8 + reader},{edges}")
        if not present:
            lines += [f"{name},No finding,14,R{8 + reader},,,," for reader in range(3)]
        inverted = number % 3 == 0
        values = values.clip(0, 4095)
        write_dicom(
            root / "train" / f"{name}.dicom",
            (4095 - values if inverted else values).astype(np.uint16),
            compression="jpeg2000",
            BitsStored=12,
            PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
            RescaleSlope=1,
            RescaleIntercept=-1024,
        )
    (root / "train.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
