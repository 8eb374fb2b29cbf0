"""Reading the publisher's layout, where a file's name tells patient and magnification."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from umedpt_core import DataError, FileCase, class_folders, split_by_patient

BREAST = Path("BreaKHis_v1", "histology_slides", "breast")
CLASSES = ("benign", "malignant")
SHARES = {"train": 0.7, "test": 0.3}
"""As in the paper, there by image."""

NAME = re.compile(
    r"SOB_[BM]_[A-Z]+-(?P<patient>\d+-\d+)[A-Z]*-(?P<magnification>40|100|200|400)-\d+"
)
"""``SOB_B_TA-14-16184CD-200-001``: tumour, year, number of the patient, letters of the slide,
magnification, number of the image."""


class Options(BaseModel):
    """What a mix can choose of breakhis.

    Attributes:
        magnifications: Those of the images to use. The paper uses 200.
    """

    model_config = ConfigDict(extra="forbid")
    magnifications: Annotated[tuple[Literal[40, 100, 200, 400], ...], Field(min_length=1)] = (200,)


def open_cases(root: Path, split: str, options: Options) -> list[FileCase]:
    """List the images of a split.

    The patients of each class are dealt over its images of all magnifications: the classes keep
    their balance, and a patient is on the same side whichever magnifications are chosen.

    Args:
        root: The folder that holds ``BreaKHis_v1``.
        split: ``train`` or ``test``.
        options: See :class:`Options`.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no images, or a name is of another form.
    """
    chosen = set(map(str, options.magnifications))
    cases = []
    for label, name in enumerate(CLASSES):
        found = class_folders(root / BREAST, {name: label}, suffixes={".png"}, nested=True)
        every = [
            FileCase(path.relative_to(root).as_posix(), read_name(path)["patient"], path, label)
            for path, _ in found
        ]
        cases += split_by_patient(every, SHARES)[split]
    return [case for case in cases if read_name(case.path)["magnification"] in chosen]


def read_name(path: Path) -> dict[str, str]:
    """What a file's name tells: ``patient`` and ``magnification``.

    Slides of one patient differ in the letters behind the number, and may even be of different
    tumours, so the number alone is the patient.

    Raises:
        DataError: The name is of another form.
    """
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise DataError(f"{path}: no name like SOB_B_TA-14-4659-40-001; unpack the archive again")
    return match.groupdict()


SLIDES = (
    ("benign/SOB/adenosis", "B_A", "22549AB"),
    ("benign/SOB/adenosis", "B_A", "22549CD"),
    ("benign/SOB/fibroadenoma", "B_F", "21998CD"),
    ("benign/SOB/phyllodes_tumor", "B_PT", "21998AB"),
    ("benign/SOB/tubular_adenoma", "B_TA", "3411F"),
    ("malignant/SOB/ductal_carcinoma", "M_DC", "13412"),
    ("malignant/SOB/lobular_carcinoma", "M_LC", "13412"),
    ("malignant/SOB/mucinous_carcinoma", "M_MC", "19979C"),
    ("malignant/SOB/papillary_carcinoma", "M_PC", "12465"),
)
"""Folder, tumour and slide of the fake: real names, three patients with two slides among them."""


def make_fake(root: Path, seed: int) -> None:
    """Write 72 images of six patients in the publisher's layout; malignant ones are darker.

    As in the real set, the images of slide 13412 are there twice, as ductal and as lobular.
    """
    for folder, tumour, slide in SLIDES:
        for magnification in (40, 100, 200, 400):
            place = root / BREAST / folder / f"SOB_{tumour}_14-{slide}" / f"{magnification}X"
            place.mkdir(parents=True, exist_ok=True)
            number = int(re.sub(r"\D", "", slide))
            rng = np.random.default_rng([seed, number, len(slide), magnification])
            for image in (1, 2):
                stain = np.array([180, 120, 190]) - 70 * tumour.startswith("M")
                pixels = stain + rng.normal(0, 12, (42, 64, 3))
                name = f"SOB_{tumour}-14-{slide}-{magnification}-{image:03}.png"
                cv2.imwrite(str(place / name), pixels.clip(0, 255).astype(np.uint8))
