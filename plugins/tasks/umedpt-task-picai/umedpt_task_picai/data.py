"""Reading the publisher's layout: MetaImages in a folder a patient, and one table of labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from umedpt_core import DataError, Volume, read_table, read_volume, resample_onto

from .folds import FOLD_OF

ARCHIVE = "picai_public_images_fold"
MARKSHEET = Path("clinical_information", "marksheet.csv")
LABELS = ("picai_labels", "picai_labels-main", "labels")
"""As git, GitHub's archive and the challenge's tutorial name the repository of the labels."""

COLUMNS = ("patient_id", "study_id", "case_csPCa")
CSPCA = {"NO": 0, "YES": 1}
SEQUENCES = ("t2w", "adc", "hbv")

FIELD = 160.0
"""What is kept of a slice, in mm: the center, with room around the 128 mm of the challenge's U-Net
for what augmentation cuts off."""
PIXEL = 0.5
"""Finer pixels are brought to this, in mm; those of 0.2 to 0.3 mm cost memory and a bag's time."""


class Options(BaseModel):
    """What a mix can choose.

    Attributes:
        fold: The fold that is held out as the test split, 0 to 4.
    """

    model_config = ConfigDict(extra="forbid")
    fold: int = Field(0, ge=0, le=4)


@dataclass(frozen=True, slots=True)
class Study:
    """A study; see :class:`umedpt_core.Case`.

    Attributes:
        id: ``PATIENT_STUDY``, as its files are called.
        patient: A patient can have several studies.
        folder: Where its files are.
        target: 1 with clinically significant cancer (ISUP of at least 2), else 0.
    """

    id: str
    patient: str
    folder: Path
    target: int

    @property
    def image(self) -> Volume:
        """T2W, ADC and HBV on the slices of the T2W; 0 where ADC or HBV does not reach.

        Raises:
            DataError: A sequence is missing, damaged, or somewhere else in the body.
        """
        volumes = [read_volume(self.folder / f"{self.id}_{name}.mha") for name in SEQUENCES]
        grid = center_of(volumes[0])
        channels = [resample_onto(volume, grid).voxels for volume in volumes]
        return Volume(np.stack(channels, axis=-1), grid.affine)


def center_of(volume: Volume) -> Volume:
    """The grid of a volume's slices, in the plane the central `FIELD` in pixels of `PIXEL`."""
    affine = volume.affine.copy()
    shape = list(volume.voxels.shape)
    for axis in (1, 2):
        spacing, edge = volume.spacing[axis], shape[axis]
        step = max(1.0, PIXEL / spacing)
        shape[axis] = round(min(edge, FIELD / spacing) / step)
        affine[:3, 3] += volume.affine[:3, axis] * (edge - 1 - (shape[axis] - 1) * step) / 2
        affine[:3, axis] *= step
    return Volume(np.broadcast_to(np.uint8(0), shape), affine)


def open_cases(root: Path, split: str, options: Options) -> list[Study]:
    """List the studies of a split; what has no row in the table is left out.

    Args:
        root: Holds ``picai_labels``, and ``images`` or the folders ``picai_public_images_fold0`` to
            ``4``, or these in ``images``.
        split: ``test`` is the fold of the options, ``train`` the other four.
        options: See :class:`Options`.

    Raises:
        FileNotFoundError: The table is missing.
        DataError: It is of another form, or all images of a fold are missing.
    """
    tables = [root / name / MARKSHEET for name in LABELS]
    table = next((path for path in tables if path.is_file()), tables[0])
    rows = read_table(table, COLUMNS)
    held_out = {options.fold}
    wanted = held_out if split == "test" else {0, 1, 2, 3, 4} - held_out
    folders = patient_folders(root)
    if missing := sorted(wanted - {FOLD_OF.get(patient) for patient in folders}):
        archives = ", ".join(f"{ARCHIVE}{fold}.zip" for fold in missing)
        raise DataError(f"{root}: no images of {archives}; unpack them into {root / 'images'}")
    cases = []
    for row in rows:
        patient, study, label = (row[column] for column in COLUMNS)
        if patient not in FOLD_OF or label not in CSPCA:
            raise DataError(
                f"{table}: a row has patient_id {patient!r} and case_csPCa {label!r}; known are "
                "10000 to 11475, and YES and NO; take the publisher's table"
            )
        if FOLD_OF[patient] in wanted:
            # Without its files a study is an error of its case, so that none is lost unnoticed.
            folder = folders.get(patient, root / "images" / patient)
            cases.append(Study(f"{patient}_{study}", patient, folder, CSPCA[label]))
    return cases


def patient_folders(root: Path) -> dict[str, Path]:
    """The folder of each patient, wherever the archives were unpacked."""
    images = root / "images"
    bases = [images, *sorted(images.glob(f"{ARCHIVE}*")), *sorted(root.glob(f"{ARCHIVE}*"))]
    found = (path for base in bases if base.is_dir() for path in base.iterdir())
    return {path.name: path for path in found if path.name.isdigit()}
