"""Reading the publisher's layout: CXR_png/CHNCXR_<number>_<0 or 1>.png."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np

from umedpt_core import DataError, FileCase, split_by_patient

NAME = re.compile(r"(CHNCXR_\d{4})_([01])\.png")
"""Patient, and 1 where there is tuberculosis."""

FOLDERS = ("ChinaSet_AllFiles/CXR_png", "CXR_png", "images/images", "images")
"""The archive, its inside, and the two forms of Kaggle's copy."""

SHARES = {"train": 0.7, "test": 0.3}
"""Of the paper: Out-of-domain benchmark, Tuber-CXR."""


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the images of a split; the target is 1 where the file's name ends in ``_1``.

    Args:
        root: The folder that holds ``ChinaSet_AllFiles``, ``CXR_png`` or Kaggle's ``images``.
        split: ``train`` or ``test``: 70 % and 30 %, the same in every run.
        options: The task has none.

    Raises:
        FileNotFoundError: There is no folder of images.
        DataError: It holds none of them.
    """
    folders = [root / folder for folder in FOLDERS]
    folder = next((path for path in folders if path.is_dir()), folders[0])
    cases = [
        FileCase(path.relative_to(root).as_posix(), match[1], path, int(match[2]))
        for path in sorted(folder.iterdir())
        if (match := NAME.fullmatch(path.name))
    ]
    if not cases:
        raise DataError(f"{folder}: no CHNCXR_*_0.png or CHNCXR_*_1.png here; unpack it again")
    return split_by_patient(cases, SHARES)[split]


def make_fake(root: Path, seed: int) -> None:
    """Write 24 images in the publisher's layout, half with brighter lungs: tuberculosis.

    As in the real set, there are grey and RGB files, and Windows left a Thumbs.db.
    """
    rng = np.random.default_rng(seed)
    base = root / "ChinaSet_AllFiles"
    for folder in ("CXR_png", "ClinicalReadings"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "CXR_png" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
    for number in range(1, 25):
        label = int(number > 12)
        chest = np.full((56, 64), 150.0)
        chest[10:46, 8:28] = chest[10:46, 36:56] = 130 if label else 40
        chest += rng.normal(0, 10, chest.shape)
        pixels = chest.clip(0, 255).astype(np.uint8)
        name = f"CHNCXR_{number:04}_{label}"
        image = pixels if number % 4 == 0 else np.dstack([pixels] * 3)
        cv2.imwrite(str(base / "CXR_png" / f"{name}.png"), image)
        reading = f"male {20 + number}yrs\n{'bilateral PTB' if label else 'normal'}\n"
        (base / "ClinicalReadings" / f"{name}.txt").write_text(reading, encoding="utf-8")
