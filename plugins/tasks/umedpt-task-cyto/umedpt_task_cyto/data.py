"""Reading the publisher's layout: BM_cytomorphology_data/<code>, in part in folders of 1,000."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from umedpt_core import FileCase, class_folders, split_by_patient

CODES = (
    *("ABE", "ART", "BAS", "BLA", "EBO", "EOS", "FGC", "HAC", "KSC", "LYI", "LYT"),
    *("MMZ", "MON", "MYB", "NGB", "NGS", "NIF", "OTH", "PEB", "PLM", "PMO"),
)
"""The folder of each class, in the order of the classes."""

SHARES = {"train": 2 / 3, "test": 1 / 3}
"""The paper's rule for sets without a split."""


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the cells of a split: two thirds or one third of each class.

    Nothing tells which of the 945 patients a cell is of, so a cell is a patient.

    Args:
        root: The folder that holds ``BM_cytomorphology_data``, or the folders of the classes.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no images.
    """
    inner = root / "BM_cytomorphology_data"
    base = root if (root / CODES[0]).is_dir() and not inner.is_dir() else inner
    cases = []
    for label, code in enumerate(CODES):
        every = [
            FileCase(path.relative_to(root).as_posix(), path.stem, path, label)
            for path, _ in class_folders(base, {code: label}, suffixes={".jpg"}, nested=True)
        ]
        cases += split_by_patient(every, SHARES)[split]
    return cases


RARE = {"ABE", "BAS", "FGC", "HAC", "KSC", "LYI", "OTH"}
"""Classes of under 1,000 cells: their images lie in the folder of the class itself."""


def make_fake(root: Path, seed: int) -> None:
    """Write 126 cells in the publisher's layout; classes differ in the nucleus.

    As in the real set, images of rare classes lie directly in their folder, others in folders of
    1,000.
    """
    rng = np.random.default_rng(seed)
    for label, code in enumerate(CODES):
        folder = root / "BM_cytomorphology_data" / code
        folder /= "" if code in RARE else "0001-1000"
        folder.mkdir(parents=True, exist_ok=True)
        size, shade = divmod(label, 5)
        for number in range(1, 7):
            smear = np.full((48, 48, 3), (225, 215, 235), np.uint8)
            x, y = (int(at) for at in rng.integers(21, 28, 2))
            cv2.circle(smear, (x, y), 20, (210, 170, 190), -1)
            cv2.circle(smear, (x, y), 6 + 3 * size, (170 - 20 * shade, 40, 40 + 40 * shade), -1)
            cv2.imwrite(str(folder / f"{code}_{number:05}.jpg"), smear)
