"""Reading the publisher's layout: a table of findings, and images in one or in twelve folders."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from umedpt_core import DataError, FileCase, read_table

from . import umedpt_tasks

FINDINGS = next(umedpt_tasks()).classes
INDEX = {finding: index for index, finding in enumerate(FINDINGS)}
IMAGE, LABELS, PATIENT = ("Image Index", "Finding Labels", "Patient ID")
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
)


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List all images that are both in the table and in the folders.

    Args:
        root: The folder that holds ``Data_Entry_2017.csv`` or ``Data_Entry_2017_v2020.csv``, and
            ``images`` or ``images_001/images`` to ``images_012/images``. Rows whose image is absent
            are left out, so any subset of the images will do.
        split: Always ``all``; the core splits by patient.
        options: The task has none.

    Raises:
        FileNotFoundError: The table is missing.
        DataError: The table has an unknown form, or no image of it is there.
    """
    newer = root / "Data_Entry_2017_v2020.csv"
    table = newer if newer.is_file() else root / "Data_Entry_2017.csv"
    path_of = _find_images(root)
    cases = []
    for line, row in enumerate(read_table(table, (IMAGE, LABELS, PATIENT)), start=2):
        target = _read_findings(row[LABELS], f"{table}, line {line}")
        path = path_of.get(row[IMAGE])
        if path is not None:
            cases.append(FileCase(path.relative_to(root).as_posix(), row[PATIENT], path, target))
    if not cases:
        raise DataError(f"{root}: no image that {table.name} lists; unpack the images here")
    return sorted(cases, key=lambda case: case.id)


def _find_images(root: Path) -> dict[str, Path]:
    """File name to path, for both of the layouts in circulation."""
    folders = sorted([*root.glob("images"), *root.glob("images_*/images")])
    return {name: folder / name for folder in folders for name in os.listdir(folder)}


def _read_findings(labels: str, where: str) -> NDArray[np.int8]:
    target = np.zeros(len(FINDINGS), np.int8)
    for finding in () if labels == "No Finding" else labels.split("|"):
        if finding not in INDEX:
            raise DataError(f"{where}: unknown finding {finding!r}; take the publisher's table")
        target[INDEX[finding]] = 1
    return target


def make_fake(root: Path, seed: int) -> None:
    """Write 24 images of 18 patients in the publisher's layout.

    A finding is a bright square at its own place: the places are the cells of a 4 x 4 grid.
    """
    rng = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True, exist_ok=True)
    lines = [HEADER]
    for number in range(24):
        present = sorted({number % 14, 5 * number % 14}) if number % 12 else []
        patient, follow_up = number % 18 + 1, number // 18
        image = rng.normal(60, 8, (64, 64))
        for finding in present:
            y, x = divmod(finding, 4)
            image[16 * y + 4 : 16 * y + 12, 16 * x + 4 : 16 * x + 12] += 120
        name = f"{patient:08}_{follow_up:03}.png"
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / "images" / name)
        labels = "|".join(FINDINGS[index] for index in present) or "No Finding"
        lines.append(f"{name},{labels},{follow_up},{patient},50,F,PA,64,64,0.143,0.143,")
    (root / "Data_Entry_2017.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
