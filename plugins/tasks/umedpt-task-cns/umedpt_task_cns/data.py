"""Reading the publisher's layout, {Training,Testing}/<class>/*.jpg, and splitting it anew."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np

from umedpt_core import FileCase, class_folders, split_by_patient

FOLDERS = ("glioma", "meningioma", "notumor", "pituitary")
"""The folder of each class, in the order of the classes."""

SHARES = {"train": 0.7, "test": 0.3}
"""The paper's."""


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the slices of a split: 70 or 30 % of both of the publisher's folders together.

    Nothing tells whose slices they are, so a slice is a patient. Files of the same content are one:
    a copy never is on the other side. Augmented copies, which later versions of the set hold, are
    left out.

    Args:
        root: The folder that holds ``Training`` and ``Testing``.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no images.
    """
    folders = {
        f"{part}/{name}": label
        for part in ("Training", "Testing")
        for label, name in enumerate(FOLDERS)
    }
    found = [
        (path, label)
        for path, label in class_folders(root, folders, suffixes={".jpg"})
        if "-aug-" not in path.name
    ]
    patients = identify([path for path, _ in found])
    cases = [
        FileCase(path.relative_to(root).as_posix(), patient, path, label)
        for (path, label), patient in zip(found, patients, strict=True)
    ]
    return split_by_patient(cases, SHARES)[split]


def identify(paths: list[Path]) -> list[str]:
    """Name each file, and files of the same content the same.

    Only files that share their size with another are read: they alone can be copies.
    """
    sizes = [path.stat().st_size for path in paths]
    common = Counter(sizes)
    return [
        sha256(path.read_bytes()).hexdigest()[:16] if common[size] > 1 else path.stem
        for path, size in zip(paths, sizes, strict=True)
    ]


PLACES = ((12, 12), (12, 36), None, (36, 24))
"""Row and column of each class's tumour in the fake."""


def make_fake(root: Path, seed: int) -> None:
    """Write 60 slices in the publisher's layout; a tumour is bright, at its class's own place.

    As in the real set, sizes differ and some slices are RGB, though all are grey; one testing slice
    of each class is a copy of a training slice, and meningiomas have an augmented copy.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48]
    for name, place in zip(FOLDERS, PLACES, strict=True):
        paths = []
        for part, prefix, each in (("Training", "Tr", 10), ("Testing", "Te", 5)):
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(each):
                brain = 90.0 * (np.hypot(y - 24, x - 24) < 22) + rng.normal(8, 3, (48, 48))
                if place:
                    brain[np.hypot(y - place[0], x - place[1]) < 6] += 120
                slice_HW = brain.clip(0, 255).astype(np.uint8)[:, number % 3 :]
                shown = cv2.merge([slice_HW] * 3) if number % 2 else slice_HW
                path = folder / f"{prefix}-{name[:2]}_{10 + number:04}.jpg"
                cv2.imwrite(str(path), shown)
                paths.append(path)
        paths[-1].write_bytes(paths[0].read_bytes())
        if name == "meningioma":
            cv2.imwrite(str(folder / "Te-aug-me_1.jpg"), shown[:, ::-1])
