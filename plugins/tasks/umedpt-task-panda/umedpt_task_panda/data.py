"""Reading the publisher's layout: train.csv, train_images and train_label_masks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from umedpt_core import DataError, Slide, SlideCase, read_table, split_by_patient
from umedpt_core.label_type import IGNORE

SHARES = {"train": 2 / 3, "test": 1 / 3}
"""The paper's rule for sets without a split (Reporting summary: Randomization)."""

VALUES = {"data_provider": ("karolinska", "radboud"), "isup_grade": tuple("012345")}
"""What the columns of the table may hold."""

BLANK_SLIDE = "3790f55cad63053e956fb73027179707"
BLANK_MASKS = {
    BLANK_SLIDE,
    "4a2ca53f240932e46eaf8959cb3f490a",
    "aaa5732cd49bffddf0d2b7d36fbb0a83",
    "e4215cfc8c41ec04a55431cc413688a9",
}
"""Masks of nothing but background, whatever the slide shows."""


def open_classification(root: Path, split: str, options: None) -> list[SlideCase]:
    """List the slides of a split with their ISUP grades.

    Args:
        root: The folder that holds ``train.csv`` and ``train_images``.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: The table or the folder is missing.
        DataError: The table is not the publisher's, or slides that it lists are missing.
    """
    rows, folder = _rows(root), root / "train_images"
    _check(folder, [f"{name}.tiff" for name in rows])
    cases = [
        SlideCase(
            id=f"train_images/{name}.tiff",
            patient=name,
            path=folder / f"{name}.tiff",
            label=int(row["isup_grade"]),
        )
        for name, row in rows.items()
    ]
    return split_by_patient(cases, SHARES)[split]


def open_segmentation(root: Path, split: str, options: None) -> list[SlideCase]:
    """List the slides of a split that have a mask, a Slide of codes.

    Arguments and errors are those of :func:`open_classification`; ``train_label_masks`` is read,
    too, and must have the masks of all slides from Karolinska.
    """
    rows, folder = _rows(root), root / "train_label_masks"
    # The publisher has no mask of some slides, all from Radboud.
    whole = [name for name, row in rows.items() if row["data_provider"] == "karolinska"]
    found = _check(folder, [f"{name}_mask.tiff" for name in whole])
    return [
        replace(
            case,
            label=Slide(folder / f"{case.patient}_mask.tiff", codes=codes_of(**rows[case.patient])),
        )
        for case in open_classification(root, split, options)
        if f"{case.patient}_mask.tiff" in found and case.patient not in BLANK_MASKS
    ]


def codes_of(data_provider: str, isup_grade: str) -> tuple[int, ...]:
    """The class of every value in a mask: 0 background, 1 benign tissue, 2 cancer.

    Karolinska outlines regions, so its cancer includes the stroma between cancerous glands. Radboud
    marks stroma as such wherever it lies: it is benign where the slide has no cancer, else unknown.
    """
    if data_provider == "karolinska":
        return (0, 1, 2)
    return (0, 1 if isup_grade == "0" else IGNORE, 1, 2, 2, 2)


def _rows(root: Path) -> dict[str, dict[str, str]]:
    """Provider and grade of every slide by its name, without the one that shows nothing."""
    path = root / "train.csv"
    rows = {
        row["image_id"]: {column: row[column] for column in VALUES}
        for row in read_table(path, ("image_id", *VALUES))
        if row["image_id"] != BLANK_SLIDE
    }
    for name, row in rows.items():
        for column, known in VALUES.items():
            if row[column] not in known:
                raise DataError(
                    f"{path}: {column} of {name} is {row[column]!r}, the publisher's are "
                    f"{', '.join(known)}; take the publisher's table"
                )
    return rows


def _check(folder: Path, names: Iterable[str]) -> set[str]:
    """The names of all files in a folder, which must have those that are given."""
    found = {path.name for path in folder.iterdir()}
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"{folder}: {len(missing)} of the files that train.csv calls for are missing, the "
            f"first is {missing[0]}; unpack the archive again, or remove their rows from train.csv"
        )
    return found
