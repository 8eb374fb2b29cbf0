"""The publisher's layout in miniature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from . import CLASSES
from .data import FOLDER, LAST_CT

FAKE_SHAPE = (24, 48, 48)
"""From inferior to superior, anterior to posterior, right to left."""

ORGANS = (
    (0.75, 0.62, 0.82, 0.09),
    (0.50, 0.68, 0.28, 0.08),
    (0.50, 0.68, 0.72, 0.08),
    (0.58, 0.25, 0.36, 0.07),
    (0.93, 0.55, 0.55, 0.06),
    (0.76, 0.45, 0.24, 0.15),
    (0.75, 0.28, 0.66, 0.12),
    (0.42, 0.60, 0.56, 0.06),
    (0.42, 0.60, 0.44, 0.06),
    (0.58, 0.42, 0.58, 0.07),
    (0.68, 0.66, 0.36, 0.06),
    (0.68, 0.66, 0.64, 0.06),
    (0.46, 0.42, 0.40, 0.07),
    (0.20, 0.35, 0.50, 0.09),
    (0.10, 0.58, 0.50, 0.07),
)
"""Center and radius of each, as shares of the volume's edges."""

SPLITS = {
    "training": ("Tr", (1, 4, 5, 6, 7, 9, 10, 11, 14, 57, 507, 508, 510, 514)),
    "validation": ("Va", (8, 13, 18, 22, 40, 544, 545)),
    "test": ("Ts", (2, 500, 501)),
}
NO_SPLEEN = 57
"""One of three scans without a spleen."""


def make_fake(root: Path, seed: int) -> None:
    """Write 15 CT and six MRI with masks, three scans without, and what macOS left behind."""
    rng = np.random.default_rng(seed)
    base = root / FOLDER
    left = root / "__MACOSX" / FOLDER / "imagesTr"
    parts = [base / f"{kind}s{part}" for kind in ("image", "label") for part, _ in SPLITS.values()]
    for folder in (left, *parts):
        folder.mkdir(parents=True, exist_ok=True)
    listing: dict[str, Any] = {
        "name": "AMOS",
        "licence": "CC-BY-SA 4.0",
        "release": "1.0 01/05/2022",
        "tensorImageSize": "3D",
        "modality": {"0": "CT"},
        "labels": {str(value): name for value, name in enumerate(CLASSES)} | {"8": "arota"},
    }
    for split, (part, numbers) in SPLITS.items():
        kinds = ("image",) if split == "test" else ("image", "label")
        listing[f"num{split.capitalize()}"] = len(numbers)
        listing[split] = []
        for number in numbers:
            entry = {kind: f"./{kind}s{part}/amos_{number:04d}.nii.gz" for kind in kinds}
            listing[split].append(entry)
            labels = _organs(rng, number)
            _write(base / entry["image"], _scan(rng, labels, number))
            if "label" in entry:
                _write(base / entry["label"], labels)
    (base / "dataset.json").write_text(json.dumps(listing, indent=4))
    for folder in (left, base / "imagesTr"):
        (folder / "._amos_0001.nii.gz").write_bytes(b"\x00\x05\x16\x07")


PLACES = (np.stack(np.indices(FAKE_SHAPE), axis=-1) + 0.5) / FAKE_SHAPE


def _organs(rng: np.random.Generator, number: int) -> NDArray[np.uint8]:
    """A mask with every organ, each moved a little."""
    labels = np.zeros(FAKE_SHAPE, np.uint8)
    for value, (*center, radius) in enumerate(ORGANS, start=1):
        distance = np.linalg.norm(PLACES - center - rng.uniform(-0.02, 0.02, 3), axis=-1)
        if (number, value) != (NO_SPLEEN, 1):
            labels[distance < radius] = value
    return labels


def _scan(rng: np.random.Generator, labels: NDArray[np.uint8], number: int) -> NDArray[Any]:
    """CT in HU with a spine and -2048 outside the gantry, or MRI in units of its own."""
    y, x = PLACES[..., 1] - 0.5, PLACES[..., 2] - 0.5
    noise = rng.normal(0, 5, FAKE_SHAPE)
    body = np.hypot(y, 0.9 * x) < 0.46
    brightness = 40 + 25 * labels.astype(int)
    if number <= LAST_CT:
        spine = np.hypot(y - 0.32, x) < 0.07
        tissue = np.select([spine, body], [1200, brightness], -1000)
        gantry = np.hypot(y, x) < 0.6
        return np.where(gantry, tissue + noise, -2048).astype(np.int16)
    unit = 10 ** rng.uniform(0, 2)
    scan = unit * np.clip(body * brightness + noise, 0, None)
    scan[-1, 10:14, 10:14] = 2000 * unit
    return scan.astype(np.float32)


def _write(path: Path, voxels: NDArray[Any]) -> None:
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((1.5, 1.5, 5.0))
    SimpleITK.WriteImage(image, str(path))
