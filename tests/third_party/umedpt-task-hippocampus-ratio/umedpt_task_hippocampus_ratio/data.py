"""imagesTr/NAME.nii.gz is a volume, labelsTr/NAME.nii.gz says 1 in front and 2 behind."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from umedpt_core import VolumeCase, read_volume

EVERY = 5


def open_cases(root: Path, split: str, options: None) -> list[VolumeCase]:
    """List train or test; a case's label needs its mask and the median of the training masks."""
    masks = sorted(path for path in (root / "labelsTr").iterdir() if path.name[0] != ".")
    ratios = np.array([_ratio(path) for path in masks])
    tests = np.arange(len(masks)) % EVERY == EVERY - 1
    median = np.median(ratios[~tests])
    return [
        VolumeCase(path.name, path.name, (root / "imagesTr" / path.name,), int(ratio > median))
        for path, ratio, is_test in zip(masks, ratios, tests, strict=True)
        if is_test == (split == "test")
    ]


def _ratio(path: Path) -> float:
    counts = np.bincount(read_volume(path).voxels.astype(np.int64).ravel(), minlength=3)
    return float(counts[1] / max(1, counts[2]))


def make_fake(root: Path, seed: int) -> None:
    """Write 15 volumes of 20 x 26 x 18 voxels, each with a bright front and back."""
    rng = np.random.default_rng(seed)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(15):
        mask = np.zeros((20, 26, 18), np.uint8)
        border = int(rng.integers(9, 17))
        mask[6:14, 4:border, 5:12], mask[6:14, border:22, 5:12] = 2, 1
        image = rng.normal(60 + 70 * mask, 10).astype(np.float32)
        for folder, voxels in (("imagesTr", image), ("labelsTr", mask)):
            nifti = nib.Nifti1Image(voxels, np.eye(4))
            nib.save(nifti, root / folder / f"hippocampus_{number:03}.nii.gz")
