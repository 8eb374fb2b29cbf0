"""What both halves of the training data have in common."""

from __future__ import annotations

from pathlib import Path


def training_data(root: Path, half: str) -> Path:
    """``01_MANUAL`` or ``02_WEAK``, in DATASET_TRAIN or not; none there: where it should be."""
    return root / half if (root / half).is_dir() else root / "DATASET_TRAIN" / half


def original(path: Path) -> str:
    """The slide of which a file is a part: its name up to the brackets that QuPath puts behind."""
    return path.name.partition(".")[0].partition(" [")[0]
