"""A tiny copy of the publisher's layout."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813
from numpy.typing import NDArray

from .data import ARCHIVE, LABELS, MARKSHEET
from .folds import FOLD_OF

STUDIES = {  # of real names; two patients have two, 11054 without and then with cancer
    "10000": (1000000,),
    "10001": (1000001,),
    "10003": (1000003,),
    "10006": (1000006,),
    "10008": (1000008,),
    "10010": (1000010,),
    "10417": (1000424, 1000425),
    "10004": (1000004,),
    "10014": (1000014,),
    "10034": (1000034,),
    "10009": (1000009,),
    "11054": (1001074, 1001075),
    "10028": (1000028,),
    "10002": (1000002,),
    "10005": (1000005,),
    "10007": (1000007,),
}
UNLISTED = "10012_1000012"
"""Has images and no row in the table."""

HEADER = ("patient_id", "study_id", "mri_date", "patient_age", "psa", "psad", "prostate_volume")
HEADER += ("histopath_type", "lesion_GS", "lesion_ISUP", "case_ISUP", "case_csPCa", "center")
TILT = 0.1097
"""Sine by which the axial slices are tilted, as those of patient 10691 are."""
CONTRAST = {"t2w": (60, 200, 90), "adc": (300, 1500, 600), "hbv": (15, 30, 90)}
"""Brightness of pelvis, prostate and cancer."""


def make_fake(root: Path, seed: int) -> None:
    """Write 18 studies of 16 patients in five folders, and one of a patient without a row."""
    rng = np.random.default_rng(seed)
    table = root / LABELS[0] / MARKSHEET
    table.parent.mkdir(parents=True, exist_ok=True)
    names = [f"{patient}_{study}" for patient, all_of in STUDIES.items() for study in all_of]
    with table.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, HEADER)
        rows.writeheader()
        for number, name in enumerate([*names, UNLISTED]):
            patient, study = name.split("_")
            _write_study(root / f"{ARCHIVE}{FOLD_OF[patient]}" / patient, name, number, rng)
            if name != UNLISTED:
                row = {"patient_id": patient, "study_id": study, "center": "RUMC"}
                isup = 2 + number % 4 if number % 2 else number % 4 // 2
                rows.writerow(row | {"case_ISUP": isup, "case_csPCa": ("NO", "YES")[number % 2]})


def _write_study(folder: Path, name: str, number: int, rng: np.random.Generator) -> None:
    """T2W of three scanners; coarser ADC and HBV, of which the HBV of every fifth ends early."""
    folder.mkdir(parents=True, exist_ok=True)
    size, edge = ((64, 3.0), (80, 2.5), (100, 1.92))[number % 3]
    lesion = np.array([0, *rng.uniform(-12, 12, 2)]) if number % 2 else None
    _write(folder / f"{name}_t2w.mha", "t2w", (8, size, size), (6.0, edge, edge), lesion, rng)
    for sequence in ("adc", "hbv"):
        depth = 6 if sequence == "hbv" and number % 5 == 0 else 8
        _write(folder / f"{name}_{sequence}.mha", sequence, (depth, 36, 30), (6, 6, 6), lesion, rng)
    if number % 2:
        _write(folder / f"{name}_sag.mha", "t2w", (8, 30, 30), (6, 6, 6), lesion, rng)


def _write(
    path: Path,
    sequence: str,
    shape: tuple[int, int, int],
    edges: tuple[float, float, float],
    lesion: NDArray[Any] | None,
    rng: np.random.Generator,
) -> None:
    """A compressed MetaImage of 16 bits around the same place in the body, from feet to head."""
    from_center = np.stack(np.indices(shape), axis=-1) - (np.array(shape) - 1) / 2
    place = from_center * edges
    tissue = (np.linalg.norm(place, axis=-1) < 27).astype(int)
    if lesion is not None:
        tissue[np.linalg.norm(place - lesion, axis=-1) < 9] = 2
    values = np.take(CONTRAST[sequence], tissue) * rng.normal(1, 0.1, shape)
    image = sitk.GetImageFromArray(values.clip(0).astype(np.uint16))
    z, y, x = map(float, edges)
    image.SetSpacing((x, y, z))
    cosine = np.sqrt(1 - TILT**2)
    direction = np.array([[1, 0, 0], [0, cosine, TILT], [0, -TILT, cosine]])
    half = np.array(shape[::-1]) / 2 - 0.5
    image.SetOrigin((-direction @ (half * (x, y, z))).tolist())
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=True)
