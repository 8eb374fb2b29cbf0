"""Reading the publisher's layout: train.csv, valid.csv, and a folder of images a patient."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from umedpt_core import DataError, FileCase, read_table

from . import umedpt_tasks

FINDINGS = next(umedpt_tasks()).classes
PUBLISHED = {"train": "train", "val": "valid"}
"""What the publisher calls each split."""

CSV_FOLDERS = ("", "CheXpert-v1.0", "CheXpert-v1.0 batch 1 (validate & csv)", "CheXpert-v1.0-small")
MEANING = {"ignore": -1, "zeros": 0, "ones": 1}


class Options(BaseModel):
    """What a mix can choose.

    Attributes:
        uncertain: What a -1 in the table becomes: unknown to loss and metrics, no, or yes.
        blank: What an observation that the report does not mention becomes: no, or unknown.
    """

    model_config = ConfigDict(extra="forbid")
    uncertain: Literal["ignore", "zeros", "ones"] = "ignore"
    blank: Literal["zeros", "ignore"] = "zeros"


def open_cases(root: Path, split: str, options: Options) -> list[FileCase]:
    """List the images of a split, frontal and lateral; the target is 1, 0 or -1 an observation.

    Args:
        root: The folder that holds ``CheXpert-v1.0``, ``CheXpert-v1.0-small`` or the unpacked
            archives ``CheXpert-v1.0 batch ...``; or one of the first two itself. Patients whose
            folder is absent are left out, so any subset of them will do.
        split: ``train`` or ``val``.
        options: What uncertain and blank labels become.

    Raises:
        FileNotFoundError: The table is missing.
        DataError: The table has an unknown form, or no patient of it is there.
    """
    part = PUBLISHED[split]
    tables = [root / folder / f"{part}.csv" for folder in CSV_FOLDERS]
    table = next((path for path in tables if path.is_file()), tables[1])
    meaning = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "": MEANING[options.blank]}
    meaning |= dict.fromkeys(("-1", "-1.0"), MEANING[options.uncertain])
    cases = []
    rows = read_table(table, ("Path", *FINDINGS))
    folders = [table.parent / part, *sorted(root.glob(f"CheXpert-v1.0 batch ? ({part} ?)"))]
    patients = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    folder_of = {path.name: path for path in patients}
    for row in rows:
        patient, study, view = ["", "", *row["Path"].split("/")][-3:]
        target = _findings(row, meaning, table)
        if patient in folder_of:
            path = folder_of[patient] / study / view
            cases.append(FileCase(path.relative_to(root).as_posix(), patient, path, target))
    if not cases:
        raise DataError(f"{folders[0]}: no patient of {table.name} here; unpack the images again")
    return sorted(cases, key=lambda case: case.id)


def _findings(row: Mapping[str, str], meaning: Mapping[str, int], table: Path) -> NDArray[np.int8]:
    """The observations of one image."""
    for finding in FINDINGS:
        if row[finding] not in meaning:
            raise DataError(
                f"{table}, {row['Path']}: {finding} is {row[finding]!r}, not 1.0, 0.0, -1.0 or "
                "blank; take the publisher's table"
            )
    return np.array([meaning[row[finding]] for finding in FINDINGS], np.int8)


def make_fake(root: Path, seed: int) -> None:
    """Write two views of 14 patients, and of 8 for validation, as the four archives unpack.

    An observation is a bright square at its own place: the places are the cells of a 4 x 4 grid.
    The tables name paths below ``CheXpert-v1.0``, which the archives do not make.
    """
    rng = np.random.default_rng(seed)
    first = root / "CheXpert-v1.0 batch 1 (validate & csv)"
    first.mkdir(parents=True, exist_ok=True)
    head = ",".join(("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *FINDINGS))
    train = [{0}] + [{number, 5 * number % 13 + 1} for number in range(1, 14)]
    val = [{0}] + [{number, number + 7} for number in range(1, 7)] + [{7}]
    for part, start, studies in (("train", 1, train), ("valid", 64541, val)):
        lines = [head]
        for number, present in enumerate(studies):
            cells = ["0.0" if part == "valid" or index % 2 else "" for index in range(14)]
            if part == "train":
                cells[1 + (number + 6) % 13] = "-1.0"  # uncertain
            for finding in present:
                cells[finding] = "1.0"
            batch = number // 5 + 1
            folder = root / f"CheXpert-v1.0 batch {batch + 1} (train {batch})"
            for view in ("view1_frontal", "view2_lateral"):
                place = f"patient{start + number:05}/study1/{view}.jpg"
                path = (folder if part == "train" else first / "valid") / place
                path.parent.mkdir(parents=True, exist_ok=True)
                image = rng.normal(60, 8, (64, 48))
                for y, x in (divmod(finding, 4) for finding in present):
                    image[16 * y + 4 : 16 * y + 12, 12 * x + 3 : 12 * x + 9] += 120
                cv2.imwrite(str(path), image.clip(0, 255).astype(np.uint8))
                seen = "Frontal,AP" if view == "view1_frontal" else "Lateral,"
                lines.append(f"CheXpert-v1.0/{part}/{place},Female,68,{seen},{','.join(cells)}")
        (first / f"{part}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
