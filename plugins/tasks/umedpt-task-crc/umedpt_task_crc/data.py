"""Reading the publisher's layout: {NCT-CRC-HE-100K,CRC-VAL-HE-7K}/<tissue>/*.tif."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from umedpt_core import FileCase, class_folders

ARCHIVES = {"train": "NCT-CRC-HE-100K", "test": "CRC-VAL-HE-7K"}
TISSUES = ("ADI", "BACK", "DEB", "LYM", "MUC", "MUS", "NORM", "STR", "TUM")
"""The folder of each class, in the order of the classes."""


def open_cases(root: Path, split: str, options: None) -> list[FileCase]:
    """List the patches of a split.

    Args:
        root: The folder that holds ``NCT-CRC-HE-100K`` and ``CRC-VAL-HE-7K``.
        split: ``train`` or ``test``.
        options: The task has none.

    Raises:
        FileNotFoundError: A folder is missing.
        DataError: A folder holds no images.
    """
    folders = {name: index for index, name in enumerate(TISSUES)}
    return [
        FileCase(path.relative_to(root).as_posix(), path.stem, path, label)
        for path, label in class_folders(root / ARCHIVES[split], folders, suffixes={".tif"})
    ]


def make_fake(root: Path, seed: int) -> None:
    """Write 54 patches in the publisher's layout; a tissue has its own colour and grain.

    One training patch is broken as some of the real ones are: its dynamic range is lost, so that
    it holds nothing but 0 and 255.
    """
    rng = np.random.default_rng(seed)
    for split, each, infix in (("train", 4, ""), ("test", 2, "TCGA-")):
        for label, tissue in enumerate(TISSUES):
            folder = root / ARCHIVES[split] / tissue
            folder.mkdir(parents=True, exist_ok=True)
            colour = np.array([60 + 70 * (label % 3), 60 + 70 * (label // 3), 200])
            for number in range(each):
                grain = rng.normal(0, 4 + 3 * label, (48, 48, 1))
                patch = (colour + grain).clip(0, 255).astype(np.uint8)
                if (split, tissue, number) == ("train", "DEB", 0):
                    patch = np.where(patch > 128, 255, 0).astype(np.uint8)
                letters = "".join(rng.choice(list("ACDEFGHIKLMNPQRSTVWY"), 8))
                cv2.imwrite(str(folder / f"{tissue}-{infix}{letters}.tif"), patch)
